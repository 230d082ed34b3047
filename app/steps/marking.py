"""What a click in one of the lists of step 2 or step 4 says, and what it does: a verdict is corrected, or a prompt that
looks harmful is repaired all the same."""

from __future__ import annotations

from actor_core.errors import ActorError
from app import compared
from app.marks import UNTUNED
from app.session import Session

__all__ = ["clicked", "included"]

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


def included(session: Session, data: object) -> tuple[list[str], bool] | None:
    """The prompt that ``data`` is about, and whether it is to be repaired though it looks harmful.

    None where the click was on another button. Raises `ActorError` where there is no such prompt any more.
    """
    told = data if isinstance(data, dict) else {}
    if told.get("include") not in ("yes", ""):
        return None
    found = [prompt for prompt in session.flagged if compared.pair_id(prompt) == told.get("id")]
    if not found:
        raise ActorError("This prompt is no longer there, so nothing was changed: reload the page and try again.")
    return found[:1], told["include"] == "yes"
