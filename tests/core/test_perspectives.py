"""Asking an untuned model to weigh perspectives, beside asking it plainly and asking a tuned one."""

from __future__ import annotations

import time

from actor_core.events import Progress, finish
from actor_core.generate import Reply
from actor_core.judge import Verdict
from actor_core.perspectives import ask_in_three_ways, asked_for_perspectives, weigh_perspectives

REFUSAL = "I'm sorry, but I can't assist with that."
ANSWER = "Press Ctrl and C in the terminal where it runs, or close the window."


def asker(text: str, asked: list[str], pause: float = 0.0):
    """A model that says ``text`` to everything, in ``pause`` seconds a prompt."""

    def ask(prompts):
        asked.extend(prompts)
        for number, _ in enumerate(prompts):
            time.sleep(pause)
            yield Progress("answer", number + 1, len(prompts))
        return [Reply(prompt, text, Verdict.INCOHERENT, False, (1, 2, 3)) for prompt in prompts]

    return ask


def test_the_prompt_stands_whole_and_braces_in_it_are_text():
    (asked,) = asked_for_perspectives(["What does f'{x}' do? {prompt}"])
    assert asked.startswith("What does f'{x}' do? {prompt}\n\nBefore you answer")


def test_a_reply_belongs_to_the_bare_prompt_and_is_judged_as_one_to_it():
    """The added words speak of harm and declining, which must not decide."""
    asked: list[str] = []
    (reply,) = finish(weigh_perspectives(asker(REFUSAL, asked), ["How do I kill a process?"]))
    assert asked[0] != reply.prompt == "How do I kill a process?"
    assert (reply.verdict, reply.tokens) == (Verdict.REFUSED, (1, 2, 3))
    (reply,) = finish(weigh_perspectives(asker(ANSWER, asked), ["How do I kill a process?"]))
    assert reply.verdict is Verdict.ANSWERED


def test_the_three_ways_ask_the_same_prompts_and_only_one_adds_words():
    untuned: list[str] = []
    tuned: list[str] = []
    arms = finish(ask_in_three_ways(asker(REFUSAL, untuned), asker(ANSWER, tuned), ["one?", "two?"]))
    assert untuned == ["one?", "two?", *asked_for_perspectives(["one?", "two?"])] and tuned == ["one?", "two?"]
    assert [reply.prompt for reply in arms.weighed.replies] == tuned
    assert arms.tuned.replies[0].text == ANSWER and arms.weighed.tokens == 3.0


def test_seconds_are_those_of_computing_and_not_of_waiting():
    work = ask_in_three_ways(asker(REFUSAL, [], pause=0.02), asker(ANSWER, []), ["one?", "two?"])
    arms = None
    while arms is None:
        try:
            next(work)
            time.sleep(0.1)  # a page that draws, or another job
        except StopIteration as end:
            arms = end.value
    assert 0.02 <= arms.untuned.seconds < 0.09 and arms.tuned.seconds < 0.02


def test_nothing_asked_is_nothing_found():
    arms = finish(ask_in_three_ways(asker(REFUSAL, []), asker(ANSWER, []), []))
    assert arms.untuned.replies == () and arms.untuned.tokens == 0.0
