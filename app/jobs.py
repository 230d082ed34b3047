"""Long work, in one thread of its own: it outlives the tab that started it and is found again after a reload.

One job computes at a time, the others wait in line. A job's work is a generator of the core's
events (``actor_core.events``); between two of them it can be stopped. What happened is written to a
journal, one JSON line each, without anybody's prompts or replies. This file knows nothing of models
or pages.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from actor_core.events import Ahead, Event, GuardPassed, LayerScored, Progress, Replied, Said, Step, StrengthMeasured
from actor_core.freed_memory import give_back
from app.pace import Pace, PaceMemory

__all__ = ["Job", "Runner", "Work"]

logger = logging.getLogger(__name__)
Work = Callable[[], Generator[Event, None, Any]]

ACTIVE = ("waiting", "running", "stopping")
JOURNALS_KEPT = 200
SECONDS_BETWEEN_PROGRESS_LINES = 1.0
SECONDS_OF_LONG_WORK = 5.0  # shorter work frees less than looking for it is worth


@dataclass
class Job:
    """One piece of long work and where it stands. Only the runner writes to it."""

    kind: str
    visitor: str
    work: Work
    pace: Pace
    # Called in the job's thread; ``stopped`` gets the events so far and gives what is worth keeping, or None.
    finished: Callable[[Any], None]
    stopped: Callable[[list[Event]], None]
    failed: Callable[[BaseException], None]
    heard: Callable[[Event], None]
    # A quick job does not wait for the one that runs: it is done between two of its events.
    quick: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: str = "waiting"  # waiting, running, stopping, done, stopped, failed
    progress: Progress | None = None
    events: list[Event] = field(default_factory=list)  # all but Ahead, Progress, Replied and Said
    started: float = 0.0

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


class Runner:
    """Runs jobs one after the other in a daemon thread; journals lie in ``folder``."""

    def __init__(self, folder: Path, memory: PaceMemory | None = None) -> None:
        self.folder = folder
        self.memory = memory or PaceMemory(None)
        self._line: list[Job] = []
        self._changed = threading.Condition()
        folder.mkdir(parents=True, exist_ok=True)
        self._close_interrupted()
        threading.Thread(target=self._run_forever, name="jobs", daemon=True).start()

    def submit(
        self,
        kind: str,
        visitor: str,
        work: Work,
        *,
        pace_key: str = "",
        quick: bool = False,
        finished: Callable[[Any], None] = lambda result: None,
        stopped: Callable[[list[Event]], None] = lambda events: None,
        failed: Callable[[BaseException], None] = lambda error: None,
        heard: Callable[[Event], None] = lambda event: None,
    ) -> Job:
        """Puts ``work`` at the end of the line."""
        pace = Pace(self.memory.stages(f"{kind} {pace_key}"), key=f"{kind} {pace_key}")
        job = Job(kind, visitor, work, pace, finished, stopped, failed, heard, quick)
        with self._changed:
            self._line.append(job)
            self._changed.notify()
        return job

    def of(self, visitor: str, *, quick: bool = False) -> Job | None:
        """The visitor's job (or quick job) that waits or runs, if there is one."""
        with self._changed:
            mine = (job for job in self._line if job.visitor == visitor and job.quick == quick)
            return next((job for job in mine if job.active), None)

    def ahead(self, job: Job) -> int:
        """How many jobs of its sort run or wait before ``job``."""
        with self._changed:
            same = [other for other in self._line if other.quick == job.quick]
            return same.index(job) if job in same else 0

    def waiting(self) -> int:
        """How many jobs wait or run, of all visitors."""
        with self._changed:
            return len(self._line)

    def stop(self, job: Job) -> None:
        """Asks ``job`` to stop; one that still waits is taken out of the line at once."""
        with self._changed:
            if job.state == "running":
                job.state = "stopping"
                return
            if job.state != "waiting":
                return
            self._line.remove(job)
            job.state = "stopped"
        job.stopped([])

    def ending(self, job_id: str) -> str | None:
        """How the job with this id ended by its journal (done, stopped, failed, interrupted), or None."""
        path = self.folder / f"{job_id}.jsonl"
        if not job_id.isalnum() or not path.is_file():
            return None
        return _last_state(path)

    def _run_forever(self) -> None:
        while True:
            with self._changed:
                while not self._line:
                    self._changed.wait()
                job = self._next_quick() or self._line[0]
                job.state = "running"
            self._run_safely(job)

    def _next_quick(self) -> Job | None:
        return next((job for job in self._line if job.quick and job.state == "waiting"), None)

    def _run_quick_ones(self) -> None:
        """Runs the quick jobs that wait; called between two events of the job that runs."""
        while True:
            with self._changed:
                job = self._next_quick()
                if job is None:
                    return
                job.state = "running"
            self._run_safely(job)

    def _run_safely(self, job: Job) -> None:
        try:
            self._run(job)
        except BaseException:  # a fault of a callback must not end the line
            logger.exception("a job's callback failed")
            job.state = "failed"
        finally:
            with self._changed:
                if job in self._line:
                    self._line.remove(job)
            if time.time() - job.started > SECONDS_OF_LONG_WORK:
                give_back()

    def _run(self, job: Job) -> None:
        job.started = time.time()
        with _Journal(self.folder / f"{job.id}.jsonl") as journal:
            journal.write(state="running", kind=job.kind)
            try:
                result = self._drive(job, journal)
            except BaseException as error:  # the page says it; the thread goes on with the next job
                job.failed(error)
                job.state = "failed"
                journal.write(state="failed", error=type(error).__name__)
                return
            if job.state == "stopping":
                job.stopped(job.events)
                job.state = "stopped"
            else:
                job.finished(result)
                self.memory.remember(job.pace)
                job.state = "done"
            journal.write(state=job.state)

    def _drive(self, job: Job, journal: _Journal) -> Any:  # noqa: ANN401
        job.pace.begin()
        work = job.work()
        try:
            while job.state == "running":
                try:
                    event = next(work)
                except StopIteration as end:
                    return end.value
                if isinstance(event, Ahead):
                    job.pace.expect(event.parts)
                elif isinstance(event, Progress):
                    job.progress = event
                    job.pace.observe(event)
                elif not isinstance(event, Replied | Said):
                    job.events.append(event)
                if isinstance(event, Step):
                    job.progress = Progress("train", event.step, event.total, f"{event.step} of {event.total}")
                    job.pace.observe(job.progress)
                journal.event(event)
                job.heard(event)
                if not job.quick:
                    self._run_quick_ones()
        finally:
            work.close()
        return None

    def _close_interrupted(self) -> None:
        journals = sorted(self.folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        for path in journals[:-JOURNALS_KEPT]:
            path.unlink(missing_ok=True)
        for path in journals[-JOURNALS_KEPT:]:
            if _last_state(path) == "running":
                with _Journal(path) as journal:
                    journal.write(state="interrupted")


class _Journal:
    """Appends lines to a job's file; a full disk ends the journal and not the job."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._last_progress: tuple[str, float] = ("", 0.0)

    def __enter__(self) -> _Journal:
        try:
            self._file = self._path.open("a", encoding="utf-8")
        except OSError:
            logger.warning("no journal at %s", self._path, exc_info=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            try:
                self._file.close()
            except OSError:
                pass

    def write(self, **line: object) -> None:
        if self._file is None:
            return
        try:
            self._file.write(json.dumps({"time": round(time.time(), 2), **line}) + "\n")
            self._file.flush()
        except OSError:
            logger.warning("the journal at %s ends here", self._path, exc_info=True)
            self._file = None

    def event(self, event: Event) -> None:
        if isinstance(event, Progress):
            stage, last = self._last_progress
            if event.stage != stage or time.monotonic() - last > SECONDS_BETWEEN_PROGRESS_LINES:
                self._last_progress = (event.stage, time.monotonic())
                self.write(stage=event.stage, done=event.done, total=event.total)
        elif isinstance(event, (GuardPassed, LayerScored, StrengthMeasured)):
            self.write(event=type(event).__name__, **asdict(event))
        elif isinstance(event, Step):
            self.write(event="Step", step=event.step, total=event.total, loss=event.loss)


def _last_state(path: Path) -> str | None:
    state = None
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            state = json.loads(line).get("state", state)
    except (OSError, ValueError):
        return state
    return state
