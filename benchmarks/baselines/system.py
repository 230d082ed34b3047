"""What a system of the comparison is, and how its changes are laid over the running model.

`System.prepare` may take minutes and leaves the model as it was; what it returns is applied with
forward hooks while prompts are run, and taken off again. No weight is ever edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

from actor_core.delta import LayerDelta
from actor_core.model import LoadedModel
from actor_core.targets import TuningPrompts

__all__ = ["HELD_OUT", "PAPER", "Applied", "Prepared", "System", "all_applied"]

# Where a system's settings come from.
PAPER = "the paper's"
HELD_OUT = "our held-out prompts"

Applied = Callable[[], AbstractContextManager[None]]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Prepared:
    """A system that is ready: ``rewritten(prompts)`` are run inside ``applied()``.

    ``split`` is for a system whose change depends on the prompt: it gives the places of the prompts that
    belong together, each time with what is applied to them. ``note`` says what was chosen or found while it
    was prepared, for the line under the table.
    """

    applied: Applied = nullcontext
    rewritten: Callable[[Sequence[str]], list[str]] = list
    split: Callable[[Sequence[str]], list[tuple[list[int], Applied]]] | None = None
    note: str = ""

    def run(self, prompts: Sequence[str], work: Callable[[list[str]], Sequence[Found]]) -> list[Found]:
        """What ``work`` gives for each of ``prompts``, rewritten, under the change that belongs to it."""
        asked = self.rewritten(prompts)
        parts = self.split(prompts) if self.split else [(list(range(len(prompts))), self.applied)]
        found: dict[int, Found] = {}
        for places, applied in parts:
            if places:
                with applied():
                    found.update(zip(places, work([asked[place] for place in places]), strict=True))
        return [found[place] for place in range(len(prompts))]


@dataclass(frozen=True)
class System:
    """A row of the table. ``settings_from`` is `PAPER`, `HELD_OUT` or "" where there is nothing to set.

    ``prepare`` is given the model, the prompts that every system tunes with, and the seed.
    """

    id: str
    name: str
    settings_from: str
    prepare: Callable[[LoadedModel, TuningPrompts, int], Prepared]


@contextmanager
def all_applied(model: LoadedModel, deltas: Sequence[LayerDelta], strength: float = 1.0) -> Iterator[None]:
    """Runs the body with every one of ``deltas`` on the model, as one adapter over several layers."""
    with ExitStack() as applied:
        for delta in deltas:
            applied.enter_context(delta.applied(model, strength))
        yield
