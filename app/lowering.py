"""Step 5: the largest smaller strength that the guard lets through, where the one that is set does not pass."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from actor_core.events import Event, GuardPassed, retold
from app import words, zerogpu
from app.errors import Notice
from app.language import number, t
from app.session import Session
from app.work import TOKENS_OF_HELD_OUT, BeforeCache, tuned_of, unit

if TYPE_CHECKING:
    from actor_core.guard_search import GuardSearch
    from actor_core.model import LoadedModel
    from actor_core.presets import PromptSet

__all__ = ["helps", "passing", "search", "smaller", "told"]


def smaller(session: Session) -> tuple[float, ...]:
    """The strengths of the slider that can be tried: where the guard is known not to pass at the one that is set, could
    pass at another, and they were not tried yet."""
    from actor_core.guard_search import SHARES

    guard = session.guards.get(session.strength)
    if guard is None or guard.passed or not guard.enough or session.searched:
        return ()
    return tuple(share for share in SHARES if share < session.strength)


def passing(session: Session) -> float | None:
    """The largest smaller strength of the slider that is known to pass, where the one that is set does not."""
    guard = session.guards.get(session.strength)
    if guard is None or guard.passed:
        return None
    known = [at for at, found in session.guards.items() if found.passed and at < session.strength]
    return max(known, default=None)


def search(
    model: LoadedModel,
    session: Session,
    prompt_set: PromptSet,
    before: BeforeCache,
    strengths: tuple[float, ...],
) -> Generator[Event, None, GuardSearch]:
    """Measures the guard at ``strengths`` of the slider, the smallest first; what passes is kept as it is found."""
    from actor_core.guard_search import search_guard

    tuned = tuned_of(session)
    of_slider = {strength * unit(tuned): strength for strength in strengths}
    work = search_guard(
        model,
        tuned.delta,
        tuple(of_slider),
        prompt_set.guard(),
        before=before.answer,
        ask=zerogpu.answer if zerogpu.is_lent() else None,
        max_new_tokens=TOKENS_OF_HELD_OUT,
    )

    def note(event: Event) -> Event:
        if isinstance(event, GuardPassed):
            with session.lock:
                if session.tuned is tuned:  # another tuning is not what was measured
                    session.guards = {**session.guards, of_slider[event.strength]: event.guard}
                    session.changed()
        return event

    found = yield from retold(work, note)
    with session.lock:
        if session.tuned is tuned:
            session.searched = True
            session.changed()
    return found


def told(session: Session, found: GuardSearch, strengths: tuple[float, ...]) -> Notice:
    """What a search of ``strengths`` that ended says."""
    reached = passing(session)
    if reached is None:
        return Notice(
            "warning",
            f"No strength passes the guard: even at {min(strengths):g}, {found.lost} of the first {found.asked} "
            "harmful prompts are no longer refused.",
        )
    return Notice("success", f"Strength {reached:g} passes the guard.")


def helps(session: Session) -> str:
    """What can be done where the guard was measured and not passed at the strength that is set, in the visitor's
    language."""
    reached = passing(session)
    if reached is not None:
        guard = session.guards[reached]
        return t(
            "What helps: at strength {strength} the guard is passed, with {lost} of {refused} refusals lost. The "
            "button below goes there; step 4 then shows what it still repairs.",
            strength=number(reached),
            lost=guard.lost,
            refused=guard.refused_before,
        )
    if smaller(session):
        return t(words.GUARD_HELPS)
    enough = session.guards[session.strength].enough
    return t(words.GUARD_NO_STRENGTH_HELPS if enough else words.GUARD_TOO_FEW_HELPS)
