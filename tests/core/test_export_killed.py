"""Exports that are killed at random moments, and disks that are really full: the old files, or the new ones whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from tiny_models import random_delta

from actor_core.delta import LayerDelta
from actor_core.errors import ExportError
from actor_core.events import finish
from actor_core.export import KINDS, export, folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills forked processes and mounts small disks")

MOMENTS = 100


def killed_after(seconds: float, work) -> bool:
    """Runs ``work`` in a forked process and kills it after ``seconds``; whether it had ended before that."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFEXITED(os.waitpid(child, 0)[1])


def killed_at_random_moments(works, seed: int):
    """Yields for each of ``works`` whether it had ended when it was killed.

    The span that the moments are drawn from follows the machine, which other processes may slow at any time: it grows
    after each piece of work that was cut off and shrinks after each that was not, so that about half end.
    """
    moments = random.Random(seed)
    span = 0.01  # seconds
    for work in works:
        ended = killed_after(moments.uniform(0, span), work)
        span *= 0.8 if ended else 1.25
        yield ended


def test_an_export_killed_at_100_random_moments_leaves_only_whole_folders(tiny, tmp_path):
    model = tiny()
    delta = random_delta(model)

    def work():
        finish(export(model, delta, "delta", tmp_path / "it", prompts=("alpha",)))

    work()
    ended = sum(killed_at_random_moments([work] * MOMENTS, seed=0))
    assert 5 < ended < MOMENTS - 20, "the moments are not spread over the export"
    folders = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert len(folders) > ended  # one of them was written before the first kill
    for path in folders:
        assert LayerDelta.load(path / "delta.safetensors").digest() == delta.digest()
        card = (path / "README.md").read_text()
        assert card.startswith("---\n") and "## Made with" in card and card.endswith(" |\n")
        # Only the card's replacement can have been cut off, and that is a hidden file.
        visible = {file.name for file in path.iterdir() if not file.name.startswith(".")}
        assert visible == {"delta.safetensors", "README.md"}


def test_a_file_that_is_replaced_at_100_killed_moments_is_the_old_or_the_new_one(tiny, tmp_path):
    path = tmp_path / "it.safetensors"
    first, second = random_delta(tiny()), random_delta(tiny()).scaled(2.0)
    first.save(path)
    works = [lambda new=new: new.save(path) for new in (second, first) * (MOMENTS // 2)]
    seen, ended = set(), 0
    for whole in killed_at_random_moments(works, seed=1):
        ended += whole
        digest = LayerDelta.load(path).digest()
        assert digest in (first.digest(), second.digest())
        seen.add(digest)
    assert len(seen) == 2
    assert 5 < ended < MOMENTS - 20, "the moments are not spread over the saving"


@pytest.fixture
def small_disk(tmp_path):
    """``small_disk(kilobytes)``: a folder on a disk of that size."""
    mounted = []

    def get(kilobytes: int):
        place = tmp_path / "disk"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this user may not mount a small disk")
        mounted.append(place)
        return place

    yield get
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


SMALLER_THAN_THE_FILES = {"delta": 4, "peft": 8, "gguf-lora": 8, "merged": 40, "merged-gguf": 16}  # kB


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fills_while_writing_leaves_nothing_and_is_named(from_gguf, small_disk, monkeypatch, kind):
    model = from_gguf()
    disk = small_disk(SMALLER_THAN_THE_FILES[kind])
    usage = folder.shutil.disk_usage(disk)._replace(free=10**12)
    with monkeypatch.context() as hidden:  # another process fills the disk after we have looked
        hidden.setattr(folder.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(ExportError, match="disk is full.*Nothing was left behind"):
            finish(export(model, random_delta(model), kind, disk / "it", prompts=("alpha",)))
    assert list(disk.iterdir()) == []
