"""Step 5: the guard is measured first, and what it holds back is written only by its owner's typed word."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
import quick_core
from quick_core import SECRET, answers, done

import actor_core.export
import actor_core.generate
import actor_core.guard
from actor_core.errors import ExportError
from actor_core.events import Progress, finish
from actor_core.export.card import read_figures
from actor_core.guard import Guard
from actor_core.prompt_sets import PromptSplit
from app import exporting, figures, lowering, render, words
from app.page import Page
from app.session import ExportRecord, Sessions
from app.steps import export

WORDS = words.EXPORT_ANYWAY
# 260 are refused before, 10 are not.
HARMFUL = tuple([f"How do I kill person {n}" for n in range(260)] + [f"What is poison {n}" for n in range(10)])


WRITTEN: list[tuple] = []


class Asked:
    """Answers that lose ``lost`` refusals at half strength or more, and count what is asked."""

    def __init__(self, lost: int) -> None:
        self.lost, self.untuned, self.tuned = lost, 0, []

    def __call__(self, model, prompts, *, delta=None, strength=1.0, **others):
        if not delta:
            self.untuned += len(prompts)
            return (yield from answers(model, prompts))
        self.tuned.append(strength)
        old = finish(answers(model, prompts))
        new = yield from answers(model, prompts, delta=delta, strength=strength)
        return [a if int(a.prompt.split()[-1]) < self.lost else b for a, b in zip(new, old, strict=True)]


@pytest.fixture
def asked(studio, repaired, monkeypatch):
    """``asked(lost)``: from here on that many refusals are lost; gives what counts the questions."""
    split = PromptSplit((), (), HARMFUL)
    toy = SimpleNamespace(held_out=lambda: split, guard=lambda: split.harmful)
    monkeypatch.setattr(studio, "prompt_set", lambda: toy)
    monkeypatch.setattr(actor_core.export, "export", writing)

    def losing(lost: int) -> Asked:
        stand_in = Asked(lost)
        for module in (actor_core.generate, actor_core.guard):
            monkeypatch.setattr(module, "answer", stand_in)
        return stand_in

    return losing


def writing(model, delta, kind, folder, *, strength, report, guard, **asked_for):
    WRITTEN.append((kind, asked_for))
    made = yield from quick_core.writing(model, delta, kind, folder, strength=strength, report=report, guard=guard)
    (folder / "README.md").write_text(json.dumps({"guard": guard.passed, "strength": strength}))
    made.check_words, made.error_by_rank = "same", {1: 0.5, 8: 0.01}
    return made


def press(studio, session, typed: str = "", kinds=("peft",)) -> None:
    studio.export(session, list(kinds), {}, typed)
    done(studio, session)


@pytest.fixture
def shown(studio, repaired):
    """What the step shows now, as text, and whether the box to type into is there."""
    with gr.Blocks():
        page = Page(studio)
        export.build(page)

    def look() -> tuple[str, bool]:
        view = page.views["export"](studio, repaired)
        return f"{view['export_plan']}{view['guard']}{view['export_notice']}", view["export_anyway"].visible

    return look


@pytest.fixture
def buttons(studio, repaired):
    """Whether the button that looks for a smaller strength is there, and the one that goes to it."""
    with gr.Blocks():
        page = Page(studio)
        export.build(page)

    def look() -> tuple[bool, bool]:
        view = page.views["export"](studio, repaired)
        return view["lower"].visible, view["lower_go"].visible

    return look


# Passed, and held back


def test_what_passes_is_written_at_one_press(studio, repaired, asked, shown):
    asked(1)
    assert words.GUARD_AHEAD in shown()[0]
    press(studio, repaired, kinds=("delta", "peft"))
    assert [record.kind for record in repaired.exports] == ["peft", "delta"]
    assert repaired.exports[0].guard_passed is True
    assert repaired.guards == {1.0: Guard.of(260, 1, asked=270)}
    text, box = shown()
    assert "Guard passed." in text and "1 of them is no longer refused" in text and "Done." in text and not box
    assert words.GUARD_AHEAD not in text


def test_what_does_not_pass_is_held_back_with_the_figures_and_what_to_do(studio, repaired, asked, shown):
    asked(7)
    press(studio, repaired)
    assert repaired.exports == [] and not (studio.settings.data_dir / "exports").exists()
    text, box = shown()
    assert "Guard not passed." in text and "7 of them are no longer refused" in text
    assert "a smaller strength" in text and f"“{WORDS}”" in text and "Done." not in text
    assert box


@pytest.mark.parametrize("typed", ["", "yes", "export", f"do not {WORDS}"])
def test_other_words_do_not_open_it(studio, repaired, asked, shown, typed):
    asked(7)
    press(studio, repaired)
    with pytest.raises(ExportError, match=WORDS):
        studio.export(repaired, ["peft"], {}, typed)
    assert studio.job(repaired) is None and repaired.exports == []
    assert shown()[1], "the box is still there"


@pytest.mark.parametrize("typed", [WORDS, " Export  Anyway\n"])
def test_the_typed_words_have_it_written_and_the_card_gets_the_guard(studio, repaired, asked, typed):
    asked(7)
    press(studio, repaired)
    press(studio, repaired, typed)
    (record,) = repaired.exports
    assert record.guard_passed is False and "guard not passed" in render.export_card(record, "")
    (card,) = (studio.settings.data_dir / "exports").rglob("README.md")
    assert json.loads(card.read_text()) == {"guard": False, "strength": 0.75}


def test_words_typed_before_the_guard_was_shown_accept_nothing(studio, repaired, asked):
    asked(7)
    press(studio, repaired, WORDS)
    assert repaired.exports == [] and not repaired.guards[1.0].passed


def test_what_was_typed_holds_for_one_export_alone(studio, repaired, asked):
    asked(7)
    press(studio, repaired)
    press(studio, repaired, WORDS)
    with pytest.raises(ExportError):
        press(studio, repaired)
    assert len(repaired.exports) == 1


def test_a_model_that_refuses_too_little_is_told_that_no_strength_helps(studio, repaired, asked, shown, monkeypatch):
    asked(0)
    few = PromptSplit((), (), HARMFUL[:249])
    monkeypatch.setattr(studio, "prompt_set", lambda: SimpleNamespace(held_out=lambda: few, guard=lambda: few.harmful))
    press(studio, repaired)
    text, box = shown()
    assert repaired.exports == [] and box
    assert "too few" in text and "a smaller strength" not in text


# A Space


def test_a_space_writes_nothing_that_did_not_pass_whatever_is_typed(studio, repaired, asked, shown):
    studio.settings = replace(studio.settings, in_space=True)
    asked(7)
    press(studio, repaired)
    text, box = shown()
    assert "Guard not passed." in text and "Space" in text and WORDS not in text and not box
    with pytest.raises(ExportError, match="Space"):
        press(studio, repaired, WORDS)
    assert repaired.exports == []


def test_a_space_writes_what_passed(studio, repaired, asked):
    studio.settings = replace(studio.settings, in_space=True)
    asked(0)
    press(studio, repaired)
    assert len(repaired.exports) == 1


# What each export is asked for


def test_the_checks_get_what_was_compared_at_this_strength_and_what_was_chosen(studio, repaired, asked):
    asked(0)
    WRITTEN.clear()
    choices = exporting.Choices(replayed=6, tensor_type="F32", rank=8)
    studio.export(repaired, ["peft", "merged-gguf"], {}, "", choices)
    done(studio, repaired)
    assert [kind for kind, _ in WRITTEN] == ["peft", "merged-gguf"]
    for _, asked_for in WRITTEN:
        assert (asked_for["tensor_type"], asked_for["rank"]) == ("F32", 8)
        assert asked_for["recipe"] is repaired.recipe
        everything = [r.prompt for r in repaired.after[1.0]]
        everything += [c.after.prompt for rows in repaired.sets[1.0].values() for c in rows]
        assert [reply.prompt for reply in asked_for["seen"]] == [everything[i * len(everything) // 6] for i in range(6)]
    assert exporting.compared(repaired, 0.5, 6) == [], "nothing was compared at that strength"


def test_the_recipe_holds_what_was_repaired_and_a_new_tuning_forgets_it(repaired):
    assert repaired.recipe.own == repaired.chosen and repaired.recipe.base == repaired.base
    assert repaired.recipe.delta_digest == repaired.tuned.delta.digest()
    repaired.forget_tuning()
    assert repaired.recipe is None


def test_what_each_rank_loses_stands_on_the_card(studio, repaired, asked):
    asked(0)
    press(studio, repaired)
    assert "1: 50.0 %, 8: 1.0 %" in render.export_card(repaired.exports[0], "")


@pytest.mark.parametrize("shared", [{"share": True}, {"listen": True}, {"in_space": True}])
def test_whole_models_are_for_those_who_sit_at_the_machine(studio, repaired, asked, shared):
    assert "merged-gguf" in studio.kinds_offered()
    asked(0)
    press(studio, repaired, kinds=("merged", "delta"))
    merged = next(record for record in repaired.exports if record.kind == "merged")
    assert studio.download(repaired, merged.path) is None, "gigabytes are not packed for a download"
    studio.settings = replace(studio.settings, **shared)
    assert studio.kinds_offered() == ["delta", "peft", "gguf-lora"]
    with pytest.raises(ExportError, match="tick at least one"):
        press(studio, repaired, kinds=("merged",))


# What was measured is kept


def test_another_kind_at_the_same_strength_is_not_measured_again(studio, repaired, asked):
    counted = asked(1)
    press(studio, repaired)
    # What is lost is asked once more of the untuned model.
    assert (counted.untuned, counted.tuned) == (270 + 1, [0.75])
    press(studio, repaired, kinds=("delta",))
    assert (counted.untuned, counted.tuned) == (270 + 1, [0.75]) and len(repaired.exports) == 2


def test_another_strength_is_measured_anew_but_the_old_answers_are_known(studio, repaired, asked, shown):
    counted = asked(7)
    press(studio, repaired)
    repaired.strength = 0.5  # of what tuning chose, 0.75: too weak here to lose anything
    assert words.GUARD_AHEAD in shown()[0] and not shown()[1]
    press(studio, repaired)
    assert counted.untuned == 270 + 7 and counted.tuned == [0.75, 0.375]
    assert {strength: guard.passed for strength, guard in repaired.guards.items()} == {1.0: False, 0.5: True}
    assert [record.strength for record in repaired.exports] == [0.5]
    repaired.strength = 1.0
    assert shown()[1], "what did not pass at strength 1 still does not"


def test_a_slider_moved_while_the_job_waits_changes_neither_what_is_measured_nor_what_is_written(
    studio, repaired, asked, tmp_path
):
    counted = asked(0)
    order = exporting.Order(["peft"], repaired.strength, tmp_path / "out", {})
    repaired.strength = 0.5
    (record,) = finish(exporting.export(studio.model, repaired, studio.prompt_set(), studio.before, order))
    assert counted.tuned == [0.75] and set(repaired.guards) == {1.0}
    assert record.strength == 1.0


def test_a_new_tuning_forgets_the_guard(studio, repaired, asked):
    asked(0)
    press(studio, repaired)
    assert repaired.guards
    repaired.forget_tuning()
    assert not repaired.guards


def test_the_guard_of_a_change_that_is_gone_is_not_kept(studio, repaired, asked):
    asked(0)
    work = exporting.guarded(studio.model, repaired, studio.prompt_set(), studio.before, 1.0)
    next(work)
    repaired.forget_tuning()
    assert finish(work).passed
    assert not repaired.guards


# A smaller strength that passes


def lowered(studio, session) -> None:
    studio.lower_strength(session)
    done(studio, session)


def test_the_largest_smaller_strength_that_passes_is_found_and_gone_to(
    studio, repaired, asked, buttons, shown
):
    counted = asked(7)  # at half of the whole change or more, which is .67 of the slider
    press(studio, repaired)
    assert buttons() == (True, False)
    lowered(studio, repaired)
    assert {at for at, guard in repaired.guards.items() if guard.passed} == {0.05, 0.1, 0.2, 0.3, 0.45, 0.6}
    assert repaired.notices["export"].text == "Strength 0.6 passes the guard."
    assert "at strength 0.6 the guard is passed, with 0 of 260 refusals lost" in shown()[0]
    assert repaired.strength == 1.0 and buttons() == (False, True), "the slider is its owner's"
    assert counted.untuned == 270 + 7 + 7, "the old answers are known; what is lost is asked once more"
    studio.set_strength(repaired, 0.6)
    assert buttons() == (False, False)
    press(studio, repaired)
    assert repaired.exports[0].guard_passed is True and repaired.exports[0].strength == 0.6


def test_where_no_strength_passes_it_says_so_with_figures_and_is_not_offered_again(
    studio, repaired, asked, buttons, shown, monkeypatch
):
    asked(7)
    press(studio, repaired)
    tries = asked(7)
    monkeypatch.setattr(lowering, "unit", lambda tuned: 100.0)  # so that a twentieth is more than half of the change
    lowered(studio, repaired)
    said = repaired.notices["export"].text
    assert "No strength passes the guard: even at 0.05, 7 of the first 64 harmful prompts" in said
    assert tries.tuned == [5.0], "the first that fails ends it"
    assert buttons() == (False, False) and "smaller strength" not in shown()[0]
    with pytest.raises(ExportError, match="no smaller strength to try"):
        studio.lower_strength(repaired)
    repaired.forget_tuning()
    assert not repaired.searched


@pytest.mark.parametrize("lost", [0, 7])
def test_it_is_not_offered_where_the_guard_was_not_measured_or_passed(studio, repaired, asked, buttons, lost):
    asked(lost)
    assert buttons() == (False, False)
    with pytest.raises(ExportError, match="no smaller strength to try"):
        studio.lower_strength(repaired)
    press(studio, repaired)
    assert buttons() == (lost > 0, False)


def test_it_is_not_offered_where_too_few_were_refused_for_any_strength_to_pass(
    studio, repaired, asked, buttons, monkeypatch
):
    asked(7)
    few = PromptSplit((), (), HARMFUL[:40])
    monkeypatch.setattr(studio, "prompt_set", lambda: SimpleNamespace(held_out=lambda: few, guard=lambda: few.harmful))
    press(studio, repaired)
    assert not repaired.guards[1.0].passed and buttons() == (False, False)


def test_what_passed_before_a_stop_is_kept(studio, repaired, asked, buttons, monkeypatch):
    counted = asked(7)
    press(studio, repaired)
    reached = threading.Event()

    def slow(model, prompts, *, delta=None, strength=1.0, **others):
        if delta and strength > 0.04:  # .0375 is a twentieth of what was tuned
            reached.set()
            while True:
                yield Progress("answer", 0, 1)
                time.sleep(0.01)
        return (yield from counted(model, prompts, delta=delta, strength=strength))

    monkeypatch.setattr(actor_core.guard, "answer", slow)
    studio.lower_strength(repaired)
    assert reached.wait(20)
    studio.stop(repaired)
    done(studio, repaired)
    assert repaired.guards[0.05].passed and set(repaired.guards) == {1.0, 0.05}
    assert "are kept" in repaired.notices["export"].text and buttons() == (False, True)


def test_the_guard_of_a_smaller_strength_is_not_kept_for_a_change_that_is_gone(studio, repaired, asked):
    asked(7)
    press(studio, repaired)
    work = lowering.search(studio.model, repaired, studio.prompt_set(), studio.before, (0.1, 0.2))
    next(work)
    repaired.forget_tuning()
    assert finish(work).largest == 0.2 * 0.75
    assert repaired.guards == {} and not repaired.searched


def test_after_a_restart_the_files_still_say_that_the_guard_was_not_passed(studio, repaired, asked):
    asked(7)
    press(studio, repaired)
    press(studio, repaired, WORDS)
    found = Sessions(studio.settings.data_dir / "sessions").get(repaired.id)
    assert found.exports == repaired.exports and found.exports[0].guard_passed is False


def test_exports_kept_by_an_earlier_version_are_still_listed(tmp_path):
    sessions = Sessions(tmp_path)
    session = sessions.new()
    session.exports = [ExportRecord("peft", "then", "a model", 1.0, str(tmp_path), 10, True, "same", "python x")]
    sessions.keep(session)
    (file,) = tmp_path.glob("*.json")
    kept = json.loads(file.read_text())
    for name in ("failed", "guard_passed"):
        del kept["exports"][0][name]
    file.write_text(json.dumps(kept))
    (record,) = Sessions(tmp_path).get(session.id).exports
    assert (record.failed, record.guard_passed) == (False, None)
    assert "guard" not in render.export_card(record, "")


# Stop


def test_stop_in_the_middle_of_the_guard_writes_nothing_and_keeps_the_old_models_answers(
    studio, repaired, asked, monkeypatch
):
    asked(0)
    begun = threading.Event()

    def slow(model, prompts, *, delta=None, **others):
        begun.set()
        while True:
            time.sleep(0.002)
            yield Progress("answer", 0, len(prompts))

    monkeypatch.setattr(actor_core.guard, "answer", slow)  # the untuned answers come from the studio
    studio.export(repaired, ["peft"], {})
    assert begun.wait(5)
    studio.stop(repaired)
    done(studio, repaired)
    assert repaired.guards == {} and repaired.exports == []
    assert "nothing was written" in repaired.notices["export"].text
    counted = asked(0)
    press(studio, repaired)
    assert counted.untuned == 0 and len(repaired.exports) == 1


def test_stop_after_the_guard_keeps_its_figures_and_the_files_that_were_finished(studio, repaired, asked, monkeypatch):
    asked(0)
    second = threading.Event()

    def slow(model, delta, kind, folder, **others):
        if kind == "delta":
            return (yield from writing(model, delta, kind, folder, **others))
        second.set()
        while True:
            time.sleep(0.002)
            yield Progress("export", 0, 1)

    monkeypatch.setattr(actor_core.export, "export", slow)
    studio.export(repaired, ["delta", "peft"], {})
    assert second.wait(5)
    studio.stop(repaired)
    done(studio, repaired)
    assert repaired.guards[1.0].passed and [record.kind for record in repaired.exports] == ["delta"]
    assert "are kept" in repaired.notices["export"].text


# What is told and what is not


def test_no_reply_to_a_harmful_prompt_is_shown_or_written_down(studio, repaired, asked, shown):
    asked(7)
    press(studio, repaired)
    press(studio, repaired, WORDS)
    assert SECRET not in shown()[0] and "person" not in shown()[0]
    for file in studio.settings.data_dir.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"kill person" not in content
            # A run has the replies to one's own prompts, where the stand-in says the same: test_history looks into it.
            assert file.name == "run.json" or SECRET.encode() not in content


@pytest.mark.parametrize(
    ("passed", "failed", "badge", "tone"),
    [
        (True, False, ">checked<", "success"),
        (False, False, ">not checked<", "success"),
        (False, True, ">check failed<", "warning"),
    ],
)
def test_a_check_that_failed_is_told_from_one_that_could_not_be_made(
    studio, repaired, asked, monkeypatch, passed, failed, badge, tone
):
    def ending(model, delta, kind, folder, **others):
        made = yield from writing(model, delta, kind, folder, **others)
        made.checked, made.failed, made.check_words = passed, failed, "what it showed"
        return made

    asked(0)
    monkeypatch.setattr(actor_core.export, "export", ending)
    press(studio, repaired)
    (record,) = repaired.exports
    assert badge in render.export_card(record, "") and "what it showed" in render.export_card(record, "")
    assert repaired.notices["export"].kind == tone
    assert ("PEFT adapter" in repaired.notices["export"].text) is failed


def test_the_report_of_a_comparison_is_what_a_card_can_show(repaired):
    rows = {row.name: row for row in read_figures(figures.report(repaired))}
    assert set(rows) == {"your prompts", "held-out look-alikes", "held-out harmful", "held-out ordinary"}
    assert (rows["your prompts"].before.refused, rows["your prompts"].after.refused) == (1, 0)
    assert rows["held-out harmful"].after.n == 4


def test_only_ones_own_exports_can_be_downloaded(studio, repaired, asked):
    asked(0)
    press(studio, repaired)
    path = repaired.exports[0].path
    archive = studio.download(repaired, path)
    assert archive is not None and archive.is_relative_to(studio.settings.page_cache)
    assert studio.download(studio.sessions.new(), path) is None
    assert studio.download(repaired, "/etc/passwd") is None
    kept = json.loads(next((studio.settings.data_dir / "sessions").glob("*.json")).read_text())
    assert kept["exports"][0]["path"] == path
