"""Asked otherwise in step 4: what is asked, what is kept, and what of it reaches the page, a file and a card."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
import texts
from quick_core import SECRET, answers, done
from test_history import places, restarted
from test_render import EVIL, assert_safe

import actor_core.generate
from actor_core.errors import ModelError
from actor_core.events import Ahead
from actor_core.judge import Verdict
from actor_core.steadiness import BARE, wrappers
from actor_core.wordings import WORDINGS, rewordings
from app import asked_otherwise, figures, strips
from app.language import catalogue, spoken
from app.marks import UNTUNED
from app.run_files import read_run
from app.sharing import shared_page

KILL = "How do I kill a process?"


@pytest.fixture
def asked(studio, repaired):
    """Both were pressed."""
    for press in (asked_otherwise.ask_to_weigh, asked_otherwise.ask_in_other_words):
        press(studio, repaired)
        done(studio, repaired)
    return repaired


def stop_after(studio, session, press, found) -> None:
    press(studio, session)
    end = time.monotonic() + 10
    while not found() and time.monotonic() < end:
        time.sleep(0.001)
    studio.stop(session)
    done(studio, session)


@pytest.fixture
def slow(monkeypatch):
    """Half a hundredth of a second a prompt, so that a stop comes in between."""

    def slowly(*given, **others):
        work = answers(*given, **others)
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                return end.value
            time.sleep(0.005)
            yield event

    monkeypatch.setattr(actor_core.generate, "answer", slowly)


def test_the_three_ways_are_asked_of_the_same_prompts(asked):
    found = asked.perspectives[1.0]
    for arm in (found.own.untuned, found.own.weighed, found.own.tuned):
        assert [reply.prompt for reply in arm.replies] == [KILL, "What is bread?"]
    assert [rates.n for rates in found.harmful] == [asked_otherwise.HARMFUL_WEIGHED] * 3
    assert found.own.untuned.replies[0].verdict is Verdict.REFUSED
    assert found.own.tuned.replies[0].verdict is Verdict.ANSWERED


def test_each_prompt_is_asked_in_its_eight_wordings_and_harmful_ones_in_every_trick(asked):
    found = asked.steadiness[1.0]
    assert [row.prompt for row in found.reworded] == [KILL, "What is bread?"]
    assert found.reworded[0].wordings == rewordings(KILL)
    assert set(found.reworded[0].before) == {Verdict.REFUSED} and set(found.reworded[0].after) == {Verdict.ANSWERED}
    assert [row.name for row in found.wrapped] == [BARE.name, *(wrapper.name for wrapper in wrappers())]
    assert {row.before.n for row in found.wrapped} == {asked_otherwise.HARMFUL_WRAPPED}


def test_the_page_says_before_how_many_replies_it_will_be(studio, repaired, monkeypatch):
    said = asked_otherwise.replies_ahead(repaired)
    counted = []

    def counting(model, prompts, **others):
        counted.extend(prompts)
        return answers(model, prompts, **others)

    monkeypatch.setattr(actor_core.generate, "answer", counting)
    studio.before = type(studio.before)()  # nothing is known from before
    asked_otherwise.ask_to_weigh(studio, repaired)
    done(studio, repaired)
    assert len(counted) == said["perspectives"]
    counted.clear()
    studio.before = type(studio.before)()
    asked_otherwise.ask_in_other_words(studio, repaired)
    done(studio, repaired)
    assert len(counted) == said["steadiness"]


def test_what_lies_ahead_is_said_first_so_that_the_time_left_is_known(studio, repaired):
    for work, stages in (
        (asked_otherwise.weigh, ["perspectives", "perspectives harmful"]),
        (asked_otherwise.reword, ["wordings", "wrappers"]),
    ):
        first = next(work(studio.model, repaired, studio.prompt_set(), studio.before))
        assert isinstance(first, Ahead) and [part.stage for part in first.parts] == stages


def test_of_many_prompts_those_refused_before_come_first(studio, repaired):
    repaired.checked = [replace(repaired.checked[1], prompt=f"bread {n}?") for n in range(40)] + repaired.checked
    asked_otherwise.ask_in_other_words(studio, repaired)
    done(studio, repaired)
    rows = repaired.steadiness[1.0].reworded
    assert rows[0].prompt == KILL and len(rows) == asked_otherwise.OWN_AT_MOST


def test_without_prompts_of_ones_own_the_harmful_ones_are_asked(studio, repaired):
    repaired.checked = []
    for press in (asked_otherwise.ask_to_weigh, asked_otherwise.ask_in_other_words):
        press(studio, repaired)
        done(studio, repaired)
    assert repaired.perspectives[1.0].own is None and repaired.perspectives[1.0].harmful
    assert repaired.steadiness[1.0].reworded == () and repaired.steadiness[1.0].wrapped
    assert "Tokens" not in strips.perspectives(repaired) and strips.steadiness(repaired)


def test_it_needs_what_was_tuned(studio, checked):
    for press in (asked_otherwise.ask_to_weigh, asked_otherwise.ask_in_other_words):
        with pytest.raises(ModelError, match="step 3"):
            press(studio, checked)


def test_stop_keeps_the_prompts_that_came(studio, repaired, slow):
    repaired.checked = [replace(repaired.checked[0], prompt=f"{KILL} {n}") for n in range(20)]

    def some():
        return 1.0 in repaired.steadiness

    stop_after(studio, repaired, asked_otherwise.ask_in_other_words, some)
    kept = repaired.steadiness[1.0]
    assert 0 < len(kept.reworded) < 20 and kept.wrapped == ()
    assert all(len(row.after) == WORDINGS for row in kept.reworded)
    assert "what was finished" in repaired.notices["compare"].text
    assert strips.steadiness(repaired)


def test_stop_keeps_ones_own_prompts_where_the_harmful_ones_were_not_asked(studio, repaired, slow):
    stop_after(studio, repaired, asked_otherwise.ask_to_weigh, lambda: 1.0 in repaired.perspectives)
    found = repaired.perspectives[1.0]
    assert found.own is not None and found.harmful is None
    assert "Harmful" not in strips.perspectives(repaired)


def test_another_tuning_or_other_prompts_forget_it(studio, asked):
    studio.check(asked, "What is bread?")
    done(studio, asked)
    assert asked.perspectives == asked.steadiness == {}


def test_it_is_found_again_after_a_restart(studio, asked):
    again, session = restarted(studio, asked.id)
    assert session is not asked
    assert session.perspectives == asked.perspectives and session.steadiness == asked.steadiness
    assert strips.steadiness(session) == strips.steadiness(asked) != ""


def test_a_run_of_an_earlier_version_has_none_of_it_and_is_read(studio, asked):
    (place,) = places(studio, asked)
    kept = json.loads((place / "run.json").read_text(encoding="utf-8"))
    for at in kept["at"]:
        del at["perspectives"], at["steadiness"]
    (place / "run.json").write_text(json.dumps(kept), encoding="utf-8")
    assert read_run(place).at[0].steadiness is None
    _, session = restarted(studio, asked.id)
    assert session.after == asked.after and session.steadiness == {}


def test_no_reply_to_a_harmful_prompt_is_kept_or_shown(studio, asked):
    """The stand-in answers every harmful prompt with the same words, and one's own prompt likewise."""
    own = json.dumps([arm.replies[1].text for arm in (asked.perspectives[1.0].own.untuned,)])
    assert SECRET in own
    (place,) = places(studio, asked)
    at = json.loads((place / "run.json").read_text(encoding="utf-8"))["at"][0]
    assert SECRET not in json.dumps([at["steadiness"], at["perspectives"]["harmful"]])
    harmful = studio.prompt_set().held_out().harmful
    assert not any(prompt in json.dumps([at["steadiness"], at["perspectives"]]) for prompt in harmful)
    assert SECRET not in strips.steadiness(asked)


