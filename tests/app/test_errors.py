"""The one boundary: an error that a person can mend is shown as it stands, any other as a short message."""

from __future__ import annotations

import errno
import logging
import re
from html import unescape

import pytest

from actor_core import errors
from actor_core.errors import ActorError, ModelError, OutOfMemory
from app import render
from app.errors import Notice, explain, start_log


@pytest.fixture
def log(tmp_path):
    path = start_log(tmp_path)
    yield path
    logger = logging.getLogger("app")
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)


def test_an_error_of_the_core_is_shown_as_it_stands():
    notice = explain(ModelError("No model is loaded: load one in step 1 first."))
    assert (notice.text, notice.todo, notice.details) == ("No model is loaded: load one in step 1 first.", "", "")


def test_every_error_of_the_core_has_a_heading_of_its_own_kind():
    headings = [explain(getattr(errors, name)("why")).heading for name in errors.__all__ if name[0].isupper()]
    assert all(headings) and explain(ActorError("why")).heading != explain(ModelError("why")).heading
    assert explain(OutOfMemory("why")).heading == explain(MemoryError()).heading != explain(ModelError("why")).heading


def test_a_message_has_one_form_heading_reason_what_to_do_and_all_of_it_to_copy():
    notice = Notice("error", "This is <why>.", "KeyError at x.py:1", heading="It broke", todo="Try again.")
    html = render.notice(notice)
    parts = ("It broke</strong>", "<p>This is &lt;why&gt;.", "What to do:", "KeyError at x.py:1</pre>")
    order = [html.index(part) for part in parts]
    assert order == sorted(order) and 'role="alert"' in html
    copied = re.search(r'data-copy="([^"]*)"', html)
    assert copied and unescape(copied[1]) == "It broke.\nThis is <why>.\nTry again.\nKeyError at x.py:1"


def test_what_went_well_is_no_alarm_and_has_nothing_to_copy():
    html = render.notice(Notice("success", "Done."))
    assert 'role="status"' in html and "data-copy" not in html


def test_a_full_disk_is_named_with_the_remedy():
    notice = explain(OSError(errno.ENOSPC, "No space left on device", "/data/models/x"))
    assert notice.heading == "The disk is full" and "at /data/models/x" in notice.text
    assert "Free some space" in notice.todo


def test_no_memory_is_named_with_the_remedy():
    assert "smaller model" in explain(MemoryError()).todo


def test_a_fault_gives_a_short_message_details_to_copy_and_a_traceback_in_the_log(log):
    try:
        {}["layer 99"]
    except KeyError as error:
        notice = explain(error)
    assert "layer 99" not in notice.text and "still here" in notice.text and "report it" in notice.todo
    assert "KeyError at test_errors.py" in notice.details and str(log) in notice.details
    assert "Traceback" in log.read_text() and "layer 99" in log.read_text()


def test_a_page_open_to_others_tells_no_paths(log):
    try:
        open("/nowhere/secret-name")
    except OSError as error:
        notice = explain(error, with_paths=False)
    assert "secret-name" not in notice.text + notice.details and str(log) not in notice.details
    full = explain(OSError(errno.ENOSPC, "full", "/home/anna/x"), with_paths=False)
    assert "/home/anna" not in full.text
