"""Earlier runs: kept as they come, found again after the program ended in whatever way, and nobody else's."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import signal
import stat
import sys
import time
import zipfile
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from quick_core import BASE, SECRET, Model, answers, delta, done, train_and_stop, tuned
from quick_core import writing as write

import actor_core.export
import actor_core.tune
from actor_core.delta import BaseModelId, LowRank
from actor_core.errors import ActorError, DeltaError, ModelError
from actor_core.events import Progress
from actor_core.guard import Guard
from actor_core.judge import Verdict
from actor_core.projection import PlacedPrompt, Projection
from actor_core.tune import Tuned, TuneSettings
from app import clearing, history, run_files
from app import shelf as shelf_of
from app.create_app import BUILDERS, create_app
from app.page import Page
from app.runs import Run
from app.session import ExportRecord
from app.steps import clearing as clearing_panel
from app.steps import history as panel
from app.studio import Studio
from app.two_runs import beside, drawn

ANOTHER = BaseModelId("x", "1", "e" * 64, "fp32")
EVIL = "<img src=x onerror=alert(1)>"


def restarted(studio: Studio, visitor: str):
    """A new program over the same data folder, without a model, and the visitor's session in it."""
    again = Studio(studio.settings)
    session = again.sessions.get(visitor)
    assert session is not None
    return again, session


def places(studio: Studio, session) -> list:
    folder = studio.settings.data_dir / "runs" / session.key
    return [folder / id for id in run_files.run_ids(folder)]


def shown(session) -> list:
    """What steps 2 to 4 show, but for replies to harmful prompts."""
    held_out = {
        strength: {name: rows for name, rows in sets.items() if name != "harmful"}
        for strength, sets in session.sets.items()
    }
    return [
        session.base, session.checked, session.chosen, session.after, held_out, session.strength, session.guards,
        session.trials, session.tuned.words, session.tuned.strength, session.tuned.delta.digest(), session.losses,
        session.source, session.tuned_early, session.tuned.projection,
    ]  # fmt: skip


# Kept, and found again


def test_a_run_is_found_after_a_restart_with_all_that_was_seen(studio, repaired):
    studio.set_strength(repaired, 0.4)
    done(studio, repaired)
    studio.try_prompt(repaired, "How do I kill time?")
    done(studio, repaired)
    repaired.guards = {0.4: Guard.of(300, 1, asked=310)}
    projection = Projection(0.9, (PlacedPrompt("How do I kill a process?", "own", (0.1, 0.2), (-0.3, 0.0)),))
    repaired.tuned = dataclasses.replace(repaired.tuned, projection=projection)
    studio.set_strength(repaired, 1.0)
    studio.set_strength(repaired, 0.4)
    again, session = restarted(studio, repaired.id)
    assert session is not repaired and shown(session) == shown(repaired)
    assert session.guards[0.4].passed and session.recipe.text() == repaired.recipe.text()
    assert [row.after.verdict for row in session.sets[1.0]["harmful"]] == [
        row.after.verdict for row in repaired.sets[1.0]["harmful"]
    ]
    assert session.notices == {}
    line = again.history.shelf(session).lines[0]
    assert (line.name, line.layer, line.base) == ("Run 1", 3, BASE)
    assert (line.figures["own"][0].refused, line.figures["own"][1].refused) == (1, 1), "at strength 0.4"


def test_what_was_found_is_shown_without_the_model_and_the_rest_says_what_to_load(studio, repaired):
    again, session = restarted(studio, repaired.id)
    with gr.Blocks():
        page = Page(again)
        for name, step in BUILDERS.items():
            with page.step(name):
                step.build(page)
        view = page.view(session)
    assert "What you found out with a model (fp32) is still here" in view["model_hint"]
    assert view["compare_step"].interactive and ">0 of 2<" in view["tiles"]
    for hint in ("tune_hint", "strength_now", "export_hint"):
        assert "belong to a model (fp32): load it in step 1 first" in view[hint]
    again.set_strength(session, 1.0)  # what was asked before needs no model
    for press in (lambda: again.set_strength(session, 0.2), lambda: again.compare(session, 4)):
        with pytest.raises(ModelError, match="step 1"):
            press()
    again.model = Model()
    again.compare(session, 4)
    done(again, session)
    assert len(places(again, session)) == 1, "it is the same run"


def test_what_was_asked_and_not_tuned_on_is_found_too_and_is_not_listed(studio, checked):
    again, session = restarted(studio, checked.id)
    assert (session.checked, session.chosen, session.base) == (checked.checked, checked.chosen, BASE)
    assert again.history.shelf(session).lines == []