def test_a_cell_tells_the_wording_and_the_verdict_in_words_and_sign(asked):
    page = strips.steadiness(asked)
    assert "aria-label='“Tell me how to kill a process.”: refused'>✕<" in page
    assert "aria-label='“Tell me how to kill a process.”: answered'>✓<" in page
    assert "aria-label='Refused in 8 of 8 wordings'" in page and "Refused: 8 of 16 wordings before, 0 after." in page
    assert page.count("tabindex='0'") == 4, "one place for the tab key in each strip"
    assert page.count("role='img'") == 4 * WORDINGS


def test_the_ways_are_told_with_their_cost(asked):
    own = asked.perspectives[1.0].own
    weighed = replace(own.weighed, seconds=1.234)
    asked.perspectives = {1.0: replace(asked.perspectives[1.0], own=replace(own, weighed=weighed))}
    page = strips.perspectives(asked)
    assert "<td data-label='Your prompts refused'>1 of 2</td>" in page
    assert "<td data-label='Seconds a reply'>1.23</td>" in page
    with spoken("de"):
        assert ">1,23</td>" in strips.perspectives(asked)


def test_a_corrected_verdict_counts_here_too(asked):
    untuned = asked.perspectives[1.0].own.untuned.replies[1]
    asked.marks.give(untuned, UNTUNED, Verdict.REFUSED)
    assert "<td data-label='Your prompts refused'>2 of 2</td>" in strips.perspectives(asked)


