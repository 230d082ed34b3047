"""What the model makes of a request before it replies: hidden states over the request's own tokens, and after them.

The mean over the instruction's tokens says what is asked for; the template's last token, a(q), what the model is about
to do about it. Both tell harmful from pseudo-harmful prompts, in part differently, so that both are read, at several
layers. The layers after the last of them do not run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from actor_core.events import Event, Progress
from actor_core.model import Batch, LoadedModel
from actor_core.passages import PREFIX, read

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
    batches = list(model.batches(rows, share_prefix=True))

    @contextmanager
    def noting(layer: int, place: int) -> Iterator[None]:
        if layer not in layers or place == PREFIX:
            yield
            return
        given: list[Tensor] = []
        with model.layers[layer].register_forward_hook(lambda _module, _inputs, output: given.append(output)):
            yield
        batch, output = batches[place], given[0].float()  # [batch, tokens, d_model]
        of_instruction = _instruction(batch, head, tail)  # [batch, tokens]
        mean = (output * of_instruction[:, :, None]).sum(1) / of_instruction.sum(1, keepdim=True).clamp(min=1)
        states[list(batch.rows), list(layers).index(layer)] = torch.stack([mean, output[:, -1]], dim=1).cpu()

    for done, _ in read(model, batches, max(layers) + 1, noting):
        yield Progress(stage, min(done, len(prompts)), len(prompts))
    return states[len(UNLIKE) :].flatten(1)


def _instruction(batch: Batch, head: int, tail: int) -> Tensor:
    """1 at the tokens of ``batch`` after its prefix that are the instruction's, neither padding nor the template's."""
    inside = (batch.position_ids >= head) & batch.attention_mask.bool()
    inside[:, inside.shape[1] - tail :] = False
    return inside[:, batch.prefix :].float()


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens the two begin with."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
