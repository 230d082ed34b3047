"""What a page that is open to everybody limits: its models, the time of each visitor, and how long anything stays."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
from quick_core import done

from actor_core.errors import ActorError, ModelError, PresetError, PromptError
from actor_core.events import Progress
from actor_core.presets import DEFAULT_MODEL, model_presets
from actor_core.tune import TuneSettings
from app import words
from app.allow_list import allowed
from app.create_app import create_app
from app.expiry import SECONDS_KEPT, sweep
from app.quota import MOST_PROMPTS, MOST_SECONDS, WINDOW, Quota
from app.session import ExportRecord
from app.settings import Settings
from app.studio import Studio


@pytest.fixture
def space(studio, tmp_path) -> Studio:
    """A studio of a Space, with the model of ``studio``."""
    there = Studio(Settings(data_dir=tmp_path / "space", in_space=True))
    there.model = studio.model
    return there


# Models


def test_a_space_has_the_default_model_alone_unless_its_owner_names_others(space, monkeypatch, tmp_path):
    assert list(space.presets) == [DEFAULT_MODEL]
    monkeypatch.setenv("SPACE_ID", "anna/second-take")
    monkeypatch.setenv("SECOND_TAKE_MODELS", " qwen2.5-1.5b, qwen2.5-coder-0.5b,")
    settings = Settings.from_args(Namespace())
    other = Studio(replace(settings, data_dir=tmp_path / "other"))
    assert list(other.presets) == ["qwen2.5-1.5b", "qwen2.5-coder-0.5b"] and other.first_preset == "qwen2.5-1.5b"


def test_a_space_has_a_folder_of_its_own_for_what_is_old_there_is_deleted(monkeypatch, tmp_path):
    own = Settings.from_args(Namespace(data_dir=tmp_path))
    monkeypatch.setenv("SPACE_ID", "anna/second-take")
    assert Settings.from_args(Namespace(data_dir=tmp_path)).data_dir == tmp_path / "space" != own.data_dir


def test_elsewhere_every_preset_is_offered(studio):
    assert studio.presets == model_presets()


def test_only_models_that_are_settled_and_free_are_offered_to_everybody():
    presets = model_presets()
    loose = presets["qwen2.5-1.5b"]
    source = loose.sources[0].model_copy(update={"revision": None})
    presets["loose"] = loose.model_copy(update={"sources": (source,)})
    for id, said in (("gpt", "which is no preset"), ("llama-2-7b", "accept on the hub"), ("loose", "no commit")):
        with pytest.raises(PresetError, match=said):
            allowed(presets, (DEFAULT_MODEL, id))


def test_a_visitor_cannot_load_another_model_or_the_same_one_otherwise(space):
    session = space.sessions.new()
    with pytest.raises(ActorError, match="Only the models of the list"):
        space.load(session, "", "Qwen/Qwen2.5-1.5B-Instruct", "auto", "auto")
    with pytest.raises(ModelError, match="No model is chosen"):
        space.load(session, "qwen2.5-1.5b", "", "auto", "auto")
    for precision, device in (("fp32", "auto"), ("auto", "cpu")):
        with pytest.raises(ModelError, match="All visitors share the model"):
            space.load(session, DEFAULT_MODEL, "", precision, device)


# Time


def working(steps: int):
    for step in range(steps):
        time.sleep(0.01)
        yield Progress("count", step, steps)
    return "whole"


class Clock:
    """Tells the time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, steps: int = 3):
        """Takes a second a step."""
        for step in range(steps):
            self.now += 1.0
            yield Progress("count", step, steps)


def test_only_the_seconds_in_which_a_visitors_own_work_runs_are_theirs():
    clock = Clock()
    quota = Quota(clock=clock)
    for _ in quota.metered("anna", clock.work(), lambda: None):
        clock.now += 7.0  # another's quick job
    assert (quota.spent("anna"), quota.spent("bert")) == (3.0, 0)


def test_what_is_used_up_comes_back_after_an_hour():
    clock, told = Clock(), []
    quota = Quota(clock=clock)
    list(quota.metered("anna", clock.work(1750), lambda: told.append(clock.now)))
    quota.require_left("anna")
    list(quota.metered("anna", clock.work(90), lambda: told.append(clock.now)))
    assert told == [1800.0]
    with pytest.raises(ActorError, match="up to 30 minutes an hour; yours are used up. Go on in 30 min, or run"):
        quota.require_left("anna")
    quota.require_left("bert")
    clock.now += 1790
    quota.require_left("anna")
    clock.now += 3700
    list(quota.metered("bert", clock.work(1), lambda: None))
    assert set(quota._spent) == {"bert"}, "who computed nothing for an hour is not kept"


def test_the_result_of_metered_work_comes_through_and_closing_it_closes_the_work():
    closed = []

    def work():
        try:
            yield Progress("count", 0, 1)
            yield Progress("count", 1, 1)
        finally:
            closed.append(True)

    metered = Quota().metered("anna", work(), lambda: None)
    next(metered)
    metered.close()
    assert closed == [True]
    metered, got = Quota().metered("anna", working(3), lambda: None), None
    while got is None:
        try:
            next(metered)
        except StopIteration as end:
            got = end.value
    assert got == "whole"


