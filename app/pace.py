"""How long a job will still take, from rates that were measured: in this run, and in earlier ones like it.

A job that says what lies ahead of it (`actor_core.events.Ahead`) is told in whole as soon as each kind of work was
seen: how fast this machine does a kind shows in its first part. Of any other the parts of the last job of the same
kind say what is still to come, and how fast this one went through those it has in common with it is today's speed.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actor_core.events import Part, Progress
from actor_core.weights.whole_files import put_file
from app.rates import Rates

__all__ = ["Pace", "PaceMemory", "StageTime"]

WINDOW_SECONDS = 15.0  # a rate is taken over at least this long, so that one slow batch does not swing it
FIRST_ESTIMATE_AFTER = 1.0
# As if so many seconds had gone exactly as remembered: the first quick part alone does not decide.
SECONDS_OF_TRUST = 1.0
MOST_TIMES_SLOWER = 5.0


@dataclass
class StageTime:
    """One stage of a job: how many units it had and how many seconds they took; its kind and work where known."""

    stage: str
    units: int
    seconds: float
    kind: str = ""
    work: float = 0.0


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
        self._last: float | None = None  # when something was heard last
        self._ahead: list[Part] | None = None  # what follows the part that runs
        self._said_anew = False

    def begin(self, now: float | None = None) -> None:
        """The job's work begins: it does not wait any more."""
        self._last = time.monotonic() if now is None else now

    def expect(self, parts: Sequence[Part]) -> None:
        """Takes ``parts`` for what lies ahead of the job from here on."""
        self._ahead, self._said_anew = list(parts), True

    def observe(self, progress: Progress, now: float | None = None) -> None:
        """Takes note of ``progress`` at ``now`` (seconds of any steady clock)."""
        now = time.monotonic() if now is None else now
        if not self.stages or self._said_anew or not self._goes_on(progress):
            part = self._next_part(progress.stage)
            self.stages.append(StageTime(progress.stage, 0, 0.0, *((part.kind, part.work) if part else ())))
            self._done.append(0)
            self._seen.clear()
            # A part that is first heard of when some of it is done began when the one before was heard of last.
            self._stage_began = now if self._last is None else self._last
        self._total = progress.total
        self.stages[-1].units = progress.total
        self._done[-1] = progress.done
        self.stages[-1].seconds = now - self._stage_began
        self._seen.append((now, progress.done))
        self._last = now
        # Keeps a quarter of the stage, and never less than the window.
        oldest_kept = now - max(WINDOW_SECONDS, (now - self._stage_began) / 4)
        while len(self._seen) > 2 and self._seen[1][0] < oldest_kept:
            self._seen.popleft()

    def _goes_on(self, progress: Progress) -> bool:
        """Whether ``progress`` belongs to the part of the job that runs; a stage may count more than once."""
        same = self.stages[-1].stage == progress.stage and self._total == progress.total
        return same and progress.done >= self._seen[-1][1]

    def _next_part(self, stage: str) -> Part | None:
        """The next part of ``stage`` that was expected; what was expected before it is not waited for any more."""
        self._said_anew = False
        names = [part.stage for part in self._ahead or ()]
        if self._ahead is None or stage not in names:
            return None
        place = names.index(stage)
        part = self._ahead[place]
        self._ahead = self._ahead[place + 1 :]
        return part

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

    def left(self, now: float | None = None) -> tuple[float, float] | None:
        """Seconds to the end of the whole job, at least and at most; the same twice where they are known.

        None where nothing says what is still to come.
        """
        if not self.stages:
            known = sum(stage.seconds for stage in self.earlier)
            return (known, known) if self.earlier else None
        here = self.stage_left(now)
        if self._ahead is not None:
            return self._planned(self._ahead, here)
        matched, following = self._matched()
        if not any(matched) or here is None:
            return None
        known = here + self._slowness(matched) * sum(stage.seconds for stage in self.earlier[following:])
        return known, known

    def _planned(self, ahead: list[Part], here: float | None) -> tuple[float, float] | None:
        """The part that runs and those ``ahead`` at the rates of their kinds."""
        rates = Rates(_shares(self.stages, self._done), _shares(self.earlier))
        if here is None:
            running = self.stages[-1]
            share = 1 - self._done[-1] / self._total if self._total else 1.0
            least = most = 0.0
            ahead = [Part(running.stage, running.kind, running.work * share), *ahead] if running.kind else ahead
        else:
            least = most = here
        for part in ahead:
            seconds = rates.seconds(part)
            if seconds is None:
                return None
            least, most = least + seconds[0], most + seconds[1]
        return least, most

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
        if self._ahead is not None:
            return None  # its kind of work says it
        matched, _ = self._matched()
        earlier = matched[-1]
        if earlier is None or not earlier.units or earlier.seconds <= 0:
            return None
        return earlier.units / earlier.seconds / self._slowness(matched)


def _shares(stages: Sequence[StageTime], done: Sequence[int] | None = None) -> list[tuple[Part, float]]:
    """Work that was done, with its seconds. ``done``: units of each of ``stages``; None for all of them."""
    counts = [stage.units for stage in stages] if done is None else done
    return [
        (Part(stage.stage, stage.kind, stage.work * count / stage.units), stage.seconds)
        for stage, count in zip(stages, counts, strict=True)
        if stage.kind and stage.units and count
    ]


class PaceMemory:
    """The stages of the last finished job of each kind, kept in one JSON file (None: not kept)."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stages: dict[str, list[StageTime]] = {}
        if path is None or not path.is_file():
            return
        try:
            for key, stages in json.loads(path.read_text(encoding="utf-8")).items():
                self._stages[key] = [StageTime(str(s), int(u), float(t), *_kind(more)) for s, u, t, *more in stages]
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
        rows = {
            key: [(s.stage, s.units, s.seconds, s.kind, s.work) for s in stages]
            for key, stages in self._stages.items()
        }
        try:
            put_file(self._path, json.dumps(rows).encode())
        except OSError:
            pass  # the same


def _kind(more: Sequence[object]) -> tuple[str, float]:
    """Of a row of this version its kind and work; an older one has neither."""
    if not more:
        return "", 0.0
    kind, work = more
    return str(kind), float(str(work))
