"""`.venv` beside launch.py: whether it is whole and current, and how it is made, completed and repaired.

An environment is whole when its stamp, written last, says what pyproject.toml asks for. It is made under
another name and renamed, so that an interrupted one is never mistaken for a whole one.
"""

import ast
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from start import CannotStart
from start.installer import Installer, name_of, say
from start.machine import gpu

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
INTERPRETER = Path("Scripts", "python.exe") if os.name == "nt" else Path("bin", "python")
PYTHON = VENV / INTERPRETER
STAMP = VENV / "second-take.json"
WORKSHOP = ROOT / ".venv-install"  # the lock, the log, and the environment in the making
LOCK = ROOT / "requirements.lock"  # versions; `benchmarks/lock.py` writes it

Stamp = dict[str, str]  # part of pyproject.toml -> digest of what decides its content; and PyTorch's facts


def in_space() -> bool:
    """Whether this is a Hugging Face Space, which installs requirements.txt by itself."""
    return bool(os.environ.get("SPACE_ID"))


def dependencies(part: str) -> list[str]:
    """One list of pyproject.toml (Python 3.10 has no TOML reader, but such a list is a Python list too)."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(rf"^{part} = (\[[^\n]*\]|\[\n.*?\n\])$", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise CannotStart(f"pyproject.toml has no list '{part}': this copy is not whole, clone it again.")
    own_extra = "second-take["
    return [line for line in ast.literal_eval(found.group(1)) if not line.startswith(own_extra)]


def wanted() -> Stamp:
    """What the stamp of a whole environment says for this machine, this Python and this pyproject.toml."""
    has_driver = shutil.which("nvidia-smi") is not None  # running it would slow down every start
    machine = [*sys.version_info[:2], sys.platform, platform.machine(), has_driver]
    parts = {part: [*machine, *dependencies(part)] for part in ("dependencies", "llamacpp", "test")}
    return {part: digest(content) for part, content in parts.items()}


def stamp() -> Stamp:
    """What `.venv` says of itself; nothing if it is not whole."""
    try:
        said = json.loads(STAMP.read_text(encoding="utf-8")) if PYTHON.exists() else {}
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def missing(extras: list[str], locked: bool = False) -> list[str]:
    """The parts of pyproject.toml that `.venv` lacks or has in an outdated form; all where its versions are not those
    of the lock and `locked` asks for them."""
    have, want = stamp(), wanted()
    if locked and have.get("lock") != digest(lock()):
        return ["dependencies", *extras]
    return [part for part in ("dependencies", *extras) if have.get(part) != want[part]]


def lock() -> list[str]:
    """The versions of the lock, 'name==version' each. CannotStart where this Python is too old for them."""
    try:
        made_with, *lines = LOCK.read_text(encoding="utf-8").splitlines()
        lowest = tuple(map(int, re.findall(r"Python (\d+)\.(\d+)", made_with)[0]))
    except (OSError, ValueError, IndexError) as problem:
        raise CannotStart(f"{LOCK.name} is not whole: clone it again, or leave --locked out.") from problem
    if sys.version_info[:2] < lowest:
        older, python = ".".join(map(str, sys.version_info[:2])), ".".join(map(str, lowest))
        raise CannotStart(
            f"The versions of {LOCK.name} need Python {python} or newer, and this is {older}: start with "
            f"python{python} launch.py --locked, or leave --locked out."
        )
    return [line for line in lines if line and not line.startswith("#")]


def digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def runs_in_place(extras: list[str], locked: bool = False) -> bool:
    """Whether this very Python has it all: in a Space, in `.venv`, or in the person's own environment."""
    if in_space():
        return True
    if VENV.exists() and os.path.samefile(sys.prefix, VENV) and not missing(extras, locked):
        return True
    if locked:
        return False
    needed = [part for part in ("dependencies", *extras) if part != "llamacpp"]  # which is a bonus
    return all(is_installed(line) for part in needed for line in dependencies(part))


def is_installed(requirement: str) -> bool:
    """Whether this Python has it, in a version that fits (by name only where `packaging` is not there)."""
    import importlib.metadata  # slow to load, and most starts need none of it

    try:
        version = importlib.metadata.version(name_of(requirement))
    except importlib.metadata.PackageNotFoundError:
        version = None
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return version is not None or ";" in requirement
    parsed = Requirement(requirement)
    if parsed.marker and not parsed.marker.evaluate():
        return True
    return version is not None and parsed.specifier.contains(version, prereleases=True)


def ensure(extras: list[str], anew: bool, offline: bool, locked: bool = False) -> None:
    """Makes or completes `.venv` if it is not whole. Of several starts one works, the others wait for it."""
    if not (anew or missing(extras, locked)):
        tidy_up()
        return
    if offline:
        raise CannotStart("Packages are missing, and --offline forbids loading them: start once without it.")
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        raise CannotStart(
            "PyTorch is no longer made for Intel Macs (on Apple silicon, take an arm64 Python)."
        )
    try:
        with workbench() as bench:
            lacking = missing(extras, locked)
            if anew or "dependencies" in lacking:
                make(extras, bench, lock() if locked else [])
            elif lacking:
                complete(lacking, bench)
    except (OSError, subprocess.SubprocessError) as problem:  # no right to write, a full disk
        raise CannotStart(f"Could not make the environment: {problem}. See launch.py --doctor.") from problem


