"""A verdict that a person corrects, in step 2 or step 4: what a click in one of the lists says, and what it does."""

from __future__ import annotations

from actor_core.errors import ActorError
from app import compared
from app.marks import UNTUNED
from app.session import Session

__all__ = ["clicked"]

VERDICTS = ("answered", "refused", "")


def clicked(session: Session, data: object) -> None:
    """Marks the verdict that ``data`` (what `app.pairs.MARK_JS` sends) names.

    Raises `ActorError` where it names none that is there: the page is older than the session.
    """
    told = data if isinstance(data, dict) else {}
    id, side, verdict = (str(told.get(name, "")) for name in ("id", "side", "verdict"))
    with session.lock:
        try:
            at = UNTUNED if side == "before" else float(str(told.get("at")))
            found = verdict in VERDICTS and compared.mark(session, id, at, verdict)
        except ValueError:
            found = False
    if not found:
        raise ActorError("This reply is no longer there, so no verdict was changed: reload the page and try again.")
