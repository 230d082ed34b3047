"""A verdict that a person corrects, in step 2 or step 4: what a click on a reply says, and what it does."""

from __future__ import annotations

from actor_core.errors import ActorError
from app import compared
from app.marks import UNTUNED, At, Turn
from app.session import Session

__all__ = ["TURN", "clicked"]

TURN = "turn "  # before its number, where another pair has its strength

VERDICTS = ("answered", "refused", "")


def clicked(session: Session, data: object) -> None:
    """Marks the verdict that ``data`` (what `app.pairs.MARK_JS` sends) names.

    Raises `ActorError` where it names none that is there: the page is older than the session.
    """
    told = data if isinstance(data, dict) else {}
    id, side, verdict = (str(told.get(name, "")) for name in ("id", "side", "verdict"))
    with session.lock:
        try:
            at = _place(str(told.get("at")), side)
            found = verdict in VERDICTS and compared.mark(session, id, at, verdict)
        except ValueError:
            found = False
    if not found:
        raise ActorError("This reply is no longer there, so no verdict was changed: reload the page and try again.")


def _place(at: str, side: str) -> At:
    """What the pair around the button says of whose reply it is. Raises ValueError for what it cannot say."""
    turn = at.removeprefix(TURN)
    if turn != at:
        if not turn.isdecimal() or side not in ("before", "after"):
            raise ValueError(at)
        return Turn(int(turn), "before" if side == "before" else "after")
    return UNTUNED if side == "before" else float(at)
