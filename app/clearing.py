"""What a visitor clears off the disk at once: runs of theirs that are damaged, and those that nobody comes back for."""

from __future__ import annotations

from app.history import History, why
from app.run_files import RunError, delete_run
from app.session import Session

__all__ = ["delete_damaged", "delete_left"]


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
