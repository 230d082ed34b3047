"""Measures refusal log-odds of fixed prompts under any delta, at the cost of one token a prompt.

Every prompt but its last token is read once and its keys and values are kept; a delta is then
judged by running the last token alone. What the delta does to earlier tokens is left out: the
solve holds them where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from actor_core.activations import LayerReading, Recorder
from actor_core.delta import LayerDelta
from actor_core.events import Event, Progress
from actor_core.layer_by_layer import enter, logits_of_last, pass_through
from actor_core.model import Batch, LoadedModel
from actor_core.prefix import continued, copied, read_prefix
from actor_core.refusal_odds import RefusalOdds

__all__ = ["Probe", "prepare_probe"]


@dataclass(frozen=True)
class Probe:
    """Prompts read up to their last token, ready to be finished under any delta."""

    model: LoadedModel
    odds: RefusalOdds
    batches: tuple[tuple[Batch, DynamicCache], ...]
    n_prompts: int

    @torch.inference_mode()
    def log_odds(self, delta: LayerDelta | None = None, strength: float = 1.0) -> Tensor:
        """Refusal log-odds in nats, in the order of the prompts, fp32 on the CPU, shape [n_prompts]."""
        found = torch.empty(self.n_prompts)
        with delta.applied(self.model, strength) if delta else nullcontext():
            for batch, logits in self._finished():
                found[list(batch.rows)] = self.odds.log_odds(logits).cpu()
        return found

    def refused(self, delta: LayerDelta | None = None, strength: float = 1.0) -> Tensor:
        """The fast verdicts, boolean, shape [n_prompts]."""
        return self.odds.refused(self.log_odds(delta, strength))

    @torch.inference_mode()
    def shifted(self, layer: int, shift: Tensor) -> Tensor:
        """Refusal log-odds with a(q) of ``layer`` moved by ``shift`` [d_model], the same for every prompt.

        In nats, in the order of the prompts, fp32 on the CPU, shape [n_prompts].
        """
        handle = self.model.layers[layer].register_forward_hook(_mover(shift))
        try:
            return self.log_odds()
        finally:
            handle.remove()

    @torch.inference_mode()
    def reading(self, layer: int) -> LayerReading:
        """What `read_activations` gives for the probe's prompts, at their last tokens alone."""
        recorder = Recorder(self.model, layer)
        none = torch.empty((0, 2), dtype=torch.long)

        def recording(at: int, place: int) -> AbstractContextManager[None]:
            return recorder.recording(self.batches[place][0], none) if at == layer else nullcontext()

        if self.model.streamed:
            passages = enter(self.model, [self._call(batch, cache) for batch, cache in self.batches])
            for _ in pass_through(self.model, passages, range(layer + 1), recording):
                pass
            return recorder.reading()
        for place, (batch, cache) in enumerate(self.batches):
            with recording(layer, place):
                self._finish(batch, cache)
        return recorder.reading()

    def _finished(self) -> Iterator[tuple[Batch, Tensor]]:
        """Each batch with the logits after its last token, [batch, vocabulary]."""
        if not self.model.streamed:
            yield from ((batch, self._finish(batch, cache)) for batch, cache in self.batches)
            return
        passages = enter(self.model, [self._call(batch, cache) for batch, cache in self.batches])
        for _ in pass_through(self.model, passages, range(self.model.n_layers)):
            pass
        for (batch, _), logits in zip(self.batches, logits_of_last(self.model, passages), strict=True):
            yield batch, logits

    def _call(self, batch: Batch, cache: DynamicCache) -> dict[str, Any]:
        """What the model takes to read the last tokens of ``batch``; ``cache`` stays as it is."""
        return {
            "input_ids": batch.input_ids[:, -1:],
            "attention_mask": batch.attention_mask,
            "position_ids": batch.position_ids[:, -1:],
            "use_cache": True,
            self.model.cache_name: copied(cache),
        }

    def _finish(self, batch: Batch, cache: DynamicCache) -> Tensor:
        with self.model.lock:
            output = self.model.model(**self._call(batch, cache))
        return output.logits[:, -1]


def _mover(shift: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    """A forward hook that adds ``shift`` [d_model] to what a layer writes."""

    def move(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + shift.to(output)

    return move


def prepare_probe(
    model: LoadedModel, prompts: Sequence[str], odds: RefusalOdds
) -> Generator[Event, None, Probe]:
    """Reads all but the last token of each prompt; keeps their keys and values on the model's device."""
    batches = []
    done = 0
    prefix: DynamicCache | None = None
    if model.streamed:
        caches = [(batch, DynamicCache(config=model.model.config)) for batch in model.batches(prompts)]
        passages = enter(model, [_all_but_last(model, batch, cache) for batch, cache in caches])
        for layer in pass_through(model, passages, range(model.n_layers)):
            yield Progress("strength", round(len(prompts) * (layer + 1) / model.n_layers), len(prompts))
        return Probe(model, odds, tuple(caches), len(prompts))
    for batch in model.batches(prompts, share_prefix=True):
        prefix = read_prefix(model, batch) if prefix is None else prefix
        inputs = continued(model, prefix, batch, end=-1)
        with torch.inference_mode(), model.lock:
            model.model(**inputs, logits_to_keep=1)
        cache = inputs[model.cache_name]
        batches.append((batch, cache))
        done += len(batch.rows)
        yield Progress("strength", done, len(prompts))
    return Probe(model, odds, tuple(batches), len(prompts))


def _all_but_last(model: LoadedModel, batch: Batch, cache: DynamicCache) -> dict[str, Any]:
    """What ``model`` takes to read ``batch`` up to its last token into ``cache``."""
    return {
        "input_ids": batch.input_ids[:, :-1],
        "attention_mask": batch.attention_mask[:, :-1],
        "position_ids": batch.position_ids[:, :-1],
        "use_cache": True,
        model.cache_name: cache,
    }
