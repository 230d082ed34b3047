"""Reads each prompt once through the layers that matter and keeps what the method needs.

In the paper's terms: a(q), the output of decoder layer l at the last token of the chat
template's prompt, for every candidate l at once; and beside it what enters the matrix that is
to be changed. The layers after the last candidate do not run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from actor_core.events import Event, Progress
from actor_core.finite import require_finite
from actor_core.model import Batch, LoadedModel
from actor_core.passages import PREFIX, held, read

if TYPE_CHECKING:
    from actor_core.generate import Reply

__all__ = [
    "WRITER",
    "LayerReading",
    "Recorder",
    "norm_after_writer",
    "read_activations",
    "read_reply_tokens",
    "residual_gain",
]

# The module of a layer whose change is learnt: the last one that writes into the residual stream.
WRITER = "mlp.down_proj"


@dataclass(frozen=True)
class LayerReading:
    """What one decoder layer did for n prompts, all in fp32 on the CPU.

    ``outputs`` is a(q), the residual stream after the layer at the last token; ``inputs`` what
    entered `WRITER` there; ``others`` what entered it at other tokens of the same prompts: at some drawn
    ones, and at those that all prompts begin with, each times the root of how often it would have been drawn;
    ``gains`` by what a change of the writer's output is multiplied on its way into the stream (1
    but for models that normalise it, see `residual_gain`).
    """

    layer: int
    outputs: Tensor  # [n, d_model]
    inputs: Tensor  # [n, d_in]
    gains: Tensor  # [n]
    others: Tensor  # [m, d_in]


def read_activations(
    model: LoadedModel,
    prompts: Sequence[str],
    layers: Sequence[int],
    *,
    other_tokens: int = 1200,
    seed: int = 0,
    stage: str = "read",
) -> Generator[Event, None, dict[int, LayerReading]]:
    """Reads ``prompts`` up to the last of ``layers`` and gives a `LayerReading` for each of them.

    ``other_tokens`` is how many tokens before the last ones are kept in all, drawn with ``seed``.
    """
    recorders = {layer: Recorder(model, layer) for layer in layers}
    draw = torch.Generator().manual_seed(seed)
    batches = list(model.batches(prompts, share_prefix=True))
    kept_of_each = min(1.0, other_tokens / sum(int(batch.attention_mask.sum()) for batch in batches))
    others = [_draw_others(batch.attention_mask[:, batch.prefix :].cpu(), kept_of_each, draw) for batch in batches]

    def recording(layer: int, place: int) -> AbstractContextManager[None]:
        if layer not in recorders:
            return nullcontext()
        if place == PREFIX:
            return recorders[layer].recording_prefix(kept_of_each * len(prompts))
        return recorders[layer].recording(batches[place], others[place])

    for done, _ in read(model, batches, max(layers) + 1, recording):
        yield Progress(stage, done, len(prompts))
    return {layer: recorder.reading() for layer, recorder in recorders.items()}


def read_reply_tokens(
    model: LoadedModel, replies: Sequence[Reply], layer: int
) -> Generator[Event, None, Tensor]:
    """What enters `WRITER` of ``layer`` at each token of ``replies`` that is read on, shape [m, d_in].

    In fp32 on the CPU. The last token of a reply is predicted and never read: one of a single token gives none.
    """
    spoken = [reply for reply in replies if len(reply.tokens) > 1]
    ids = [[*model.token_ids(reply.prompt), *reply.tokens[:-1]] for reply in spoken]
    recorder = Recorder(model, layer)
    batches = list(model.batches_of_ids(ids, share_prefix=True))
    of_replies = []
    for batch in batches:
        lengths = torch.tensor([len(spoken[row].tokens) - 1 for row in batch.rows])
        columns = torch.arange(batch.prefix - batch.input_ids.shape[1], 0)  # counted from the end, where all are flush
        of_replies.append((columns[None, :] >= -lengths[:, None]).nonzero())

    def recording(at: int, place: int) -> AbstractContextManager[None]:
        of_layer = at == layer and place != PREFIX
        return recorder.recording(batches[place], of_replies[place]) if of_layer else nullcontext()

    for done, _ in read(model, batches, layer + 1, recording):
        yield Progress("read", done, len(spoken))
    others = torch.cat(recorder.others or [torch.empty(0, model.shape.d_in)])
    require_finite(f"The states of layer {layer}", others)
    return others


def _draw_others(mask: Tensor, share: float, draw: torch.Generator) -> Tensor:
    """A ``share`` of the places of real tokens but the last, as rows of (row, column), shape [m, 2]."""
    places = mask[:, :-1].nonzero()  # [all, 2]
    return places[torch.randperm(len(places), generator=draw)[: round(share * len(places))]]


class Recorder:
    """Collects one layer's `LayerReading` while batches of prompts run."""

    def __init__(self, model: LoadedModel, layer: int) -> None:
        self.layer = layer
        self.module = model.layers[layer]
        self.writer = self.module.get_submodule(WRITER)
        self.norm = norm_after_writer(self.module)
        self.rows: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self.others: list[Tensor] = []

    @contextmanager
    def recording(self, batch: Batch, others: Tensor) -> Iterator[None]:
        last: dict[str, Tensor] = {}

        def entered(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            last["inputs"] = _of_its_own(inputs[0][:, -1])
            last["gains"] = residual_gain(self.norm, output[:, -1]).cpu()
            rows, columns = others.unbind(1)
            self.others.append(inputs[0][rows.to(inputs[0].device), columns.to(inputs[0].device)].float().cpu())

        def left(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            last["outputs"] = _of_its_own(output[:, -1])

        handles = [self.writer.register_forward_hook(entered), self.module.register_forward_hook(left)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        for n, row in enumerate(batch.rows):
            self.rows[row] = (last["outputs"][n], last["inputs"][n], last["gains"][n])

    @contextmanager
    def recording_prefix(self, times: float) -> Iterator[None]:
        """Keeps what all prompts begin with among the others, as if each token had been drawn ``times`` times."""

        def entered(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            self.others.append(inputs[0][0].float().cpu() * times**0.5)

        handle = self.writer.register_forward_hook(entered)
        try:
            yield
        finally:
            handle.remove()

    def reading(self) -> LayerReading:
        outputs, inputs, gains = (
            torch.stack(parts) for parts in zip(*(self.rows[row] for row in sorted(self.rows)), strict=True)
        )
        others = torch.cat(self.others)
        require_finite(f"The states of layer {self.layer}", outputs, inputs, gains, others)
        return LayerReading(self.layer, outputs, inputs, gains, others)


def _of_its_own(states: Tensor) -> Tensor:
    """A copy of ``states`` in fp32 on the CPU: a view would keep all the tokens of its batch in memory."""
    return states.to("cpu", torch.float32, copy=True)


def norm_after_writer(layer: nn.Module) -> Tensor | None:
    """By what the norm between the MLP and the residual stream multiplies each coordinate, shape [d_model].

    None where there is no such norm. Gemma keeps its norms' weights less 1.
    """
    norm = getattr(layer, "post_feedforward_layernorm", None)
    if norm is None:
        return None
    offset = 1.0 if type(norm).__name__.startswith("Gemma") else 0.0
    with held(norm):
        return offset + norm.weight.detach().float().cpu()


def residual_gain(norm: Tensor | None, written: Tensor) -> Tensor:
    """By what a small change of ``written`` [n, d_model] is multiplied before it is added, shape [n].

    1 where the layer adds it as it is. With a norm in between it is 1/rms(written); the norm's
    own weights, which differ by coordinate, are `solve.write_direction`'s business.
    """
    if norm is None:
        return torch.ones(len(written))
    return written.float().pow(2).mean(dim=1).add(1e-6).rsqrt()
