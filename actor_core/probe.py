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
from transformers import DynamicCache

from actor_core.activations import LayerReading, Recorder
from actor_core.delta import LayerDelta
from actor_core.events import Event, Progress
from actor_core.model import Batch, LoadedModel
from actor_core.passages import PREFIX, Around, Passage, bare, begin, logits_of, read, rows_of, sweep
from actor_core.readings import NOTHING_KEPT, ReadingStore
from actor_core.refusal_odds import RefusalOdds

__all__ = ["Probe", "how_read", "prepare_probe"]

# Of a batch. Beyond the last token nothing is computed, so that a processor would spend most of the time of a small
# batch on fetching the weights.
TOKENS, ROWS = 2048, 96
KEPT = ("keys", "values")


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
    model: LoadedModel,
    prompts: Sequence[str],
    odds: RefusalOdds,
    layer: int,
    store: ReadingStore = NOTHING_KEPT,
) -> Generator[Event, None, Probe]:
    """Reads each of ``prompts`` once, the last token up to ``layer``; those of a set once for a model and layer.

    Keys and values of the others are kept on the model's device. A ``store`` with a folder keeps what is read there:
    give it none where a prompt is a person's own.
    """
    batches = tuple(model.batches(prompts, max_tokens=TOKENS, max_rows=ROWS, share_prefix=True))
    rest = range(layer, model.n_layers)
    names = [f"{place}.entering" for place in range(len(batches))]
    names += [_name(place, n, kept) for place in (PREFIX, *range(len(batches))) for n in rest for kept in KEPT]
    found = yield from store.read_held_out(
        model, prompts, how_read(layer), names, lambda: _read_states(model, batches, layer), stage="strength"
    )
    passages = [_before_layer(model, batch, place, layer, found) for place, batch in enumerate(batches)]
    return Probe(model, odds, layer, batches, tuple(passages))


def how_read(layer: int) -> tuple[object, ...]:
    """What the states that a `Probe` of ``layer`` begins with depend on, beside the model and the prompts."""
    return ("held out", layer, TOKENS, ROWS)


def _name(place: int, layer: int, kept: str) -> str:
    """Of the keys or the values of the batch at ``place`` in ``layer``."""
    return f"{place}.{layer}.{kept}"


def _read_states(
    model: LoadedModel, batches: Sequence[Batch], layer: int
) -> Generator[Event, None, dict[str, Tensor]]:
    """For each of ``batches``, by its place: "entering", with what its last token enters ``layer`` [batch, 1, d_model];
    from that layer on "keys" and "values" of the tokens before it, [batch, heads, tokens, d_head], and once for all, as
    of the place `PREFIX`, those of what they begin with."""
    total = sum(len(batch.rows) for batch in batches)
    kept: dict[int, Passage] = {}
    for done, arrived in read(model, batches, model.n_layers, end=-1, keeps=True):
        kept |= arrived
        yield Progress("strength", done, total)

    def last_token(place: int) -> Passage:
        return begin(model, batches[place], slice(-1, None), lent=kept[place].cache)

    found: dict[str, Tensor] = {}
    for _, arrived in sweep(model, rows_of(batches), last_token, range(layer)):
        found |= {f"{place}.entering": passage.hidden for place, passage in arrived.items()}
        yield Progress("strength", total, total)
    for place, passage in kept.items():
        assert passage.cache is not None
        prefix = batches[place].prefix
        for n in range(layer, model.n_layers):
            for name in KEPT:
                there = getattr(passage.cache.layers[n], name)
                found[_name(place, n, name)] = there[:, :, prefix:]
                if place == 0:
                    found[_name(PREFIX, n, name)] = there[:1, :, :prefix].clone()
    return found


def _before_layer(
    model: LoadedModel, batch: Batch, place: int, layer: int, states: dict[str, Tensor]
) -> Passage:
    """The last tokens of ``batch`` as they enter ``layer``, from what `_read_states` gave, which is taken out of
    ``states``."""
    rows, columns = len(batch.rows), batch.input_ids.shape[1] - 1
    cache = DynamicCache(config=model.model.config)
    heads = states[_name(place, layer, "keys")].shape[1]
    for n in range(model.n_layers):
        if n < layer:  # of these only the number is looked at
            keys = values = torch.zeros(rows, heads, columns, 1)
        else:
            prefix = [states[_name(PREFIX, n, kept)].expand(rows, -1, -1, -1) for kept in KEPT]
            own = [states.pop(_name(place, n, kept)) for kept in KEPT]
            keys, values = (torch.cat(both, dim=2) for both in zip(prefix, own, strict=True))
        cache.update(keys.to(model.device), values.to(model.device), n)
        if hasattr(cache.layers[n], "cumulative_length"):  # a sliding window holds the last of them
            setattr(cache.layers[n], "cumulative_length", columns)  # noqa: B010 - no attribute mypy knows
    passage = begin(model, batch, slice(-1, None), lent=cache)
    passage.hidden = states.pop(f"{place}.entering").to(model.device)
    return passage
