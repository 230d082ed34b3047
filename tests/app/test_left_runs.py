"""The runs of visitors who do not come back: bounded, and gone only by the rule that the page states."""

from __future__ import annotations

import os
import time

import pytest
from quick_core import Model, done, tuned
from test_history import places, restarted

import actor_core.tune
from actor_core.errors import ActorError
from actor_core.tune import TuneSettings
from app import clearing, left_runs
from app.settings import Settings
from app.steps import clearing as panel
from app.steps import history as history_panel
from app.studio import Studio


def days_ago(studio: Studio, session, days: float) -> None:
    """As if the visitor had been there last so many days ago."""
    when = time.time() - days * 86_400
    folder = studio.settings.data_dir / "runs" / session.key
    for path in [*folder.rglob("*"), folder, studio.settings.data_dir / "sessions" / f"{session.key}.json"]:
        os.utime(path, (when, when))


def visitor(studio: Studio, runs: int = 1):
    session = studio.sessions.new()
    studio.check(session, "How do I kill a process?")
    done(studio, session)
    for _ in range(runs):
        studio.tune(session, TuneSettings(), 4)
        done(studio, session)
    return session


@pytest.fixture
def others(studio, monkeypatch):
    """Three visitors of a local page, of whom one was there lately."""
    monkeypatch.setattr(actor_core.tune, "tune", tuned)
    found = [visitor(studio, 2), visitor(studio), visitor(studio)]
    for session, days in zip(found, (200, 90, 3), strict=True):
        days_ago(studio, session, days)
    return found


def open_page(studio: Studio) -> Studio:
    served = Studio(Settings(data_dir=studio.settings.data_dir, listen=True, auth=("a", "b")))
    served.model = Model()
    return served


def test_on_a_local_page_nothing_goes_by_itself_and_what_was_left_is_offered(studio, others):
    again, session = restarted(studio, others[2].id)
    shelf = again.history.shelf(session)
    assert [each.folder.name for each in shelf.left] == [others[0].key, others[1].key]
    said = panel.view(shelf)["history_left_said"]
    assert "in number 3," in said and "60 days" in said
    assert all(len(places(studio, each)) for each in others)
    clearing.delete_left(again.history, session)
    assert [len(places(studio, each)) for each in others] == [0, 0, 1]
    assert panel.view(shelf)["history_left_said"] == ""


def test_ones_own_runs_are_never_left_ones(studio, others):
    again, session = restarted(studio, others[0].id)
    assert [each.folder.name for each in again.history.shelf(session).left] == [others[1].key]
    clearing.delete_left(again.history, session)
    assert [len(places(studio, each)) for each in others] == [2, 0, 1]


@pytest.mark.parametrize("limit", ["RUNS_OF_ALL", "BYTES_OF_ALL"])
def test_on_a_full_local_page_a_new_run_is_not_kept_and_the_page_says_so(studio, others, monkeypatch, limit):
    monkeypatch.setattr(left_runs, limit, 4)
    session = visitor(studio)
    assert places(studio, session) == [] and session.tuned is not None
    said = session.notices["kept"].text
    assert "no room for this run" in said and "other browsers" in said
    assert [len(places(studio, each)) for each in others] == [2, 1, 1]


def test_an_open_page_deletes_what_was_left_longest_first_and_no_more_than_it_must(studio, others, monkeypatch):
    monkeypatch.setattr(left_runs, "RUNS_OF_ALL", 4)
    served = open_page(studio)
    session = visitor(served)
    assert [len(places(studio, each)) for each in others] == [0, 1, 1] and len(places(served, session)) == 1


def test_an_open_page_keeps_the_runs_of_those_who_came_back(studio, others, monkeypatch):
    monkeypatch.setattr(left_runs, "RUNS_OF_ALL", 1)
    served = open_page(studio)
    session = visitor(served)
    assert [len(places(studio, each)) for each in others] == [0, 0, 1]
    assert places(served, session) == [] and "no room for this run" in session.notices["kept"].text


def test_an_open_page_with_room_deletes_nothing_states_its_rule_and_shows_nobodys_runs(studio, others):
    served = open_page(studio)
    session = visitor(served)
    assert [len(places(studio, each)) for each in others] == [2, 1, 1]
    shelf = served.history.shelf(session)
    assert shelf.left == []
    shown = history_panel._view(served, session)["history_faults"]
    assert "1,000 runs" in shown and "10 GB" in shown and "60 days are deleted" in shown
    with pytest.raises(ActorError, match="open to others"):
        clearing.delete_left(served.history, session)
    assert [len(places(studio, each)) for each in others] == [2, 1, 1]


def test_a_link_in_the_place_of_a_visitor_is_not_followed(studio, others, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    os.symlink(elsewhere, studio.settings.data_dir / "runs" / ("f" * 32))
    again, session = restarted(studio, others[2].id)
    clearing.delete_left(again.history, session)
    assert (elsewhere / "kept").is_file()


def test_an_open_page_never_deletes_the_runs_of_the_one_who_is_there(studio, others, monkeypatch):
    monkeypatch.setattr(left_runs, "RUNS_OF_ALL", 2)
    served = open_page(studio)
    session = served.sessions.get(others[0].id)
    days_ago(served, session, 200)
    assert not served.history.everybody.make_room(session.key)
    assert [len(places(studio, each)) for each in others] == [2, 0, 1]


def test_to_look_at_the_page_is_to_be_there(studio, others):
    everybody = studio.history.everybody
    assert others[0].key in [each.folder.name for each in everybody.unseen()]
    assert studio.sessions.get(others[0].id) is others[0]
    assert others[0].key not in [each.folder.name for each in everybody.unseen()]
