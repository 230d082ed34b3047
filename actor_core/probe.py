"""Measures refusal log-odds of fixed prompts under any change of one layer, at the cost of a part of one token each.

Every prompt is read once: its keys and values up to its last token are kept, and the state with which the last token
enters the layer. A change is then judged by running that token alone, from there on. What a change does to earlier
tokens is left out: the solve holds them where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from actor_core.activations import LayerReading, Recorder
from actor_core.delta import LayerDelta
from actor_core.events import Event, Progress
from actor_core.model import Batch, LoadedModel
from actor_core.passages import Around, Passage, bare, begin, logits_of, read, rows_of, sweep
from actor_core.refusal_odds import RefusalOdds

__all__ = ["Probe", "prepare_probe"]

# Of a batch. Beyond the last token nothing is computed, so that a processor would spend most of the time of a small
# batch on fetching the weights.
TOKENS, ROWS = 2048, 96


@dataclass(frozen=True)
class Probe:
    """Prompts whose last token is about to enter ``layer``, ready to be finished under any change of it."""

    model: LoadedModel
    odds: RefusalOdds
    layer: int
    batches: tuple[Batch, ...]
    passages: tuple[Passage, ...]

    @property
    def n_prompts(self) -> int:
        return sum(len(batch.rows) for batch in self.batches)

    @cached_property
    def untuned(self) -> Tensor:
        """Refusal log-odds in nats without any change, in the order of the prompts, fp32 on the CPU, [n_prompts]."""
        return self._finished()

    def log_odds(self, delta: LayerDelta, strength: float = 1.0) -> Tensor:
        """As ``untuned``, with ``strength`` times ``delta``, which is of this probe's layer."""
        assert delta.layer == self.layer, (delta.layer, self.layer)
        if strength == 0:
            return self.untuned
        with delta.applied(self.model, strength):
            return self._finished()

    def shifted(self, shift: Tensor) -> Tensor:
        """As ``untuned``, with a(q) of the layer moved by ``shift`` [d_model], the same for every prompt."""
        if not shift.any():
            return self.untuned

        def moved(layer: int, _place: int) -> AbstractContextManager[Any]:
            if layer != self.layer:
                return nullcontext()
            return self.model.layers[layer].register_forward_hook(_mover(shift))  # removed where the context ends

        return self._finished(moved)

    def reading(self) -> LayerReading:
        """What `read_activations` gives for the probe's prompts at its layer, at their last tokens alone."""
        recorder = Recorder(self.model, self.layer)
        none = torch.empty((0, 2), dtype=torch.long)

        def recording(_layer: int, place: int) -> AbstractContextManager[None]:
            return recorder.recording(self.batches[place], none)

        for _ in sweep(self.model, rows_of(self.batches), self._again, range(self.layer, self.layer + 1), recording):
            pass
        return recorder.reading()

    def _finished(self, around: Around = bare) -> Tensor:
        order: list[int] = []
        states: list[Tensor] = []
        rest = range(self.layer, self.model.n_layers)
        for _, arrived in sweep(self.model, rows_of(self.batches), self._again, rest, around):
            for place, passage in arrived.items():
                order += self.batches[place].rows
                states.append(passage.hidden[:, -1:])
        with torch.inference_mode():
            logits = logits_of(self.model, torch.cat(states).split(ROWS))
            each = [self.odds.log_odds(of_rows).cpu() for of_rows in logits]
        found = torch.empty(self.n_prompts)
        found[order] = torch.cat(each)
        return found

    def _again(self, place: int) -> Passage:
        return copy(self.passages[place])


def _mover(shift: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    """A forward hook that adds ``shift`` [d_model] to what a layer writes."""

    def move(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + shift.to(output)

    return move


def prepare_probe(
    model: LoadedModel, prompts: Sequence[str], odds: RefusalOdds, layer: int
) -> Generator[Event, None, Probe]:
    """Reads each of ``prompts`` once, the last token up to ``layer``.

    Keys and values of the others are kept on the model's device.
    """
    batches = tuple(model.batches(prompts, max_tokens=TOKENS, max_rows=ROWS, share_prefix=True))
    kept: dict[int, Passage] = {}
    for done, arrived in read(model, batches, model.n_layers, end=-1, keeps=True):
        kept |= arrived
        yield Progress("strength", done, len(prompts))

    def last_token(place: int) -> Passage:
        return begin(model, batches[place], slice(-1, None), lent=kept[place].cache)

    passages: dict[int, Passage] = {}
    for _, arrived in sweep(model, rows_of(batches), last_token, range(layer)):
        passages |= arrived
        yield Progress("strength", len(prompts), len(prompts))
    return Probe(model, odds, layer, batches, tuple(passages[place] for place in range(len(batches))))
