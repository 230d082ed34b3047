"""Verdicts that a person corrected.

The judge's verdict stays in the `Reply`, which nobody changes; a mark says what counts instead. It belongs
to a prompt and to who replied: the untuned model, or the tuned one at a strength of the slider. A reply in a
conversation depends on what was said before, so its mark belongs to its place there, and counts in no figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from actor_core.generate import Reply
    from actor_core.judge import Verdict

__all__ = ["UNTUNED", "At", "Marks", "Turn"]

UNTUNED = None  # stands where the tuned model has its strength


@dataclass(frozen=True)
class Turn:
    """The reply of one model to message ``number``, from 0, of the conversation with both."""

    number: int
    side: Literal["before", "after"]


At = float | Turn | None


class Marks:
    """By (prompt, strength, `UNTUNED` or `Turn`): the verdict that a person gave."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, At], Verdict] = {}

    def give(self, reply: Reply, at: At, verdict: Verdict | None) -> None:
        """Marks ``reply`` with ``verdict``; None, or what the judge said itself, takes the mark away."""
        others = {key: given for key, given in self._given.items() if key != (reply.prompt, at)}
        if verdict is None or verdict is reply.verdict:
            self._given = others
        else:
            self._given = {**others, (reply.prompt, at): verdict}

    @property
    def given(self) -> Mapping[tuple[str, At], Verdict]:
        """All of them; another mapping after each change."""
        return self._given

    def put(self, given: Mapping[tuple[str, At], Verdict]) -> None:
        """Has ``given`` count, and no other marks."""
        self._given = dict(given)

    def has(self, prompt: str, at: At) -> bool:
        return (prompt, at) in self._given

    def of(self, reply: Reply, at: At) -> Reply:
        """``reply`` with the verdict that counts."""
        verdict = self._given.get((reply.prompt, at))
        return reply if verdict is None else replace(reply, verdict=verdict)

    def all_of(self, replies: Iterable[Reply], at: At) -> list[Reply]:
        return [self.of(reply, at) for reply in replies]

    def forget_tuned(self) -> None:
        """Drops the marks on replies of a tuned model; those on the untuned one stay true."""
        self._given = {key: verdict for key, verdict in self._given.items() if key[1] is UNTUNED}

    def forget_turns(self) -> None:
        """Drops the marks on a conversation that is over."""
        self._given = {key: verdict for key, verdict in self._given.items() if not isinstance(key[1], Turn)}

    def forget_all(self) -> None:
        self._given = {}
