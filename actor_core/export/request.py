"""What is asked of one export, and what it will write: the two values that the files of this package pass on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actor_core.delta import LayerDelta
from actor_core.events import Event
from actor_core.export.base import Base
from actor_core.export.compare import CHECK_PROMPTS, Checked
from actor_core.export.folder import File
from actor_core.generate import Reply
from actor_core.model import LoadedModel

__all__ = ["Check", "Plan", "Request", "layers_name"]

Check = Callable[[Path], Generator[Event, None, Checked]]


@dataclass(frozen=True)
class Request:
    """``delta`` at ``strength``, which is ``scaled``, is to become files that other programs load.

    ``guard`` is what the files' headers say of the guard. The checks compare first tokens of ``prompts``, and
    replay those of ``seen``: replies that the user saw at this strength. ``rank`` and ``tensor_type`` are None
    where the program chooses.
    """

    model: LoadedModel
    delta: LayerDelta
    strength: float
    scaled: LayerDelta
    base: Base
    guard: str
    prompts: Sequence[str] = CHECK_PROMPTS
    seen: Sequence[Reply] = ()
    rank: int | None = None
    tensor_type: str | None = None


@dataclass(frozen=True)
class Plan:
    """What one kind of export writes: its files, their size, how they are checked, and what the card says.

    ``fill`` writes files whose names only a library knows; ``command`` is what a person runs on this machine.
    """

    files: dict[str, File]
    bytes: int
    library: str
    tags: tuple[str, ...]
    described: Mapping[str, str]
    load: str
    undo: str
    check: Check
    command: Callable[[Path], str]
    relation: str = "adapter"
    relative_error: float = 0.0
    error_by_rank: Mapping[int, float] = field(default_factory=dict)
    fill: Callable[[Path], None] | None = None


def layers_name(model: LoadedModel) -> str:
    """Where the decoder layers are in the model, such as ``model.layers``."""
    layers = model.layers
    return next(name for name, module in model.model.named_modules() if module is layers)
