"""Puts files on the disk whole or not at all, and tells later whether they are still the same.

A large file is written under a temporary name, brought to the disk (fsync) and renamed. A
`Stamp` beside it remembers size, time of change and digest of each file, so that a later start
need not read half a gigabyte again: only a file whose size or time has changed is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from actor_core.errors import FetchError
from actor_core.events import Progress

__all__ = [
    "UNFINISHED",
    "Stamp",
    "bytes_of",
    "digest_of_folder",
    "disk_faults",
    "hashed",
    "in_words",
    "put_file",
    "put_folder",
    "require_room",
    "sync",
]

UNFINISHED = ".partial-"  # begins the name of a file that is being written
SPARE_BYTES = 200_000_000
BLOCK = 1 << 22
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
HASH_REPORT_BYTES = 64_000_000


def in_words(number: float) -> str:
    """Bytes as a person reads them, in decimal units: '491 MB', '6.2 GB'."""
    if number >= 1e9:
        return f"{number / 1e9:.1f} GB"
    return f"{number / 1e6:.0f} MB" if number >= 1e6 else f"{number / 1e3:.0f} kB"


def bytes_of(words: str) -> int:
    """What `in_words` says, and a person writes: '600MB', '6 GB'. Raises ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(kB|MB|GB)", words.strip())
    if found is None:
        raise ValueError(f"{words!r} is no size: write it as 600MB or 6GB")
    return int(float(found[1]) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[found[2]])


def require_room(folder: Path, needed: int, what: str) -> None:
    """Raises FetchError, with the figures, where ``folder``'s disk has less free than ``what`` needs."""
    existing, free = _free(folder)
    if free < needed + SPARE_BYTES:
        raise FetchError(
            f"{what} needs {in_words(needed + SPARE_BYTES)} free on the disk and {existing} has "
            f"{in_words(free)}: free some, or choose a folder on another disk with --data-dir."
        )


def _free(folder: Path) -> tuple[Path, int]:
    """The nearest folder that exists, and the free bytes of its disk."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return existing, shutil.disk_usage(existing).free


@contextlib.contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """Turns the disk's own errors while writing below ``folder`` into FetchErrors in words."""
    try:
        yield
    except OSError as fault:
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchError(
                f"The disk is full: {folder} has {in_words(_free(folder)[1])} left. "
                "Free some space and start again; what is already downloaded is kept."
            ) from fault
        if fault.errno in NOT_WRITABLE:
            raise FetchError(
                f"{fault.filename or folder} cannot be written ({fault.strerror}): "
                "choose a folder of your own with --data-dir."
            ) from fault
        raise


def sync(path: Path) -> None:
    """Brings a file, or a folder's list of names, to the disk; Windows cannot sync folders."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_file(path: Path, content: bytes | Callable[[Path], None], *, for_owner: bool = False) -> None:
    """Writes one file whole or not at all, in the place of an older one; ``content`` may also write it to the path that
    it is given. ``for_owner``: nobody else on this machine may read it.

    Raises OSError where the disk does not take it; the older file is then as it was.
    """
    temporary = path.with_name(f"{UNFINISHED}{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, 0o600 if for_owner else 0o666), "wb") as file:
            if isinstance(content, bytes):
                file.write(content)
        if not isinstance(content, bytes):
            content(temporary)
            if for_owner:
                temporary.chmod(0o600)  # a library may have put another file there
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def put_folder(temporary: Path, final: Path) -> None:
    """Renames a finished folder into place, in the stead of an older one."""
    for path in temporary.rglob("*"):
        if path.is_file():
            sync(path)
    sync(temporary)
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    sync(final.parent)


def hashed(path: Path, note: str) -> Generator[Progress, None, str]:
    """SHA-256 of a file in hexadecimal; yields ``check`` events for a large one."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    reported = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            if done - reported >= HASH_REPORT_BYTES:
                reported = done
                yield Progress("check", done, total, note)
    return digest.hexdigest()


def digest_of_folder(digests: dict[str, str]) -> str:
    """One digest for a folder: SHA-256 over its files' names and digests, sorted by name."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class Stamp:
    """What was on the disk when it was last read whole.

    ``files`` maps a file's name to its size, its time of change in nanoseconds and its SHA-256;
    ``facts`` is whatever else belongs to them (where they come from, the commit).
    """

    files: dict[str, tuple[int, int, str]]
    facts: dict[str, str]

    @property
    def digests(self) -> dict[str, str]:
        return {name: digest for name, (_, _, digest) in self.files.items()}

    @classmethod
    def of(cls, folder: Path, digests: dict[str, str], facts: dict[str, str]) -> Stamp:
        """The stamp of files whose digests are known."""
        files = {}
        for name, digest in digests.items():
            about = (folder / name).stat()
            files[name] = (about.st_size, about.st_mtime_ns, digest)
        return cls(files, facts)

    @classmethod
    def read(cls, path: Path) -> Stamp | None:
        """The stamp in ``path``; None where there is none, or it is damaged."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            files = {
                str(name): (int(size), int(changed), str(digest))
                for name, (size, changed, digest) in values["files"].items()
            }
            return cls(files, {str(key): str(value) for key, value in values["facts"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, path: Path) -> None:
        put_file(path, json.dumps({"files": self.files, "facts": self.facts}, indent=1).encode())

    def changed(self, folder: Path) -> list[str] | None:
        """Files whose size is right and whose time is not, to be read again; None if one is lost or cut."""
        doubtful = []
        for name, (size, changed, _) in self.files.items():
            try:
                about = (folder / name).stat()
            except OSError:
                return None
            if about.st_size != size:
                return None
            if about.st_mtime_ns != changed:
                doubtful.append(name)
        return doubtful

    @classmethod
    def verified(cls, path: Path, folder: Path) -> Generator[Progress, None, Stamp | None]:
        """The stamp in ``path`` if ``folder``'s files are still what it says, read again where in doubt."""
        stamp = cls.read(path)
        doubtful = stamp.changed(folder) if stamp else None
        if stamp is None or doubtful is None:
            return None
        for name in doubtful:
            digest = yield from hashed(folder / name, f"{name} has been touched: reading it again")
            if digest != stamp.files[name][2]:
                return None
        if doubtful:
            stamp = cls.of(folder, stamp.digests, stamp.facts)
            stamp.write(path)
        return stamp
