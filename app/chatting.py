"""One more message of the conversation with both models; replies are shown while they are written."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from actor_core.events import Ahead, Event, Part, Progress, Said
from app.session import Session, Trial
from app.work import tuned_of, unit

if TYPE_CHECKING:
    from actor_core.engine import Engine
    from actor_core.generate import Reply

__all__ = ["try_both"]

TOKENS = 160  # a conversation goes on from what was said, which half a sentence spoils
CHARACTERS_OF_A_TOKEN = 4  # about: for the progress of a reply alone


def try_both(engine: Engine, session: Session, prompt: str) -> Generator[Event, None, None]:
    """Asks the old model and the tuned one, each after the conversation as it went with that one."""
    turns, strength, tuned = session.trials, session.strength, tuned_of(session)
    session.engine_words = engine.words
    yield Ahead((Part("try", "generate", float(2 * TOKENS)),))
    history = _history([turn.before for turn in turns])
    work = engine.answer(prompt, max_new_tokens=TOKENS, history=history)
    old = yield from _followed(work, session)
    history = _history([turn.after for turn in turns])
    work = engine.answer(
        prompt, delta=tuned.delta, strength=strength * unit(tuned), max_new_tokens=TOKENS, history=history
    )
    new = yield from _followed(work, session, old.text)
    with session.lock:
        if session.trials is turns:  # not a new conversation meanwhile
            session.trials, session.pending = [*turns, Trial(old, new, strength)], ""
            session.changed()


def _followed(work: Generator[Event, None, Reply], session: Session, *said: str) -> Generator[Event, None, Reply]:
    """``work``, the reply after those that were ``said``, whose text goes into the session as it comes."""
    before, total, done = TOKENS * len(said), 2 * TOKENS, 0
    yield Progress("try", before, total)
    session.saying = (*said, "")
    try:
        with closing(work):
            while True:
                try:
                    event = next(work)
                except StopIteration as end:
                    yield Progress("try", before + TOKENS, total)
                    reply: Reply = end.value
                    return reply
                if isinstance(event, Said):
                    session.saying = (*said, event.text)
                    done = max(done, min(TOKENS, len(event.text) // CHARACTERS_OF_A_TOKEN))
                yield Progress("try", before + done, total)
    finally:
        session.saying = ()


def _history(replies: Sequence[Reply]) -> tuple[Mapping[str, str], ...]:
    """The messages before, as an engine takes them."""
    return tuple(
        {"role": role, "content": text}
        for reply in replies
        for role, text in (("user", reply.prompt), ("assistant", reply.text))
    )
