"""The lowest and the newest versions that pyproject.toml allows, each in an environment of its own: the tests of the
core and of the app pass there.

PyTorch is the same in both, the version that `launch.py` falls back to: the package index has older ones for CUDA
alone, with gigabytes of its libraries.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from attempts import Attempt
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from quick_app import ROOT

from start.environment import dependencies
from start.installer import TORCH_PIN, name_of

RESULT = ROOT / "benchmarks" / "results" / "bounds.md"
ENDS = {"lowest": "lowest-direct", "newest": "highest"}
PARTS = ("dependencies", "llamacpp", "test")
NOT_NEEDED = ("ruff", "mypy")  # no test runs them


def attempts(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """For each end each bound, which must be a version that can be installed with all others, and the tests of
    ``count`` files that ``seed`` draws."""
    folder.mkdir(parents=True, exist_ok=True)
    uv, found = _uv(folder), {}
    files = sorted([*ROOT.glob("tests/core/test_*.py"), *ROOT.glob("tests/app/test_*.py")])
    files = random.Random(seed).sample(files, min(count, len(files)))
    asked = needed()
    for end, resolution in ENDS.items():
        python = _environment(uv, folder / end, resolution, asked)
        found[end] = _versions(python)
        for requirement in map(Requirement, asked):
            yield Attempt(f"{end}: {requirement}", _fault_of_bound(requirement, end, found[end]))
        yield from _tests(end, python, [str(file.relative_to(ROOT)) for file in files], folder)
    _write(asked, found)


def needed() -> list[str]:
    """What the tests need of pyproject.toml."""
    return [line for part in PARTS for line in dependencies(part) if name_of(line) not in NOT_NEEDED]


def _uv(folder: Path) -> str:
    """The uv of this machine, or one of its own."""
    if uv := shutil.which("uv"):
        return uv
    subprocess.run([sys.executable, "-m", "venv", folder / "uv"], check=True)
    subprocess.run([folder / "uv" / "bin" / "python", "-m", "pip", "install", "-q", "uv"], check=True)
    return str(folder / "uv" / "bin" / "uv")


def _environment(uv: str, place: Path, resolution: str, asked: list[str]) -> str:
    python = str(place / "bin" / "python")
    lines = [TORCH_PIN if name_of(line) == "torch" else line for line in asked]
    # Where pip looks for wheels uv looks too: the CPU build of PyTorch may lie there.
    variables = {**os.environ, "UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", "")}
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, place], check=True)
    install = [uv, "pip", "install", "-q", "--python", python]
    # First, and kept from then on: among builds of one version the lowest is CUDA's. Its own needs follow.
    subprocess.run([*install, "--no-deps", TORCH_PIN], check=True, env=variables)
    subprocess.run([*install, f"--resolution={resolution}", *lines], check=True, env=variables)
    return python


def _versions(python: str) -> dict[str, str]:
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    said = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout
    return {canonicalize_name(name): version for name, version in json.loads(said).items()}


def _fault_of_bound(requirement: Requirement, end: str, versions: dict[str, str]) -> str:
    if requirement.marker and not requirement.marker.evaluate():
        return ""
    version = versions.get(canonicalize_name(requirement.name))
    if version is None or not requirement.specifier.contains(version.split("+")[0]):
        return f"{version} is installed"
    bound = next(each.version for each in requirement.specifier if each.operator == ">=")
    as_asked = Requirement(f"x=={bound}").specifier.contains(version)
    if end == "lowest" and requirement.name != "torch" and not as_asked:
        return f"the others need {version}: raise the bound to that"
    return ""


def _tests(end: str, python: str, files: list[str], folder: Path) -> Iterator[Attempt]:
    report = folder / f"{end}.xml"
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *files]
    with open(folder / f"{end}.log", "w", encoding="utf-8") as log:
        ended = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    if not report.exists():
        yield Attempt(f"{end}: the tests", f"pytest ended with {ended.returncode} and no report")
        return
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            broken = [each.get("message", "") for kind in ("failure", "error") for each in case.iter(kind)]
            yield Attempt(f"{end}: {case.get('classname')} {case.get('name')}", " ".join(broken))


def _write(asked: list[str], found: dict[str, dict[str, str]]) -> None:
    """Which versions were tried."""
    rows = ["| package | bounds | lowest | newest |", "|---|---|---|---|"]
    for requirement in map(Requirement, asked):
        name = canonicalize_name(requirement.name)
        tried = (found[end].get(name, "not needed here") for end in ENDS)
        rows.append(f"| {name} | {requirement.specifier} | {' | '.join(tried)} |")
    head = "# The versions at both ends of pyproject.toml's bounds\n\nBy `python benchmarks/reliability.py bounds`.\n\n"
    RESULT.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
