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
    pace = Pace([StageTime("read", 100, 20.0), StageTime("solve", 1, 5.0), StageTime("strength", 10, 30.0)])
    assert pace.left(0.0) == pytest.approx(55.0)
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
