"""The one boundary between what goes wrong and what a person reads.

Every message has one form: a heading, what happened and why, what to do, and what can be copied into a report.
An `ActorError` already says all of that in its own sentences and gets only the heading. Anything else is a fault
of this program or of the machine: it gets a short message, details to copy, and its traceback in the log file.
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

from actor_core.errors import (
    ActorError,
    DeltaError,
    ExportError,
    FetchError,
    ModelError,
    NothingToRepair,
    OutOfMemory,
    PresetError,
    PromptError,
    is_out_of_memory,
)

__all__ = ["Notice", "explain", "start_log"]

logger = logging.getLogger("app")

# The most special class first.
HEADINGS: tuple[tuple[type[ActorError], str], ...] = (
    (OutOfMemory, "Not enough memory"),
    (NothingToRepair, "There is nothing to repair"),
    (PromptError, "The prompts cannot be used like this"),
    (FetchError, "The model could not be brought here"),
    (PresetError, "This preset cannot be used"),
    (DeltaError, "This saved change cannot be used here"),
    (ExportError, "The export did not go through"),
    (ModelError, "This does not work with the model as it is now"),
    (ActorError, "This cannot be done now"),
)
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass(frozen=True)
class Notice:
    """A message on the page. ``kind`` is error, warning, info or success.

    ``text`` says what happened and why, after a ``heading`` of a few words; ``todo`` is what to do where ``text``
    does not say it; ``details`` are for a report.
    """

    kind: str
    text: str
    details: str = ""
    heading: str = ""
    todo: str = ""

    def whole(self) -> str:
        """All of it as plain text: what is copied, and what a script is told."""
        return "\n".join(filter(None, [self.heading and f"{self.heading}.", self.text, self.todo, self.details]))


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
        heading = next(heading for kind, heading in HEADINGS if isinstance(error, kind))
        return Notice("error", str(error), heading=heading)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        place = f" at {error.filename}" if error.filename and with_paths else ""
        return Notice(
            "error",
            f"There was no room to write{place}. Nothing typed is lost.",
            heading="The disk is full",
            todo="Free some space, then press the button again.",
        )
    if is_out_of_memory(error):
        return Notice(
            "error",
            "This needs more memory than is free on this machine.",
            heading="Not enough memory",
            todo="Close other programs, choose '4 bits' under “How to load it” in step 1, or take a smaller model.",
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
        "It is no fault of yours, and what you typed is still here.",
        details,
        heading="Something went wrong inside this program",
        todo="Try again, and if it happens again, report it with the details below.",
    )
