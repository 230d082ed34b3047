"""How many seconds a kind of work takes: as it was seen in this job, else in an earlier one, else between bounds.

The bounds are ratios between kinds, wide enough for a laptop as for a large GPU: they make a range of what was not
seen yet, which becomes one figure as soon as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from actor_core.events import Part

__all__ = ["Rates"]

# For a kind that was not seen: another kind, and between how many times as long as a unit of that one it takes.
# Counted in weights applied to a token, and what fetching them for each step takes, generating is about as slow as
# reading on a processor. On a GPU, where a step of few rows waits for Python, it may be slower still than is said here,
# for the moment until it is seen.
# Training is in fp32 and updates the weights, which on a GPU counts for more.
# A layer is scored in one thread and the change is solved in all, in fp64: a score takes as long as 10 to 100
# thousand million multiplications.
BETWEEN = {
    "generate": ("read", 1.0, 6.0),
    "train": ("read", 1.0, 6.0),
    "solve": ("score", 1e-11, 1e-10),
}
# What is small, whatever the machine: a layer's score, in seconds, as long as none was seen.
SCORE_SECONDS = (0.1, 1.0)


class Rates:
    """``seen`` and ``earlier`` are work and the seconds that it took, in this job and in the last one like it."""

    def __init__(self, seen: Sequence[tuple[Part, float]], earlier: Sequence[tuple[Part, float]] = ()) -> None:
        self._seen, self._earlier = _per_work(seen), _per_work(earlier)
        both = self._seen.keys() & self._earlier.keys()
        # How today's speed compares with the remembered one, over all kinds that both have.
        work: dict[str, float] = defaultdict(float)
        for part, _ in seen:
            work[part.kind] += part.work
        today = sum(work[kind] * self._seen[kind] for kind in both)
        then = sum(work[kind] * self._earlier[kind] for kind in both)
        self._slowness = today / then if then else 1.0

    def seconds(self, part: Part) -> tuple[float, float] | None:
        """At least and at most; None where nothing that it can be compared with was seen."""
        known = self._known(part.kind)
        if known is not None:
            return part.work * known, part.work * known
        if part.kind == "score":
            return part.work * SCORE_SECONDS[0], part.work * SCORE_SECONDS[1]
        if part.kind not in BETWEEN:
            return None
        other, least, most = BETWEEN[part.kind]
        compared = self.seconds(Part(part.stage, other, part.work))
        return None if compared is None else (compared[0] * least, compared[1] * most)

    def _known(self, kind: str) -> float | None:
        """Seconds a unit of work."""
        if kind in self._seen:
            return self._seen[kind]
        return self._earlier[kind] * self._slowness if kind in self._earlier else None


def _per_work(parts: Sequence[tuple[Part, float]]) -> dict[str, float]:
    work: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    for part, taken in parts:
        work[part.kind] += part.work
        seconds[part.kind] += taken
    return {kind: seconds[kind] / work[kind] for kind in work if work[kind] and seconds[kind]}
