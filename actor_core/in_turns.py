"""How long ways of doing the same take this machine, where one of them is chosen by that."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

__all__ = ["best_in_turns"]


def best_in_turns(ways: Sequence[Callable[[], object]], times: int) -> list[float]:
    """The fewest seconds of each of ``ways`` in so many ``times``, the first of which warms up.

    They are timed in turns, and the best of each counts: other work on the machine then slows all of them.
    """
    best = [float("inf") for _ in ways]
    for _ in range(times):
        for number, way in enumerate(ways):
            start = time.perf_counter()
            way()
            best[number] = min(best[number], time.perf_counter() - start)
    return best
