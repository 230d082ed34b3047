"""What visitors leave on a public page goes after an hour: their files, and then everything that is known of them."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.server import Server
    from app.session import Session

__all__ = ["SECONDS_KEPT", "start", "sweep"]

logger = logging.getLogger(__name__)

SECONDS_KEPT = 3600.0
SECONDS_BETWEEN_SWEEPS = 15.0


def start(server: Server) -> None:
    """Sweeps from now on, in a daemon thread."""

    def forever() -> None:
        while True:
            try:
                sweep(server)
            except Exception:  # the next sweep must come, whatever became of this one
                logger.exception("a sweep failed")
            time.sleep(SECONDS_BETWEEN_SWEEPS)

    threading.Thread(target=forever, name="expiry", daemon=True).start()


def sweep(server: Server, now: float | None = None) -> None:
    """Forgets the visitors who were not here for `SECONDS_KEPT`, and deletes what was written before that.

    ``now`` in seconds since 1970. Who has a job that waits or runs is here.
    """
    since = (time.time() if now is None else now) - SECONDS_KEPT
    exports = server.settings.data_dir / "exports"

    def busy(session: Session) -> bool:
        return any(server.job(session, quick=quick) is not None for quick in (False, True))

    for session in server.sessions.forget_unseen(since, busy):
        shutil.rmtree(exports / session.key, ignore_errors=True)
    here = {session.key: session for session in server.sessions.open()}
    for path in (server.settings.data_dir / "sessions").glob("*.json"):
        if path.stem not in here:  # otherwise it goes with its owner
            _delete_old(path, since)
    for path in (*server.settings.page_cache.glob("*"), *(server.settings.data_dir / "jobs").glob("*")):
        _delete_old(path, since)
    for path in exports.glob("*/*"):
        _delete_old(path, since)
    for path in exports.glob("*"):
        if path.name not in here:
            with suppress(OSError):
                path.rmdir()  # which leaves what is not empty
    for session in here.values():
        with session.lock:
            left = [record for record in session.exports if Path(record.path).exists()]
            if len(left) < len(session.exports):
                session.exports = left
                session.changed()


def _delete_old(path: Path, since: float) -> None:
    """Deletes a file, or a folder with all that is in it, where nothing of it was written after ``since``."""
    with suppress(OSError):
        inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
        if max(each.lstat().st_mtime for each in (path, *inside)) < since:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
