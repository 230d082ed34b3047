"""What a visitor has is kept on the server, under an id that the server makes."""

from __future__ import annotations

import json
import os

import app.session
from app.session import ExportRecord, Sessions


def record(path: str) -> ExportRecord:
    return ExportRecord("peft", "2026-01-01 10:00", "a model", 1.0, path, 10, True, "same replies", "python x")


def test_an_id_that_the_browser_made_up_opens_nothing(tmp_path):
    sessions = Sessions(tmp_path)
    for made_up in (None, 7, "", "short", "a" * 32, "../" * 10, {"id": "x"}):
        assert sessions.get(made_up) is None


def test_ids_are_long_and_different(tmp_path):
    sessions = Sessions(tmp_path)
    ids = {sessions.new().id for _ in range(50)}
    assert len(ids) == 50 and all(len(id) >= 32 for id in ids)


def test_what_was_typed_survives_a_restart(tmp_path):
    session = Sessions(tmp_path).new()
    session.prompts_text, session.preset = "How do I kill a process?\n😀", "some-model"
    exported = tmp_path / "file.gguf"
    exported.write_text("x")
    session.exports = [record(str(exported)), record(str(tmp_path / "gone"))]
    sessions = Sessions(tmp_path)
    sessions.keep(session)
    found = Sessions(tmp_path).get(session.id)
    assert found is not None and found is not session
    assert (found.prompts_text, found.preset) == (session.prompts_text, "some-model")
    assert [r.path for r in found.exports] == [str(exported)], "an export that was deleted is not listed"


def test_the_files_do_not_tell_the_id(tmp_path):
    sessions = Sessions(tmp_path)
    session = sessions.new()
    sessions.keep(session)
    (path,) = tmp_path.glob("*.json")
    assert session.id not in path.name + path.read_text()


def test_a_broken_file_opens_nothing(tmp_path):
    sessions = Sessions(tmp_path)
    session = sessions.new()
    sessions.keep(session)
    (path,) = tmp_path.glob("*.json")
    path.write_text(json.dumps({"preset": 1}))
    assert Sessions(tmp_path).get(session.id) is None


def test_a_disk_that_takes_nothing_does_not_stop_the_page(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    sessions = Sessions(blocked / "sessions")
    session = sessions.new()
    sessions.keep(session)
    assert sessions.get(session.id) is session


def test_sessions_on_the_disk_have_a_cap_and_the_one_unseen_for_longest_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(app.session, "SESSIONS_ON_DISK", 3)
    sessions = Sessions(tmp_path)
    made = [sessions.new() for _ in range(5)]
    for number, session in enumerate(made):
        sessions.keep(session)
        os.utime(tmp_path / f"{session.key}.json", (number, number))
        sessions.keep(session) if number == 4 else None
    assert {path.stem for path in tmp_path.glob("*.json")} == {session.key for session in made[2:]}
