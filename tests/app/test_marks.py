"""A verdict that a person corrects counts everywhere, and changes no reply."""

from __future__ import annotations

from dataclasses import replace

import pytest
from quick_core import BASE, Model, done, tuned

import actor_core.tune
from actor_core.errors import ActorError
from actor_core.judge import Verdict
from actor_core.tune import TuneSettings
from app import compared, figures, pairs
from app.compared import pair_id
from app.exporting import compared as replayed
from app.steps import marking

KILL, BREAD = "How do I kill a process?", "What is bread?"


def click(session, prompt, side, verdict, at=1.0) -> None:
    marking.clicked(session, {"id": pair_id(prompt), "side": side, "verdict": verdict, "at": f"{at:g}"})


def own_outcomes(session) -> dict[str, str]:
    return {pair.prompt: pair.outcome for pair in compared.own(session)}


def test_a_corrected_verdict_counts_in_tile_outcome_and_report(repaired):
    assert own_outcomes(repaired) == {KILL: "fixed", BREAD: "unchanged"}
    click(repaired, KILL, "after", "refused")
    assert own_outcomes(repaired)[KILL] == "still refused"
    tile = figures.tiles(repaired, comparing=False)[0]
    assert tile[2] == "1 of 2" and "1 verdict by you" in tile[3]
    report = figures.report(repaired)
    assert report["corrected"] == 1 and report["figures"][0]["after"]["refused"] == 1


def test_what_the_judge_said_is_kept_and_comes_back(repaired):
    before = list(repaired.after[1.0])
    click(repaired, KILL, "after", "refused")
    assert repaired.after[1.0] == before and repaired.after[1.0][0].verdict is Verdict.ANSWERED
    assert {reply.verdict for reply in replayed(repaired, 1.0, 99)} == {
        reply.verdict for reply in [*before, *(row.after for rows in repaired.sets[1.0].values() for row in rows)]
    }, "the check of an export asks again, and compares with what the judge said"
    click(repaired, KILL, "after", "")
    assert own_outcomes(repaired)[KILL] == "fixed" and figures.report(repaired)["corrected"] == 0


def test_marking_what_the_judge_said_is_no_correction(repaired):
    click(repaired, KILL, "after", "answered")
    assert figures.report(repaired)["corrected"] == 0


def test_a_mark_on_a_held_out_verdict_counts_without_its_reply(repaired):
    row = repaired.sets[1.0]["harmful"][0]
    old = figures.report(repaired)["figures"]
    click(repaired, row.prompt, "after", "refused")
    new = figures.report(repaired)["figures"]
    changed = [(b["set"], b["after"]["refused"] - a["after"]["refused"]) for a, b in zip(old, new, strict=True)]
    assert [row for row in changed if row[1]] == [("held-out harmful", 1)]
    html = pairs.verdict_table(compared.held_out(repaired, "harmful"), "")
    assert "by you" in html and row.after.text not in html


def test_a_mark_belongs_to_its_strength(studio, repaired):
    click(repaired, KILL, "after", "refused")
    studio.set_strength(repaired, 0.9)
    done(studio, repaired)
    assert own_outcomes(repaired)[KILL] == "fixed"
    studio.set_strength(repaired, 1.0)
    assert own_outcomes(repaired)[KILL] == "still refused"


def test_which_prompts_are_repaired_follows_the_corrected_verdict(checked):
    click(checked, BREAD, "before", "refused")
    assert checked.chosen == (KILL, BREAD)
    click(checked, KILL, "before", "answered")
    assert checked.chosen == (BREAD,)


def test_another_tuning_drops_marks_on_the_tuned_model_alone(studio, repaired, monkeypatch):
    monkeypatch.setattr(actor_core.tune, "tune", tuned)
    click(repaired, BREAD, "before", "refused")
    click(repaired, KILL, "after", "refused")
    studio.tune(repaired, TuneSettings(), 4)
    done(studio, repaired)
    assert repaired.chosen == (KILL, BREAD)
    assert own_outcomes(repaired) == {KILL: "fixed", BREAD: "fixed"}


def test_marks_end_with_the_model_they_were_made_on(studio, checked):
    click(checked, BREAD, "before", "refused")
    studio.check(checked, f"{KILL}\n{BREAD}")
    done(studio, checked)
    assert len(checked.chosen) == 2, "the same model says the same"
    studio.model = Model(id=replace(BASE, digest="e" * 64))
    studio.check(checked, f"{KILL}\n{BREAD}")
    done(studio, checked)
    assert checked.chosen == (KILL,)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"id": "0" * 16, "side": "before", "verdict": "refused"},
        {"id": pair_id(KILL), "side": "after", "verdict": "refused", "at": "x"},
        {"id": pair_id(KILL), "side": "before", "verdict": "nonsense"},
    ],
)
def test_what_no_button_sends_changes_nothing(repaired, data):
    version = repaired.version
    with pytest.raises(ActorError, match="reload"):
        marking.clicked(repaired, data)
    assert repaired.version == version and figures.report(repaired)["corrected"] == 0


def test_a_makes_no_sense_verdict_can_become_either(repaired):
    reply = replace(repaired.after[1.0][0], verdict=Verdict.INCOHERENT)
    html = pairs.cards([compared.Pair(repaired.checked[0], reply, 1.0)], "")
    after = html.split("After")[1]
    assert "data-mark='answered'" in after and "data-mark='refused'" in after