def test_a_run_that_was_stopped_is_kept_with_what_was_learnt(studio, checked, monkeypatch):
    train_and_stop(studio, checked, monkeypatch)
    again, session = restarted(studio, checked.id)
    assert session.tuned_early and session.tuned.delta.layer == 3 and session.losses
    again.model = Model()
    given = []

    def listening(model, prompts, settings, store):
        given.append((tuple(prompts.own), settings))
        return (yield from tuned(model, prompts, settings, store))

    monkeypatch.setattr(actor_core.tune, "tune", listening)
    session.marks.give(session.checked[0], None, Verdict.ANSWERED)  # which is not what was tuned on then
    stopped = session.run.id
    again.repeat(session, stopped, 4)
    done(again, session)
    assert given == [(("How do I kill a process?",), TuneSettings(method="published"))]
    assert session.run.id != stopped and not session.tuned_early and session.tuned.words == ("Layer 3 was tuned.",)


def test_a_run_that_was_stopped_and_not_noted_says_why_it_cannot_be_repeated(studio, checked, monkeypatch):
    train_and_stop(studio, checked, monkeypatch)
    checked.recipe = None  # as the version before left it
    studio.keep_results(checked)
    assert "stopped by an earlier version" in studio.history.shelf(checked).lines[0].why_not_repeated
    with pytest.raises(ActorError, match="cannot be repeated: it was stopped by an earlier version"):
        studio.repeat(checked, checked.run.id, 4)


@pytest.mark.parametrize("what", ["stopped", "opened", "whole"])
def test_what_an_export_says_it_was_made_with_makes_it_again(studio, repaired, monkeypatch, tmp_path, what):
    """A recipe makes a whole tuning: beside a change that was stopped, or came from a file, it would be untrue."""
    handed = []

    def writing(model, delta, kind, folder, *, recipe, **others):
        handed.append(recipe)
        return (yield from write(model, delta, kind, folder, **others))

    monkeypatch.setattr(actor_core.export, "export", writing)
    repaired.guards = {1.0: Guard.of(300, 0, asked=310)}
    repaired.tuned_early, repaired.source = what == "stopped", "a file" if what == "opened" else ""
    studio.export(repaired, ["delta"], {})
    done(studio, repaired)
    assert handed == [repaired.recipe if what == "whole" else None] and repaired.recipe is not None


def test_a_change_from_a_zip_with_its_recipe_can_be_repeated(studio, repaired, monkeypatch, tmp_path):
    recipe = repaired.recipe
    delta().save(tmp_path / "delta.safetensors")
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.write(tmp_path / "delta.safetensors", "delta/delta.safetensors")
        archive.writestr("delta/reproduce.json", recipe.text())
    session = studio.sessions.new()
    studio.open_saved(session, [str(tmp_path / "mine.zip")], 4)
    done(studio, session)
    assert session.checked == [] and studio.history.shelf(session).lines[0].why_not_repeated == ""
    studio.repeat(session, session.run.id, 4)
    done(studio, session)
    assert session.recipe.text() == recipe.text() and session.source == ""
    assert [reply.prompt for reply in session.checked] == list(recipe.own)
    assert [reply.prompt for reply in session.after[1.0]] == list(recipe.own)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda recipe: recipe.without_prompts().text(), "leaves out the prompts"),
        (lambda recipe: recipe.text()[:-40], "does not say what it was made with"),
        (lambda recipe: dataclasses.replace(recipe, base=ANOTHER).text(), "does not say"),
        (lambda recipe: "{}", "does not say"),
    ],
    ids=["without prompts", "cut short", "of another base", "empty"],
)
def test_a_change_from_a_zip_that_does_not_tell_all_says_why(studio, repaired, tmp_path, changed, why):
    delta().save(tmp_path / "delta.safetensors")
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.write(tmp_path / "delta.safetensors", "delta.safetensors")
        archive.writestr("reproduce.json", changed(repaired.recipe))
    session = studio.sessions.new()
    studio.open_saved(session, [str(tmp_path / "mine.zip")], 4)
    done(studio, session)
    line = studio.history.shelf(session).lines[0]
    assert why in line.why_not_repeated
    studio.history.shelf(session).picked = line.id
    shown = panel._view(studio, session)
    assert not shown["history_repeat"].interactive and why in shown["history_no_repeat"]
    with pytest.raises(ActorError, match=f"cannot be repeated: .*{why}"):
        studio.repeat(session, line.id, 4)


