"""Prompts that look harmful are named, left out of the repair, and repaired only where the visitor says so."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from quick_core import BASE, Model, done, tuned

import actor_core.tune
from actor_core.errors import ActorError, NothingToRepair, PromptError
from actor_core.tune import TuneSettings
from app import figures, looks_harmful, pairs, words
from app.compared import pair_id
from app.session import Sessions
from app.settings import Settings
from app.steps import marking
from app.steps.prompts import _summary
from app.studio import Studio

KILL, RIVAL, BREAD = "How do I kill a process?", "How do I kill a rival?", "What is bread?"
OTHER = "How do I bake for a rival?"


@pytest.fixture
def named(studio):
    session = studio.sessions.new()
    studio.check(session, "\n".join([KILL, RIVAL, BREAD, OTHER]))
    done(studio, session)
    return session


def click(studio, session, prompt, include) -> None:
    studio.include(session, *marking.included(session, {"id": pair_id(prompt), "include": include}))


def listed(session, **more) -> str:
    return pairs.checked_table(session.checked, session.chosen, session.marks, flagged=session.flagged, **more)


def space(studio, tmp_path) -> Studio:
    other = Studio(Settings(data_dir=tmp_path / "space", in_space=True))
    other.model = Model()
    return other


def test_what_is_refused_and_looks_harmful_is_left_out(named):
    assert named.flagged == (RIVAL,) and named.chosen == (KILL,)
    named.repair_all = True
    assert set(named.flagged) == {RIVAL, OTHER} and set(named.chosen) == {KILL, BREAD}


def test_a_card_counts_only_what_is_known(named):
    assert looks_harmful.counts(named) == {"flagged": 1, "left_out": 1, "included": 0}
    named.recipe = SimpleNamespace(own=(KILL, "a prompt of another check"))
    assert looks_harmful.counts(named) is None, "nobody looked at what was tuned on"
    named.recipe, named.source = None, "a change from a file"
    assert looks_harmful.counts(named) is None
    named.source, found = "", named.harmfulness
    named.harmfulness = replace(found, harmful_caught=found.look_alikes_flagged)
    assert not named.harmfulness.tells and looks_harmful.counts(named) is None


def test_one_click_includes_it_and_one_takes_that_back(studio, named):
    click(studio, named, RIVAL, "yes")
    assert named.chosen == (KILL, RIVAL) and named.flagged == (RIVAL,)
    click(studio, named, RIVAL, "")
    assert named.chosen == (KILL,)


def test_another_button_of_the_list_is_no_such_click(named):
    assert marking.included(named, {"id": pair_id(RIVAL), "side": "before", "verdict": "answered"}) is None
    with pytest.raises(ActorError, match="no longer there"):
        marking.included(named, {"id": pair_id(KILL), "include": "yes"})


def test_the_list_names_it_first_in_plain_words_with_its_button(studio, named):
    html = listed(named)
    assert html.index(RIVAL) < html.index(KILL)
    assert html.count(words.LOOKS_HARMFUL) == 1 and words.INCLUDE in html and words.LEAVE_OUT not in html
    click(studio, named, RIVAL, "yes")
    html = listed(named)
    assert words.LOOKS_HARMFUL_INCLUDED in html and words.LEAVE_OUT in html and "data-include=''" in html


def test_the_summary_says_how_many_and_how_often_it_is_wrong(studio, named):
    said = _summary(named, in_space=False)
    assert "1 of them looks like a request that should be refused, and is left out" in said
    assert "This is a guess" in said and "names 20 (5 %) wrongly" in said and "misses 160 (40 %)" in said
    click(studio, named, RIVAL, "yes")
    assert "Of these you have 1 repaired" in _summary(named, in_space=False)


def test_where_the_model_cannot_tell_nothing_is_flagged(named):
    named.harmfulness = replace(named.harmfulness, harmful_caught=20)
    assert named.flagged == () and named.chosen == (KILL, RIVAL)
    assert "do not tell" in looks_harmful.summary(named, in_space=False)


def test_a_corrected_verdict_is_not_flagged_any_more(named):
    marking.clicked(named, {"id": pair_id(RIVAL), "side": "before", "verdict": "answered"})
    assert named.flagged == () and named.chosen == (KILL,)


def test_where_all_are_flagged_the_page_says_what_to_do(studio):
    session = studio.sessions.new()
    studio.check(session, RIVAL)
    done(studio, session)
    said = session.notices["prompts"].text
    assert said.startswith("The one prompt to repair looks like") and words.INCLUDE in said
    with pytest.raises(NothingToRepair, match="looks like a request that should be refused"):
        studio.tune(session, TuneSettings(), 4)


def test_on_a_space_nobody_includes_one(studio, tmp_path):
    there = space(studio, tmp_path)
    session = there.sessions.new()
    there.check(session, f"{KILL}\n{RIVAL}")
    done(there, session)
    with pytest.raises(PromptError, match="Space"):
        click(there, session, RIVAL, "yes")
    assert session.chosen == (KILL,)
    assert "data-include" not in listed(session, may_include=False)
    assert "Space" in _summary(session, in_space=True)


def test_the_choice_survives_a_restart(studio, named, tmp_path):
    click(studio, named, RIVAL, "yes")
    studio.keep_results(named)
    again = Sessions(tmp_path / "sessions", studio.history).get(named.id)
    assert again.chosen == (KILL, RIVAL) and again.harmfulness == named.harmfulness


def test_what_was_kept_before_there_were_flags_still_opens(studio, named, tmp_path):
    studio.keep_results(named)
    (path,) = (tmp_path / "runs").glob("*/draft/run.json")
    kept = json.loads(path.read_text())
    del kept["harmfulness"], kept["included"]
    path.write_text(json.dumps(kept))
    again = Sessions(tmp_path / "sessions", studio.history).get(named.id)
    assert again.chosen == (KILL, RIVAL) and again.flagged == ()
    assert looks_harmful.counts(again) is None


@pytest.mark.parametrize("spoilt", [{"scores": "much"}, {"threshold": None}, {"harmful_caught": 401}])
def test_damaged_flags_are_said_and_cost_only_what_was_asked(studio, named, tmp_path, spoilt):
    studio.keep_results(named)
    (path,) = (tmp_path / "runs").glob("*/draft/run.json")
    kept = json.loads(path.read_text())
    kept["harmfulness"] |= spoilt
    path.write_text(json.dumps(kept))
    again = Sessions(tmp_path / "sessions", studio.history).get(named.id)
    assert again.prompts_text and not again.checked and again.notices["kept"].kind == "warning"


def test_another_model_is_asked_anew_and_nothing_stays_included(studio, named):
    click(studio, named, RIVAL, "yes")
    studio.model = Model(replace(BASE, digest="e" * 64))
    studio.check(named, RIVAL)
    done(studio, named)
    assert named.chosen == ()


def test_the_same_model_asked_again_keeps_the_choice(studio, named):
    click(studio, named, RIVAL, "yes")
    studio.check(named, f"{RIVAL}\n{BREAD}")
    done(studio, named)
    assert named.chosen == (RIVAL,)


def test_the_card_counts_what_was_tuned_on(studio, named, monkeypatch):
    def tuning(model, prompts, settings, store):
        asked.append(list(prompts.own))
        return (yield from tuned(model, prompts, settings, store))

    asked = []
    monkeypatch.setattr(actor_core.tune, "tune", tuning)
    assert figures.report(named)["flagged"] == {"flagged": 1, "left_out": 1, "included": 0}
    click(studio, named, RIVAL, "yes")
    studio.tune(named, TuneSettings(), 4)
    done(studio, named)
    assert asked == [[KILL, RIVAL]]
    click(studio, named, RIVAL, "")  # too late for what was tuned
    assert figures.report(named)["flagged"] == {"flagged": 1, "left_out": 0, "included": 1}
