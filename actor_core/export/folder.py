"""A folder of files that appears whole or not at all, and never over another one.

The files are written into a hidden sibling of the target, each is brought onto the disk
(fsync), and the sibling is renamed. Whatever happens before the rename leaves nothing behind;
what a killed process left is swept up by a later export.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError

from actor_core.errors import ExportError
from actor_core.weights.whole_files import in_words, sync

__all__ = ["File", "folder_bytes", "write_folder"]

# The content of a file, or what writes it to the path that it is given.
File = bytes | Callable[[Path], None]

PARTIAL = ".second-take-{}.partial"
SECONDS_UNTIL_ABANDONED = 24 * 3600


def write_folder(
    wanted: Path, files: Mapping[str, File], needed: int, fill: Callable[[Path], None] | None = None
) -> Path:
    """Writes ``files`` (by name) as the folder ``wanted``, or as ``wanted-2``, ``-3``... where that exists.

    ``fill`` is given the folder first, for files whose names only a library knows. Gives the folder's path.
    ``needed`` is the size of it all in bytes, as an estimate. Raises `ExportError`, naming what was needed
    and what is free, where the disk is full.
    """
    parent = wanted.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        partial = parent / PARTIAL.format(uuid.uuid4().hex[:12])
        if shutil.disk_usage(parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            partial.mkdir()
            if fill:
                fill(partial)
                for path in partial.rglob("*"):
                    sync(path)
            for name, content in files.items():
                _write(partial / name, content)
            sync(partial)
            return _renamed(partial, wanted)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise ExportError(_words(error, wanted, needed)) from error


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _write(path: Path, content: File) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    sync(path)


def _renamed(partial: Path, wanted: Path) -> Path:
    number = 1
    while True:
        target = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        number += 1
        if target.exists() or target.is_symlink():
            continue
        try:
            partial.rename(target)
        except OSError as error:
            # Another export took the name in between.
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                continue
            raise
        sync(target.parent)
        return target


def _sweep(parent: Path) -> None:
    """Removes what a process that was killed in the middle of an export left here a day ago or more."""
    for left in parent.glob(PARTIAL.format("*")):
        if time.time() - left.stat().st_mtime > SECONDS_UNTIL_ABANDONED:
            shutil.rmtree(left, ignore_errors=True)


def _is_full(error: OSError | SafetensorError) -> bool:
    # safetensors and numpy say it in words of their own, without the number.
    in_text = f"os error {errno.ENOSPC}" in str(error) or re.search(r"\d requested and \d+ written", str(error))
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or bool(in_text)


def _words(error: OSError | SafetensorError, wanted: Path, needed: int) -> str:
    if not _is_full(error):
        reason = getattr(error, "strerror", None) or str(error)
        return f"The export could not be written to {wanted.parent} ({reason}). Choose another folder."
    try:
        free = shutil.disk_usage(wanted.parent).free
    except OSError:
        free = 0
    return (
        f"The disk is full: the export needs {in_words(needed)} in {wanted.parent}, and {in_words(free)} are "
        "free. Nothing was left behind. Free some space, or choose a folder on another disk."
    )
