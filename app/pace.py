"""How long a job will still take, from rates that were measured: in this run, and in earlier ones like it.

The parts of the last job of the same kind say what is still to come; how fast this one went through the parts it
has in common with it says how fast the machine is today.
"""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from actor_core.events import Progress

__all__ = ["Pace", "PaceMemory", "StageTime"]

WINDOW_SECONDS = 15.0  # a rate is taken over at least this long, so that one slow batch does not swing it
FIRST_ESTIMATE_AFTER = 1.0
# As if so many seconds had gone exactly as remembered: the first quick part alone does not decide.
SECONDS_OF_TRUST = 1.0
MOST_TIMES_SLOWER = 5.0


@dataclass
class StageTime:
    """One stage of a job: how many units it had and how many seconds they took."""

    stage: str
    units: int
    seconds: float


class Pace:
    """Follows one job. ``earlier`` are the stages of the last finished job of the same kind."""

    def __init__(self, earlier: list[StageTime], key: str = "") -> None:
        self.earlier = earlier
        self.key = key
        self.stages: list[StageTime] = []
        self._done: list[int] = []  # units of each part so far
        self._seen: deque[tuple[float, int]] = deque()
        self._total = 0
        self._stage_began = 0.0

    def observe(self, progress: Progress, now: float | None = None) -> None:
        """Takes note of ``progress`` at ``now`` (seconds of any steady clock)."""
        now = time.monotonic() if now is None else now
        if not self.stages or not self._goes_on(progress):
            self.stages.append(StageTime(progress.stage, 0, 0.0))
            self._done.append(0)
            self._seen.clear()
            self._stage_began = now
        self._total = progress.total
        self.stages[-1].units = progress.total
        self._done[-1] = progress.done
        self.stages[-1].seconds = now - self._stage_began
        self._seen.append((now, progress.done))
        # Keeps a quarter of the stage, and never less than the window.
        oldest_kept = now - max(WINDOW_SECONDS, (now - self._stage_began) / 4)
        while len(self._seen) > 2 and self._seen[1][0] < oldest_kept:
            self._seen.popleft()

    def _goes_on(self, progress: Progress) -> bool:
        """Whether ``progress`` belongs to the part of the job that runs; a stage may count more than once."""
        same = self.stages[-1].stage == progress.stage and self._total == progress.total
        return same and progress.done >= self._seen[-1][1]

    def rate(self) -> float | None:
        """Units a second of the stage that runs; None while too little was seen."""
        if len(self._seen) < 2:
            return None
        (began, first), (now, last) = self._seen[0], self._seen[-1]
        if now - began < FIRST_ESTIMATE_AFTER or last <= first:
            return None
        return (last - first) / (now - began)

    def stage_left(self, now: float | None = None) -> float | None:
        """Seconds that the stage which runs will still take."""
        if not self.stages:
            return None
        now = time.monotonic() if now is None else now
        last_seen, done = self._seen[-1]
        rate = self.rate() or self._expected_rate()
        if rate is None or not self._total:
            return None
        return max(0.0, (self._total - done) / rate - (now - last_seen))

    def left(self, now: float | None = None) -> float | None:
        """Seconds to the end of the whole job; None unless a job of this kind was finished before."""
        if not self.stages:
            return sum(stage.seconds for stage in self.earlier) if self.earlier else None
        here = self.stage_left(now)
        matched, following = self._matched()
        if not any(matched) or here is None:
            return None
        return here + self._slowness(matched) * sum(stage.seconds for stage in self.earlier[following:])

    def _matched(self) -> tuple[list[StageTime | None], int]:
        """What stood for each part in the earlier job (None for a part that it did not have), and what follows them."""
        matched: list[StageTime | None] = []
        following = 0
        for part in self.stages:
            names = [stage.stage for stage in self.earlier[following:]]
            if part.stage in names:
                following += names.index(part.stage) + 1
                matched.append(self.earlier[following - 1])
            else:
                matched.append(None)
        return matched, following

    def _slowness(self, matched: list[StageTime | None]) -> float:
        """How many times as long as remembered a unit takes today, over all parts so far."""
        taken = expected = SECONDS_OF_TRUST
        for part, done, earlier in zip(self.stages, self._done, matched, strict=True):
            if done and earlier is not None and earlier.units and earlier.seconds > 0:
                taken += part.seconds
                expected += earlier.seconds * done / earlier.units
        return min(MOST_TIMES_SLOWER, max(1 / MOST_TIMES_SLOWER, taken / expected))

    def _expected_rate(self) -> float | None:
        """The rate of the part that runs as it was earlier, at today's speed."""
        matched, _ = self._matched()
        earlier = matched[-1]
        if earlier is None or not earlier.units or earlier.seconds <= 0:
            return None
        return earlier.units / earlier.seconds / self._slowness(matched)


class PaceMemory:
    """The stages of the last finished job of each kind, kept in one JSON file (None: not kept)."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stages: dict[str, list[StageTime]] = {}
        if path is None or not path.is_file():
            return
        try:
            for key, stages in json.loads(path.read_text(encoding="utf-8")).items():
                self._stages[key] = [StageTime(str(s), int(u), float(t)) for s, u, t in stages]
        except (OSError, ValueError, TypeError, AttributeError):
            self._stages = {}  # a broken memory only costs an estimate

    def stages(self, key: str) -> list[StageTime]:
        return list(self._stages.get(key, []))

    def remember(self, pace: Pace) -> None:
        if not pace.key or not pace.stages:
            return
        self._stages[pace.key] = pace.stages
        if self._path is None:
            return
        rows = {key: [(s.stage, s.units, s.seconds) for s in stages] for key, stages in self._stages.items()}
        try:
            self._path.write_text(json.dumps(rows), encoding="utf-8")
        except OSError:
            pass  # the same
