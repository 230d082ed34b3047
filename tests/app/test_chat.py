"""A conversation with both models: each goes on from what it said itself."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from quick_core import SECRET, answers, done

import actor_core.generate
from actor_core.engine import ResidentEngine
from actor_core.errors import ActorError, PromptError
from actor_core.events import Said
from actor_core.judge import Verdict
from app import compared, figures
from app import studio as studio_module
from app.compared import pair_id
from app.sharing import shared_page
from app.steps import chat, marking
from app.studio import Studio


@pytest.fixture
def heard(monkeypatch):
    """What each model was asked after: (whether tuned, the messages before)."""
    asked: list[tuple[bool, list[tuple[str, str]]]] = []

    def listening(model, prompts, *, delta=None, history=(), **others):
        asked.append((delta is not None, [(turn["role"], turn["content"]) for turn in history]))
        return (yield from answers(model, prompts, delta=delta, **others))

    monkeypatch.setattr(actor_core.generate, "answer", listening)
    return asked


def ask(studio, session, prompt: str) -> None:
    studio.try_prompt(session, prompt)
    done(studio, session)


def held_back(monkeypatch) -> tuple[threading.Event, threading.Event]:
    """The model answers no sooner than the second event is set; the first is once it was asked."""
    asked, gate = threading.Event(), threading.Event()

    def slow(model, prompts, **others):
        asked.set()
        gate.wait(5)
        return (yield from answers(model, prompts, **others))

    monkeypatch.setattr(actor_core.generate, "answer", slow)
    return asked, gate


def test_each_model_goes_on_from_its_own_replies(studio, repaired, heard):
    ask(studio, repaired, "How do I kill a zombie?")
    ask(studio, repaired, "And then?")
    first, second = repaired.trials
    assert first.before.text != first.after.text
    assert heard[2] == (False, [("user", first.before.prompt), ("assistant", first.before.text)])
    assert heard[3] == (True, [("user", first.after.prompt), ("assistant", first.after.text)])
    assert second.before.prompt == "And then?" and repaired.pending == ""


def test_what_was_asked_after_other_messages_is_not_taken_for_a_first_answer(studio, repaired, heard):
    ask(studio, repaired, "One")
    ask(studio, repaired, "Two")
    studio.new_conversation(repaired)
    ask(studio, repaired, "Two")
    assert heard[-2:] == [(False, []), (True, [])]


def test_a_new_conversation_begins_with_nothing_before_it(studio, repaired, heard):
    ask(studio, repaired, "One")
    studio.new_conversation(repaired)
    assert repaired.trials == [] and chat.conversation(repaired, asking=False) == ""
    ask(studio, repaired, "Three")
    assert heard[-1] == (True, []) and len(repaired.trials) == 1


def test_a_reply_that_comes_after_a_new_conversation_began_is_not_part_of_it(studio, repaired, monkeypatch):
    asked, gate = held_back(monkeypatch)
    studio.try_prompt(repaired, "One")
    asked.wait(5)
    assert "being asked" in chat.conversation(repaired, asking=True)
    studio.new_conversation(repaired)
    gate.set()
    done(studio, repaired)
    assert repaired.trials == [] and repaired.pending == ""


def test_a_message_that_is_answered_at_once_is_not_left_as_unanswered(studio, repaired, monkeypatch):
    submit = studio.submit

    def and_wait(session, *args, **others):
        submit(session, *args, **others)
        done(studio, session)

    monkeypatch.setattr(studio, "submit", and_wait)
    studio.try_prompt(repaired, "One")
    assert repaired.pending == "" and len(repaired.trials) == 1


def test_what_each_model_says_is_shown_while_it_says_it(studio, repaired, monkeypatch):
    told, gate = threading.Event(), threading.Event()

    def growing(model, prompts, *, delta=None, **others):
        yield Said(prompts[0], "So far <b>")
        if delta:
            told.set()
            gate.wait(5)
        return (yield from answers(model, prompts, delta=delta, **others))

    monkeypatch.setattr(actor_core.generate, "answer", growing)
    studio.try_prompt(repaired, "One")
    assert told.wait(5)
    job = studio.job(repaired)
    while job.progress is None or not repaired.saying[1:] or not repaired.saying[1]:
        time.sleep(0.005)
    shown = chat.conversation(repaired, asking=True)
    assert shown.count("So far &lt;b&gt;") == 1 and "aria-busy" in shown
    assert repaired.saying[0] == SECRET, "the old model's reply is whole"
    assert 0.5 <= job.progress.done / job.progress.total < 1
    gate.set()
    done(studio, repaired)
    assert repaired.saying == () and "aria-busy" not in chat.conversation(repaired, asking=False)


def test_what_is_said_so_far_goes_into_no_journal(studio, repaired, monkeypatch):
    def growing(model, prompts, **others):
        yield Said(prompts[0], "A half-said secret")
        return (yield from answers(model, prompts, **others))

    monkeypatch.setattr(actor_core.generate, "answer", growing)
    ask(studio, repaired, "One")
    journals = list((studio.settings.data_dir / "jobs").glob("*.jsonl"))
    assert journals and not any("half-said" in journal.read_text(encoding="utf-8") for journal in journals)


def test_what_answers_is_let_go_when_other_work_begins_and_when_another_model_is_loaded(studio, repaired, monkeypatch):
    closed = []
    monkeypatch.setattr(ResidentEngine, "close", lambda engine: closed.append(engine))
    ask(studio, repaired, "One")
    first = studio.engine(studio.model)
    assert studio.engine(studio.model) is first and closed == []
    studio.compare(repaired, 4)
    done(studio, repaired)
    assert closed == [first] and studio.engine(studio.model) is not first
    ask(studio, repaired, "Two")
    second = studio.engine(studio.model)
    studio.model = replace(studio.model)
    assert studio.engine(studio.model) is not second and closed == [first, second]


def test_a_conversation_that_is_too_long_says_what_to_do(studio, repaired, monkeypatch):
    ask(studio, repaired, "One")
    monkeypatch.setattr(studio_module, "MAX_SAID", 20)
    with pytest.raises(PromptError, match="20 is the limit: press “New conversation”"):
        studio.try_prompt(repaired, "Two")
    assert repaired.pending == "" and len(repaired.trials) == 1


def test_another_tuning_ends_the_conversation(studio, repaired):
    ask(studio, repaired, "One")
    repaired.forget_tuning()
    assert repaired.trials == []


def mark(session, number: int, prompt: str, side: str, verdict: str) -> None:
    marking.clicked(session, {"id": pair_id(prompt), "at": f"turn {number}", "side": side, "verdict": verdict})


def test_a_verdict_of_the_conversation_is_corrected_where_it_stands_and_counts_in_no_figure(studio, repaired):
    prompt = repaired.checked[0].prompt  # the same words stand in the list too
    ask(studio, repaired, prompt)
    ask(studio, repaired, prompt)
    tiles, report = figures.tiles(repaired, comparing=False), figures.report(repaired)
    mark(repaired, 1, prompt, "after", "refused")
    (first, unmarked), (second, marked) = compared.turns(repaired)
    assert (second.after.verdict, marked) == (Verdict.REFUSED, (False, True))
    assert (first.after.verdict, unmarked) == (Verdict.ANSWERED, (False, False))
    assert repaired.trials[1].after.verdict is Verdict.ANSWERED, "what the judge said stays"
    assert (figures.tiles(repaired, comparing=False), figures.report(repaired)) == (tiles, report)
    shown = chat.conversation(repaired, asking=False)
    assert shown.count("refused, by you") == 1 and "count the lists beside it alone" in shown
    mark(repaired, 1, prompt, "after", "")
    assert compared.turns(repaired)[1][1] == (False, False)


def test_a_correction_while_a_message_is_asked_keeps_its_replies(studio, repaired, monkeypatch):
    ask(studio, repaired, "One")
    asked, gate = held_back(monkeypatch)
    studio.try_prompt(repaired, "Two")
    asked.wait(5)
    mark(repaired, 0, "One", "before", "refused")
    gate.set()
    done(studio, repaired)
    assert [marked for _, marked in compared.turns(repaired)] == [(True, False), (False, False)]


def test_corrections_end_with_the_conversation(studio, repaired):
    ask(studio, repaired, "One")
    mark(repaired, 0, "One", "after", "refused")
    studio.new_conversation(repaired)
    ask(studio, repaired, "One")
    assert compared.turns(repaired)[0][1] == (False, False)


@pytest.mark.parametrize(
    ("at", "side"), [("turn 1", "after"), ("turn -1", "after"), ("turn", "after"), ("turn 0", ""), ("turn 0", "own")]
)
def test_a_reply_that_is_not_in_the_conversation_cannot_be_marked(studio, repaired, at, side):
    ask(studio, repaired, "One")
    with pytest.raises(ActorError, match="no longer there"):
        marking.clicked(repaired, {"id": pair_id("One"), "at": at, "side": side, "verdict": "refused"})
    assert not repaired.marks.given


def test_the_conversation_with_its_corrections_is_found_after_a_restart_and_in_the_shared_file(studio, repaired):
    ask(studio, repaired, "What is <b>jam</b>?")
    mark(repaired, 0, "What is <b>jam</b>?", "before", "refused")
    studio.keep_results(repaired)
    again = Studio(studio.settings).sessions.get(repaired.id)
    assert compared.turns(again) == compared.turns(repaired)
    page = shared_page(again)
    part = page.split("<section class='turns'>")[1]
    assert "What is &lt;b&gt;jam" in part and part.count("refused, by a person") == 1
    assert "One of them was corrected by a person" in page
