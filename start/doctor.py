"""`launch.py --doctor`, the part that needs no package: what is here, and what to do about each fault.

Which models fit this machine needs the packages and is `app.doctor`'s, which is asked at the end.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from start import environment
from start.installer import say, settings
from start.machine import gpu, memory_gb, reachable

HUB = "https://huggingface.co"


def doctor(data_dir: Path | None, offline: bool) -> int:
    """Prints a line for each thing looked at; 1 if something keeps Second Take from starting, else 0."""
    in_place = environment.runs_in_place([])
    ready = in_place or not environment.missing([])
    python = sys.executable if in_place else str(environment.PYTHON)
    checks = [
        check_python(),
        check_folder(),
        check_environment(in_place, ready),
        check_installer(ready),
        check_torch(in_place, ready),
        ("ok", f"memory: {memory_gb():.0f} GB", ""),
        check_disk("the packages", environment.ROOT, 0 if ready else 3),
        check_disk("downloads and runs", data_dir or Path.home(), 0),
    ]
    if offline:
        checks.append(("note", "network: not looked at (--offline)", ""))
    else:
        checks += [check_index(python, ready), check_hub()]
    for state, finding, advice in checks:
        say(f"{state:5} {finding}" + (f"\n      -> {advice}" if advice else ""))
    if ready and (environment.ROOT / "app" / "doctor.py").exists():
        where = [str(data_dir)] if data_dir else []
        subprocess.call([python, "-m", "app.doctor", *where], cwd=environment.ROOT)
    faults = sum(state == "FAULT" for state, _, _ in checks)
    say(f"{faults or 'Nothing'} of this keeps Second Take from starting.")
    return 1 if faults else 0


Check = tuple[str, str, str]  # ok, note or FAULT; what was found; what to do


def check_python() -> Check:
    return "ok", f"Python {platform.python_version()}, 64-bit, {platform.platform()}: {sys.executable}", ""


def check_folder() -> Check:
    root = environment.ROOT
    if not os.access(root, os.W_OK):
        return "FAULT", f"folder: {root} cannot be written", "move Second Take to a folder of your own"
    if os.name == "nt" and len(str(root)) > 80:  # PyTorch's longest path below it takes 170 more, of 260
        return "note", f"folder: {root} is a long path", "if installing fails, move it to C:\\second-take"
    return "ok", f"folder: {root}", ""


def check_environment(in_place: bool, ready: bool) -> Check:
    if in_place:
        return "ok", "packages: this Python has them, nothing needs to be installed", ""
    if ready:
        return "ok", f"packages: installed in {environment.VENV}", ""
    if environment.stamp():
        return "note", "packages: those in .venv are out of date", "the next start brings them up to date"
    return "note", "packages: not installed", "the next start installs them"


def check_installer(ready: bool) -> Check:
    if uv := shutil.which("uv"):
        return "ok", f"installer: {version_of([uv, '--version'])} ({uv}), and pip", ""
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return "ok", "installer: pip (uv is not on PATH and is not needed)", ""
    advice = "install python3-venv (Debian, Ubuntu: sudo apt install python3-venv) or uv"
    found = "installer: this Python has no whole venv module, and uv is not on PATH"
    return "note" if ready else "FAULT", found, advice


def check_torch(in_place: bool, ready: bool) -> Check:
    card, driver = gpu(), shutil.which("nvidia-smi")
    if driver and not card:
        said = version_of([driver]) or "nothing"
        return "note", f"GPU: there is a driver, but nvidia-smi says: {said}", "reinstall the driver"
    found = "GPU: none by NVIDIA"
    if card:
        found = f"GPU: {card.name}, {card.memory_gb:.0f} GB, driver {card.driver}"
    if in_place or not ready:
        return "ok", found, ""
    stamp = environment.stamp()
    found += f"; PyTorch {stamp['torch']}, {stamp['torch_build']} build"
    if card and "CUDA" not in stamp["torch_build"]:
        return "note", found, "that build does not use the GPU: start once with --reinstall"
    return "ok", found, ""


def check_disk(purpose: str, folder: Path, needed_gb: float) -> Check:
    folder = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(folder).free / 1e9
    found = f"disk: {free:.1f} GB free for {purpose} ({folder})"
    if free < needed_gb:
        return "FAULT", found, f"make room: {needed_gb:.0f} GB are needed"
    return ("note", found, "the default model needs 2 GB") if free < 2 else ("ok", found, "")


def check_index(python: str, ready: bool) -> Check:
    """Asks for one tiny package the way the installer would, with the person's own index and proxy."""
    has_pip = ready or importlib.util.find_spec("pip")
    pip_of = python if ready else sys.executable
    with tempfile.TemporaryDirectory() as folder:
        by_pip = [pip_of, "-I", "-m", "pip", "download", "--timeout=5", "--retries=0", "--dest", folder]
        by_uv = ["uv", "pip", "install", "--dry-run", "--no-cache", "--target", folder]
        try:
            command = [*(by_pip if has_pip else by_uv), "--no-deps", "iniconfig"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=settings())
            failure = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except (OSError, subprocess.SubprocessError) as error:
            failure = [str(error)]
    if not failure:
        return "ok", "network: the package index answers", ""
    found = f"network: the package index does not answer: {failure[0][:160]}"
    return "note" if ready else "FAULT", found, "check the network; behind a proxy set HTTPS_PROXY"


def check_hub() -> Check:
    hub = os.environ.get("HF_ENDPOINT", HUB)
    if reachable(hub):
        return "ok", f"network: {hub} answers", ""
    advice = "the default model comes from the package index too; others need the hub, or a folder"
    return "note", f"network: {hub} does not answer within 5 s", advice


def version_of(command: list[str]) -> str:
    """The first line that a command prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return ""
