"""The program as a Hugging Face Space: its files, put together as docs/space.md says, and the app started from them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from app.space import FILES, PARTS, SpaceError, assemble, faults_of, main

ROOT = Path(__file__).parent.parent
# The core's slow parts are the quick stand-ins; everything else is what the Space has.
START = (
    "import runpy, sys; sys.path[:0] = ['.', {stand_ins!r}]; sys.argv = ['launch.py'];"
    "from quick_core import take_the_place_of_the_core as quick; quick(setattr);"
    "import app; print(app.__file__); runpy.run_path('launch.py', run_name='__main__')"
)
HARMLESS, RIVAL = "How do I kill a Python process?", "How do I kill a rival?"


@dataclass(frozen=True)
class Space:
    """A started one: the folder with its files, the one with its data, and its address."""

    files: Path
    data: Path
    address: str

    def client(self) -> Client:
        return Client(self.address, verbose=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m app.space` puts together."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout: a Space is made from one")
    out = tmp_path_factory.mktemp("space") / "files"
    assert main([str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def space(files: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("started")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "SPACE_ID": "someone/second-take",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "SECOND_TAKE_DATA_DIR": str(folder / "data"),
        "PYTHONUNBUFFERED": "1",
    }
    log = folder / "log.txt"
    start = [sys.executable, "-c", START.format(stand_ins=str(ROOT / "tests" / "app"))]
    with log.open("w") as output:
        process = subprocess.Popen(start, cwd=files, env=environment, stdout=output, stderr=output)
    try:
        address = _address(process, log)
        assert str(files / "app") in log.read_text(), "another copy of the program was started"
        _old(folder / "data" / "space" / "page-cache" / "abc" / "prompts.txt")
        yield Space(files, folder / "data", address)
    finally:
        process.terminate()
        process.wait(20)


def _old(file: Path) -> None:
    """Makes a file of two hours ago."""
    file.parent.mkdir()
    file.write_text(HARMLESS)
    for path in (file, file.parent):
        os.utime(path, (time.time() - 7200,) * 2)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that the app prints, once it answers there."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        told = re.search(r"Second Take is at (http://\S+)", log.read_text())
        if told:
            try:
                with urllib.request.urlopen(told[1], timeout=10) as answer:
                    if "Second Take" in answer.read().decode():
                        return told[1]
            except (urllib.error.URLError, OSError):
                pass
        time.sleep(0.3)
    raise AssertionError(f"no page within five minutes:\n{log.read_text()}")


def test_a_space_has_the_program_and_what_its_readme_shows_and_nothing_else(files):
    names = {path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()}
    assert set(FILES) <= names and "docs/compare.png" in names
    assert {name.split("/")[0] for name in names} == {*PARTS, *FILES, "docs"}
    assert {name for name in names if name.startswith("docs/")} == {"docs/compare.png"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert names <= set(tracked.stdout.splitlines())
    assert faults_of(files, sorted(names)) == []


def test_files_are_never_put_over_others(files, capsys):
    assert main([str(files)]) == 1
    assert "is in use: name a folder that is new or empty" in capsys.readouterr().err


@pytest.fixture
def checkout(tmp_path: Path, files: Path) -> Path:
    """A small checkout with all that a Space needs."""
    root = tmp_path / "checkout"
    for name in (*FILES, "docs/compare.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files / name, root / name)
    for part in PARTS:
        (root / part).mkdir()
        (root / part / "__init__.py").write_text("")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    _add(root)
    return root


def _add(root: Path) -> None:
    subprocess.run(["git", "add", "-A", "-f"], cwd=root, check=True)


def _change(root: Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text(encoding="utf-8")
    assert old in text
    (root / name).write_text(text.replace(old, new), encoding="utf-8")


def _faults(root: Path, out: Path) -> str:
    with pytest.raises(SpaceError) as found:
        assemble(out, root)
    assert not out.exists(), "nothing is put together of what has a fault"
    return str(found.value)


def test_only_what_git_tracks_comes_into_a_space(checkout, tmp_path):
    (checkout / "tests").mkdir()
    (checkout / "tests" / "test_it.py").write_text("")
    (checkout / ".gitignore").write_text("*.log\n")
    (checkout / "app" / "today.log").write_text("")
    subprocess.run(["git", "add", "-A"], cwd=checkout, check=True)
    assert len(assemble(tmp_path / "out", checkout)) == len(FILES) + len(PARTS) + 1
    (checkout / "app" / "new.py").write_text("")
    assert "app/new.py is not tracked by git" in _faults(checkout, tmp_path / "other")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "app" / "link.py").symlink_to("__init__.py"), "app/link.py is a link"),
        (lambda root: (root / "app" / "w.bin").write_bytes(bytes(11_000_000)), "has 11 MB, and 10 MB is the limit"),
        (lambda root: (root / "LICENSE").unlink(), "LICENSE is missing"),
        (lambda root: (root / "docs" / "compare.png").unlink(), "README.md shows docs/compare.png"),
        (lambda root: (root / ".gitignore").write_text("presets/\n"), "is tracked by git and ignored"),
        (lambda root: _change(root, "README.md", "sdk_version: 6", "sdk_version: 5"), "asks for gradio<7,>=6"),
        (lambda root: _change(root, "README.md", "sdk: gradio", "sdk: static"), "it must be gradio"),
        (lambda root: _change(root, "README.md", "app_file: launch.py", "app_file: app.py"), "'app.py', which is none"),
        (lambda root: _change(root, "README.md", '"3.11"', "3.1"), "python_version is '3.1'"),
        (lambda root: _change(root, "README.md", "short_description: ", "short_description: " + 60 * "x"), "60 char"),
        (lambda root: _change(root, "README.md", "---\ntitle", "title"), "begins with no front matter"),
        (lambda root: _change(root, "README.md", "  - contribute-repos", "  - manage-repos"), "ask visitors for"),
        (lambda root: _change(root, "requirements.txt", ">=1.31,<3", ">=0.1,<1"), "is not both: change requirements"),
    ],
)
def test_a_fault_is_said_in_words(spoil, said, checkout, tmp_path):
    spoil(checkout)
    _add(checkout)
    assert said in _faults(checkout, tmp_path / "out")


def test_no_checkout_no_space(tmp_path):
    with pytest.raises(SpaceError, match="is no checkout"):
        assemble(tmp_path / "out", tmp_path)


def test_a_space_starts_from_its_files_and_installs_nothing(space):
    assert not list(space.files.glob(".venv*"))
    with urllib.request.urlopen(f"{space.address}config", timeout=20) as answer:
        assert answer.status == 200


def test_in_a_space_only_its_models_are_loaded(space):
    client = space.client()
    for other in ("Qwen/Qwen2.5-1.5B-Instruct", "/etc", str(space.files)):
        with pytest.raises(AppError, match="Only the models of the list"):
            client.predict(other, api_name="/load_model")


def test_the_guard_cannot_be_passed_over_in_a_space(space):
    client = space.client()
    session = client.predict(api_name="/load_model")["session"]
    client.predict(session, [HARMLESS, RIVAL], api_name="/check_prompts")
    with pytest.raises(AppError, match="This page is a Space"):
        client.predict(session, include=[RIVAL], api_name="/tune")
    client.predict(session, per_set=2, api_name="/tune")
    for accept in ("export anyway", "export anyway", "trotzdem exportieren"):
        try:
            exported = client.predict(session, accept=accept, api_name="/export")
            assert exported["files"] == [] and not exported["guard"]["passed"]
        except AppError as refused:
            assert "Nothing was written." in str(refused)
    with pytest.raises(AppError, match="Nothing was written."):
        client.predict(session, accept="export anyway", api_name="/export")
    with pytest.raises(AppError, match="no kind of file “merged”"):
        client.predict(session, ["merged"], api_name="/export")
    written = [path for path in (space.data / "space" / "exports").rglob("*") if path.is_file()]
    assert written == []


def test_a_visitor_of_a_space_has_nothing_of_another(space):
    client = space.client()
    mine, other = (client.predict(api_name="/load_model")["session"] for _ in range(2))
    client.predict(mine, [HARMLESS], api_name="/check_prompts")
    with pytest.raises(AppError, match="tune|prompts"):
        client.predict(other, per_set=2, api_name="/tune")
    with pytest.raises(AppError, match="not known here"):
        client.predict("x" * 32, api_name="/status")


def test_what_is_old_is_deleted_while_a_space_runs(space):
    deadline = time.monotonic() + 120
    while (space.data / "space" / "page-cache" / "abc").exists():
        assert time.monotonic() < deadline, "an upload of two hours ago is still there"
        time.sleep(0.5)
