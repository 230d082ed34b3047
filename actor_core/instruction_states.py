"""What the model makes of a request before it replies: hidden states over the request's own tokens, and after them.

The mean over the instruction's tokens says what is asked for; the template's last token, a(q), what the model is about
to do about it. Both tell harmful from pseudo-harmful prompts, in part differently, so that both are read, at several
layers. The layers after the last of them do not run.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from actor_core.activations import stopped_after
from actor_core.events import Event, Progress
from actor_core.layer_by_layer import enter, pass_through
from actor_core.model import Batch, LoadedModel
from actor_core.prefix import continued, read_prefix

__all__ = ["read_instructions"]

# Prompts that share nothing: what their token ids begin and end with is the template's.
UNLIKE = ("a", "7")


def read_instructions(
    model: LoadedModel, prompts: Sequence[str], layers: Sequence[int], *, stage: str
) -> Generator[Event, None, Tensor]:
    """The mean over the instruction's tokens and the state at the template's last token, after each of ``layers``.

    Shape [n, 2 * len(layers) * d_model], in fp32 on the CPU, in the order of ``prompts``.
    """
    # Read beside the prompts, the two keep what is read once for all from reaching into an instruction.
    rows = [*UNLIKE, *prompts]
    one, other = (model.token_ids(prompt) for prompt in UNLIKE)
    head, tail = _shared(one, other), _shared(one[::-1], other[::-1])
    states = torch.zeros(len(rows), len(layers), 2, model.d_model)
    last, now = model.layers[max(layers)], dict[int, Tensor]()

    def note(batch: Batch, place: int) -> None:
        of_instruction = _instruction(batch, head, tail)  # [batch, tokens]
        output = now.pop(layers[place]).float()  # [batch, tokens, d_model]
        mean = (output * of_instruction[:, :, None]).sum(1) / of_instruction.sum(1, keepdim=True).clamp(min=1)
        states[list(batch.rows), place] = torch.stack([mean, output[:, -1]], dim=1).cpu()

    if model.streamed:
        batches = list(model.batches(rows))
        passages = enter(model, [{**batch.inputs(), "use_cache": False} for batch in batches])
        for layer in pass_through(model, passages, range(max(layers) + 1)):
            for batch, passage in zip(batches, passages, strict=True):
                if layer in layers:
                    now[layer] = passage.hidden
                    note(batch, list(layers).index(layer))
            yield Progress(stage, round(len(prompts) * (layer + 1) / (max(layers) + 1)), len(prompts))
        return states[len(UNLIKE) :].flatten(1)
    prefix, done = DynamicCache(config=model.model.config), 0
    for batch in model.batches(rows, share_prefix=True):
        if done == 0 and batch.prefix:
            with model.lock, stopped_after(last):
                read_prefix(model, batch, prefix)
        with torch.inference_mode(), model.lock, ExitStack() as hooks:
            for layer in layers:
                hooks.callback(model.layers[layer].register_forward_hook(_noting(now, layer)).remove)
            hooks.enter_context(stopped_after(last))
            model.model(**continued(model, prefix, batch))
        for place in range(len(layers)):
            note(batch, place)
        done += len(batch.rows)
        yield Progress(stage, min(done, len(prompts)), len(prompts))
    return states[len(UNLIKE) :].flatten(1)


def _instruction(batch: Batch, head: int, tail: int) -> Tensor:
    """1 at the tokens of ``batch`` after its prefix that are the instruction's, neither padding nor the template's."""
    inside = (batch.position_ids >= head) & batch.attention_mask.bool()
    inside[:, inside.shape[1] - tail :] = False
    return inside[:, batch.prefix :].float()


def _noting(into: dict[int, Tensor], layer: int) -> Any:  # noqa: ANN401 - a hook, as torch types it
    def note(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        into[layer] = output

    return note


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens the two begin with."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
