"""What a promise is here: words, and tries that seek to break it, as many as are asked for.

Shared by the tests, which make a few of each, and by `benchmarks/reliability.py`, which makes them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SEED = 20260722


@dataclass(frozen=True)
class Attempt:
    """One try to break a promise. ``fault`` says how it broke; it is empty where the promise was kept."""

    what: str
    fault: str = ""


# Given how many to make, a seed and an empty folder.
Attempts = Callable[[int, int, Path], Iterator[Attempt]]


@dataclass(frozen=True)
class Promise:
    """``short`` attempts in the tests (0: none, they take too long), ``full`` ones by the command; ``text`` and
    ``tried`` are for a table."""

    name: str
    text: str
    tried: str
    attempts: Attempts
    short: int
    full: int


@dataclass(frozen=True)
class Held:
    """A promise that ``tests`` of the suite hold in full already."""

    name: str
    text: str
    tried: str
    tests: tuple[str, ...]


def spread(cases: list, count: int) -> list:
    """``count`` of ``cases``, spread evenly over them; all where there are no more."""
    if count >= len(cases):
        return cases
    return [cases[n * len(cases) // count] for n in range(count)]
