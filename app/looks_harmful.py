"""What is said of the visitor's prompts that look like requests that should be refused."""

from __future__ import annotations

from html import escape

from app import words
from app.errors import Notice
from app.language import plural, t, translated
from app.session import Session

__all__ = ["all_left_out", "counts", "nothing_left", "summary"]


def counts(session: Session) -> dict[str, int] | None:
    """How many of the visitor's prompts were flagged, left out of the repair, and repaired all the same; None where
    is not known: nobody looked, the model cannot tell, or the change was opened from a file. What was tuned on
    counts, where something was: a choice made since does not change that."""
    found = session.harmfulness
    if found is None or not found.tells or session.source:
        return None
    tuned_on = session.chosen
    if session.recipe is not None and session.recipe.own is not None:
        tuned_on = session.recipe.own
    if not set(tuned_on) <= found.scores.keys():
        return None
    included = set(tuned_on) & found.flagged
    left_out = set(session.flagged) - included
    return {"flagged": len(left_out) + len(included), "left_out": len(left_out), "included": len(included)}


def summary(session: Session, *, in_space: bool) -> str:
    """HTML: how many look harmful, what follows from it, and how far to believe it; '' where none does."""
    found, flagged = session.harmfulness, session.flagged
    if found is not None and not found.tells:
        return f"<p class='st-hint' id='looks-harmful'>{escape(translated(found.words()))}</p>"
    if found is None or not flagged:
        return ""
    included = len(session.included.intersection(flagged))
    said = [
        plural(
            "{count} of them looks like a request that should be refused, and is left out of the repair.",
            "{count} of them look like requests that should be refused, and are left out of the repair.",
            len(flagged),
        )
    ]
    if included:
        said.append(t("Of these you have {count} repaired all the same.", count=included))
    said += [t("This is a guess:"), translated(found.words())]
    said.append(translated(words.FLAGGED_IN_SPACE) if in_space else t("Where it is wrong, say so in the list below."))
    return f"<p class='st-hint' id='looks-harmful'>{escape(' '.join(said))}</p>"


def all_left_out(session: Session, *, in_space: bool) -> Notice | None:
    """What stands on step 2 where everything that is refused was left out, so that nothing is there to repair."""
    if session.chosen or not session.flagged:
        return None
    return Notice("warning", nothing_left(session, in_space=in_space))


def nothing_left(session: Session, *, in_space: bool) -> str:
    """Why nothing is there to repair, and what to do."""
    count = len(session.flagged)
    if count == 1:
        said = "The one prompt to repair looks like a request that should be refused, so there is nothing to repair."
    else:
        said = f"All {count} prompts look like requests that should be refused, so there is nothing to repair."
    said += " Add others that were refused."
    if in_space:
        return f"{said} {words.FLAGGED_IN_SPACE}"
    return (
        f"{said} Or, where this guess is wrong, press “Wrong: it is harmless, repair it” at a prompt in the list of "
        "step 2."
    )