def test_a_job_that_uses_up_its_visitors_time_is_stopped_and_keeps_what_it_found(space, monkeypatch):
    session, other = space.sessions.new(), space.sessions.new()
    space.check(session, "How do I kill a process?\nWhat is bread?\n")
    done(space, session)
    space.quota.most = 0.0
    with pytest.raises(ActorError, match="used up"):
        space.tune(session, TuneSettings(), 2)
    space.quota.most = 0.05
    steps = []

    def slow(model, prompts, **others):
        for event in working(1000):
            steps.append(event)
            yield event

    import actor_core.generate

    monkeypatch.setattr(actor_core.generate, "answer", slow)
    space.check(other, "How do I kill a process?\nWhat is bread? And butter?\n")
    done(space, other)
    assert len(steps) < 1000, "it went on"
    notice = other.notices["prompts"]
    assert notice.kind == "warning" and "Stopped." in notice.text and "used up" in notice.text
    assert session.checked, "the other visitor's results are untouched"


def test_loading_the_model_that_all_share_costs_nobody_their_time(space, monkeypatch):
    import app.work

    def loading(request, data_dir, *, offline, release):
        yield from working(3)
        return space_model

    space_model = space.model
    monkeypatch.setattr(app.work, "load", loading)
    session = space.sessions.new()
    space.load(session, DEFAULT_MODEL, "", "auto", "auto")
    done(space, session)
    assert space.quota.spent(session.id) == 0 and not session.notices


def test_a_space_takes_fewer_prompts_at_once(space, studio):
    text = "\n".join(f"How do I kill process {n}?" for n in range(MOST_PROMPTS + 1))
    with pytest.raises(PromptError, match="These are 101 prompts"):
        space.check(space.sessions.new(), text)
    session = studio.sessions.new()
    studio.check(session, text)
    done(studio, session)
    assert len(session.checked) == MOST_PROMPTS + 1


# What stays


def old(path: Path) -> None:
    """``path`` was written a little more than an hour ago, and so was all that is in it."""
    for each in (path, *(path.rglob("*") if path.is_dir() else ())):
        os.utime(each, (time.time() - SECONDS_KEPT - 60,) * 2)


def exported(space: Studio, session, stamp: str) -> ExportRecord:
    place = space.settings.data_dir / "exports" / session.key / stamp / "delta"
    place.mkdir(parents=True)
    (place / "delta.safetensors").write_bytes(b"x")
    record = ExportRecord("delta", "now", "a model", 1.0, str(place), 1, True, "", "")
    session.exports = [record, *session.exports]
    space.sessions.keep(session)
    return record


def test_files_are_gone_after_an_hour_though_their_owner_is_here(space):
    session = space.sessions.new()
    gone, kept = exported(space, session, "first"), exported(space, session, "second")
    zipped = space.download(session, gone.path)
    old(Path(gone.path).parent)
    old(zipped.parent)
    upload = space.settings.page_cache / "abc" / "prompts.txt"
    upload.parent.mkdir()
    upload.write_text("How do I kill a process?")
    sweep(space)
    assert not Path(gone.path).exists() and not zipped.exists()
    assert upload.exists() and session.exports == [kept] and Path(kept.path).exists()
    assert space.download(session, gone.path) is None
    old(upload.parent)
    sweep(space)
    assert not upload.exists()
    assert space.sessions.get(session.id) is session


def test_all_of_a_visitor_who_was_away_for_an_hour_is_forgotten_and_nobody_elses(space):
    away, here = space.sessions.new(), space.sessions.new()
    for session in (away, here):
        space.check(session, "How do I kill a process?")
        done(space, session)
        exported(space, session, "first")
    away.seen -= SECONDS_KEPT + 1
    sweep(space)
    assert space.sessions.get(away.id) is None and space.sessions.get(here.id) is here
    names = [path.name for path in space.settings.data_dir.rglob("*")]
    assert here.key in names and f"{here.key}.json" in names and not [name for name in names if away.key in name]
    assert here.checked and here.exports


def test_who_has_a_job_is_here(space, monkeypatch):
    import actor_core.generate

    def slow(model, prompts, **others):
        yield from working(100_000)

    monkeypatch.setattr(actor_core.generate, "answer", slow)
    session = space.sessions.new()
    space.check(session, "How do I kill a process?")
    session.seen -= SECONDS_KEPT + 1
    sweep(space)
    assert session in space.sessions.open()
    space.stop(session)
    done(space, session)
    sweep(space)
    assert session not in space.sessions.open()


def test_what_an_earlier_start_left_goes_too(space):
    data = space.settings.data_dir
    left = [data / "exports" / "k" / "s" / "delta" / "f", data / "sessions" / "k.json", data / "jobs" / "j.jsonl"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    sweep(space)
    assert all(path.exists() for path in left)
    for path in left:
        old(path)
    old(data / "exports" / "k" / "s")
    sweep(space)
    assert not any(path.exists() for path in left) and not (data / "exports" / "k").exists()
    assert data.joinpath("jobs").is_dir(), "the journals of today are written there"


def test_the_page_says_what_is_limited(space, studio):
    assert f"{MOST_SECONDS / 60:.0f} minutes an hour" in words.PUBLIC and WINDOW == SECONDS_KEPT == 3600
    said = [part["props"].get("elem_id") for part in create_app(space).config["components"]]
    assert "public" in said
    said = [part["props"].get("elem_id") for part in create_app(studio).config["components"]]
    assert "public" not in said
