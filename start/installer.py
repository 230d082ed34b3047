"""Fills an environment: uv where it is on PATH, pip where it is not or where uv fails.

It decides which build of PyTorch this machine gets. It does not know where the environment goes or
when one is out of date.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from start import CannotStart
from start.machine import Gpu, reachable

TORCH_INDEX = "https://download.pytorch.org/whl"
TORCH_PIN = "torch==2.13.0"  # known to work; taken where the vendor's index does not answer

TORCH_FACTS = """
import importlib.metadata, importlib.util, json, pathlib, runpy
module = pathlib.Path(importlib.util.find_spec("torch").origin)
cuda = runpy.run_path(str(module.with_name("version.py"))).get("cuda")
build = f"CUDA {cuda}" if cuda else "CPU"
print(json.dumps({"version": importlib.metadata.version("torch"), "build": build}))
"""


class Installer:
    """One environment in the making: `python` is its interpreter, `log` keeps all that the tools say.

    `scratch` is theirs for temporary files: /tmp may be small, and what a killed pip leaves there stays.
    `lock`: the versions that are taken, as 'name==version'; empty where the newest that fit are.
    """

    def __init__(self, python: Path, log: Path, scratch: Path, lock: Sequence[str] = ()) -> None:
        self.python, self.log, self.scratch, self.uv = str(python), log, scratch, shutil.which("uv")
        self.lock = lock

    def create(self, folder: Path) -> None:
        """Makes an empty environment that can be renamed: nothing in it is run through its scripts."""
        ways = [[sys.executable, "-I", "-m", "venv", "--clear", "--prompt", "second-take", str(folder)]]
        if self.uv:
            options = ["--relocatable", "--seed", "--prompt", "second-take", "--python", sys.executable]
            ways.insert(0, [self.uv, "venv", *options, str(folder)])
        self.run("a virtual environment", ways)

    def add_torch(self, torch: str, card: Gpu | None) -> dict[str, str]:
        """Installs the build of PyTorch for this machine; returns its version and build.

        The default index has the right one for macOS and for Windows without a GPU. Otherwise it is on
        the vendor's index; where that is out of reach uv is passed over, as pip may know a local wheel.
        """
        build = card.cuda_build() if card else "cpu"
        locked = next((line for line in self.lock if name_of(line) == "torch"), "")
        torch = locked or torch
        by_default = self.pip(torch if card or locked else TORCH_PIN)
        if sys.platform == "darwin" or (sys.platform == "win32" and not card):
            self.run("PyTorch", self.ways([torch]))
        elif reachable(f"{TORCH_INDEX}/cpu/"):
            sees_it = card and not card.before_turing  # uv looks at the driver, not at the GPU's age
            backend = "auto" if sees_it else build
            by_uv, by_pip = f"--torch-backend={backend}", f"--index-url={TORCH_INDEX}/{build}"
            self.run(f"PyTorch, {build} build", [*self.ways([torch], by_uv, by_pip), by_default])
        else:
            say(f"  PyTorch's own index does not answer: taking {by_default[-1]} from the default index.")
            self.run("PyTorch", [by_default])
        facts = json.loads(subprocess.check_output([self.python, "-I", "-c", TORCH_FACTS], text=True))
        for_gpu, comment = "CUDA" in facts["build"], ""
        if for_gpu and not card:
            comment = " (its CUDA part stays unused)"
        elif card and not for_gpu:
            comment = " (the GPU stays unused: see --doctor)"
        say(f"  installed: PyTorch {facts['version']}, {facts['build']} build{comment}")
        return facts

    def add(self, title: str, requirements: list[str], torch_version: str, prebuilt: bool = False) -> None:
        """Installs requirements around the PyTorch that is there; `prebuilt`: nothing may be compiled."""
        pin = self.scratch / "constraints.txt"
        others = [line for line in self.lock if name_of(line) != "torch"]
        pin.write_text("\n".join([f"torch=={torch_version}", *others, ""]), encoding="utf-8")
        wheels = [f"--only-binary={name_of(line)}" for line in requirements] if prebuilt else []
        self.run(title, self.ways(["--constraint", str(pin), *wheels, *requirements]))

    def ways(self, what: list[str], for_uv: str = "", for_pip: str = "") -> list[list[str]]:
        """The commands that install it, best first, each with the one option that is its own."""
        by_pip = self.pip(*filter(None, [for_pip]), *what)
        if not self.uv:
            return [by_pip]
        return [[self.uv, "pip", "install", "--python", self.python, *filter(None, [for_uv]), *what], by_pip]

    def pip(self, *what: str) -> list[str]:
        return [self.python, "-I", "-m", "pip", "install", "--progress-bar=off", *what]

    def run(self, title: str, ways: list[list[str]]) -> None:
        """One command that succeeds is enough; if none does: CannotStart, with last words and a remedy."""
        started = time.monotonic()
        for command in ways:
            if self.succeeds(title, command):
                show(f"  {title}: {time.monotonic() - started:.0f} s", final=True)
                return
        show(f"  {title}: failed", final=True)
        said = self.log.read_text(encoding="utf-8", errors="replace").rsplit("\n$ ", 1)[-1]
        last_words = ["    " + line[:160] for line in said.splitlines()[1:] if line.strip()][-8:]
        problem = f"Could not install {title}. The installer's last words:"
        raise CannotStart("\n".join([problem, *last_words, remedy(said), f"All it said is in {self.log}"]))

    def succeeds(self, title: str, command: list[str]) -> bool:
        show(f"  {title} ...")
        with open(self.log, "a", encoding="utf-8", buffering=1) as log:
            log.write(f"\n$ {' '.join(command)}\n")
            process = subprocess.Popen(
                command, env={**settings(), "TMPDIR": str(self.scratch)}, encoding="utf-8", errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=os.name == "posix",
            )  # fmt: skip
            assert process.stdout
            try:
                for line in process.stdout:
                    log.write(line)
                    if line.lstrip().startswith(("Collecting", "Downloading", "Installing")):
                        show(f"  {title}: {line.strip()}")
                return process.wait() == 0
            except BaseException:  # Ctrl-C: leave no installer behind
                stop(process)
                raise


def stop(process: "subprocess.Popen[str]") -> None:
    """Ends it with all that it started: venv starts ensurepip, and that starts pip."""
    if sys.platform == "win32":
        process.terminate()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def name_of(requirement: str) -> str:
    """'torch' from 'torch>=2.7,<3'."""
    return re.split(r"[^\w.-]", requirement)[0]


def settings() -> dict[str, str]:
    """The person's own (index, proxy, certificates) hold, but for those that install elsewhere or ask."""
    return {**os.environ, "PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def remedy(said: str) -> str:
    """What to do about an installer's failure, from its own words."""
    known = {
        "No space left": "The disk is full: make room and start again.",
        "ensurepip": "Python's venv module is not whole: install python3-venv (Debian, Ubuntu) or uv.",
        "ermission denied": "Writing was refused: move the folder of Second Take to a place of your own.",
        "ertificate": "A certificate was refused: behind a proxy, set SSL_CERT_FILE to its certificate.",
        "onnect": "The package index is out of reach: check the network (and HTTPS_PROXY), start again.",
        "o matching distribution": "The index has no such package for this machine: see launch.py --doctor.",
    }
    fitting = (advice for sign, advice in known.items() if sign in said)
    return next(fitting, "Start again to go on; `python launch.py --doctor` looks for the cause.")


def say(text: str) -> None:
    """A line to the person, at once (before an exec, nothing may be left in the buffer)."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show(text: str, final: bool = False) -> None:
    """On a terminal, replaces the line in progress; elsewhere only what is final is printed."""
    if not sys.stdout.isatty():
        if final:
            say(text)
        return
    width = shutil.get_terminal_size().columns - 1
    sys.stdout.write("\r" + text[:width].ljust(width) + ("\n" if final else ""))
    sys.stdout.flush()
