"""How far a download is, how fast it goes and whether it has stopped moving."""

from __future__ import annotations

import time
from collections import deque

from actor_core.errors import FetchError
from actor_core.events import Progress
from actor_core.weights.whole_files import in_words

__all__ = ["STALL_SECONDS", "SourceFailed", "Transfer"]

# A source that gives less than STALL_BYTES in STALL_SECONDS is left for the next one.
STALL_SECONDS = 60.0
STALL_BYTES = 50_000
SPEED_WINDOW = 8.0
REPORT_EVERY = 0.3


class SourceFailed(FetchError):
    """One source did not give the file: the next one is tried."""


class Transfer:
    """Follows one download of ``total`` bytes; ``label`` names the source in what a person reads."""

    def __init__(self, total: int, label: str) -> None:
        self.total = total
        self.label = label
        self._seen: deque[tuple[float, int]] = deque()
        self._moved = (time.monotonic(), -1)
        self._reported = 0.0

    def at(self, done: int) -> Progress | None:
        """An event, a few times a second; raises SourceFailed when the download has stopped moving."""
        now = time.monotonic()
        if self._moved[1] < 0 or done - self._moved[1] >= STALL_BYTES or done < self._moved[1]:
            self._moved = (now, done)
        elif now - self._moved[0] > STALL_SECONDS:
            raise SourceFailed(f"{self.label} stopped sending for {STALL_SECONDS:.0f} s")
        if now - self._reported < REPORT_EVERY and done < self.total:
            return None
        self._reported = now
        self._seen.append((now, done))
        while self._seen[0][0] < now - SPEED_WINDOW and len(self._seen) > 2:
            self._seen.popleft()
        return Progress("download", min(done, self.total), self.total, self._words(done))

    def _words(self, done: int) -> str:
        whole = in_words(self.total)
        scale, digits = (1e9, 1) if whole.endswith("GB") else (1e6, 0)
        words = f"{min(done, self.total) / scale:.{digits}f} of {whole}"
        seconds = self._seen[-1][0] - self._seen[0][0]
        if seconds < 0.5 or done <= self._seen[0][1]:
            return f"{words}, from {self.label}"
        speed = (done - self._seen[0][1]) / seconds
        return (
            f"{words}, {in_words(speed)}/s, {_duration((self.total - done) / speed)} left, from {self.label}"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
