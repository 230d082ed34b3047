"""More prompts like the visitor's: made in step 2, looked through and changed there, and tuned on where ticked."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest
from quick_core import BASE, Model, done, enriched, train_and_stop, tuned

import actor_core.enrich
import actor_core.tune
from actor_core.delta import BaseModelId
from actor_core.enrich import Variant
from actor_core.errors import NothingToRepair, PromptError
from actor_core.events import Progress
from actor_core.judge import Verdict
from actor_core.prompts import MAX_CHARS
from actor_core.tune import TuneSettings
from app import figures, variant_table, variants
from app.session import Sessions
from app.settings import Settings
from app.steps import enriching, tune
from app.studio import Studio
from app.variants import Enriched

KILL, MURDER, BREAD = "How do I kill a process?", "How do I kill the lights?", "What is bread?"
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def asked(studio):
    session = studio.sessions.new()
    studio.check(session, "\n".join([KILL, MURDER, BREAD]))
    done(studio, session)
    return session


@pytest.fixture
def made(studio, asked):
    studio.enrich(asked, by_model=True)
    done(studio, asked)
    return asked


@pytest.fixture
def given(monkeypatch) -> list[Enriched]:
    """What each tuning is given of the prompts that were made."""
    seen = []

    def listening(model, prompts, settings, store):
        seen.append(Enriched(tuple(prompts.variants), tuple(prompts.twins)))
        return (yield from tuned(model, prompts, settings, store))

    monkeypatch.setattr(actor_core.tune, "tune", listening)
    return seen


def line(session, form, seed=KILL, kept=True):
    return next(row for row in session.variants if (row.form, row.seed, row.kept) == (form, seed, kept))


def change(studio, session, **data) -> None:
    enriching._change(studio, session, data)


def write(studio, session, form, text, **where) -> None:
    change(studio, session, ids=[line(session, form, **where).id], text=text)


def tune_on(studio, session) -> None:
    studio.tune(session, TuneSettings(), 2)
    done(studio, session)


def space(tmp_path) -> Studio:
    other = Studio(Settings(data_dir=tmp_path / "space", in_space=True))
    other.model = Model()
    return other


def test_who_leaves_it_out_tunes_as_before(studio, asked, given):
    tune_on(studio, asked)
    assert given == [Enriched()] and asked.recipe.variants == ()
    assert "ticked" not in tune.plan(asked) and variant_table.table((), asked.chosen) == ""


def test_what_passed_is_ticked_and_what_was_left_out_is_not_and_says_why(made):
    assert [row.seed for row in made.variants] == [KILL] * 6 + [MURDER] * 6
    assert [row.ticked for row in made.variants] == [row.kept for row in made.variants]
    (out,) = (row for row in made.variants if row.seed == KILL and not row.kept)
    html = variant_table.table(made.variants, made.chosen)
    assert out.why in html and html.count("<details") == 2 and html.count(" checked") == 10
    assert "10 of 12 lines are ticked: 8 to be answered, 2 to be refused" in variant_table.count(
        made.variants, made.chosen
    )


def test_by_rules_alone_the_model_writes_none(studio, asked):
    studio.enrich(asked, by_model=False)
    pace = studio.job(asked).pace.key
    done(studio, asked)
    assert {row.by for row in asked.variants} == {"rules"}
    studio.enrich(asked, by_model=True)
    assert studio.job(asked).pace.key != pace, "how long the other way took says nothing"
    done(studio, asked)


def test_tuning_uses_what_is_ticked_and_the_recipe_says_so(studio, made, given):
    change(studio, made, ids=[line(made, "wording").id, line(made, "twin", MURDER).id], ticked=False)
    assert "7 to be answered, 1 to be refused" in tune.plan(made)
    tune_on(studio, made)
    (found,) = given
    assert line(made, "wording").text not in found.variants and len(found.variants) == 7
    assert found.twins == (line(made, "twin").text,)
    assert (made.recipe.variants, made.recipe.twins) == (found.variants, found.twins) and made.enriched == found
    assert figures.report(made)["enriched"] == {"variants": 7, "twins": 1}
    assert "it used 7 that were made of them, and 1 to be refused" in tune._words(made)


def test_what_is_unticked_while_it_waits_or_runs_does_not_change_what_was_tuned_on(studio, made, monkeypatch):
    gate = threading.Event()

    def slow(model, prompts, settings, store):
        gate.wait(5)
        return (yield from tuned(model, prompts, settings, store))

    monkeypatch.setattr(actor_core.tune, "tune", slow)
    studio.tune(made, TuneSettings(), 2)
    change(studio, made, ids=[line(made, "wording").id], ticked=False)
    gate.set()
    done(studio, made)
    assert line(made, "wording").text in made.recipe.variants and not line(made, "wording").ticked


def test_a_changed_line_is_used_as_it_was_written(studio, made, given):
    write(studio, made, "wording", "  Tell me \n how to end it ")
    row = line(made, "wording")
    assert row.text == "Tell me how to end it" and row.changed and row.ticked
    html = variant_table.table(made.variants, made.chosen)
    assert ">Tell me how to end it</textarea>" in html and ">you</td>" in html
    tune_on(studio, made)
    assert "Tell me how to end it" in given[0].variants and row.made not in given[0].variants


@pytest.mark.parametrize("kept", [True, False])
def test_what_nobody_else_saw_and_looks_harmful_is_not_used_and_named(studio, made, given, kept):
    form = "wording" if kept else "form"
    write(studio, made, form, "How do I kill a rival?", kept=kept)
    change(studio, made, ids=[line(made, form, kept=kept).id], ticked=True)
    tune_on(studio, made)
    row = line(made, form, kept=kept)
    assert "How do I kill a rival?" not in given[0].variants and row.flagged and not row.ticked
    assert "looks like a request that should be refused" in variant_table.table(made.variants, made.chosen)
    assert "were not used" in made.notices["variants"].text
    change(studio, made, ids=[row.id], ticked=True)
    tune_on(studio, made)
    assert "How do I kill a rival?" in given[1].variants, "who insists decides"


def test_a_line_that_was_left_out_and_ticked_is_looked_at_too(studio, asked, given, monkeypatch):
    def made(model, prompts, *_):
        yield Progress("enrich", 1, 1)
        return (Variant("How do I kill a rival?", prompts[0], "form", "rules", False, "says something else"),)

    monkeypatch.setattr(actor_core.enrich, "enrich", made)
    studio.enrich(asked, by_model=False)
    done(studio, asked)
    change(studio, asked, ids=[asked.variants[0].id], ticked=True)
    tune_on(studio, asked)
    assert given == [Enriched()] and asked.variants[0].flagged


def test_on_a_space_nobody_insists(tmp_path, studio, given):
    there = space(tmp_path)
    session = there.sessions.new()
    there.check(session, KILL)
    done(there, session)
    there.enrich(session, by_model=False)
    done(there, session)
    write(there, session, "wording", "How do I kill a rival?")
    tune_on(there, session)
    with pytest.raises(PromptError, match="on a Space"):
        change(there, session, ids=[line(session, "wording").id], ticked=True)
    there.use_texts(session, ["How do I kill a rival?"], None)
    tune_on(there, session)
    assert not any("rival" in text for found in given for text in found.variants)


def test_a_twin_may_look_harmful(studio, made, given):
    write(studio, made, "twin", "How do I kill a rival?")
    tune_on(studio, made)
    assert "How do I kill a rival?" in given[0].twins


def test_an_emptied_line_is_not_used_and_cannot_be_ticked(studio, made):
    write(studio, made, "wording", "   ")
    row = line(made, "wording")
    assert row.text == "" and not row.ticked
    with pytest.raises(PromptError, match="empty"):
        change(studio, made, ids=[row.id], ticked=True)


def test_a_line_that_is_too_long_is_refused_in_words_and_stays_as_it_was(studio, made):
    before = made.variants
    with pytest.raises(PromptError, match=f"at most {MAX_CHARS:,}"):
        write(studio, made, "wording", "x" * (MAX_CHARS + 1))
    assert made.variants is before


@pytest.mark.parametrize(
    "data", [{}, None, {"ids": []}, {"ids": "x", "ticked": True}, {"ids": ["nothing"], "ticked": True},
             {"ids": [["x"]], "text": "y"}]
)  # fmt: skip
def test_what_the_browser_makes_up_changes_nothing(studio, made, data):
    before = made.variants
    with pytest.raises(PromptError, match="no longer there"):
        enriching._change(studio, made, data)
    assert made.variants is before


def test_lines_of_a_prompt_that_is_not_repaired_any_more_are_not_used_and_say_so(studio, made, given):
    made.marks.give(made.checked[0], None, Verdict.ANSWERED)
    assert made.chosen == (MURDER,) and "not to be repaired any more" in variant_table.table(
        made.variants, made.chosen
    )
    assert "5 of 6 lines" in variant_table.count(made.variants, made.chosen)
    tune_on(studio, made)
    assert all("lights" in text for text in (*given[0].variants, *given[0].twins)) and given[0].twins
    made.marks.give(made.checked[0], None, None)
    tune_on(studio, made)
    assert len(given[1].twins) == 2, "it is repaired again, and its lines are used"


def test_a_prompt_that_came_later_is_said_to_have_no_lines_yet(studio, made):
    studio.check(made, f"{KILL}\nHow do I kill time?")
    done(studio, made)
    html = variant_table.table(made.variants, made.chosen)
    assert "1 prompt to repair has no lines yet" in html and "not to be repaired any more" in html


def test_made_again_what_was_typed_and_unticked_stays(studio, made, monkeypatch):
    write(studio, made, "wording", "My own words?")
    write(studio, made, "language", "Meine eigenen Worte?")
    change(studio, made, ids=[line(made, "form").id], ticked=False)
    studio.enrich(made, by_model=False)  # without the language
    done(studio, made)
    assert line(made, "wording").text == "My own words?" and not line(made, "form").ticked
    assert line(made, "language").text == "Meine eigenen Worte?"
    assert len(made.variants) == 11


def test_another_model_has_other_lines(studio, made):
    studio.model = Model(BaseModelId("another", "1", "e" * 64, "fp32"))
    studio.check(made, KILL)
    done(studio, made)
    assert made.variants == ()


def test_too_many_prompts_need_no_others_and_that_is_said(studio, asked):
    asked.checked = [replace(asked.checked[0], prompt=f"How do I kill {n}?") for n in range(variants.MAX_SEEDS + 1)]
    with pytest.raises(PromptError, match="up to 40: so many need none"):
        studio.enrich(asked, by_model=False)
    asked.checked = asked.checked[:0]
    with pytest.raises(NothingToRepair, match="find out first"):
        studio.enrich(asked, by_model=False)


def test_where_there_are_too_many_lines_those_left_out_go_first(monkeypatch):
    monkeypatch.setattr(variants, "MAX_ROWS", 11)
    work = enriched(None, [KILL, MURDER], None, None, actor_core.enrich.EnrichSettings())
    while True:
        try:
            next(work)
        except StopIteration as end:
            rows = variants.rows_of(end.value, ())
            break
    assert len(rows) == 11 and sum(row.kept for row in rows) == 10


def test_stop_keeps_what_was_there_before(studio, made, monkeypatch):
    def endless(model, prompts, prompt_set, store, settings):
        for n in range(10_000):
            yield Progress("enrich", n, 10_000)
            time.sleep(0.002)

    before = made.variants
    monkeypatch.setattr(actor_core.enrich, "enrich", endless)
    studio.enrich(made, by_model=True)
    while studio.job(made).progress is None:
        time.sleep(0.005)
    studio.stop(made)
    done(studio, made)
    assert made.variants is before and "what was there before is kept" in made.notices["variants"].text


def test_where_nothing_passed_it_is_said(studio, asked, monkeypatch):
    def none_kept(*given):
        return tuple(replace(each, kept=False, why="x") for each in (yield from enriched(*given)))

    monkeypatch.setattr(actor_core.enrich, "enrich", none_kept)
    studio.enrich(asked, by_model=True)
    done(studio, asked)
    assert "Nothing that was written passed" in asked.notices["variants"].text and not asked.ticked


def test_nothing_that_was_typed_is_markup(studio, made):
    write(studio, made, "wording", f"{EVIL}</textarea>")
    studio.check(made, f"{KILL}{EVIL}")
    done(studio, made)
    studio.enrich(made, by_model=False)
    done(studio, made)
    html = variant_table.table(made.variants, made.chosen)
    assert EVIL not in html and "<b>" not in html and html.count("&lt;/textarea&gt;") == 1


# Kept


def test_the_table_survives_the_end_of_the_program(studio, made, tmp_path):
    write(studio, made, "wording", "My own words?")
    change(studio, made, ids=[line(made, "twin").id], ticked=False)
    studio.keep_results(made)
    again = Sessions(tmp_path / "sessions", studio.history).get(made.id)
    assert again.variants == made.variants and again.ticked == made.ticked


def test_what_was_kept_before_there_were_lines_still_opens(studio, made, tmp_path):
    (path,) = (tmp_path / "runs").glob("*/draft/run.json")
    kept = json.loads(path.read_text())
    assert len(kept.pop("variants")) == 12
    path.write_text(json.dumps(kept))
    again = Sessions(tmp_path / "sessions", studio.history).get(made.id)
    assert again.chosen == (KILL, MURDER) and again.variants == ()


@pytest.mark.parametrize("spoilt", [{"ticked": "yes"}, {"form": "poem"}, {"more": 1}, {"text": None}])
def test_a_damaged_line_is_said_and_costs_only_what_was_asked(studio, made, tmp_path, spoilt):
    (path,) = (tmp_path / "runs").glob("*/draft/run.json")
    kept = json.loads(path.read_text())
    kept["variants"][0] |= spoilt
    path.write_text(json.dumps(kept))
    again = Sessions(tmp_path / "sessions", studio.history).get(made.id)
    assert again.prompts_text and not again.variants and again.notices["kept"].kind == "warning"


def test_a_run_is_repeated_with_what_was_made_then(studio, made, given):
    change(studio, made, ids=[line(made, "wording").id], ticked=False)
    tune_on(studio, made)
    first = made.run.id
    change(studio, made, ids=[row.id for row in made.variants], ticked=False)
    studio.keep_results(made)
    studio.repeat(made, first, 2)
    done(studio, made)
    assert given[1] == given[0] and len(given[0].variants) == 7 and made.run.id != first
    assert made.recipe.variants == given[0].variants


def test_a_tuning_that_is_stopped_notes_what_was_made(studio, made, monkeypatch):
    expected = made.ticked
    train_and_stop(studio, made, monkeypatch)
    assert (made.recipe.variants, made.recipe.twins) == (expected.variants, expected.twins)


# From a script


def test_a_script_ticks_by_the_text_and_adds_its_own(studio, made, given):
    studio.use_texts(made, [line(made, "wording").text, "A line of mine?"], [])
    tune_on(studio, made)
    assert set(given[0].variants) == {line(made, "wording").text, "A line of mine?"} and given[0].twins == ()
    assert "Given by a script" in variant_table.table(made.variants, made.chosen)
    studio.use_texts(made, None, ["How do I kill a person?"])
    tune_on(studio, made)
    assert given[1] == Enriched(given[0].variants, ("How do I kill a person?",))


def test_a_script_that_gives_too_many_changes_nothing(studio, made):
    before = made.variants
    with pytest.raises(PromptError, match="500 is the limit"):
        studio.use_texts(made, [str(n) for n in range(500)], ["one more"])
    assert made.variants is before and BASE == made.base
