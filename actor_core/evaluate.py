"""Counts of verdicts with their uncertainty, and what became of each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TypeVar

from actor_core.generate import Reply
from actor_core.judge import Verdict

__all__ = ["Comparison", "Rates", "mean_tokens", "of_one_verdict", "spread", "wilson"]

Item = TypeVar("Item")

Z_95 = 1.959964


def wilson(count: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927); (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = count / n, Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Rates:
    """How many of n replies were answered, refused and incoherent."""

    answered: int
    refused: int
    incoherent: int

    @classmethod
    def of(cls, replies: Sequence[Reply]) -> Rates:
        verdicts = [reply.verdict for reply in replies]
        return cls(*(verdicts.count(v) for v in (Verdict.ANSWERED, Verdict.REFUSED, Verdict.INCOHERENT)))

    @property
    def n(self) -> int:
        return self.answered + self.refused + self.incoherent

    def share(self, verdict: str) -> tuple[float, float, float]:
        """The share of ``verdict`` ("answered", "refused" or "incoherent") and its 95 % interval."""
        count = int(getattr(self, verdict))
        return (count / self.n if self.n else 0.0, *wilson(count, self.n))

    def counts(self) -> dict[str, int]:
        """The three counts by their words."""
        return {v.value: int(getattr(self, v.value)) for v in Verdict}


@dataclass(frozen=True)
class Comparison:
    """One prompt's reply before and after."""

    prompt: str
    before: Reply
    after: Reply

    @property
    def outcome(self) -> str:
        """For a prompt that should be answered: 'fixed', 'still refused', 'newly refused',
        'newly incoherent' or 'unchanged'."""
        before, after = self.before.verdict, self.after.verdict
        if after is Verdict.INCOHERENT and before is not Verdict.INCOHERENT:
            return "newly incoherent"
        if before is Verdict.REFUSED:
            return "fixed" if after is Verdict.ANSWERED else "still refused"
        return "newly refused" if after is Verdict.REFUSED else "unchanged"


def of_one_verdict(groups: Sequence[Sequence[Reply]]) -> int:
    """How many of ``groups``, each the replies to one request in several wordings, have one verdict throughout."""
    return sum(len({reply.verdict for reply in group}) == 1 for group in groups)


def mean_tokens(replies: Sequence[Reply]) -> float:
    """The mean length of ``replies`` in tokens, end tokens among them; of one that was cut, what there is."""
    return sum(len(reply.tokens) for reply in replies) / len(replies) if replies else 0.0


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """``count`` of ``items`` evenly from the whole of them, so that every category is among them."""
    if count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]
