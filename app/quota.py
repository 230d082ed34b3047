"""How long a public page computes for one visitor: so many seconds in any hour, then others' turn is all there is."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from actor_core.errors import ActorError
from actor_core.events import Event

__all__ = ["MOST_PROMPTS", "MOST_SECONDS", "Quota"]

MOST_SECONDS = 1800.0
WINDOW = 3600.0
# Of one visitor at once: a thousand, as elsewhere, would keep the others waiting for all of their seconds.
MOST_PROMPTS = 100


class Quota:
    """What each visitor's jobs have computed of late. ``most`` seconds in any ``window`` of seconds are theirs."""

    def __init__(
        self, most: float = MOST_SECONDS, window: float = WINDOW, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self.window, self.clock = most, window, clock
        self._spent: dict[str, deque[tuple[float, float]]] = {}  # when, and how many seconds
        self._lock = threading.Lock()

    def spent(self, visitor: str) -> float:
        """How many seconds of the visitor's are used up now."""
        with self._lock:
            return sum(seconds for _, seconds in self._recent(visitor))

    def require_left(self, visitor: str) -> None:
        """Raises `ActorError` where nothing is left, and says when something will be."""
        if self.spent(visitor) >= self.most:
            raise ActorError(self.words(visitor))

    def words(self, visitor: str) -> str:
        """What is said to a visitor whose seconds are used up."""
        with self._lock:
            recent = self._recent(visitor)
            over, free = sum(seconds for _, seconds in recent) - self.most, 0.0
            for when, seconds in recent:
                over, free = over - seconds, when + self.window
                if over < 0:
                    break
        minutes = max(1, math.ceil((free - self.clock()) / 60))
        return (
            f"This page is public, and computes for each visitor for up to {self.most / 60:.0f} minutes an hour; yours "
            f"are used up. Go on in {minutes} min, or run Second Take on a machine of your own, where nothing is "
            "limited."
        )

    def metered(
        self, visitor: str, work: Generator[Event, None, Any], used_up: Callable[[], None]
    ) -> Generator[Event, None, Any]:
        """``work``, whose seconds count as the visitor's. ``used_up()`` is called once no more are left."""
        told = False
        with closing(work):
            while True:
                begun = self.clock()
                try:
                    event = next(work)
                except StopIteration as end:
                    return end.value
                finally:
                    self._count(visitor, self.clock() - begun)
                if not told and self.spent(visitor) >= self.most:
                    told = True
                    used_up()
                yield event

    def _count(self, visitor: str, seconds: float) -> None:
        with self._lock:
            recent, now = self._recent(visitor), self.clock()
            if recent and now - recent[-1][0] < self.window / 60:
                when, before = recent.pop()
                recent.append((when, before + seconds))
                return
            recent.append((now, seconds))
            self._spent[visitor] = recent
            self._spent = {who: of_theirs for who in list(self._spent) if (of_theirs := self._recent(who))}

    def _recent(self, visitor: str) -> deque[tuple[float, float]]:
        recent = self._spent.get(visitor, deque())
        while recent and recent[0][0] < self.clock() - self.window:
            recent.popleft()
        return recent
