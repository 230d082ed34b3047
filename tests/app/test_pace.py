"""The time left is computed from what was measured, and not given before anything was."""

from __future__ import annotations

import pytest

from actor_core.events import Progress
from app.pace import Pace, PaceMemory, StageTime


def test_nothing_is_promised_before_anything_was_measured():
    pace = Pace([])
    assert pace.stage_left(0.0) is None and pace.left(0.0) is None
    pace.observe(Progress("read", 0, 100), 0.0)
    assert pace.stage_left(0.5) is None


def test_a_steady_stage_ends_when_its_rate_says():
    pace = Pace([])
    for second in range(11):
        pace.observe(Progress("read", second * 5, 100), float(second))
    assert pace.stage_left(10.0) == pytest.approx(10.0)
    assert pace.stage_left(12.0) == pytest.approx(8.0), "it counts down between two events"


def test_the_rate_follows_a_stage_that_slows_down():
    pace, done, now = Pace([]), 0, 0.0
    for _ in range(30):
        now, done = now + 1.0, done + 10
        pace.observe(Progress("read", done, 1000), now)
    for _ in range(40):
        now, done = now + 1.0, done + 2
        pace.observe(Progress("read", done, 1000), now)
    assert pace.stage_left(now) == pytest.approx((1000 - done) / 2, rel=0.15)


def test_a_total_that_is_not_known_gives_no_estimate():
    pace = Pace([])
    for second in range(5):
        pace.observe(Progress("download", second, 0), float(second))
    assert pace.stage_left(5.0) is None


def test_the_whole_is_told_only_where_such_a_job_was_finished_before():
    pace = Pace([StageTime("read", 100, 10.0), StageTime("solve", 1, 5.0), StageTime("strength", 10, 30.0)])
    assert pace.left(0.0) == pytest.approx(45.0)
    for second in range(6):
        pace.observe(Progress("read", second * 10, 100), float(second))
    assert pace.left(5.0) == pytest.approx(5.0 + 35.0)
    pace.observe(Progress("solve", 0, 1), 6.0)
    assert pace.left(6.0) == pytest.approx(5.0 + 30.0)
    pace.observe(Progress("never seen", 1, 2), 7.0)
    assert pace.left(7.0) is None


def test_a_broken_memory_is_no_memory(tmp_path):
    path = tmp_path / "pace.json"
    path.write_text('{"tune": [["read", "x"]]}')
    assert PaceMemory(path).stages("tune") == []


def test_a_stage_that_starts_counting_anew_is_measured_anew():
    pace = Pace([])
    for second in range(10):
        pace.observe(Progress("strength", second * 20, 200), float(second))
    for second in range(3):
        pace.observe(Progress("strength", second, 7), 10.0 + 2 * second)
    assert pace.stage_left(14.0) == pytest.approx(10.0)


# Parts of a tuning: name, units and seconds a unit.
TODAY = [("calibrate", 20, 0.5), ("layers", 8, 2.0), ("read", 900, 0.05), ("solve", 1, 3.0), ("strength", 176, 0.2)]


def follow(pace: Pace, parts: list[tuple[str, int, float]], until: float) -> tuple[float, float]:
    """Goes through ``parts`` up to the share ``until`` of their time; gives the time left, true and as told."""
    whole = sum(units * each for _, units, each in parts)
    now = 0.0
    for stage, units, each in parts:
        for done in range(units + 1):
            at = now + done * each
            if at > until * whole:
                told = pace.left(until * whole)
                if told is None:
                    told = pace.stage_left(until * whole)
                    assert told is not None
                    return now + units * each - until * whole, told
                return whole - until * whole, told
            pace.observe(Progress(stage, done, units), at)
        now += units * each
    raise AssertionError("it ended before")


def remembered(times: float = 1.0, without: str = "", **others: float) -> list[StageTime]:
    parts = [part for part in TODAY if part[0] != without]
    return [StageTime(name, units, units * each * others.get(name, times)) for name, units, each in parts]


@pytest.mark.parametrize("until", [0.34, 0.5, 0.8])
@pytest.mark.parametrize(
    "memory",
    [
        [],
        remembered(1.0),
        remembered(2.0),
        remembered(0.5),
        remembered(2.5),
        remembered(2.0, without="layers"),
        [*remembered(2.0)[:2], StageTime("guess", 10, 30.0), *remembered(2.0)[2:]],
        [StageTime("calibrate", 20, 20.0), StageTime("layers", 8, 32.0), StageTime("read", 5000, 500.0)]
        + remembered(2.0)[3:],
    ],
    ids=["none", "right", "twice as slow", "twice as fast", "2.5 times", "a part less", "a part more", "more to read"],
)
def test_from_a_third_of_the_way_the_time_left_is_within_30_percent_whatever_was_remembered(memory, until):
    true, told = follow(Pace(memory), TODAY, until)
    assert told == pytest.approx(true, rel=0.3)


def test_a_slow_first_batch_does_not_spoil_the_estimate_for_long():
    warming_up = [("read", 1, 6.0), ("strength", 300, 0.1)]
    true, told = follow(Pace([]), warming_up, 0.5)
    assert told == pytest.approx(true, rel=0.3)
