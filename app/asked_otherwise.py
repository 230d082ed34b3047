"""Asked otherwise, in step 4: the visitor's prompts to be weighed from several perspectives, and in other words.

What the two buttons do, and the long work behind them. Both also ask held-out harmful prompts: of those the
verdicts alone are kept. What is found goes into the session as it comes, so that a stop keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from actor_core.events import Ahead, Event
from app import compared, zerogpu
from app.server import Server, pace_key
from app.session import Session
from app.stages import TOKENS, asking, staged
from app.work import TOKENS_OF_HELD_OUT, BeforeCache, tuned_answers, tuned_of

if TYPE_CHECKING:
    from actor_core.generate import Ask, Reply
    from actor_core.model import LoadedModel
    from actor_core.presets import PromptSet

    Work = Callable[[LoadedModel, Session, PromptSet, BeforeCache], Generator[Event, None, None]]

__all__ = ["OWN_AT_MOST", "ask_in_other_words", "ask_to_weigh", "replies_ahead", "reword", "weigh"]

OWN_AT_MOST = 24  # of the visitor's prompts: each is sixteen replies in other words
HARMFUL_WEIGHED = 24
HARMFUL_WRAPPED = 10  # in each of the jailbreaks
REWORDED_AT_ONCE = 4  # so many prompts' wordings are a full batch


def ask_to_weigh(studio: Server, session: Session) -> None:
    """Whether the untuned model refuses less when it is asked to weigh perspectives, beside the tuned one."""
    _begin(studio, session, "perspectives", weigh)


def ask_in_other_words(studio: Server, session: Session) -> None:
    """Whether the verdicts of both models hold in other words, and harmful prompts' against jailbreaks."""
    _begin(studio, session, "steadiness", reword)


def _begin(studio: Server, session: Session, kind: str, work: Work) -> None:
    model = studio.tuned_model(session)
    studio.submit(
        session,
        kind,
        lambda: work(model, session, studio.prompt_set(), studio.before),
        stopped="Stopped: what was finished is shown below.",
        pace_key=pace_key(model),
    )


def replies_ahead(session: Session) -> dict[str, int]:
    """About how many replies each of the two jobs is: some may be known from before."""
    from actor_core.steadiness import wrappers
    from actor_core.wordings import WORDINGS

    own = min(len(session.checked), OWN_AT_MOST)
    return {
        "perspectives": 3 * (own + HARMFUL_WEIGHED),
        "steadiness": 2 * (own * WORDINGS + HARMFUL_WRAPPED * (1 + len(wrappers()))),
    }


def weigh(
    model: LoadedModel, session: Session, prompt_set: PromptSet, before: BeforeCache
) -> Generator[Event, None, None]:
    """Asks the visitor's prompts and then harmful ones in three ways; the former anew, for the time that it takes."""
    from actor_core.evaluate import spread
    from actor_core.perspectives import Perspectives, ask_in_three_ways

    tuned, strength = tuned_of(session), session.strength
    own, harmful = _own(session), spread(prompt_set.held_out().harmful, HARMFUL_WEIGHED)
    yield Ahead(
        (
            *((asking("perspectives", 3 * len(own)),) if own else ()),
            asking("perspectives harmful", 3 * len(harmful), TOKENS_OF_HELD_OUT),
        )
    )

    def note(found: Perspectives) -> Perspectives:
        with session.lock:
            if session.tuned is tuned:
                session.perspectives = {**session.perspectives, strength: found}
                session.changed()
        return found

    found = Perspectives()
    if own:
        ask = _Rounds("perspectives", 3 * len(own))
        arms = yield from ask_in_three_ways(
            ask.of(lambda prompts: zerogpu.answer(model, prompts, max_new_tokens=TOKENS)),
            ask.of(lambda prompts: tuned_answers(model, session, prompts, strength)),
            own,
        )
        found = note(Perspectives(arms))
    untuned, repaired = _both(model, session, strength, before, "perspectives harmful", 3 * len(harmful))
    arms = yield from ask_in_three_ways(untuned, repaired, harmful)
    note(replace(found, harmful=arms.rates()))


def reword(
    model: LoadedModel, session: Session, prompt_set: PromptSet, before: BeforeCache
) -> Generator[Event, None, None]:
    """Asks both models the visitor's prompts in other words, then harmful ones as they are and in each jailbreak."""
    from actor_core.evaluate import spread
    from actor_core.steadiness import BARE, Steadiness, ask_reworded, ask_wrapped, wrappers
    from actor_core.wordings import WORDINGS

    tuned, strength, found = tuned_of(session), session.strength, Steadiness()
    own, harmful = _own(session), spread(prompt_set.held_out().harmful, HARMFUL_WRAPPED)
    forms = (BARE, *wrappers())
    counts = {"wordings": 2 * WORDINGS * len(own), "wrappers": 2 * len(forms) * len(harmful)}
    yield Ahead(tuple(asking(stage, count, TOKENS_OF_HELD_OUT) for stage, count in counts.items() if count))

    def note(found: Steadiness) -> Steadiness:
        with session.lock:
            if session.tuned is tuned:
                session.steadiness = {**session.steadiness, strength: found}
                session.changed()
        return found

    both = _both(model, session, strength, before, "wordings", counts["wordings"])
    for start in range(0, len(own), REWORDED_AT_ONCE):
        rows = yield from ask_reworded(*both, own[start : start + REWORDED_AT_ONCE])
        found = note(replace(found, reworded=(*found.reworded, *rows)))
    both = _both(model, session, strength, before, "wrappers", counts["wrappers"])
    for form in forms:
        row = yield from ask_wrapped(*both, form, harmful)
        found = note(replace(found, wrapped=(*found.wrapped, row)))


class _Rounds:
    """Rounds of asking, as one ``stage`` of ``total`` replies."""

    def __init__(self, stage: str, total: int) -> None:
        self.stage, self.total, self.done = stage, total, 0

    def of(self, ask: Ask) -> Ask:
        """``ask`` with its progress in this stage."""

        def asked(prompts: Sequence[str]) -> Generator[Event, None, list[Reply]]:
            replies = yield from staged(ask(prompts), self.stage, self.done, len(prompts), self.total)
            self.done += len(prompts)
            return replies

        return asked


def _both(
    model: LoadedModel, session: Session, strength: float, before: BeforeCache, stage: str, total: int
) -> tuple[Ask, Ask]:
    """Both models, for replies that are only judged."""
    rounds, tokens = _Rounds(stage, total), TOKENS_OF_HELD_OUT
    return (
        rounds.of(lambda prompts: before.answer(model, prompts, tokens=tokens)),
        rounds.of(lambda prompts: tuned_answers(model, session, prompts, strength, tokens)),
    )


def _own(session: Session) -> list[str]:
    """The visitor's prompts that are asked, those refused before first."""
    return [pair.prompt for pair in compared.own(session)][:OWN_AT_MOST]
