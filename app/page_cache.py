"""The folder that the page is served files from: what visitors upload and the downloads they asked for, with a cap."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["MOST_BYTES", "RoomForUploads", "make_room"]

MOST_BYTES = 2_000_000_000
UPLOAD = "/gradio_api/upload"


def make_room(folder: Path, most: int = MOST_BYTES) -> None:
    """Deletes the oldest files below ``folder`` until ``most`` bytes are left. A download is made anew when the page
    shows it again."""
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file():
                about = path.stat()
                found.append((about.st_mtime, about.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            return
        with suppress(OSError):
            path.unlink()
            total -= size


class RoomForUploads:
    """ASGI middleware that makes room in ``folder`` before each upload, so that what visitors send cannot fill the
    disk."""

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self.app, self.folder = app, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].rstrip("/") == UPLOAD:
            make_room(self.folder)
        await self.app(scope, receive, send)
