"""Runs on the disk: a folder each, with ``run.json`` and ``delta.safetensors``, for their owner's eyes only.

A run appears whole or not at all, whenever the program is killed: its folder is filled under a hidden name and
renamed, and a later ``run.json`` takes the place of the earlier one in one step. A file that is damaged, or
another program's, is a `RunError` in words.
"""

from __future__ import annotations

import errno
import re
import secrets
import shutil
import time
from datetime import datetime, timezone
from pathlib import Path

from pydantic import ValidationError

from actor_core.delta import LayerDelta
from actor_core.errors import ActorError
from actor_core.weights.whole_files import UNFINISHED, put_file, sync
from app.runs import Run

__all__ = [
    "RunError",
    "changed",
    "delete_run",
    "new_id",
    "read_delta",
    "read_run",
    "run_bytes",
    "run_ids",
    "sweep",
    "write_run",
]

RUN, DELTA = "run.json", "delta.safetensors"
ID = re.compile(r"\d{8}-\d{6}-\d{6}-[0-9a-f]{6}")
MAX_BYTES = 200_000_000  # of run.json
SECONDS_UNTIL_ABANDONED = 3600
NOT_OURS = "it is not what this program wrote"


class RunError(ActorError):
    """A run that is not there, or whose files cannot be read."""


def new_id() -> str:
    """A later run has a later id: it begins with the time, in UTC, to the microsecond."""
    return f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}"


def run_ids(folder: Path) -> list[str]:
    """The ids of the runs in a visitor's ``folder``, the oldest first. What is not named as a run is none."""
    try:
        return sorted(path.name for path in folder.iterdir() if ID.fullmatch(path.name))
    except FileNotFoundError:
        return []


def write_run(place: Path, run: Run, delta: LayerDelta | None) -> None:
    """Writes ``run`` to the folder ``place``: all of it where that is new, ``run.json`` alone where it is there.

    Raises OSError where the disk does not take it.
    """
    content = run.model_dump_json().encode()
    if place.is_dir():
        return put_file(place / RUN, content, for_owner=True)
    _private(place.parent)
    partial = place.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    try:
        partial.mkdir(mode=0o700)
        if delta is not None:
            delta.save(partial / DELTA)
            (partial / DELTA).chmod(0o600)
        put_file(partial / RUN, content, for_owner=True)
        sync(partial)
        partial.rename(place)
        sync(place.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_run(place: Path) -> Run:
    """The run in ``place``. Raises `RunError` in words for anything else."""
    path = place / RUN
    try:
        if place.is_symlink() or path.is_symlink():
            raise RunError(f"{NOT_OURS}: a link")
        if path.stat().st_size > MAX_BYTES:
            raise RunError(f"{NOT_OURS}: it has {path.stat().st_size:,} bytes")
        return _checked(Run.model_validate_json(path.read_bytes()))
    except ValidationError as fault:
        raise RunError(_said(fault)) from fault
    except (OSError, ValueError, OverflowError, RecursionError) as fault:
        raise RunError(_reason(fault)) from fault


def read_delta(place: Path, run: Run) -> LayerDelta | None:
    """The change that ``run`` is about; None where it was never tuned. Raises `ActorError` where it is another."""
    if run.tuned is None:
        return None
    path = place / DELTA
    if path.is_symlink() or not path.is_file():
        raise RunError("the file with the change is not there")
    delta = LayerDelta.load(path)
    # The precision may be another one: a change that was opened from a file was measured where it was made.
    expected = (run.tuned.digest, run.tuned.layer, run.base.digest)
    if (delta.digest(), delta.layer, delta.base.digest) != expected:
        raise RunError("the file with the change is another one")
    return delta


def delete_run(place: Path) -> None:
    """Takes the run away, first its name: one that is deleted by halves is not a damaged one. Raises OSError."""
    gone = place.parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    place.rename(gone)
    _remove(gone)


def changed(place: Path) -> int:
    """When the run in ``place`` was last written, in nanoseconds. Raises OSError where there is none."""
    return (place / RUN).stat().st_mtime_ns


def run_bytes(place: Path) -> int:
    try:
        return sum(path.lstat().st_size for path in place.iterdir())
    except OSError:
        return 0


def sweep(folder: Path) -> None:
    """Removes what a killed process left half written or half deleted in a visitor's ``folder``."""
    for left in [*folder.glob(f"{UNFINISHED}*"), *folder.glob(f"*/{UNFINISHED}*")]:
        try:
            if time.time() - left.lstat().st_mtime > SECONDS_UNTIL_ABANDONED:
                _remove(left)
        except OSError:
            continue


def _checked(run: Run) -> Run:
    """``run`` where it also agrees with itself."""
    found = run.harmfulness
    if found is not None and not (
        0 <= found.look_alikes_flagged <= found.look_alikes and 0 <= found.harmful_caught <= found.harmful
    ):
        raise RunError("its counts of prompts that look harmful contradict each other")
    for at in run.at:
        counts = at.guard
        if counts is not None and not (0 <= counts.incoherent <= counts.lost <= counts.refused_before):
            raise RunError("its guard's counts contradict each other")
        if any(row.before.text or row.after.text for row in at.sets.get("harmful", ())):
            raise RunError(f"{NOT_OURS}: it holds replies to harmful prompts")
    return run


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _private(folder: Path) -> None:
    """Makes ``folder`` and the one above it, for their owner only."""
    for path in (folder.parent, folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)


def _said(fault: ValidationError) -> str:
    """The first of Pydantic's errors, without the value: it may be a prompt or a reply."""
    first = fault.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return "its file is damaged or cut short"
    where = ".".join(str(step) for step in first["loc"][:3]) or "the file"
    return f"{NOT_OURS}: {where} is wrong"


def _reason(fault: BaseException) -> str:
    if isinstance(fault, FileNotFoundError):
        return "its file is not there"
    if isinstance(fault, OSError):
        return f"its file cannot be read ({errno.errorcode.get(fault.errno or 0, 'error')})"
    return "its file is damaged"
