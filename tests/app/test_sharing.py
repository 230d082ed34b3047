"""The comparison as one file: what the visitor sees, whole, and nothing that belongs to this machine."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from quick_core import SECRET
from test_marks import KILL, click
from test_render import EVIL, assert_safe

from actor_core.errors import ExportError
from actor_core.weights import whole_files
from app.sharing import shared_page


def test_it_holds_what_step_4_shows(repaired):
    page = shared_page(repaired)
    assert "a model before and after" in page and "layer 3, strength 1 " in page
    assert KILL in page and "0 of 2" in page and ">fixed<" in page
    assert "The prompts refused" in page and "Your" not in page
    for name in ("look_alike", "ordinary", "harmful"):
        assert page.count(f"<section class='{name}'>") == 1


def test_harmful_prompts_are_there_with_their_verdicts_and_without_replies(repaired):
    rows = repaired.sets[1.0]["harmful"]
    repaired.sets[1.0]["harmful"] = [
        replace(row, after=replace(row.after, text="the harmful words"), before=replace(row.before, text="older words"))
        for row in rows
    ]
    page = shared_page(repaired)
    assert "harmful words" not in page and "older words" not in page
    part = page.split("<section class='harmful'>")[1]
    assert SECRET not in part and part.count("<tr>") == 1 + len(rows)


def test_it_needs_no_script_and_no_other_file(repaired):
    page = shared_page(repaired)
    assert not re.search(r"<script|<link|<img|<iframe|src=|href=|url\(|@import|https?:", page)
    assert "prefers-color-scheme: dark" in page


def test_it_tells_nothing_of_this_machine_or_the_visitor(studio, repaired):
    delta = repaired.tuned.delta
    base = replace(delta.base, name="/home/anna/models/My Model")
    repaired.tuned = replace(repaired.tuned, delta=replace(delta, base=base))
    path = studio.share(repaired)
    text = path.read_text(encoding="utf-8")
    for word in (repaired.id, repaired.key, "/home", "anna", str(studio.settings.data_dir), str(Path.home())):
        assert word not in text and word not in path.name
    assert "My Model" in text


def test_what_people_and_models_wrote_stays_text(repaired):
    repaired.checked = [replace(repaired.checked[0], prompt=EVIL, text=EVIL)]
    repaired.after[1.0] = [replace(repaired.after[1.0][0], prompt=EVIL, text=f"{EVIL} and more")]
    assert_safe(shared_page(repaired))


def test_a_corrected_verdict_is_named_as_a_persons(repaired):
    assert "by a person" not in shared_page(repaired)
    click(repaired, KILL, "after", "refused")
    page = shared_page(repaired)
    assert "refused, by a person" in page and "One of them was corrected by a person" in page
    assert "1 verdict by a person" in page and "by you" not in page


def test_before_anything_is_compared_it_says_what_to_do(studio, repaired):
    repaired.after, repaired.sets = {}, {}
    with pytest.raises(ExportError, match="wait for the answers"):
        studio.share(repaired)


def test_it_is_written_whole_or_not_at_all(studio, repaired, monkeypatch):
    first = studio.share(repaired)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_files.os, "replace", full)
    with pytest.raises(OSError):
        studio.share(repaired)
    assert list(studio.settings.page_cache.rglob("*.html")) == [first], "the one before is still there"
    assert not list(studio.settings.page_cache.rglob(f"{whole_files.UNFINISHED}*"))


def test_a_second_file_takes_the_place_of_the_first(studio, repaired):
    first, second = studio.share(repaired), studio.share(repaired)
    assert not first.exists() and second.exists()
    assert len(second.parent.name) >= 24, "nobody guesses its address"
