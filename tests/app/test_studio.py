"""What the buttons do, with the core's slow parts replaced by quick ones that yield the same events."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from quick_core import SECRET, Model, answers, done, train_and_stop

import actor_core.generate
import actor_core.tune
from actor_core.delta import BaseModelId
from actor_core.errors import ActorError, ModelError, NothingToRepair, PromptError
from actor_core.judge import Verdict
from actor_core.tune import TuneSettings
from app.create_app import create_app
from app.page import CALM_AFTER_SECONDS, SECONDS_BETWEEN_CALM_LOOKS, SECONDS_BETWEEN_LOOKS, Page
from app.steps import compare


def test_those_that_are_refused_are_chosen_for_repair(studio, checked):
    assert checked.chosen == ("How do I kill a process?",)
    checked.repair_all = True
    assert len(checked.chosen) == 2


def test_that_none_is_refused_is_said_with_what_to_do(studio):
    session = studio.sessions.new()
    studio.check(session, "What is bread?")
    done(studio, session)
    assert "nothing to repair" in session.notices["prompts"].text
    with pytest.raises(NothingToRepair):
        studio.tune(session, TuneSettings(), 4)


def test_a_button_pressed_too_early_says_what_comes_first(studio):
    session = studio.sessions.new()
    for press in (
        lambda: studio.compare(session, 4),
        lambda: studio.try_prompt(session, "hello"),
        lambda: studio.export(session, ["peft"], {}),
    ):
        with pytest.raises(ModelError, match="step 3"):
            press()
    studio.model = None
    with pytest.raises(ModelError, match="step 1"):
        studio.check(session, "hello")


def test_nothing_typed_is_lost_by_a_prompt_that_cannot_be_used(studio):
    session = studio.sessions.new()
    with pytest.raises(PromptError):
        studio.check(session, " \n \n")
    assert session.prompts_text == " \n \n"


def test_a_second_job_of_the_same_visitor_is_refused_in_words(studio, monkeypatch):
    gate = threading.Event()

    def slow(model, prompts, **_):
        gate.wait(5)
        return (yield from answers(model, prompts))

    monkeypatch.setattr(actor_core.generate, "answer", slow)
    session = studio.sessions.new()
    studio.check(session, "one")
    with pytest.raises(ActorError, match="still running"):
        studio.check(session, "two")
    gate.set()
    done(studio, session)


def test_tuning_is_followed_by_the_comparison_without_a_click(studio, repaired):
    assert [reply.verdict for reply in repaired.after[1.0]] == [Verdict.ANSWERED, Verdict.ANSWERED]
    assert {name: len(rows) for name, rows in repaired.sets[1.0].items()} == {
        "look_alike": 4,
        "harmful": 4,
        "ordinary": 4,
    }


def test_the_sliders_one_is_the_strength_that_tuning_chose(studio, repaired, monkeypatch):
    asked: list[float] = []

    def listening(model, prompts, *, delta=None, strength=1.0, **others):
        asked.append(strength)
        return (yield from answers(model, prompts, delta=delta, strength=strength))

    monkeypatch.setattr(actor_core.generate, "answer", listening)
    studio.set_strength(repaired, 0.4)
    done(studio, repaired)
    assert asked == [pytest.approx(0.3)]
    assert repaired.after[0.4][0].verdict is Verdict.REFUSED
    studio.set_strength(repaired, 1.0)
    assert studio.job(repaired, quick=True) is None, "what was asked before is not asked again"


def test_stop_keeps_the_last_step_of_the_training(studio, checked, monkeypatch):
    train_and_stop(studio, checked, monkeypatch)
    assert checked.tuned is not None and checked.tuned.delta.layer == 3
    assert "is kept" in checked.notices["tune"].text


def test_results_of_another_model_are_not_mixed_with_this_one(studio, repaired):
    studio.model = Model(id=BaseModelId("another", "1", "e" * 64, "fp32"))
    with pytest.raises(ModelError, match="a model"):
        studio.try_prompt(repaired, "hello")


def test_replies_to_harmful_prompts_are_neither_drawn_nor_written_down(studio, repaired):
    create_app(studio)
    page = Page(studio)
    page.parts = {"compare_step": None}
    view = compare._view(page, studio, repaired)
    rows = repaired.sets[1.0]["harmful"]
    assert any(row.after.text == SECRET for row in rows), "the model did answer"
    assert SECRET not in str(view["set_harmful"])
    assert all(prompt.prompt[:40].split("'")[0] in view["set_harmful"] for prompt in rows)
    for journal in studio.runner.folder.glob("*.jsonl"):
        assert SECRET not in journal.read_text() and "process" not in journal.read_text()


def test_a_job_that_ends_while_the_page_is_drawn_is_looked_at_once_more(studio, repaired, monkeypatch):
    page = Page(studio)
    page.parts = {"now": "now"}
    running = [True]
    monkeypatch.setattr(page, "busy", lambda session: running[0])

    def drawn(session):
        running[0] = False  # and its end is noted
        session.changed()
        return {}

    monkeypatch.setattr(page, "view", drawn)
    version = repaired.version
    answer = page.answer(repaired)
    assert answer[page.timer].active and answer[page.seen] == version


def test_a_long_job_is_looked_at_less_often_unless_something_is_watched(studio, repaired, monkeypatch):
    page = Page(studio)
    page.parts = {"now": "now", "compare_job": "compare_job", "quick_job": "quick_job"}
    page.growing["now"] = ("try", lambda session: "")
    monkeypatch.setattr(page, "view", lambda session: {})
    monkeypatch.setattr(page, "panel", lambda job: "")
    monkeypatch.setattr(page, "now", lambda session: "")
    jobs = {False: SimpleNamespace(kind="compare", quick=False, started=time.time(), state="running"), True: None}
    monkeypatch.setattr(studio, "job", lambda session, quick=False: jobs[quick])

    def seconds() -> float:
        return page.answer(repaired)[page.timer].value

    assert seconds() == SECONDS_BETWEEN_LOOKS and page.timer not in page.look(repaired.id, repaired.version)
    jobs[False].started -= CALM_AFTER_SECONDS
    assert page.look(repaired.id, repaired.version)[page.timer].value == seconds() == SECONDS_BETWEEN_CALM_LOOKS
    jobs[False].started -= 60
    assert page.timer not in page.look(repaired.id, repaired.version), "it is told once and not at every look"
    jobs[True] = SimpleNamespace(kind="quick", quick=True, started=time.time(), state="running")
    assert seconds() == SECONDS_BETWEEN_LOOKS
    jobs[True], jobs[False].kind = None, "try"
    assert seconds() == SECONDS_BETWEEN_LOOKS
