"""What a visitor clears off the disk: damaged runs and old exports of theirs, and what nobody comes back for."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from actor_core.errors import ExportError
from app.export_room import ExportsOfAll, own_exports, room_of
from app.history import History, why
from app.run_files import RunError, delete_run, sweep
from app.session import Session

__all__ = ["delete_damaged", "delete_export", "delete_left", "delete_left_exports"]


def delete_damaged(history: History, session: Session) -> None:
    """The visitor's runs that could not be read. Raises `RunError` where one stays."""
    with session.lock:
        shelf = history.shelf(session)
        shelf.asked = ""
        for id in list(shelf.damaged):
            try:
                delete_run(history.folder / session.key / id)
            except FileNotFoundError:
                pass  # gone already
            except OSError as fault:
                raise RunError(f"The damaged run {id} could not be deleted ({why(fault)}).") from fault
            del shelf.damaged[id]
        session.changed()


def delete_left(history: History, session: Session) -> None:
    """The runs of visitors who did not come back, for the one who sits at this machine. Raises `RunError`."""
    if history.everybody.open_to_others:
        raise RunError("This page is open to others: runs of other visitors are not deleted from it.")
    with session.lock:
        shelf = history.shelf(session)
        shelf.asked = ""
        try:
            history.everybody.forget_unseen(but=session.key)
        except OSError as fault:
            raise RunError(f"These runs could not all be deleted ({why(fault)}).") from fault
        shelf.left = []
        session.changed()


def delete_export(everybody: ExportsOfAll, session: Session, path: str) -> None:
    """One of the visitor's own exports. Raises `ExportError` for another, or where it stays."""
    with session.lock:
        room_of(session, everybody).asked = ""
        record = next((each for each in own_exports(session, everybody) if each.path == path), None)
        if record is None:
            raise ExportError("This export is not on the disk any more.")
        press = Path(record.path).parent
        sweep(press.parent)  # what was deleted by halves
        try:
            delete_run(Path(record.path))
        except OSError as fault:
            raise ExportError(f"The export could not be deleted ({why(fault)}).") from fault
        with suppress(OSError):  # other kinds of the same press are in it
            press.rmdir()
        session.exports = [each for each in session.exports if each != record]
        session.changed()


def delete_left_exports(everybody: ExportsOfAll, session: Session) -> None:
    """The exports of visitors who did not come back, as `delete_left` their runs. Raises `ExportError`."""
    if everybody.open_to_others:
        raise ExportError("This page is open to others: exports of other visitors are not deleted from it.")
    with session.lock:
        room = room_of(session, everybody)
        room.asked = ""
        try:
            everybody.forget_unseen(but=session.key)
        except OSError as fault:
            raise ExportError(f"These exports could not all be deleted ({why(fault)}).") from fault
        room.left = []
        session.changed()
