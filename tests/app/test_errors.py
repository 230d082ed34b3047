"""The one boundary: an error that a person can mend is shown as it stands, any other as a short message."""

from __future__ import annotations

import errno
import logging

import pytest

from actor_core.errors import ModelError
from app.errors import explain, start_log


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
    assert (notice.text, notice.details) == ("No model is loaded: load one in step 1 first.", "")


def test_a_full_disk_is_named_with_the_remedy():
    notice = explain(OSError(errno.ENOSPC, "No space left on device", "/data/models/x"))
    assert "disk is full at /data/models/x" in notice.text and "Free some space" in notice.text


def test_no_memory_is_named_with_the_remedy():
    assert "smaller model" in explain(MemoryError()).text


def test_a_fault_gives_a_short_message_details_to_copy_and_a_traceback_in_the_log(log):
    try:
        {}["layer 99"]
    except KeyError as error:
        notice = explain(error)
    assert "layer 99" not in notice.text and "still here" in notice.text
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
