"""What answers one message at a time: the loaded model itself, or llama.cpp on the file that it came from.

In batches the two are level on a processor; one reply at a time llama.cpp is about twice as fast, since for each token
it fetches the weights in 4 bits and not in 16 or 32 (`benchmarks/engines.py`). So conversations are its work,
and whatever is measured in numbers stays with the loaded model.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from actor_core import generate
from actor_core.delta import LayerDelta
from actor_core.events import Event
from actor_core.generate import Reply
from actor_core.llama.conversation import LlamaEngine, why_not_llama
from actor_core.model import LoadedModel

__all__ = ["Engine", "ResidentEngine", "engine_for"]


class Engine(Protocol):
    """Answers with ``model``; ``words`` are what a person should know of how, empty where there is nothing."""

    model: LoadedModel
    words: str

    def answer(
        self,
        prompt: str,
        *,
        delta: LayerDelta | None = None,
        strength: float = 1.0,
        max_new_tokens: int = 64,
        history: Sequence[Mapping[str, str]] = (),
    ) -> Generator[Event, None, Reply]:
        """The reply to ``prompt`` after the turns of ``history``, greedy, by the model with ``strength`` times
        ``delta``; `Said` tells what is there of it so far. Closed between two events it stops."""

    def close(self) -> None:
        """Lets go of what is held beside the loaded model; the next reply takes it up again."""


@dataclass
class ResidentEngine:
    """The loaded model."""

    model: LoadedModel
    words: str = ""

    def answer(
        self,
        prompt: str,
        *,
        delta: LayerDelta | None = None,
        strength: float = 1.0,
        max_new_tokens: int = 64,
        history: Sequence[Mapping[str, str]] = (),
    ) -> Generator[Event, None, Reply]:
        """See `Engine`."""
        work = generate.answer(
            self.model, [prompt], delta=delta, strength=strength, max_new_tokens=max_new_tokens, history=history
        )
        return (yield from work)[0]

    def close(self) -> None:
        """Nothing is held."""


def engine_for(model: LoadedModel) -> Engine:
    """llama.cpp for a model on a processor that came from a GGUF file, where there is llama.cpp and room for it."""
    return ResidentEngine(model) if why_not_llama(model) else LlamaEngine(model)
