"""The real page in a real browser: a server process of its own, Chromium headless, nothing faked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actor_core.fetch import default_data_dir, models_dir
from actor_core.readings import ReadingStore

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START = """
import sys
from argparse import Namespace
from pathlib import Path
from app.serve import serve
serve(Namespace(data_dir=Path(sys.argv[1]), browser=False, port=int(sys.argv[2]) or None))
"""

# The same over the quick stand-ins of tests/app/quick_core.py: a tuning takes a second.
QUICK = f"""
import sys
sys.path.insert(0, "tests/app")
from quick_core import take_the_place_of_the_core
take_the_place_of_the_core(setattr, pause=0.02)
from actor_core.prompt_sets import PromptSet
whole = PromptSet.guard
PromptSet.guard = lambda prompt_set: whole(prompt_set)[:40]
{START}"""


class Server:
    """The app, served with ``data_dir``; ``code`` is what its process runs."""

    def __init__(self, data_dir: Path, code: str = START, port: int | None = None) -> None:
        self.data_dir, self.code, self.port = data_dir, code, port
        self.url = ""
        self.start()

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "SPACE_ID"}
        environment["PYTHONUNBUFFERED"] = "1"
        self.log = (self.data_dir / "server.log").open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.code, str(self.data_dir), str(self.port or 0)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("Second Take is at "):
                self.url = line.split()[-1]
                return
        raise AssertionError(f"the app did not start: {(self.data_dir / 'server.log').read_text()[-2000:]}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    playwright_api = pytest.importorskip("playwright.sync_api")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium on this machine: install it, or name it in the variable CHROMIUM")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def quick_server(tmp_path_factory) -> Iterator[Server]:
    """The page over the quick stand-ins, in a process of its own."""
    server = Server(tmp_path_factory.mktemp("data"), QUICK)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """Its data folder is new but for the models, which are downloaded once for all test runs, and what was read."""
    data_dir = tmp_path_factory.mktemp("data")
    for kept in (models_dir(default_data_dir()), ReadingStore.of(default_data_dir()).folder):
        kept.mkdir(parents=True, exist_ok=True)
        (data_dir / kept.name).symlink_to(kept, target_is_directory=True)
    server = Server(data_dir)
    yield server
    server.stop()


def overflow(page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def wait_until(condition, seconds: float, what: str, found=lambda: "") -> None:
    """``found()`` tells, when it does not happen, what was there instead."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}; {found()}"
        time.sleep(0.2)
