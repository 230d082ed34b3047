"""`launch.py` interrupted at ten places of an installation, and `.venv` broken in ten ways: the next start mends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import quick_app  # noqa: F401  makes the other tests' helpers importable
from attempts import Attempt, spread

sys.path.append(str(Path(__file__).parents[1]))

from test_launch import Tree, make_wheels  # noqa: E402

SECONDS = 600.0
FOLDER = "Zweite Chance, 第二"


def attempts(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """Each place by Ctrl-C and by kill -9, and each broken environment; real venv and pip, tiny wheels."""
    folder.mkdir(parents=True, exist_ok=True)
    wheels = make_wheels(folder)
    whole = Tree(folder / "whole" / FOLDER, wheels)
    fault = _fault(whole.start(), whole)
    yield Attempt("a start that nothing disturbs", fault)
    tried = [(name, by) for name in PLACES for by in (signal.SIGINT, signal.SIGKILL)]
    cases: list[tuple[str, Callable[[Path], str]]] = [
        (f"{by.name} {name}", lambda place, name=name, by=by: _interrupted(Tree(place / FOLDER, wheels), name, by))
        for name, by in tried
    ]
    cases += [(name, lambda place, spoil=spoil: _broken(whole, spoil)) for name, spoil in BROKEN.items()]
    for number, (name, case) in enumerate(spread(cases, count)):
        place = folder / str(number)
        place.mkdir()
        yield Attempt(name, case(place))
        shutil.rmtree(place, ignore_errors=True)


# What is there once an installation has come so far; the first that the pattern finds.
PLACES = {
    "when it takes the lock": ".venv-install/lock",
    "when it makes its workbench": ".venv-install/start-*",
    "when the environment is begun": ".venv-install/start-*/new",
    "when the environment has a Python": ".venv-install/start-*/new/bin/python",
    "when pip is put in": ".venv-install/start-*/new/lib/*/site-packages/pip",
    "when PyTorch is there": ".venv-install/start-*/new/lib/*/site-packages/torch",
    "when PyTorch is whole": ".venv-install/start-*/new/lib/*/site-packages/torch-*.dist-info/RECORD",
    "when the other packages come": ".venv-install/start-*/constraints.txt",
    "when the stamp is written": ".venv-install/start-*/new/second-take.json",
    "when it is renamed": ".venv/second-take.json",
}


def _interrupted(tree: Tree, name: str, by: signal.Signals) -> str:
    process = tree.popen()
    end = time.monotonic() + SECONDS
    while not list(tree.root.glob(PLACES[name])) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(by)
    said = process.communicate(timeout=SECONDS)[1]
    if not tree.stamp.exists():
        if "Traceback" in said:
            return f"a traceback instead of a message: {said[-200:]}"
        if by == signal.SIGINT and process.returncode != 130:
            return f"it ended with {process.returncode} instead of 130"
        if (tree.root / ".venv").exists():
            return "a .venv is there that is not whole"
    return _fault(tree.start(), tree)


def _fault(done: subprocess.CompletedProcess[str], tree: Tree) -> str:
    """What is wrong with a start that should have served."""
    if done.returncode:
        return f"the next start ended with {done.returncode}: {done.stderr[-200:]}"
    if Path(json.loads(done.stdout.splitlines()[-1])["python"]).parent.parent != tree.root / ".venv":
        return "it was served by another Python"
    left = [path.name for path in (tree.root / ".venv-install").glob("start-*")]
    return f"{left} is left" if left else ""


def _broken(tree: Tree, spoil: Callable[[Tree], None]) -> str:
    spoil(tree)
    fault = _fault(tree.start(), tree)
    return fault or _fault(tree.start("--offline"), tree)


def _empty(tree: Tree) -> None:
    shutil.rmtree(tree.root / ".venv")
    (tree.root / ".venv").mkdir()


def _half_on_the_workbench(tree: Tree) -> None:
    tree.stamp.unlink()
    (tree.root / ".venv-install" / "start-1" / "new" / "bin").mkdir(parents=True)


def _file_instead(tree: Tree) -> None:
    shutil.rmtree(tree.root / ".venv")
    (tree.root / ".venv").write_text("no folder")


def _link_to_nothing(tree: Tree) -> None:
    shutil.rmtree(tree.root / ".venv")
    os.symlink(tree.root / "gone", tree.root / ".venv")


def _dead_python(tree: Tree) -> None:
    """As after an upgrade of the system's Python: the link leads nowhere."""
    for path in tree.root.glob(".venv/bin/python*"):
        path.unlink()
        os.symlink("/gone/python", path)


def _empty_python(tree: Tree) -> None:
    python = tree.root / ".venv" / "bin" / "python"
    python.unlink()
    python.write_text("")
    python.chmod(0o755)


BROKEN: dict[str, Callable[[Tree], None]] = {
    "no .venv": lambda tree: shutil.rmtree(tree.root / ".venv"),
    "an empty .venv": _empty,
    "a file in the place of .venv": _file_instead,
    ".venv is a link to nothing": _link_to_nothing,
    "no stamp": lambda tree: tree.stamp.unlink(),
    "a stamp that is cut": lambda tree: tree.stamp.write_text(tree.stamp.read_text()[:20]),
    "a stamp of another form": lambda tree: tree.stamp.write_text("[]"),
    "a stamp that is no text": lambda tree: tree.stamp.write_bytes(b"\xff\xfe\x00"),
    "no Python in .venv": lambda tree: (tree.root / ".venv" / "bin" / "python").unlink(),
    "a Python that is gone": _dead_python,
    "a Python of no bytes": _empty_python,
    "half an environment on the workbench": _half_on_the_workbench,
}
