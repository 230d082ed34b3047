"""How long a job will still take, from rates that were measured: in this run, and in earlier ones like it."""

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
        self._seen: deque[tuple[float, int]] = deque()
        self._total = 0
        self._stage_began = 0.0

    def observe(self, progress: Progress, now: float | None = None) -> None:
        """Takes note of ``progress`` at ``now`` (seconds of any steady clock)."""
        now = time.monotonic() if now is None else now
        if not self.stages or not self._goes_on(progress):
            self.stages.append(StageTime(progress.stage, 0, 0.0))
            self._seen.clear()
            self._stage_began = now
        self._total = progress.total
        self.stages[-1].units = progress.total
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
        rate = self.rate() or self._earlier_rate()
        if rate is None or not self._total:
            return None
        return max(0.0, (self._total - done) / rate - (now - last_seen))

    def left(self, now: float | None = None) -> float | None:
        """Seconds to the end of the whole job; None unless a job of this kind was finished before."""
        if not self.stages:
            return sum(stage.seconds for stage in self.earlier) if self.earlier else None
        here = self.stage_left(now)
        if self._same_part_earlier() is None or here is None:
            return None
        return here + sum(stage.seconds for stage in self.earlier[len(self.stages) :])

    def _same_part_earlier(self) -> StageTime | None:
        """What took the place of the running part in the earlier job, if that went the same way."""
        part = len(self.stages) - 1
        if part < len(self.earlier) and self.earlier[part].stage == self.stages[part].stage:
            return self.earlier[part]
        return None

    def _earlier_rate(self) -> float | None:
        earlier = self._same_part_earlier()
        if earlier is None or not earlier.units or earlier.seconds <= 0:
            return None
        return earlier.units / earlier.seconds


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
