"""A conversation with both models: each goes on from what it said itself."""

from __future__ import annotations

import threading

import pytest
from quick_core import answers, done

import actor_core.generate
from actor_core.errors import PromptError
from app import studio as studio_module
from app.steps import chat


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
    assert repaired.trials == [] and chat.conversation(repaired.trials, repaired.pending, asking=False) == ""
    ask(studio, repaired, "Three")
    assert heard[-1] == (True, []) and len(repaired.trials) == 1


def test_a_reply_that_comes_after_a_new_conversation_began_is_not_part_of_it(studio, repaired, monkeypatch):
    asked, gate = threading.Event(), threading.Event()

    def slow(model, prompts, **others):
        asked.set()
        gate.wait(5)
        return (yield from answers(model, prompts, **others))

    monkeypatch.setattr(actor_core.generate, "answer", slow)
    studio.try_prompt(repaired, "One")
    asked.wait(5)
    assert "being asked" in chat.conversation(repaired.trials, repaired.pending, asking=True)
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
