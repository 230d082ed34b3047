"""The page as it is served to people: a server process of its own, and the Chromium of this machine.

Shared by the browser tests and by `docs/screens.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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

# The same with a guard of few prompts, and replies to held-out ones cut short: all of them take a processor minutes,
# and the benchmarks ask them.
SHORT_GUARD = f"""
import app.work
app.work.TOKENS_OF_HELD_OUT = 24
from actor_core.evaluate import spread
from actor_core.prompt_sets import PromptSet
whole = PromptSet.guard
PromptSet.guard = lambda prompt_set: tuple(spread(whole(prompt_set), 24))
{START}"""

# The same over the quick stand-ins of tests/app/quick_core.py: a tuning takes a second.
QUICK = f"""
import sys
sys.path.insert(0, "tests/app")
from quick_core import take_the_place_of_the_core
take_the_place_of_the_core(setattr, pause=0.02)
{SHORT_GUARD}"""

# The same with charts to look at, for `docs/screens.py --quick`.
STAGED = "import runpy; runpy.run_path('tests/app/quick_page.py', run_name='__main__')"


class Server:
    """The app, served with ``data_dir`` by a process that runs ``code``; it can be stopped and started again."""

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
                self.port = int(self.url.rstrip("/").rsplit(":", 1)[-1])  # it comes back at the same address
                return
        raise AssertionError(f"the app did not start: {(self.data_dir / 'server.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """As kill -9 does: nothing is put in order."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def chromium_path() -> str | None:
    """The Chromium that the variable CHROMIUM names, else the one of this machine."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def lend_models(data_dir: Path) -> None:
    """Lets ``data_dir`` use the models that are on this machine, downloaded once for all, and what was read of them."""
    for kept in (models_dir(default_data_dir()), ReadingStore.of(default_data_dir()).folder):
        assert kept is not None
        kept.mkdir(parents=True, exist_ok=True)
        (data_dir / kept.name).symlink_to(kept, target_is_directory=True)