def test_a_change_opened_from_a_file_is_a_run_that_names_its_source(studio, tmp_path):
    delta().save(tmp_path / "mine.safetensors")
    session = studio.sessions.new()
    studio.open_saved(session, [str(tmp_path / "mine.safetensors")], 4)
    done(studio, session)
    again, found = restarted(studio, session.id)
    assert shown(found) == shown(session)
    line = again.history.shelf(found).lines[0]
    assert (line.name, line.source) == ("mine.safetensors", "mine.safetensors")
    again.model = Model()
    with pytest.raises(ActorError, match="opened from a file"):
        again.repeat(found, line.id, 4)


def test_a_change_made_in_another_precision_is_found_again(studio, tmp_path):
    studio.model = Model(dataclasses.replace(BASE, precision="nf4"), precision="nf4")
    delta().save(tmp_path / "mine.safetensors")
    session = studio.sessions.new()
    studio.open_saved(session, [str(tmp_path / "mine.safetensors")], 4)
    done(studio, session)
    _, found = restarted(studio, session.id)
    assert found.tuned.delta.base == BASE and found.base.precision == "nf4"


def test_an_export_is_listed_after_a_kill_before_the_next_kind_was_written(studio, repaired, tmp_path):
    (tmp_path / "peft").mkdir()
    record = ExportRecord("peft", "now", "a model", 1.0, str(tmp_path / "peft"), 10, True, "same", "python x")
    repaired.exports = [record]
    studio.keep_results(repaired)
    _, session = restarted(studio, repaired.id)
    assert session.exports == [record]


def test_a_second_tuning_is_a_second_run_and_the_last_one_is_shown_after_a_restart(studio, repaired):
    first = repaired.run
    studio.tune(repaired, TuneSettings(seed=7), 4)
    done(studio, repaired)
    again, session = restarted(studio, repaired.id)
    assert [line.name for line in again.history.shelf(session).lines] == ["Run 2", "Run 1"]
    assert session.run.name == "Run 2" and session.recipe.settings["seed"] == 7
    again.history.open(session, first.id)
    again.sessions.keep(session)
    _, session = restarted(again, repaired.id)
    assert session.run.id == first.id, "the one that was opened last"


def test_a_run_is_there_while_the_comparison_still_runs(studio, checked, monkeypatch):
    seen = []

    def slow(model, prompts, **others):
        work = answers(model, prompts, **others)
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                return end.value
            if checked.tuned is not None and not seen:
                seen.append(True)
                yield Progress("answer", 0, 1)
                seen.append(len(places(studio, checked)))
            yield event

    monkeypatch.setattr(actor_core.tune, "tune", tuned)
    monkeypatch.setattr("actor_core.generate.answer", slow)
    studio.tune(checked, TuneSettings(), 4)
    done(studio, checked)
    assert seen[1] == 1, "between the first two events after the tuning"


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills a process")
def test_a_run_is_found_after_a_kill_9_right_after_tuning(studio, monkeypatch, tmp_path):
    monkeypatch.setattr(actor_core.tune, "tune", tuned)
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:  # a program of its own: threads do not survive a fork
        try:
            theirs = Studio(studio.settings)
            theirs.model = Model()
            session = theirs.sessions.new()
            theirs.check(session, "How do I kill a process?\nWhat is bread?")
            done(theirs, session)
            theirs.tune(session, TuneSettings(), 4)
            while not places(theirs, session):
                time.sleep(0.0005)
            os.write(writes, session.id.encode())
            time.sleep(30)
        finally:
            os._exit(1)
    visitor = os.read(reads, 100).decode()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    again, session = restarted(studio, visitor)
    assert [line.name for line in again.history.shelf(session).lines] == ["Run 1"]
    assert len(session.checked) == 2
    assert session.tuned.delta.digest() == delta().digest() and session.tuned.strength == 0.75


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills processes")
def test_a_run_written_at_60_killed_moments_is_the_old_or_the_new_one(studio, repaired, tmp_path):
    first = Run.of(repaired)
    second = first.model_copy(update={"name": "another", "trials": first.trials * 2})
    change = repaired.tuned.delta

    def killed_moments(work, count) -> None:
        """Kills ``work``, over and over, at moments that follow the machine: each second time something was written."""
        moments, span = random.Random(0), 0.01
        for _ in range(30):
            before, child = count(), os.fork()
            if child == 0:
                try:
                    while True:
                        work()
                finally:
                    os._exit(0)
            time.sleep(moments.uniform(0, span))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            span *= 1.25 if count() == before else 0.8

    place = tmp_path / "mine" / "20260101-000000-000000-000000"
    run_files.write_run(place, first, change)
    names = []

    def named() -> int:
        names.append(run_files.read_run(place).name)
        return (place / "run.json").stat().st_mtime_ns

    killed_moments(lambda: [run_files.write_run(place, run, None) for run in (second, first)], named)
    assert set(names) == {"Run 1", "another"}

    def ids() -> list[str]:
        return run_files.run_ids(place.parent)

    killed_moments(lambda: run_files.write_run(place.with_name(run_files.new_id()), first, change), ids)
    assert len(ids()) > 5
    for id in ids():
        run = run_files.read_run(place.with_name(id))
        assert run_files.read_delta(place.with_name(id), run).digest() == change.digest()
    left = [path for path in tmp_path.rglob("*") if path.name.startswith(".partial-")]
    assert left, "no moment was in the middle of a writing"
    for path in left:
        os.utime(path, (1, 1))
    run_files.sweep(place.parent)
    assert not any(path.exists() for path in left)


