"""One file written whole or not at all, readable by whom it is for."""

from __future__ import annotations

import os
import stat

import pytest

from actor_core.weights import whole_files
from actor_core.weights.whole_files import put_file


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such modes")
@pytest.mark.parametrize("content", [b"typed", lambda path: path.write_bytes(b"typed")], ids=["bytes", "written"])
def test_what_is_for_its_owner_cannot_be_read_by_others(tmp_path, content):
    path = tmp_path / "it"
    put_file(path, content, for_owner=True)
    assert path.read_bytes() == b"typed" and stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_fault_leaves_the_older_file_and_nothing_else(tmp_path, monkeypatch, fails):
    path = tmp_path / "it"
    put_file(path, b"older")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_files.os, fails, full)
    with pytest.raises(OSError, match="No space"):
        put_file(path, b"newer")
    assert [each.name for each in tmp_path.iterdir()] == ["it"] and path.read_bytes() == b"older"
