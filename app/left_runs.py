"""The runs of visitors who do not come back: nobody can open them, and they must not fill the disk.

A browser whose data is cleared is another visitor. So all visitors' runs together have a cap, and what is not seen
for long can go: where the page is open to others by itself, as the page says; where it is not, only when the one who
sits at the machine presses the button.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.run_files import delete_run, run_bytes, run_ids, sweep
from app.words import written_size

__all__ = ["DAYS_UNSEEN", "Everybody", "Visitor", "no_room_for_all", "rule"]

RUNS_OF_ALL = 1000
BYTES_OF_ALL = 10_000_000_000
DAYS_UNSEEN = 60
DAY = 86_400.0


@dataclass(frozen=True)
class Visitor:
    """One visitor's folder: how many runs (or exports), how many bytes, and when they were last there (seconds since
    1970)."""

    folder: Path
    count: int
    bytes: int
    seen: float


@dataclass(frozen=True)
class Everybody:
    """All visitors' runs below ``folder``; ``sessions`` holds the visitors' session files.

    ``open_to_others``: what visitors left long ago goes where room is needed; otherwise they are one person, who is
    asked first. `app.export_room` counts exports in the same way.
    """

    folder: Path
    sessions: Path
    open_to_others: bool = False

    def most(self) -> tuple[int, int]:
        """How many there may be, and of how many bytes."""
        return RUNS_OF_ALL, BYTES_OF_ALL

    def kept_in(self, place: Path) -> tuple[list[Path], int]:
        """What is kept in a visitor's folder, and how many bytes all in it has."""
        ids = run_ids(place)
        inside = [place / id for id in ids]
        with suppress(OSError):
            inside = [path for path in place.iterdir() if path.is_dir()]
        return [place / id for id in ids], sum(run_bytes(path) for path in inside)

    def visitors(self) -> list[Visitor]:
        """All who have something here, the one not seen for longest first.

        A visitor was there when their session file or one of their runs was written last.
        """
        found = []
        with suppress(OSError):
            for place in self.folder.iterdir():
                if place.is_dir() and not place.is_symlink() and not place.name.startswith("."):
                    found.append(self._visitor(place))
        return sorted(found, key=lambda each: each.seen)

    def unseen(self, but: str = "") -> list[Visitor]:
        """Those who were not there for `DAYS_UNSEEN` days, without the one whose folder is named ``but``."""
        since = time.time() - DAYS_UNSEEN * DAY
        return [each for each in self.visitors() if each.seen < since and each.folder.name != but]

    def forget_unseen(self, but: str) -> None:
        """Deletes all that they left. Raises OSError."""
        for each in self.unseen(but):
            delete_run(each.folder)

    def make_room(self, but: str) -> bool:
        """Whether there is room for one more, on an open page once what others than ``but`` left long ago has made
        it."""
        sweep(self.folder)  # a visitor's folder that was deleted by halves
        if self.open_to_others:
            for oldest in self.unseen(but):
                if not self._full():
                    break
                with suppress(OSError):
                    delete_run(oldest.folder)
        return not self._full()

    def _full(self) -> bool:
        everybody, (most, most_bytes) = self.visitors(), self.most()
        return sum(each.count for each in everybody) >= most or sum(each.bytes for each in everybody) >= most_bytes

    def _visitor(self, place: Path) -> Visitor:
        kept, bytes = self.kept_in(place)
        times = [0.0]
        for path in (place, self.sessions / f"{place.name}.json", *kept):
            with suppress(OSError):
                times.append(path.stat().st_mtime)
        return Visitor(place, len(kept), bytes, max(times))


def rule() -> str:
    """What an open page says of how long runs are kept."""
    return (
        f"This server keeps up to {RUNS_OF_ALL:,} runs ({written_size(BYTES_OF_ALL)}) of all visitors. When they are "
        f"more, the runs of visitors who were not here for {DAYS_UNSEEN} days are deleted, those not seen for "
        "longest first."
    )


def no_room_for_all(everybody: Everybody) -> str:
    """What is said where a run finds no room because of all visitors' together."""
    said = (
        f"There is no room for this run: {RUNS_OF_ALL:,} runs ({written_size(BYTES_OF_ALL)}) of all visitors are kept "
        "here at most, and it is lost when the program ends. "
    )
    if everybody.open_to_others:
        return said + "Delete earlier ones of yours under “Earlier runs”, and your next result is kept."
    return said + "Delete earlier ones under “Earlier runs”: those of other browsers, unseen here, count too."