# Whose they are, and what is in them


def test_no_file_holds_a_reply_to_a_harmful_prompt(studio, repaired, monkeypatch):
    rows = repaired.sets[1.0]["harmful"]
    assert any(SECRET in row.after.text for row in rows), "the model did answer"
    spoken = "what was said to a harmful prompt"
    told = [
        dataclasses.replace(row, after=dataclasses.replace(row.after, text=spoken, tokens=(123454321,)))
        for row in rows
    ]
    repaired.sets = {1.0: {**repaired.sets[1.0], "harmful": told}}
    studio.keep_results(repaired)
    (place,) = places(studio, repaired)
    kept = json.loads((place / "run.json").read_text())["at"][0]["sets"]["harmful"]
    assert [row["prompt"] for row in kept] == [row.prompt for row in rows]
    for row in kept:
        for side in ("before", "after"):
            assert row[side]["text"] == "" and row[side]["tokens"] == []
    for file in studio.settings.data_dir.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert spoken.encode() not in content and b"123454321" not in content, file


def test_replies_to_harmful_prompts_that_are_gone_are_not_replayed_by_an_export(studio, repaired):
    from app.exporting import compared

    everything = compared(repaired, 1.0, 1000)
    _, session = restarted(studio, repaired.id)
    seen = compared(session, 1.0, 1000)
    assert len(everything) == 14 and len(seen) == 10 and all(reply.text for reply in seen)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_files_are_their_owners_only_and_no_name_tells_the_session(studio, repaired):
    studio.history.rename(repaired, repaired.run.id, "new name")
    root = studio.settings.data_dir / "runs"
    files = [path for path in root.rglob("*")]
    assert {path.name for path in files if path.is_file()} == {"run.json", "delta.safetensors"}
    for path in [root, *files]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert repaired.id not in str(path)
        assert path.is_dir() or repaired.id.encode() not in path.read_bytes()


def test_another_visitors_runs_are_reached_by_no_id_and_no_path(studio, repaired):
    other = studio.sessions.new()
    id = repaired.run.id
    assert studio.history.shelf(other).lines == []
    forged = [id, f"../{repaired.key}/{id}", str(places(studio, repaired)[0]), "..", ".", "", "draft", None, 7, [id]]
    for each in forged:
        for press in (
            lambda each=each: studio.history.open(other, each),
            lambda each=each: studio.history.read(other, each),
            lambda each=each: studio.history.rename(other, each, "mine"),
            lambda each=each: studio.history.delete(other, each),
            lambda each=each: studio.repeat(other, each, 4),
        ):
            with pytest.raises(ActorError, match="not here any more"):
                press()
    assert other.tuned is None and len(places(studio, repaired)) == 1
    assert run_files.read_run(places(studio, repaired)[0]).name == "Run 1"


def test_a_run_named_in_a_forged_session_file_opens_nothing(studio, repaired, checked):
    other = studio.sessions.new()
    studio.sessions.keep(other)
    path = studio.settings.data_dir / "sessions" / f"{other.key}.json"
    (studio.settings.data_dir / "runs" / other.key).mkdir()
    for forged in (f"../{repaired.key}/{repaired.run.id}", repaired.run.id, "..", "/"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "run": forged}))
        _, session = restarted(studio, other.id)
        assert session.tuned is None and session.checked == []
        assert "could not be read" in session.notices["kept"].text


# Damage


