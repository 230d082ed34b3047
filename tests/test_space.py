"""The clone as a Hugging Face Space: its front matter, and the app started from a clean checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def front_matter() -> dict[str, str]:
    found = FRONT.match((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found, "README.md must begin with the front matter that a Space reads"
    pairs = [line.split(":", 1) for line in found[1].splitlines() if re.match(r"\w+:", line)]
    return {name: value.strip().strip('"') for name, value in pairs}


def test_the_front_matter_says_what_a_space_needs():
    about = front_matter()
    assert about["sdk"] == "gradio"
    assert re.fullmatch(r"\d+\.\d+\.\d+", about["sdk_version"])
    assert about["app_file"] == "launch.py"
    assert about["python_version"] in ("3.10", "3.11", "3.12", "3.13")
    assert about["license"] == "apache-2.0"
    assert len(about["short_description"]) <= 60, "the hub refuses a longer one"


def test_the_pinned_gradio_is_of_the_release_the_tests_run_on():
    assert front_matter()["sdk_version"].split(".")[0] == version("gradio").split(".")[0]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that git tracks, and nothing else."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout: a Space is made from one")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    place = tmp_path / "space"
    for name in filter(None, listed.stdout.split("\0")):
        source = ROOT / name
        if source.is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place / name)
    return place


def test_a_space_starts_from_a_clean_checkout_and_installs_nothing(checkout: Path, tmp_path: Path):
    environment = os.environ | {
        "SPACE_ID": "someone/second-take",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "SECOND_TAKE_DATA_DIR": str(tmp_path / "data"),
        "PYTHONUNBUFFERED": "1",
    }
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        space = subprocess.Popen(
            [sys.executable, "launch.py"], cwd=checkout, env=environment, stdout=output, stderr=output
        )
    try:
        page = _page(space, log)
    finally:
        space.terminate()
        space.wait(20)
    assert "Second Take" in page
    assert not (checkout / ".venv").exists()


def _page(space: subprocess.Popen[bytes], log: Path) -> str:
    """The page at the address that the app prints, once it answers."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert space.poll() is None, log.read_text()
        told = re.search(r"http://\S+", log.read_text())
        if told:
            try:
                with urllib.request.urlopen(told[0], timeout=10) as answer:
                    return answer.read().decode()
            except (urllib.error.URLError, OSError):
                pass
        time.sleep(0.5)
    raise AssertionError(f"no page within two minutes:\n{log.read_text()}")
