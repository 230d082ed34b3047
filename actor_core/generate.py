"""Answers of the model, with or without a delta, each with its verdict.

Decoding is greedy and without penalties, so that before and after differ by the delta alone
and that another program given the same weights decodes the same.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, StoppingCriteria, StoppingCriteriaList

from actor_core.delta import LayerDelta
from actor_core.events import Event, Progress, Replied, Said
from actor_core.judge import Verdict, judge
from actor_core.model import TOKENS_AT_ONCE, Batch, LoadedModel
from actor_core.prefix import read_prefix, spread

__all__ = ["Reply", "answer"]

# After each of these runs of tokens the replies that have ended are taken out: at fixed places, since another
# size of the batch rounds otherwise.
TOKENS_BETWEEN_LOOKS = 16
# Within one the work can be stopped after the first token that comes later than this: a token takes a processor
# longer than that, and a GPU makes dozens in it.
SECONDS_BETWEEN_STOPS = 0.5


@dataclass(frozen=True)
class Reply:
    """What the model said to ``prompt``; ``truncated`` where the limit of tokens cut it short.

    ``tokens`` are the ids as they were generated, the end token among them; text read again may be cut
    into others.
    """

    prompt: str
    text: str
    verdict: Verdict
    truncated: bool
    tokens: tuple[int, ...] = ()


def answer(
    model: LoadedModel,
    prompts: Sequence[str],
    *,
    delta: LayerDelta | None = None,
    strength: float = 1.0,
    max_new_tokens: int = 64,
    history: Sequence[Mapping[str, str]] = (),
    stage: str = "answer",
) -> Generator[Event, None, list[Reply]]:
    """The replies to ``prompts``, in their order, by the model with ``strength`` times ``delta``.

    Each prompt is asked after the turns of ``history``, see `LoadedModel.token_ids`; verdicts are on the
    prompt alone. Where one alone is asked, `Said` tells what is there of its reply.
    """
    replies: dict[int, Reply] = {}
    prefix: DynamicCache | None = None
    for batch in model.batches(prompts, history=history, max_tokens=2048, share_prefix=True):
        generated = torch.empty((len(batch.rows), 0), dtype=torch.long, device=model.device)
        yield Progress(stage, len(replies), len(prompts))
        if prefix is None:
            with delta.applied(model, strength) if delta else nullcontext():
                prefix = read_prefix(model, batch)
        cache = spread(prefix, batch)
        for start, end in _slices(batch):
            with delta.applied(model, strength) if delta else nullcontext():
                _read_on(model, batch, cache, start, end)
            yield Progress(stage, len(replies), len(prompts))
        while batch.rows and generated.shape[1] < max_new_tokens:
            look_at = min(generated.shape[1] + TOKENS_BETWEEN_LOOKS, max_new_tokens)
            while generated.shape[1] < look_at and not bool(_ended(model, generated).all()):
                with delta.applied(model, strength) if delta else nullcontext():
                    generated = _continued(model, batch, generated, cache, look_at - generated.shape[1])
                yield Progress(stage, len(replies), len(prompts))
                if len(prompts) == 1:
                    yield Said(prompts[0], _reply(model, prompts[0], generated[0].tolist()).text)
            over = _ended(model, generated) | (generated.shape[1] >= max_new_tokens)
            newest = {
                row: _reply(model, prompts[row], tokens)
                for row, tokens, is_over in zip(batch.rows, generated.tolist(), over.tolist(), strict=True)
                if is_over
            }
            if not newest:
                continue
            # A refusal is short: replies that have ended make room, and only the others go on.
            going_on = (~over).nonzero().flatten()
            batch, generated = batch.only(going_on), generated[going_on]
            cache.batch_select_indices(going_on)
            replies.update(newest)
            yield Replied(len(replies), len(prompts), tuple(newest.values()))
    return [replies[row] for row in range(len(prompts))]


def _slices(batch: Batch) -> Iterator[tuple[int, int]]:
    """Runs of columns behind the prefix, of up to `TOKENS_AT_ONCE` tokens in all rows; the last run is left out."""
    size = max(1, TOKENS_AT_ONCE // len(batch.rows))
    starts = range(batch.prefix, batch.input_ids.shape[1] - size, size)
    return ((start, start + size) for start in starts)


@torch.inference_mode()
def _read_on(model: LoadedModel, batch: Batch, cache: DynamicCache, start: int, end: int) -> None:
    """Reads columns ``start`` to ``end`` of ``batch`` into ``cache``, which holds those before."""
    with model.lock:
        model.model(
            input_ids=batch.input_ids[:, start:end],
            attention_mask=batch.attention_mask[:, :end],
            position_ids=batch.position_ids[:, start:end],
            use_cache=True,
            logits_to_keep=1,
            **{model.cache_name: cache},
        )


@torch.inference_mode()
def _continued(model: LoadedModel, batch: Batch, generated: Tensor, cache: DynamicCache, wanted: int) -> Tensor:
    """``generated`` [batch, n] with 1 to ``wanted`` more tokens; ``cache`` grows with it.

    A row that has ended before goes on with any tokens: what stands behind an end token is not read.
    """
    input_ids = torch.cat([batch.input_ids, generated], dim=1)
    attention_mask = torch.cat([batch.attention_mask, torch.ones_like(generated)], dim=1)
    with model.lock:
        output = model.model.generate(  # type: ignore[operator]
            input_ids=input_ids,
            attention_mask=attention_mask,
            max_new_tokens=wanted,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            stopping_criteria=StoppingCriteriaList([_Pause(time.monotonic() + SECONDS_BETWEEN_STOPS)]),
            pad_token_id=model.tokenizer.pad_token_id,
            **{model.cache_name: cache},
        )
    return output[:, batch.input_ids.shape[1] :]


class _Pause(StoppingCriteria):
    """Ends a run of tokens after the first one that comes later than ``until``."""

    def __init__(self, until: float) -> None:
        self.until = until

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:  # noqa: ANN401
        return torch.full((len(input_ids),), time.monotonic() > self.until, device=input_ids.device)


def _end_tokens(model: LoadedModel) -> list[int]:
    ends = model.model.generation_config.eos_token_id
    ends = model.tokenizer.eos_token_id if ends is None else ends
    return list(ends) if isinstance(ends, list | tuple) else [ends]


def _ended(model: LoadedModel, generated: Tensor) -> Tensor:
    """Which rows hold an end token, shape [batch]."""
    ends = torch.tensor(_end_tokens(model), device=generated.device)
    return torch.isin(generated, ends).any(dim=1)


def _reply(model: LoadedModel, prompt: str, tokens: list[int]) -> Reply:
    ends = set(_end_tokens(model))
    length = next((n for n, token in enumerate(tokens) if token in ends), len(tokens))
    text = str(model.tokenizer.decode(tokens[:length], skip_special_tokens=True)).strip()
    truncated = length == len(tokens)
    verdict = judge(prompt, text, truncated=truncated)
    return Reply(prompt, text, verdict, truncated, tuple(tokens[: length + 1]))