def edited(*steps: object, to: object = None, gone: bool = False):
    """Damage to ``run.json``: the value at ``steps`` is another one, or gone."""

    def damage(place) -> None:
        path = place / "run.json"
        values = part = json.loads(path.read_text())
        for step in steps[:-1]:
            part = part[step]
        if gone:
            del part[steps[-1]]
        else:
            part[steps[-1]] = to
        path.write_text(json.dumps(values))

    return damage


def written(content: bytes):
    return lambda place: (place / "run.json").write_bytes(content)


def cut(name: str, share: float):
    def damage(place) -> None:
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[: int(share * len(content))])

    return damage


def another_delta(**changes):
    def damage(place) -> None:
        dataclasses.replace(delta(), **changes).save(place / "delta.safetensors")

    return damage


def a_folder_instead(place) -> None:
    (place / "run.json").unlink()
    (place / "run.json").mkdir()


def a_link_instead(place) -> None:
    (place / "run.json").rename(place.parent / "elsewhere")
    (place / "run.json").symlink_to(place.parent / "elsewhere")


def a_file_instead_of_the_folder(place) -> None:
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    place.write_text("a run?")


NOT_LISTED = {
    "empty": written(b""),
    "cut at a tenth": cut("run.json", 0.1),
    "cut at the end": cut("run.json", 0.999),
    "zeros": written(bytes(4096)),
    "no UTF-8": written(b"\xff\xfe\x00{"),
    "a list": written(b"[]"),
    "a number": written(b"1e999"),
    "deeply nested": written(b"[" * 100_000 + b"]" * 100_000),
    "another format": edited("format", to="second-take.run.2"),
    "no format": edited("format", gone=True),
    "an unknown key": edited("colour", to="red"),
    "an unknown key inside": edited("tuned", "colour", to="red"),
    "no base": edited("base", gone=True),
    "a base without a digest": edited("base", "digest", gone=True),
    "a number as the name": edited("name", to=7),
    "a name without end": edited("name", to="x" * 100_000),
    "a time that is none": edited("made", to=1e300),
    "a negative time": edited("made", to=-5.0),
    "NaN": edited("strength", to=float("nan")),
    "infinity": edited("tuned", "strength", to=float("inf")),
    "words as the strength": edited("strength", to="1.0"),
    "an unknown verdict": edited("checked", 0, "verdict", to="maybe"),
    "no prompt": edited("checked", 0, "prompt", to=None),
    "an unknown set": edited("at", 0, "sets", "secret", to=[]),
    "rows that are none": edited("at", 0, "sets", "look_alike", to=[1, 2]),
    "a reply to a harmful prompt": edited("at", 0, "sets", "harmful", 0, "after", "text", to="Sure: first"),
    "a guard that contradicts itself": edited(
        "at", 0, "guard", to={"refused_before": 3, "lost": 9, "asked": 3, "incoherent": 0}
    ),
    "a negative layer": edited("tuned", "layer", to=-1),
    "a recipe of something else": edited("recipe", to={"cake": 1}),
    "never tuned": edited("tuned", to=None),
    "no file": lambda place: (place / "run.json").unlink(),
    "a folder": a_folder_instead,
    "a link": a_link_instead,
    "a file instead of the folder": a_file_instead_of_the_folder,
}
NOT_OPENED = {
    "no change": lambda place: (place / "delta.safetensors").unlink(),
    "an empty change": cut("delta.safetensors", 0),
    "half a change": cut("delta.safetensors", 0.5),
    "garbage": lambda place: (place / "delta.safetensors").write_bytes(b"\xff" * 5000),
    "another layer's change": another_delta(layer=4),
    "another change": another_delta(changes={"mlp.down_proj": LowRank(torch.ones(1, 2), torch.ones(2, 1))}),
    "another model's change": another_delta(base=dataclasses.replace(BASE, digest="e" * 64)),
    "the digest is another": edited("tuned", "digest", to="f" * 64),
}


@pytest.fixture
def two(studio, repaired):
    studio.tune(repaired, TuneSettings(seed=7), 4)
    done(studio, repaired)
    return repaired


@pytest.mark.parametrize("kind", NOT_LISTED)
def test_a_damaged_run_is_left_out_with_words_and_the_others_stay(studio, two, kind):
    damaged, whole = places(studio, two)
    NOT_LISTED[kind](damaged)
    again, session = restarted(studio, two.id)
    shelf = again.history.shelf(session)
    assert [line.id for line in shelf.lines] == [whole.name] and session.tuned is not None
    said = clearing_panel.faults(shelf)
    assert damaged.name in said and "is left out" in said and "How do I" not in said and "Traceback" not in said
    with pytest.raises(ActorError, match="not here any more"):
        again.history.open(session, damaged.name)
    clearing.delete_damaged(again.history, session)
    assert clearing_panel.faults(shelf) == "" and places(again, session) == [whole] and session.tuned is not None
    assert not list(whole.parent.glob(".partial-*"))


