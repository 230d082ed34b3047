"""Tries to break each promise as often as docs/reliability.md says, and writes what came of it there.

    python benchmarks/reliability.py [NAME ...] [--count N]

Without names all of them. Each promise is tried in a process of its own, so that what one leaves behind spoils no
other; rows of promises that were not asked for keep their last result.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "reliability")]
RESULTS = ROOT / "benchmarks" / "results" / "reliability.json"
DOCUMENT = ROOT / "docs" / "reliability.md"
INTRODUCTION = """# Nothing lost, nobody let in

Each promise with what tries to break it and how often it broke, by `python benchmarks/reliability.py` (seed {seed}).
The tests try each a few times (`tests/reliability`). A failure counted here is a broken promise. Where `--count` stands
beside what was tried, that many were asked for, and not all.

| promise | what is tried | tried | broken | seconds |
|---|---|---|---|---|
"""
FAULTS_SHOWN = 20


@dataclass(frozen=True)
class Row:
    """What came of one promise."""

    name: str
    tried: int
    broken: int
    seconds: float
    python: str
    system: str
    asked: int | None = None  # by --count; all without


def main() -> None:
    from attempts import SEED
    from promises import ALREADY, PROMISES

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = [each.name for each in (*PROMISES, *ALREADY)]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"promises to try: {', '.join(known)}")
    parser.add_argument("--count", type=int, metavar="N", help="attempts of each, instead of the full count")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.names) - set(known)
    if unknown:
        parser.error(f"there is no promise {min(unknown)!r}: give some of {', '.join(known)}")
    if args.here:
        return try_here(args.names[0], args.count)
    print(f"seed {SEED}")
    for name in args.names or known:
        command = [sys.executable, "-W", "ignore", __file__, "--here", name]
        command += ["--count", str(args.count)] if args.count else []
        if subprocess.run(command, cwd=ROOT).returncode:
            print(f"{name}: the attempts themselves ended in a fault")
        write_document()


def try_here(name: str, count: int | None) -> None:
    """Tries one promise in this process, and keeps the row."""
    from attempts import SEED
    from promises import ALREADY, PROMISES

    begun = time.monotonic()
    tests = next((each.tests for each in ALREADY if each.name == name), None)
    if tests is not None:
        tried, broken = counted(tests)
    else:
        promise = next(each for each in PROMISES if each.name == name)
        tried = broken = 0
        with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
            for attempt in promise.attempts(count or promise.full, SEED, Path(folder)):
                tried, broken = tried + 1, broken + bool(attempt.fault)
                if attempt.fault and broken <= FAULTS_SHOWN:
                    print(f"  {name}: {attempt.what[:200]}: {attempt.fault[:300]}")
    seconds = round(time.monotonic() - begun, 1)
    row = Row(name, tried, broken, seconds, platform.python_version(), platform.system(), count)
    print(f"{name}: {tried} tried, {broken} broken, {seconds} s", flush=True)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    kept[name] = asdict(row)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def counted(tests: tuple[str, ...]) -> tuple[int, int]:
    """How many of the suite's own ``tests`` were run, and how many of them failed."""
    import pytest

    class Count:
        tried = broken = 0

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            self.tried += report.when == "call" and not report.skipped
            self.broken += report.failed

    count = Count()
    pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *tests], plugins=[count])
    return count.tried, count.broken


def write_document() -> None:
    from attempts import SEED
    from promises import ALREADY, PROMISES

    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    lines = [INTRODUCTION.format(seed=SEED)]
    for promise in (*PROMISES, *ALREADY):
        if promise.name in kept:
            row = Row(**kept[promise.name])
            asked = f" (`--count {row.asked}`)" if row.asked else ""
            figures = f"{row.tried:,}{asked} | {row.broken} | {row.seconds:,.0f}"
            lines.append(f"| {promise.text} (`{promise.name}`) | {promise.tried} | {figures} |\n")
    lines.append("\n## What is not promised\n\n")
    from promises import NOT_PROMISED

    lines += [f"- {each}\n" for each in NOT_PROMISED]
    DOCUMENT.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
