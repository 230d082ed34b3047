"""The time left is computed from what was measured, and not given before anything was."""

from __future__ import annotations

import pytest

from actor_core.events import Part, Progress
from app import words
from app.pace import Pace, PaceMemory, StageTime
from app.rates import Rates


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
    assert pace.left(0.0) == (45.0, 45.0)
    for second in range(6):
        pace.observe(Progress("read", second * 10, 100), float(second))
    assert pace.left(5.0) == pytest.approx((5.0 + 35.0,) * 2)
    pace.observe(Progress("solve", 0, 1), 6.0)
    assert pace.left(6.0) == pytest.approx((5.0 + 30.0,) * 2)
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


def follow(pace: Pace, parts: list[tuple[str, int, float]], until: float) -> tuple[float, tuple[float, float]]:
    """Goes through ``parts`` up to the share ``until`` of their time; gives the time left, true and as told.

    Where nothing is said of the whole both are those of the part that runs.
    """
    whole = sum(units * each for _, units, each in parts)
    now = 0.0
    pace.begin(now)
    for stage, units, each in parts:
        for done in range(units + 1):
            at = now + done * each
            if at > until * whole:
                told = pace.left(until * whole)
                if told is None:
                    of_part = pace.stage_left(until * whole)
                    assert of_part is not None
                    return now + units * each - until * whole, (of_part, of_part)
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
    assert told == pytest.approx((true, true), rel=0.3)


def test_a_slow_first_batch_does_not_spoil_the_estimate_for_long():
    warming_up = [("read", 1, 6.0), ("strength", 300, 0.1)]
    true, told = follow(Pace([]), warming_up, 0.5)
    assert told == pytest.approx((true, true), rel=0.3)


# What a tuning of the default model with 100 prompts of a person says lies ahead (`actor_core.work_ahead`), and the
# units in which each part is reported.
AHEAD = [
    (Part("calibrate", "read", 0.754e12), 80),
    (Part("calibrate", "generate", 1.233e12), 80),
    (Part("direction", "read", 0.751e12), 24),
    (Part("layers", "read", 0.478e12), 80),
    (Part("layers", "score", 9), 9),
    (Part("read", "read", 24.14e12), 4810),
    (Part("read", "read", 0.488e12), 100),
    (Part("read", "read", 1.194e12), 79),
    (Part("solve", "solve", 0.1905e12), 1),
    (Part("strength", "read", 2.917e12), 352),
    (Part("strength", "read", 2.434e12), 14),
    (Part("answer again", "generate", 4.173e12), 100),
]
PUBLISHED = [*AHEAD[:5], (Part("read", "read", 60e12), 4910), (Part("train", "train", 20e12), 14730), *AHEAD[9:]]
# Seconds a unit of work of each kind.
PROCESSOR = {"read": 5.5e-12, "generate": 15e-12, "score": 0.5, "solve": 29e-12, "train": 15e-12}
# On a GPU the plan is that of a model 18 times as large, or it would be over at once.
GPU = {"read": 0.9e-12, "generate": 18e-12, "score": 0.25, "solve": 9e-12, "train": 2e-12}
# How much longer a part takes than its work says: a gradient and single tokens go slower than long reading, replies
# end before their limit, and so on.
UNEVEN = {"direction": 1.5, "strength": 1.4, "layers": 1.2, "answer again": 0.75, "calibrate": 0.9}


def tuning(plan, machine, uneven=UNEVEN) -> list[tuple[str, int, float]]:
    return [
        (part.stage, units, part.work * machine[part.kind] * uneven.get(part.stage, 1.0) / units)
        for part, units in plan
    ]


def expecting(plan, earlier=()) -> Pace:
    pace = Pace(list(earlier))
    pace.expect([part for part, _ in plan])
    return pace


