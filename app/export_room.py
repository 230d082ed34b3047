"""How much of the disk exports may take: a visitor's own, and all visitors' together.

A whole model has gigabytes. So the oldest of one's own are offered for deletion above a limit, and at twice as much
nothing is exported until some are deleted. None goes by itself, because another program may load it from where it is;
but on a page that is open to others, where whole models are not written, what visitors left long ago makes room, as
`app.left_runs` does it for runs.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from actor_core.errors import ExportError
from app.left_runs import DAYS_UNSEEN, Everybody, Visitor
from app.words import written_size

if TYPE_CHECKING:
    from app.session import ExportRecord, Session

__all__ = [
    "BYTES_OFFERED",
    "EXPORTS_OFFERED",
    "ExportRoom",
    "ExportsOfAll",
    "own_exports",
    "require_room",
    "room_of",
    "rule",
    "too_many",
]

# Above these the oldest exports are offered for deletion; at twice as much nothing more is written.
EXPORTS_OFFERED = 100
BYTES_OFFERED = 20_000_000_000
EXPORTS_OF_ALL = 2000
BYTES_OF_ALL = 60_000_000_000


class ExportsOfAll(Everybody):
    """All visitors' exports: a folder a visitor, in it one a press of *Export*, in it one a kind of file."""

    def most(self) -> tuple[int, int]:
        return EXPORTS_OF_ALL, BYTES_OF_ALL

    def kept_in(self, place: Path) -> tuple[list[Path], int]:
        bytes = 0
        for path in place.rglob("*"):
            with suppress(OSError):
                bytes += path.lstat().st_size if path.is_file() else 0
        return [path for path in place.glob("*/*") if not path.name.startswith(".")], bytes


@dataclass
class ExportRoom:
    """What a visitor is shown of it. ``left``: the visitors who did not come back; ``asked``: the path of the export
    whose deletion was asked for once, or `app.shelf.LEFT` for all that those left."""

    left: list[Visitor] = field(default_factory=list)
    asked: str = ""


def room_of(session: Session, everybody: ExportsOfAll) -> ExportRoom:
    """The visitor's; the disk is looked at the first time."""
    with session.lock:
        if session.export_room is None:
            unseen = [] if everybody.open_to_others else everybody.unseen(but=session.key)
            session.export_room = ExportRoom([each for each in unseen if each.count])
        return session.export_room


def own_exports(session: Session, everybody: ExportsOfAll) -> list[ExportRecord]:
    """Those of the visitor's that are on the disk, in their own folder, the newest first."""
    place = everybody.folder / session.key
    paths = ((record, Path(record.path)) for record in session.exports)
    return [record for record, path in paths if path.parent.parent == place and path.exists()]


def too_many(records: list[ExportRecord]) -> bool:
    """Whether the oldest are offered for deletion."""
    return len(records) > EXPORTS_OFFERED or _bytes(records) > BYTES_OFFERED


def require_room(session: Session, everybody: ExportsOfAll) -> None:
    """Raises `ExportError` where no more is written before some is deleted."""
    records = own_exports(session, everybody)
    if len(records) >= 2 * EXPORTS_OFFERED or _bytes(records) > 2 * BYTES_OFFERED:
        raise ExportError(
            f"There is no room for another export: you have {len(records)} ({written_size(_bytes(records))}), and at "
            f"most {2 * EXPORTS_OFFERED} of {written_size(2 * BYTES_OFFERED)} are kept. Delete the oldest under "
            "“Earlier exports” below."
        )
    if not everybody.make_room(session.key):
        raise ExportError(_no_room_for_all(everybody))


def rule() -> str:
    """What an open page says of how long exports are kept."""
    return (
        f"This server keeps up to {EXPORTS_OF_ALL:,} exports ({written_size(BYTES_OF_ALL)}) of all visitors. When they "
        f"are more, the exports of visitors who were not here for {DAYS_UNSEEN} days are deleted, those not seen for "
        "longest first."
    )


def _bytes(records: list[ExportRecord]) -> int:
    return sum(record.bytes for record in records)


def _no_room_for_all(everybody: ExportsOfAll) -> str:
    most, most_bytes = everybody.most()
    said = (
        f"There is no room for another export: {most:,} ({written_size(most_bytes)}) of all visitors are kept here at "
        "most. "
    )
    if everybody.open_to_others:
        return said + "Delete earlier ones of yours under “Earlier exports” below."
    return said + "Delete earlier ones under “Earlier exports” below: those of other browsers count too."
