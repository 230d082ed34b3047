"""The one boundary between what goes wrong and what a person reads.

An `ActorError` is shown as it stands: it already says what happened and what to do. Anything else
is a fault of this program or of the machine: it gets a short message, a line to copy, and its
traceback in the log file.
"""

from __future__ import annotations

import errno
import logging
import platform
import secrets
import traceback
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from actor_core.errors import ActorError

__all__ = ["Notice", "explain", "start_log"]

logger = logging.getLogger("app")

# What torch says on a CPU, in an error that is no MemoryError.
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass(frozen=True)
class Notice:
    """A message on the page. ``kind`` is error, warning, info or success; ``details`` can be copied."""

    kind: str
    text: str
    details: str = ""


def start_log(folder: Path) -> Path:
    """Sends the app's log to a file in ``folder`` that cannot grow without end; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "second-take.log"
    handler = RotatingFileHandler(path, maxBytes=1_000_000, backupCount=2, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return path


def log_file() -> str:
    """Where the log goes, or '' where it goes nowhere."""
    return next((h.baseFilename for h in logger.handlers if isinstance(h, RotatingFileHandler)), "")


def explain(error: BaseException, *, with_paths: bool = True) -> Notice:
    """What to show for ``error``. ``with_paths`` False leaves out where files lie on this machine."""
    if isinstance(error, ActorError):
        return Notice("error", str(error))
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        place = f" at {error.filename}" if error.filename and with_paths else ""
        return Notice(
            "error",
            f"The disk is full{place}. Free some space, then press the button again: nothing typed is lost.",
        )
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or NO_MEMORY in str(error):
        return Notice(
            "error",
            "There was not enough memory for this. Close other programs, choose '4 bits' under "
            "“How to load it” in step 1, or take a smaller model.",
        )
    return _fault(error, with_paths)


def _fault(error: BaseException, with_paths: bool) -> Notice:
    code = secrets.token_hex(3)
    logger.error("fault %s", code, exc_info=error)
    frame = traceback.extract_tb(error.__traceback__)[-1:] if error.__traceback__ else []
    where = f"{Path(frame[0].filename).name}:{frame[0].lineno}" if frame else "?"
    said = (str(error).strip().splitlines() or [""])[0][:300] if with_paths else ""
    details = f"{type(error).__name__} at {where} · fault {code} · Python {platform.python_version()}"
    if said:
        details += f"\n{said}"
    if with_paths and log_file():
        details += f"\nlog: {log_file()}"
    return Notice(
        "error",
        "Something went wrong inside this program; what you typed is still here. Try again, and if it "
        "happens "
        "again, report it with the details below.",
        details,
    )