def make(extras: list[str], bench: Path, versions: list[str]) -> None:
    """A new environment, made on the workbench and renamed to `.venv` when whole. ``versions``: those of the lock."""
    card = gpu()
    download, room = ("3 GB", 10) if card else ("0.4 GB", 3)
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < room:
        raise CannotStart(
            f"The packages need {room} GB in {ROOT}; {free:.1f} GB are free. Make room, start again."
        )
    say(f"Making the environment: this start downloads about {download} of packages and takes a few minutes.")
    begun = time.monotonic()
    folder = bench / "new"
    installer = Installer(folder / INTERPRETER, new_log(), bench, versions)
    installer.create(folder)
    requirements = dependencies("dependencies")
    torch = next(line for line in requirements if name_of(line) == "torch")
    facts = installer.add_torch(torch, card)
    installer.add("the other packages", requirements, facts["version"])
    whole = {"torch": facts["version"], "torch_build": facts["build"]}
    whole["dependencies"] = wanted()["dependencies"]
    if versions:
        whole["lock"] = digest(versions)
    add_extras(installer, extras, whole)
    write_stamp(folder, whole)
    replace_environment(folder, bench / "old")
    say(f"Ready after {time.monotonic() - begun:.0f} s. The next start skips this.")


def complete(extras: list[str], bench: Path) -> None:
    """Adds extras to `.venv` itself; the stamp is away meanwhile, so that an interruption gets repaired."""
    say(f"Adding to the environment: {' and '.join(extras)}.")
    before = stamp()
    STAMP.unlink()
    after = dict(before)
    try:
        versions = lock() if "lock" in before else []  # what it was made with holds for what is added
        add_extras(Installer(PYTHON, new_log(), bench, versions), extras, after)
    except CannotStart:  # the installer gave up by itself: what was whole before still is
        write_stamp(VENV, before)
        raise
    write_stamp(VENV, after)


def add_extras(installer: Installer, extras: list[str], whole: Stamp) -> None:
    """Installs extras and notes them; llama.cpp only where a prebuilt wheel exists, else without it."""
    for extra in extras:
        try:
            title = {"llamacpp": "llama.cpp", "test": "what the tests need"}[extra]
            installer.add(title, dependencies(extra), whole["torch"], prebuilt=extra == "llamacpp")
        except CannotStart:
            if extra != "llamacpp":
                raise
            say("  No prebuilt llama.cpp for this machine: going on without it.")
        whole[extra] = wanted()[extra]


def write_stamp(folder: Path, content: Stamp) -> None:
    (folder / STAMP.name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def new_log() -> Path:
    log = WORKSHOP / "log.txt"
    log.unlink(missing_ok=True)
    return log


def replace_environment(folder: Path, old: Path) -> None:
    """Puts the new environment in the old one's place; Windows may need a moment for that, or refuse."""
    for source, target in ((VENV, old), (folder, VENV)):
        deadline = time.monotonic() + 10
        while os.path.lexists(source):
            try:
                source.rename(target)
            except PermissionError as refused:
                if time.monotonic() > deadline:
                    advice = "end the Second Take that runs in it, start again."
                    raise CannotStart(f"{source} is in use: {advice}") from refused
                time.sleep(0.5)


@contextlib.contextmanager
def workbench() -> Iterator[Path]:
    """A folder to install in, cleared afterwards, for one start at a time.

    The system itself frees the lock of a process that died; what that one left behind is cleared first.
    """
    WORKSHOP.mkdir(exist_ok=True)
    holder = WORKSHOP / "pid"
    with open(WORKSHOP / "lock", "a") as lock:
        waiting = False
        while not try_lock(lock.fileno()):
            if not waiting:
                pid = holder.read_text() if holder.exists() else "unknown"
                say(f"Another start (process {pid}) is installing: waiting for it. Ctrl-C ends the waiting.")
            waiting = True
            time.sleep(0.5)
        holder.write_text(str(os.getpid()))
        clear_bench()
        # One of its own: the installer of a start that was killed may still write to the last one, even after this.
        bench = WORKSHOP / f"start-{os.getpid()}"
        bench.mkdir()
        try:
            yield bench
        finally:
            clear_bench()


def tidy_up() -> None:
    """Clears what a start that was ended too soon left on the workbench; nothing while another one works there."""
    with contextlib.suppress(OSError):
        if any(WORKSHOP.glob("start-*")):
            with open(WORKSHOP / "lock", "a") as lock:
                if try_lock(lock.fileno()):
                    clear_bench()


def clear_bench() -> None:
    """For who holds the lock."""
    for leftover in WORKSHOP.glob("start-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system that knows no locks: one start at a time is the usual case anyway
        return True
    return True
