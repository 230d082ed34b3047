"""Exports are bounded: the oldest are offered for deletion, and at the cap nothing more is written."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from quick_core import done, writing

import actor_core.export
from actor_core.errors import ExportError
from app import clearing, export_room
from app.language import spoken
from app.left_runs import DAYS_UNSEEN
from app.page import Page
from app.session import ExportRecord, Sessions
from app.settings import Settings
from app.shelf import LEFT
from app.steps import old_exports
from app.studio import Studio


@pytest.fixture
def exporting(studio, repaired, monkeypatch):
    """``exporting(kinds)``: a press of *Export*."""
    monkeypatch.setattr(actor_core.export, "export", writing)

    def press(*kinds: str, session=repaired) -> None:
        studio.export(session, list(kinds), {}, "export anyway" if session.guards else "")
        done(studio, session)

    press("delta")  # measures the guard, which the toy's few prompts do not pass
    assert repaired.exports == [] and repaired.guards
    return press


def exports_of(studio: Studio, session) -> list[str]:
    place = studio.settings.data_dir / "exports" / session.key
    return sorted(path.name for path in place.glob("*/*"))


@pytest.fixture
def panel(studio):
    """A press of a button of the panel, by its name, and what is shown now."""
    handlers = {}
    page = Page(studio)
    with gr.Blocks():
        old_exports.build(page)
    page.on = lambda trigger, step, handle: handlers.update({trigger.__self__.elem_id: handle})
    old_exports.wire(page)

    def press(session, button: str):
        handlers[button](session)
        return old_exports.view(studio, session, session.exports)

    return press


def test_above_the_limit_the_oldest_is_offered_and_goes_when_that_is_confirmed(
    studio, repaired, exporting, panel, monkeypatch
):
    monkeypatch.setattr(export_room, "EXPORTS_OFFERED", 2)
    exporting("delta", "peft")
    assert not old_exports.view(studio, repaired, [])["exports_oldest"].visible
    exporting("gguf-lora")
    shown = old_exports.view(studio, repaired, [])
    assert shown["exports_oldest"].visible and shown["earlier"].visible
    assert "Your exports take 3 bytes here (in number 3)" in shown["exports_said"]
    shown = panel(repaired, "exports-oldest")
    assert "Delete “Second Take file” of 20" in shown["exports_oldest_asked"] and shown["exports_oldest_asking"].visible
    assert exports_of(studio, repaired) == ["delta", "gguf-lora", "peft"], "it only asks"
    assert not panel(repaired, "exports-oldest-stay")["exports_oldest_asking"].visible
    panel(repaired, "exports-oldest")
    panel(repaired, "exports-oldest-gone")
    assert exports_of(studio, repaired) == ["gguf-lora", "peft"]
    kept = Sessions(studio.settings.data_dir / "sessions").get(repaired.id)
    assert [record.kind for record in kept.exports] == ["gguf-lora", "peft"]


def test_the_folder_of_a_press_goes_with_its_last_file(studio, repaired, exporting):
    exporting("delta", "peft")
    everybody, place = studio.exports_of_all, studio.settings.data_dir / "exports" / repaired.key
    for left in (1, 0):
        clearing.delete_export(everybody, repaired, repaired.exports[-1].path)
        assert len(list(place.iterdir())) == left and len(repaired.exports) == left


def test_at_twice_as_many_nothing_is_written_until_one_is_deleted(studio, repaired, exporting, monkeypatch):
    monkeypatch.setattr(export_room, "EXPORTS_OFFERED", 1)
    exporting("delta", "peft")
    with pytest.raises(ExportError, match="you have 2 .* at most 2 of 40 GB are kept. Delete the oldest"):
        exporting("delta")
    clearing.delete_export(studio.exports_of_all, repaired, repaired.exports[-1].path)
    exporting("gguf-lora")
    assert exports_of(studio, repaired) == ["gguf-lora", "peft"]


def test_whole_models_count_by_their_size(studio, repaired, exporting, monkeypatch):
    exporting("merged")
    repaired.exports = [replace(each, bytes=21_000_000_000) for each in repaired.exports]
    assert old_exports.view(studio, repaired, [])["exports_oldest"].visible
    exporting("delta")
    repaired.exports = [replace(each, bytes=41_000_000_000) for each in repaired.exports]
    with pytest.raises(ExportError, match=r"\(82 GB\)"):
        exporting("delta")


def test_what_was_deleted_by_hand_does_not_count(studio, repaired, exporting, monkeypatch):
    monkeypatch.setattr(export_room, "EXPORTS_OFFERED", 1)
    exporting("delta", "peft")
    clearing.delete_run(Path(repaired.exports[0].path))
    exporting("delta")


def test_only_what_lies_in_the_visitors_own_folder_is_deleted(studio, repaired, exporting, tmp_path):
    exporting("delta")
    elsewhere = tmp_path / "exports" / "another" / "press" / "merged"
    elsewhere.mkdir(parents=True)
    repaired.exports = [
        *repaired.exports,
        ExportRecord("merged", "then", "a model", 1.0, str(elsewhere), 10, True, "", ""),
    ]
    for path in (str(elsewhere), "", "/", LEFT):
        with pytest.raises(ExportError, match="not on the disk"):
            clearing.delete_export(studio.exports_of_all, repaired, path)
    assert elsewhere.is_dir() and exports_of(studio, repaired) == ["delta"]


def test_nothing_is_deleted_while_something_of_the_visitor_runs(studio, repaired, exporting, panel, monkeypatch):
    exporting("delta")
    panel(repaired, "exports-oldest")
    monkeypatch.setattr(studio, "job", lambda *_, **__: object())
    with pytest.raises(Exception, match="still running"):
        panel(repaired, "exports-oldest-gone")
    assert exports_of(studio, repaired) == ["delta"]


# All visitors' together


def left_long_ago(studio: Studio, key: str = "a" * 32, days: float = DAYS_UNSEEN + 1) -> Path:
    """An export of a visitor who was here last so many days ago."""
    place = studio.settings.data_dir / "exports" / key
    file = place / "2020-01-01-000000-aaaa" / "peft" / "adapter.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 1000)
    when = time.time() - days * 86_400
    for path in [place, *place.rglob("*")]:
        os.utime(path, (when, when))
    return place


def test_on_a_local_page_exports_of_other_browsers_are_offered_and_none_goes_by_itself(
    studio, repaired, exporting, panel, monkeypatch
):
    left, lately = left_long_ago(studio), left_long_ago(studio, "b" * 32, days=3)
    monkeypatch.setattr(export_room, "EXPORTS_OF_ALL", 2)
    with pytest.raises(ExportError, match="2 .60 GB. of all visitors are kept .* those of other browsers count too"):
        exporting("delta")
    assert left.is_dir()
    shown = panel(repaired, "exports-left")
    assert "in number 1, 1.0 kB" in shown["exports_left_said"] and shown["exports_left_asking"].visible
    shown = panel(repaired, "exports-left-gone")
    assert not left.exists() and lately.is_dir() and not shown["exports_left"].visible
    exporting("delta")
    assert exports_of(studio, repaired) == ["delta"]


def test_an_open_page_makes_room_by_what_was_left_and_says_so(studio, repaired, exporting, monkeypatch):
    left, lately = left_long_ago(studio), left_long_ago(studio, "b" * 32, days=3)
    served = Studio(Settings(data_dir=studio.settings.data_dir, listen=True, auth=("a", "b")))
    shown = old_exports.view(served, repaired, [])
    assert "2,000 exports (60 GB)" in shown["exports_said"] and shown["exports_left_said"] == ""
    with pytest.raises(ExportError, match="open to others"):
        clearing.delete_left_exports(served.exports_of_all, repaired)
    export_room.require_room(repaired, served.exports_of_all)
    assert left.is_dir(), "there is room"
    monkeypatch.setattr(export_room, "BYTES_OF_ALL", 1500)
    export_room.require_room(repaired, served.exports_of_all)
    assert not left.exists() and lately.is_dir()
    monkeypatch.setattr(export_room, "BYTES_OF_ALL", 500)
    with pytest.raises(ExportError, match="Delete earlier ones of yours"):
        export_room.require_room(repaired, served.exports_of_all)
    assert lately.is_dir()


@pytest.mark.parametrize("which", ["exports", "runs"])
def test_a_visitors_folder_that_was_deleted_by_halves_is_swept_up(studio, which):
    everybody = studio.exports_of_all if which == "exports" else studio.history.everybody
    half = everybody.folder / ".partial-0123" / "press"
    half.mkdir(parents=True)
    assert everybody.make_room("") and half.is_dir(), "it may be being deleted now"
    os.utime(half.parent, (0, 0))
    assert everybody.make_room("") and not half.parent.exists()


def test_the_panel_speaks_german(studio, repaired, exporting, panel, monkeypatch):
    left_long_ago(studio)
    exporting("merged")
    monkeypatch.setattr(export_room, "EXPORTS_OFFERED", 0)
    with spoken("de"):
        shown = panel(repaired, "exports-oldest") | panel(repaired, "exports-left")
        shown |= panel(repaired, "exports-oldest")
    said = "".join(value for value in shown.values() if isinstance(value, str))
    assert "Ihre Exporte belegen hier 1 bytes (Anzahl: 1)" in said and "Anzahl: 1, 1,0 kB" in said
    assert "„Ganzes Modell“ vom 20" in said and "Diese Exporte löschen?" in said
