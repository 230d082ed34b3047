"""Writes requirements.lock: the versions that are installed where it runs, of all that pyproject.toml needs.

    .venv/bin/python benchmarks/lock.py            after `python launch.py --test` has passed: the set that it ran with
    .venv/bin/python benchmarks/lock.py --audit    asks for known faults of these versions (`pip install pip-audit`)

`python launch.py --locked` installs these versions. They bind what is installed and ask for nothing themselves, so
the build of PyTorch stays the machine's own, and a package that only another system needs is free.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from start import environment  # noqa: E402

PARTS = ("dependencies", "llamacpp", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--audit", action="store_true", help="ask for known faults of the locked versions")
    if parser.parse_args().audit:
        return audit()
    lines = [f"{name}=={version}" for name, version in sorted(installed().items())]
    machine = f"{platform.system()} {platform.machine()}"
    made_with = f"# Python {platform.python_version()}, {machine}: what the tests ran with."
    said = [made_with, "# Renew: python launch.py --test, then .venv/bin/python benchmarks/lock.py", *lines]
    environment.LOCK.write_text("\n".join(said) + "\n", encoding="utf-8")
    print(f"{len(lines)} versions in {environment.LOCK.name}")


def installed() -> dict[str, str]:
    """By name, the version of every package that pyproject.toml's lists need here, and of what those need."""
    found: dict[str, str] = {}
    wanted = [Requirement(line) for part in PARTS for line in environment.dependencies(part)]
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        if name in found and not requirement.extras:
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            sys.exit(f"{name} is not installed: run python launch.py --test first, and this with .venv's Python.")
        found[name] = package.version.split("+")[0]  # without the build: 2.13.0+cpu is 2.13.0 on another machine
        wanted += list(_needs(package, requirement.extras))
    return found


def _needs(package: metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    for line in package.requires or ():
        needed = Requirement(line)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            needed.marker = None
            yield needed


def audit() -> None:
    """Ends with 0 where every version was looked up and none has a known fault, with 2 where it could not be known."""
    options = ["--disable-pip", "--no-deps", "--format=json", "--progress-spinner=off"]
    command = [sys.executable, "-m", "pip_audit", *options, f"--requirement={environment.LOCK}"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"Not audited: {last[:300]}")
        sys.exit(2)
    skipped = [each for each in packages if "skip_reason" in each]
    faults = [(each, fault) for each in packages for fault in each.get("vulns", ())]
    for each, fault in faults:
        mended = ", ".join(fault["fix_versions"]) or "no version yet"
        print(f"{each['name']} {each['version']}: {fault['id']}, mended in {mended}")
    looked_up = len(packages) - len(skipped)
    print(f"{looked_up} versions looked up, {len(faults)} known faults, {len(skipped)} not looked up")
    if skipped:
        print(f"Not audited, and why: {skipped[0]['skip_reason']}")
    sys.exit(1 if faults else 2 if skipped else 0)


if __name__ == "__main__":
    main()