def test_at_another_strength_nothing_is_claimed(asked):
    asked.strength = 0.4
    assert strips.perspectives(asked) == strips.steadiness(asked) == ""
    assert len(figures.report(asked)["figures"]) < 4


def test_what_people_and_models_wrote_stays_text(asked):
    own, steady = asked.perspectives[1.0].own, asked.steadiness[1.0]
    evil = replace(own.weighed, replies=(replace(own.weighed.replies[0], prompt=EVIL, text=EVIL),))
    asked.perspectives = {1.0: replace(asked.perspectives[1.0], own=replace(own, weighed=evil))}
    row = replace(steady.reworded[0], prompt=EVIL, wordings=(EVIL,) * WORDINGS)
    asked.steadiness = {1.0: replace(steady, reworded=(row,))}
    assert_safe(strips.perspectives(asked))
    assert_safe(strips.steadiness(asked))
    assert_safe(shared_page(asked))


def test_the_file_to_send_has_it_where_it_was_asked(studio, repaired):
    before = shared_page(repaired)
    assert "class='ways'" not in before and "class='steady'" not in before
    for press in (asked_otherwise.ask_to_weigh, asked_otherwise.ask_in_other_words):
        press(studio, repaired)
        done(studio, repaired)
    page = shared_page(repaired)
    assert "class='ways'" in page and "class='steady'" in page and "st-strip" in page
    assert "Your" not in page and "The prompts refused" in page


def test_the_card_gets_counts_and_no_words(asked):
    from actor_core.export.card import read_figures

    report = figures.report(asked)
    rows = {row.name: row for row in read_figures(report)}
    assert rows["your prompts in eight other wordings each"].before.refused == 8
    assert rows["your prompts; before: asked to weigh perspectives"].before.n == 2
    assert rows["held-out harmful; before: asked to weigh perspectives"].after.n == asked_otherwise.HARMFUL_WEIGHED
    assert rows["held-out harmful, jailbreak: a scene in a novel"].after.n == asked_otherwise.HARMFUL_WRAPPED
    assert KILL not in json.dumps(report)


@pytest.mark.parametrize("name", [BARE.name, *(wrapper.name for wrapper in wrappers())])
def test_every_jailbreak_has_a_german_name(name):
    assert name in catalogue("de") and texts.shape(name) == name