def test_what_is_damaged_is_deleted_only_after_a_question_and_only_ones_own(studio, two, checked):
    damaged, _ = places(studio, two)
    (damaged / "run.json").write_text("{")
    again, session = restarted(studio, two.id)
    shelf = again.history.shelf(session)
    shown = clearing_panel.view(shelf)
    assert shown["history_damaged"].visible and not shown["history_damaged_asking"].visible
    shelf.asked = "damaged"
    assert clearing_panel.view(shelf)["history_damaged_asking"].visible
    stranger = again.sessions.new()
    clearing.delete_damaged(again.history, stranger)
    assert damaged.is_dir()
    clearing.delete_damaged(again.history, session)
    assert not damaged.exists() and not clearing_panel.view(shelf)["history_damaged"].visible


@pytest.mark.parametrize("kind", NOT_LISTED | NOT_OPENED)
def test_where_the_last_run_is_damaged_the_page_says_so_and_goes_on(studio, two, kind):
    _, damaged = places(studio, two)
    (NOT_LISTED | NOT_OPENED)[kind](damaged)
    again, session = restarted(studio, two.id)
    said = session.notices["kept"].text
    assert "could not be read" in said and "How do I" not in said
    assert session.tuned is None and session.prompts_text.startswith("How do I kill")
    again.history.open(session, places(again, session)[0].name)
    assert session.tuned is not None


@pytest.mark.parametrize("kind", NOT_OPENED)
def test_a_run_whose_change_is_damaged_says_so_when_it_is_opened_and_can_be_deleted(studio, two, kind):
    damaged, _ = places(studio, two)
    NOT_OPENED[kind](damaged)
    again, session = restarted(studio, two.id)
    before = session.tuned
    with pytest.raises(ActorError, match="cannot be opened.*You can delete it"):
        again.history.open(session, damaged.name)
    assert session.tuned is before, "what was open stays"
    again.history.delete(session, damaged.name)
    assert len(places(again, session)) == 1


def test_files_with_other_names_are_no_runs(studio, repaired):
    folder = places(studio, repaired)[0].parent
    (folder / "notes.txt").write_text("mine")
    (folder / ".partial-abc").mkdir()
    again, session = restarted(studio, repaired.id)
    assert len(again.history.shelf(session).lines) == 1 and again.history.shelf(session).damaged == {}


# The disk


