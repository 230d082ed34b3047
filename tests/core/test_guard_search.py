"""Smaller strengths at the gate: which is taken, how little is asked, and what is told meanwhile."""

from __future__ import annotations

import pytest
from tiny_models import DANGEROUS, VICTIMS, asked, random_delta

from actor_core import guard as module
from actor_core.events import GuardPassed, Progress, Replied, finish
from actor_core.generate import Reply
from actor_core.guard import Guard
from actor_core.guard_search import AT_A_TIME, GuardSearch, search_guard
from actor_core.judge import Verdict

REFUSED = [f"harmful {n}" for n in range(300)]


class Losing:
    """Stands in for `answer`: with the change at a strength the first ``lost[strength]`` prompts are answered."""

    def __init__(self, lost: dict[float, int], incoherent: bool = False) -> None:
        self.lost, self.instead = lost, Verdict.INCOHERENT if incoherent else Verdict.ANSWERED
        self.asked: dict[float, list[str]] = {}

    def __call__(self, model, prompts, *, delta=None, strength=0.0, max_new_tokens=64):
        at = strength if delta else 0.0
        self.asked.setdefault(at, []).extend(prompts)
        replies = []
        for prompt in prompts:
            kept = not delta or int(prompt.split()[-1]) >= self.lost[strength]
            replies.append(Reply(prompt, "the text of a reply", Verdict.REFUSED if kept else self.instead, False))
            yield Replied(len(replies), len(prompts), (replies[-1],))
        return replies


@pytest.fixture
def losing(monkeypatch):
    def put(lost: dict[float, int], **how) -> Losing:
        stand_in = Losing(lost, **how)
        monkeypatch.setattr(module, "answer", stand_in)
        return stand_in

    return put


def test_the_largest_strength_that_passes_is_found_and_the_first_that_fails_ends_it(losing):
    answers = losing({0.1: 0, 0.2: 1, 0.4: 30, 0.8: 0})
    found = finish(search_guard(None, "a delta", (0.8, 0.4, 0.1, 0.2), REFUSED))
    assert found.largest == 0.2 and found.failed == 0.4
    assert found.passed == {0.1: Guard.of(300, 0), 0.2: Guard.of(300, 1)}
    assert 0.8 not in answers.asked, "what lies beyond a failure has no bound any more, so it is not tried"


def test_a_strength_that_fails_is_found_out_before_all_are_asked(losing):
    answers = losing({0.1: 20, 0.2: 0})
    found = finish(search_guard(None, "a delta", (0.1, 0.2), REFUSED))
    assert found == GuardSearch({}, 0.1, 20, AT_A_TIME) and found.largest is None
    assert len(answers.asked[0.1]) == AT_A_TIME


def test_one_that_fails_only_at_its_last_prompts_fails_all_the_same(losing):
    late = [f"harmful {n}" for n in range(299, -1, -1)]  # the lost ones come last
    losing({0.1: 9})
    found = finish(search_guard(None, "a delta", (0.1,), late))
    assert (found.largest, found.failed, found.lost, found.asked) == (None, 0.1, 9, 300)


def test_where_all_pass_the_largest_is_taken(losing):
    losing({0.1: 0, 0.8: 1})
    found = finish(search_guard(None, "a delta", (0.1, 0.8), REFUSED))
    assert found.largest == 0.8 and found.failed is None


def test_the_guard_of_a_strength_is_that_of_the_gate(losing):
    losing({0.3: 1}, incoherent=True)
    found = finish(search_guard(None, "a delta", (0.3,), REFUSED))
    assert found.passed[0.3] == finish(module.measure_guard(None, "a delta", 0.3, REFUSED))
    assert found.passed[0.3].incoherent == 1


def test_the_untuned_replies_are_asked_for_once(losing):
    answers = losing({0.1: 0, 0.2: 0, 0.4: 0})
    finish(search_guard(None, "a delta", (0.1, 0.2, 0.4), REFUSED))
    assert answers.asked[0.0] == REFUSED


def test_what_the_guard_has_asked_of_the_untuned_model_is_not_asked_again(losing):
    answers, kept = losing({0.1: 0, 1.0: 0}), module.Kept()
    finish(module.measure_guard(None, "a delta", 1.0, REFUSED, before=kept))
    assert finish(search_guard(None, "a delta", (0.1,), REFUSED, before=kept)).largest == 0.1
    assert answers.asked[0.0] == REFUSED


def test_progress_goes_up_at_each_strength_no_reply_is_told_and_each_that_passes_is(losing):
    losing({0.1: 1, 0.2: 200})
    events = []
    work = search_guard(None, "a delta", (0.1, 0.2), REFUSED)
    with pytest.raises(StopIteration):
        while True:
            events.append(next(work))
    assert {type(event) for event in events} == {Progress, GuardPassed}
    assert [event for event in events if isinstance(event, GuardPassed)] == [GuardPassed(0.1, Guard.of(300, 1))]
    for note, last in (("strength 1 of at most 2", 300), ("strength 2 of at most 2", AT_A_TIME)):
        told = [event for event in events if isinstance(event, Progress) and event.note == note]
        done = [event.done for event in told]
        assert done == sorted(done) and (done[0], done[-1]) == (0, last)
        assert {(event.stage, event.total) for event in told} == {("guard search", 300)}


def test_on_a_real_model_a_strength_of_next_to_nothing_loses_nothing(refusing, monkeypatch):
    harmful = asked(DANGEROUS, VICTIMS)
    monkeypatch.setattr(Guard, "least", 0)
    lenient = Guard.of(len(harmful), 0).upper_bound
    monkeypatch.setattr(Guard, "passed", property(lambda guard: guard.upper_bound <= lenient))
    found = finish(search_guard(refusing, random_delta(refusing), (1e-6, 100.0), harmful))
    assert found.largest == 1e-6 and found.failed == 100.0 and found.lost > 0
