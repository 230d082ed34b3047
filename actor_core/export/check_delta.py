"""Checks a layer delta by reading its file again and laying it over the model, as this program does."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from actor_core.delta import LayerDelta
from actor_core.errors import DeltaError
from actor_core.events import Event
from actor_core.export.compare import Checked
from actor_core.export.replay import asked_again, with_replay
from actor_core.export.request import Request

__all__ = ["check_delta"]


def check_delta(request: Request, file: Path) -> Generator[Event, None, Checked]:
    """Whether ``file`` holds the request's scaled delta bit for bit, and answers as was seen."""
    wanted = request.scaled
    try:
        loaded = LayerDelta.load(file)
    except DeltaError as error:
        return Checked(False, str(error))
    if loaded.digest() != wanted.digest() or (loaded.layer, loaded.base) != (wanted.layer, wanted.base):
        return Checked(False, "What was read back is not what was written: export again.")
    there = yield from asked_again(request.model, request.seen, "this program", loaded)
    checked = Checked(True, "Read back, and every number is the same bit for bit.")
    return with_replay(checked, request.seen, there, "this program, from the file")