@pytest.mark.parametrize("machine", [PROCESSOR, GPU], ids=["processor", "gpu"])
@pytest.mark.parametrize("plan", [AHEAD, [p for p in AHEAD if p[1] != 4810]], ids=["first", "readings kept"])
@pytest.mark.parametrize("until", [1 / 3, 0.5, 0.8])
def test_a_first_run_tells_the_whole_time_left_within_30_percent_from_a_third_of_the_way(machine, plan, until):
    true, (least, most) = follow(expecting(plan), tuning(plan, machine), until)
    assert most <= words.NOT_WIDE * least
    assert (least * most) ** 0.5 == pytest.approx(true, rel=0.3)


def test_what_an_earlier_run_read_and_this_one_need_not_is_not_waited_for():
    first = expecting(AHEAD)
    follow(first, tuning(AHEAD, PROCESSOR), 0.999)
    assert {stage.kind for stage in first.stages} == {"read", "generate", "score", "solve"}
    again = [part for part in AHEAD if part[1] != 4810]
    for until in (0.05, 1 / 3):
        true, told = follow(expecting(again, first.stages), tuning(again, PROCESSOR), until)
        assert told == pytest.approx((true, true), rel=0.3)


def test_while_a_kind_of_work_was_not_seen_yet_a_range_is_told_and_the_truth_lies_in_it():
    for machine in (PROCESSOR, GPU):
        true, (least, most) = follow(expecting(PUBLISHED), tuning(PUBLISHED, machine), 0.2)
        assert least < true < most and most > words.NOT_WIDE * least
    assert words.between(120.0, 600.0) == "about 2 minutes to 10 minutes"
    assert words.between(100.0, 120.0) == "about 2 minutes"


def test_nothing_is_told_of_the_whole_before_anything_was_seen():
    pace = expecting(AHEAD)
    pace.begin(0.0)
    pace.observe(Progress("calibrate", 0, 80), 1.0)
    assert pace.left(2.0) is None


def test_what_is_said_to_lie_ahead_later_takes_the_place_of_what_was_said_before():
    pace = expecting([(Part("read", "read", 10.0), 10), (Part("solve", "read", 100.0), 1)])
    pace.begin(0.0)
    for second in range(11):
        pace.observe(Progress("read", second, 10), float(second))
    assert pace.left(10.0) == pytest.approx((100.0, 100.0))
    pace.expect([Part("read", "read", 20.0)])
    pace.observe(Progress("read", 10, 10), 10.0)  # another part, of the same name and number
    pace.observe(Progress("read", 0, 10), 10.0)
    assert pace.left(10.0)[1] <= 20.0


def test_a_kind_is_compared_with_one_that_was_seen():
    rates = Rates([(Part("read", "read", 10.0), 2.0)])
    assert rates.seconds(Part("x", "read", 5.0)) == (1.0, 1.0)
    least, most = rates.seconds(Part("x", "generate", 5.0))
    assert 1.0 <= least < most
    assert rates.seconds(Part("x", "never heard of", 5.0)) is None
    remembered_ones = [(Part("r", "read", 1.0), 0.1), (Part("g", "generate", 1.0), 3.0)]
    slower = Rates([(Part("read", "read", 10.0), 2.0)], remembered_ones)
    assert slower.seconds(Part("x", "generate", 1.0)) == pytest.approx((6.0, 6.0)), "twice as slow as remembered"


def test_the_kinds_of_work_are_remembered_and_rows_of_an_earlier_version_still_read(tmp_path):
    path = tmp_path / "pace.json"
    pace = Pace([], "tune a")
    pace.expect([Part("read", "read", 20.0)])
    pace.begin(0.0)
    pace.observe(Progress("read", 10, 10), 4.0)
    PaceMemory(path).remember(pace)
    assert PaceMemory(path).stages("tune a") == [StageTime("read", 10, 4.0, "read", 20.0)]
    path.write_text('{"tune a": [["read", 10, 4.0]]}')
    assert PaceMemory(path).stages("tune a") == [StageTime("read", 10, 4.0)]
