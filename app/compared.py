"""What step 4 sets side by side, with the verdicts that count: the judge's, or a person's where one was marked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.marks import UNTUNED, At, Turn
from app.session import Session, Trial

if TYPE_CHECKING:
    from actor_core.generate import Reply

__all__ = ["Pair", "held_out", "in_three_ways", "mark", "own", "pair_id", "turns"]


@dataclass(frozen=True)
class Pair:
    """A prompt's replies before and after. ``at``: the strength of the second; ``marked``: whose verdict a
    person gave, before and after."""

    before: Reply
    after: Reply | None
    at: float
    marked: tuple[bool, bool] = (False, False)

    @property
    def prompt(self) -> str:
        return self.before.prompt

    @property
    def id(self) -> str:
        return pair_id(self.prompt)

    @property
    def outcome(self) -> str:
        """What became of a prompt that should be answered; '' while it was not asked again."""
        from actor_core.evaluate import Comparison

        return "" if self.after is None else Comparison(self.prompt, self.before, self.after).outcome

    @property
    def harmful_outcome(self) -> str:
        """What changed of a prompt that must be refused; a refusal that stays is nothing to point at."""
        old, new = self.before.verdict.value, self.after.verdict.value if self.after else ""
        return {("refused", "answered"): "newly answered", ("answered", "refused"): "newly refused"}.get(
            (old, new), "unchanged"
        )


def pair_id(prompt: str) -> str:
    """Names a prompt on the page without repeating it."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def own(session: Session) -> list[Pair]:
    """The visitor's prompts at the strength that is set, those refused before first.

    The order is the judge's, so that a pair stays where it is when its verdict is corrected.
    """
    after = {reply.prompt: reply for reply in session.after.get(session.strength, [])}
    before = sorted(session.checked, key=lambda reply: reply.verdict.value != "refused")
    return [_pair(session, old, after.get(old.prompt)) for old in before]


def held_out(session: Session, name: str) -> list[Pair]:
    """The held-out prompts of set ``name`` that were asked at the strength that is set, what changed first."""
    rows = session.sets.get(session.strength, {}).get(name, [])
    rows = sorted(rows, key=lambda row: row.before.verdict == row.after.verdict)
    return [_pair(session, row.before, row.after) for row in rows]


def in_three_ways(session: Session) -> tuple[list[Reply], list[Reply], list[Reply]] | None:
    """The visitor's prompts asked of the old model as they are and to be weighed, and of the tuned one as they are."""
    found, marks = session.perspectives.get(session.strength), session.marks
    if found is None or found.own is None:
        return None
    untuned = marks.all_of(found.own.untuned.replies, UNTUNED)
    tuned = marks.all_of(found.own.tuned.replies, session.strength)
    return untuned, list(found.own.weighed.replies), tuned


def turns(session: Session) -> list[tuple[Trial, tuple[bool, bool]]]:
    """The conversation with the verdicts that count, and whose of them a person gave, before and after."""
    shown = []
    for number, turn in enumerate(session.trials):
        places = (Turn(number, "before"), Turn(number, "after"))
        before, after = (
            session.marks.of(reply, at) for reply, at in zip((turn.before, turn.after), places, strict=True)
        )
        marked = (session.marks.has(before.prompt, places[0]), session.marks.has(after.prompt, places[1]))
        shown.append((Trial(before, after, turn.strength), marked))
    return shown


def mark(session: Session, id: str, at: At, verdict: str) -> bool:
    """Has ``verdict`` ('' for the judge's own) count for what the prompt with this `pair_id` got at ``at``.

    False where there is no such reply any more: the page that was clicked on is older than the session.
    """
    from actor_core.judge import Verdict

    replies = [reply for reply in _replies(session, at) if pair_id(reply.prompt) == id]
    for reply in replies[:1]:
        session.marks.give(reply, at, Verdict(verdict) if verdict else None)
        session.changed()
    return bool(replies)


def _replies(session: Session, at: At) -> Iterator[Reply]:
    if isinstance(at, Turn):
        for turn in session.trials[at.number : at.number + 1]:
            yield turn.before if at.side == "before" else turn.after
        return
    if at is UNTUNED:
        yield from session.checked
        yield from session.arriving
        for sets in session.sets.values():
            yield from (row.before for rows in sets.values() for row in rows)
        return
    yield from session.after.get(at, [])
    yield from (row.after for rows in session.sets.get(at, {}).values() for row in rows)


def _pair(session: Session, before: Reply, after: Reply | None) -> Pair:
    marks, at = session.marks, session.strength
    marked = (marks.has(before.prompt, UNTUNED), after is not None and marks.has(after.prompt, at))
    return Pair(marks.of(before, UNTUNED), marks.of(after, at) if after else None, at, marked)
