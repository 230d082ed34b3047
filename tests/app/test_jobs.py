"""Long work: it lives without a tab, can be stopped, waits in line, and leaves a journal."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from actor_core.events import Event, Progress, Step, StrengthMeasured
from app.jobs import Job, Runner
from app.pace import PaceMemory


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def counting(total: int, gate: threading.Event | None = None) -> Generator[Event, None, int]:
    for done in range(total):
        yield Progress("count", done, total)
        if gate:
            gate.wait(5)
    return total


def journal(runner: Runner, job: Job) -> list[dict]:
    return [json.loads(line) for line in (runner.folder / f"{job.id}.jsonl").read_text().splitlines()]


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path / "jobs")


def test_a_job_runs_without_anyone_looking_and_gives_its_result(runner):
    results: list[int] = []
    job = runner.submit("tune", "anna", lambda: counting(3), finished=results.append)
    until(lambda: not job.active)
    assert (job.state, results) == ("done", [3])
    assert runner.ending(job.id) == "done"


def test_a_job_is_found_again_by_its_visitor_and_by_nobody_else(runner):
    gate = threading.Event()
    job = runner.submit("tune", "anna", lambda: counting(3, gate))
    assert runner.of("anna") is job
    assert runner.of("bert") is None
    gate.set()
    until(lambda: runner.of("anna") is None)


def test_stop_ends_the_work_between_two_events_and_hands_over_what_was_learnt(runner):
    closed, kept = threading.Event(), []

    def training() -> Generator[Event, None, str]:
        try:
            for step in range(10_000):
                yield Step(step, 10_000, 0.5, delta=None)  # type: ignore[arg-type]
                time.sleep(0.002)
        finally:
            closed.set()
        return "whole"

    finished: list[str] = []
    job = runner.submit("tune", "anna", training, stopped=kept.extend, finished=finished.append)
    until(lambda: len(job.events) > 3)
    runner.stop(job)
    until(lambda: job.state == "stopped")
    assert closed.is_set() and not finished
    assert kept[-1].step >= 3
    assert runner.ending(job.id) == "stopped"


def test_a_second_job_waits_in_line_and_stopping_it_takes_it_out(runner):
    gate = threading.Event()
    first = runner.submit("tune", "anna", lambda: counting(3, gate))
    second = runner.submit("tune", "bert", lambda: counting(3))
    until(lambda: first.state == "running")
    assert (runner.ahead(first), runner.ahead(second), second.state) == (0, 1, "waiting")
    runner.stop(second)
    assert second.state == "stopped" and runner.of("bert") is None
    gate.set()
    until(lambda: first.state == "done")


def test_a_quick_job_is_done_between_two_events_of_a_long_one(runner):
    go_on, results = threading.Event(), []

    def long() -> Generator[Event, None, str]:
        while not go_on.is_set():
            yield Progress("long", 0, 0)
            time.sleep(0.002)
        return "long"

    slow = runner.submit("compare", "anna", long, finished=results.append)
    quick = runner.submit("try", "anna", lambda: counting(2), quick=True, finished=results.append)
    until(lambda: quick.state == "done")
    assert slow.state == "running" and results == [2]
    go_on.set()
    until(lambda: slow.state == "done")


def test_work_that_fails_says_so_and_the_next_job_runs(runner):
    def broken() -> Generator[Event, None, None]:
        yield Progress("count", 0, 1)
        raise ValueError("no such layer")

    errors: list[BaseException] = []
    failed = runner.submit("tune", "anna", broken, failed=errors.append)
    after = runner.submit("tune", "bert", lambda: counting(1))
    until(lambda: not after.active)
    assert (failed.state, after.state) == ("failed", "done")
    assert str(errors[0]) == "no such layer"
    assert journal(runner, failed)[-1]["error"] == "ValueError"


def test_a_callback_that_fails_does_not_end_the_line(runner):
    def broken(_: object) -> None:
        raise RuntimeError("a fault of the page")

    first = runner.submit("tune", "anna", lambda: counting(1), finished=broken)
    second = runner.submit("tune", "anna", lambda: counting(1))
    until(lambda: not second.active)
    assert (first.state, second.state) == ("failed", "done")


def test_the_journal_holds_stages_and_measurements_and_how_it_ended(runner):
    def work() -> Generator[Event, None, None]:
        yield Progress("read", 0, 2, "a note with a prompt in it")
        yield StrengthMeasured(1.0, 0.1, 0.9, 0.0)
        return None

    job = runner.submit("tune", "anna", work)
    until(lambda: not job.active)
    lines = journal(runner, job)
    assert [line.get("state") for line in lines] == ["running", None, None, "done"]
    assert lines[1]["stage"] == "read" and lines[2]["harmful_refused"] == 0.9
    assert "a note" not in json.dumps(lines)


def test_a_job_that_a_crash_cut_off_is_found_as_interrupted(tmp_path):
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "abc123.jsonl").write_text('{"state": "running", "kind": "tune"}\n{"stage": "read"}\n')
    (folder / "def456.jsonl").write_text('{"state": "running"}\n{"state": "done"}\n')
    runner = Runner(folder)
    assert (runner.ending("abc123"), runner.ending("def456")) == ("interrupted", "done")
    assert runner.ending("../abc123") is None


def test_a_finished_job_teaches_the_next_one_how_long_it_takes(tmp_path):
    memory = PaceMemory(tmp_path / "pace.json")
    runner = Runner(tmp_path / "jobs", memory)
    job = runner.submit("tune", "anna", lambda: counting(3), pace_key="model")
    until(lambda: not job.active)
    assert [stage.stage for stage in PaceMemory(tmp_path / "pace.json").stages("tune model")] == ["count"]
    assert memory.stages("tune another") == []


def test_after_long_work_what_it_freed_goes_back_and_after_short_work_nobody_waits_for_that(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("app.jobs.give_back", lambda: given.append("back"))
    runner = Runner(tmp_path)
    short = runner.submit("tune", "ada", lambda: counting(3))
    until(lambda: short.state == "done" and not runner.waiting())
    assert not given
    monkeypatch.setattr("app.jobs.SECONDS_OF_LONG_WORK", -1.0)
    runner.submit("tune", "ada", lambda: counting(3))
    until(lambda: bool(given))
