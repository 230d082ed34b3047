"""Runs a program beside this one that can be stopped at any moment, whatever it is doing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["PROGRAM_FOLDER", "last_words", "running"]

# Where `python -m actor_core...` finds this package.
PROGRAM_FOLDER = Path(__file__).resolve().parent.parent.parent


@contextlib.contextmanager
def running(
    command: Sequence[str], *, log: Path, cwd: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts ``command`` with its output in ``log``; it and what it started are ended with the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            start_new_session=os.name != "nt",
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(OSError):
                if os.name == "nt":
                    process.kill()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_words(log: Path, mark: str = "") -> str:
    """The last line of ``log`` that begins with ``mark``, else the last one; at most 300 characters."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    lines = [line for line in lines if line]
    marked = [line.removeprefix(mark).strip() for line in lines if line.startswith(mark)]
    return ((marked or lines or ["it said nothing"])[-1])[:300]