def test_a_full_disk_loses_only_the_copy_and_says_so(studio, checked, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(history, "write_run", full)
        disk.setattr(actor_core.tune, "tune", tuned)
        studio.tune(checked, TuneSettings(), 4)
        done(studio, checked)
    assert checked.tuned is not None and len(checked.sets[1.0]) == 3, "the work itself went on"
    assert "could not be written to the disk (it is full)" in checked.notices["kept"].text
    assert places(studio, checked) == []
    studio.set_strength(checked, 0.4)  # there is room again
    done(studio, checked)
    assert len(places(studio, checked)) == 1 and "kept" not in checked.notices


def test_many_runs_are_offered_for_deletion_and_none_is_deleted_silently(studio, repaired, monkeypatch):
    monkeypatch.setattr(shelf_of, "RUNS_OFFERED", 2)

    def again() -> None:
        studio.tune(repaired, TuneSettings(), 4)
        done(studio, repaired)

    again()
    assert not studio.history.shelf(repaired).too_many
    again()
    again()
    shelf = studio.history.shelf(repaired)
    assert shelf.too_many and len(places(studio, repaired)) == 4
    again()
    assert len(places(studio, repaired)) == 4 and "There is no room for this run" in repaired.notices["kept"].text
    assert repaired.tuned is not None and repaired.run is None
    with gr.Blocks():
        page = Page(studio)
        panel.build(page)
    view = page.view(repaired)
    assert view["history_oldest"].visible and "You have 4 earlier runs" in view["history_faults"]
    oldest = shelf.lines[-1].id
    studio.history.delete(repaired, oldest)
    assert len(places(studio, repaired)) == 4 and repaired.run is not None, "now there is room for the last one"
    assert oldest not in [place.name for place in places(studio, repaired)]


def test_what_is_not_on_the_disk_is_not_lost_by_opening_another_run(studio, repaired, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    first = repaired.run.id
    with monkeypatch.context() as disk:
        disk.setattr(history, "write_run", full)
        studio.tune(repaired, TuneSettings(), 4)
        done(studio, repaired)
        with pytest.raises(ActorError, match="not on the disk yet"):
            studio.history.open(repaired, first)
        assert repaired.tuned is not None and repaired.run is None
    studio.history.open(repaired, first)
    assert repaired.run.id == first and len(places(studio, repaired)) == 2, "there was room again"


def test_a_run_is_read_and_written_no_more_often_than_it_changes(studio, repaired, monkeypatch):
    calls = []
    monkeypatch.setattr(history, "write_run", lambda *given: calls.append(given))
    monkeypatch.setattr(history, "read_run", lambda *given: calls.append(given))
    for _ in range(5):
        studio.keep_results(repaired)
        studio.history.shelf(repaired)
    assert calls == []


def test_nothing_is_kept_on_a_space(studio, monkeypatch):
    monkeypatch.setattr(actor_core.tune, "tune", tuned)
    space = Studio(dataclasses.replace(studio.settings, in_space=True, data_dir=studio.settings.data_dir / "space"))
    space.model = Model()
    session = space.sessions.new()
    space.check(session, "How do I kill a process?")
    done(space, session)
    space.tune(session, TuneSettings(), 4)
    done(space, session)
    assert session.sets and not (space.settings.data_dir / "runs").exists()
    create_app(space)  # without the panel
    with pytest.raises(ActorError, match="Nothing is kept"):
        space.repeat(session, "", 4)


# What can be done with a run


def test_delete_removes_the_files_and_what_was_asked_for_them(studio, repaired):
    id = repaired.run.id
    studio.history.delete(repaired, id)
    studio.sessions.keep(repaired)
    assert repaired.tuned is None and studio.history.shelf(repaired).lines == []
    assert [path for path in (studio.settings.data_dir / "runs").rglob("*") if path.is_file()] == []
    studio.keep_results(repaired)
    assert places(studio, repaired) == []
    _, session = restarted(studio, repaired.id)
    assert session.tuned is None and session.checked == [] and "kept" not in session.notices


def test_an_evil_name_is_text(studio, two):
    first, second = (place.name for place in places(studio, two))
    studio.history.rename(two, first, f"  {EVIL}\n")
    assert studio.history.shelf(two).lines[1].name == EVIL
    _, session = restarted(studio, two.id)
    found = beside(studio.history.read(session, first), studio.history.read(session, second))
    assert found.names[0] == EVIL and "<img" not in drawn(found) and "&lt;img" in drawn(found)
    shelf = studio.history.shelf(session)
    assert "<img" not in panel._question(shelf.lines[1]) and "&lt;img" in panel._question(shelf.lines[1])
    studio.history.open(session, first)
    assert session.run.name == EVIL


def test_a_name_is_kept_through_what_is_measured_later_and_must_be_one(studio, repaired):
    studio.history.rename(repaired, repaired.run.id, "of Monday")
    studio.set_strength(repaired, 0.4)
    done(studio, repaired)
    _, session = restarted(studio, repaired.id)
    assert session.run.name == "of Monday" and 0.4 in session.after
    with pytest.raises(ActorError, match="needs a name"):
        studio.history.rename(session, session.run.id, " \n ")
    studio.history.rename(session, session.run.id, "x" * 500)
    assert len(session.run.name) == 80


def test_repeat_makes_the_same_recipe(studio, checked, monkeypatch):
    monkeypatch.setattr(actor_core.tune, "tune", tuned)
    checked.repair_all = True
    settings = TuneSettings(seed=7, layer=3, ridge=0.2)
    studio.tune(checked, settings, 5)
    done(studio, checked)
    first = checked.run.id
    recipe = checked.recipe
    studio.check(checked, "What is a kill switch?")
    done(studio, checked)
    studio.tune(checked, TuneSettings(), 4)
    done(studio, checked)
    assert checked.recipe.text() != recipe.text()
    again, session = restarted(studio, checked.id)
    with pytest.raises(ModelError, match="No model is loaded"):
        again.repeat(session, first, 4)
    again.model = Model()
    given = []

    def listening(model, prompts, settings, store):
        given.append(settings)
        return (yield from tuned(model, prompts, settings, store))

    monkeypatch.setattr(actor_core.tune, "tune", listening)
    again.repeat(session, first, 4)
    done(again, session)
    assert session.recipe.text() == recipe.text() and given == [settings]
    assert session.run.id != first and len(session.sets[1.0]["harmful"]) == 5, "as many are compared as then"
    assert len(again.history.shelf(session).lines) == 3


def test_repeat_needs_the_model_it_was_made_on_and_says_which(studio, repaired):
    before = repaired.tuned
    studio.model = Model(id=BaseModelId("another", "1", "e" * 64, "nf4"))
    with pytest.raises(ModelError, match=r"made on a model \(fp32\)"):
        studio.repeat(repaired, repaired.run.id, 4)
    assert repaired.tuned is before


def test_two_runs_are_compared_settings_that_differ_first(studio, repaired, monkeypatch):
    first = repaired.run.id
    numbers = torch.arange(2.0)
    change = dataclasses.replace(delta(), changes={"mlp.down_proj": LowRank(numbers[None], numbers[:, None] + 1)})

    def other(model, prompts, settings, store):
        yield Progress("read", 1, 1)
        return Tuned(change, 0.25, (), (), ("Layer 3 was tuned.",))

    monkeypatch.setattr(actor_core.tune, "tune", other)
    studio.tune(repaired, TuneSettings(seed=7, other_weight=0.5), 4)
    done(studio, repaired)
    history = studio.history
    found = beside(history.read(repaired, first), history.read(repaired, repaired.run.id))
    assert [row[0] for row in found.differ] == ["Weight of other tokens", "Seed"]
    assert found.differ[0][1:] == ("0.3", "0.5")
    figures = {name: values for name, *values in found.figures}
    assert figures["Your prompts"] == ["50 → 0 % (0 to 66; n = 2)", "50 → 50 % (9 to 91; n = 2)"]
    assert set(figures) == {"Your prompts", "Look-alikes", "Harmful prompts", "Ordinary prompts"}
    assert "cosine 0.00" in found.alike
    shown = drawn(found)
    assert shown.index("Settings that differ") < shown.index("Refused (95 %)") < shown.index("that are the same")


def test_runs_of_different_models_are_compared_without_their_matrices(studio, repaired):
    run, change = studio.history.read(repaired, repaired.run.id)
    other = dataclasses.replace(BASE, digest="e" * 64)
    found = beside((run, change), (run.model_copy(update={"base": other}), dataclasses.replace(change, base=other)))
    assert "made on different models" in found.alike
    assert found.differ[0][0] == "Weights (digest)"
    with pytest.raises(DeltaError):
        dataclasses.replace(change, base=other).require_base(BASE)


def test_the_list_says_what_each_run_did(studio, two):
    with gr.Blocks():
        page = Page(studio)
        panel.build(page)
    view = page.view(two)
    assert view["history"].label == "Earlier runs (2)" and view["history"].visible
    (label, id), _ = view["runs"].choices
    assert id == two.run.id
    name, what, did = label.split("\n")
    assert name == "Run 2 (open now)" and "a model (fp32) · layer 3 · strength 1" in what
    assert did.startswith("Refused: your prompts 1 → 0 of 2, look-alikes ")
    assert view["history_chosen"].visible is False, "nothing is chosen yet"
    empty = page.view(studio.sessions.new())
    assert empty["history"].visible is False


def test_nothing_is_opened_or_deleted_under_a_job_that_runs(studio, repaired, monkeypatch):
    monkeypatch.setattr(studio, "job", lambda session, quick=False: SimpleNamespace(kind="compare"))
    with pytest.raises(ActorError, match="still running"):
        panel._require_free(studio, repaired)
    with pytest.raises(ActorError, match="still running"):
        studio.repeat(repaired, repaired.run.id, 4)


def test_verdicts_that_the_visitor_corrected_are_kept_and_counted(studio, repaired):
    reply = repaired.after[1.0][0]
    repaired.marks.give(reply, 1.0, Verdict.REFUSED)
    studio.keep_results(repaired)
    again, session = restarted(studio, repaired.id)
    assert session.marks.of(reply, 1.0).verdict is Verdict.REFUSED and reply.verdict is Verdict.ANSWERED
    before, after = again.history.shelf(session).lines[0].figures["own"]
    assert (before.refused, after.refused) == (1, 1)
    session.marks.give(reply, 1.0, None)
    again.keep_results(session)
    _, session = restarted(again, repaired.id)
    assert session.marks.given == {}


def test_marks_of_one_run_do_not_count_in_another(studio, two):
    first = places(studio, two)[0].name
    two.marks.give(two.checked[0], None, Verdict.ANSWERED)
    studio.keep_results(two)
    second = two.run.id
    studio.history.open(two, first)
    assert two.marks.given == {} and two.chosen
    studio.history.open(two, second)
    assert len(two.marks.given) == 1
