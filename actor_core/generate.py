"""Answers of the model, with or without a delta, each with its verdict.

Decoding is greedy and without penalties, so that before and after differ by the delta alone
and that another program given the same weights decodes the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, StoppingCriteria, StoppingCriteriaList

from actor_core.delta import LayerDelta
from actor_core.events import Event, Progress, Replied, Said, retold
from actor_core.judge import Verdict, judge
from actor_core.model import Batch, LoadedModel
from actor_core.prefill import prefill, read_prefix

__all__ = ["ROWS", "Ask", "Reply", "answer", "first_asked", "reply_of"]

# Of a batch. A token's weights are fetched once for all of its rows, which is most of the time of a small batch.
ROWS, TOKENS = 96, 4096
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

    def as_one_to(self, prompt: str, text: str | None = None) -> Reply:
        """This reply as one to ``prompt``, which was asked with words around it; judged by ``text`` where given."""
        verdict = judge(prompt, self.text if text is None else text, truncated=self.truncated)
        return replace(self, prompt=prompt, verdict=verdict)


# Gives the replies of one model to the prompts, in their order.
Ask = Callable[[Sequence[str]], Generator[Event, None, list[Reply]]]


def answer(
    model: LoadedModel,
    prompts: Sequence[str],
    *,
    delta: LayerDelta | None = None,
    strength: float = 1.0,
    max_new_tokens: int = 64,
    history: Sequence[Mapping[str, str]] = (),
    stage: str = "answer",
    first_logits: dict[int, Tensor] | None = None,
) -> Generator[Event, None, list[Reply]]:
    """The replies to ``prompts``, in their order, by the model with ``strength`` times ``delta``.

    Each prompt is asked after the turns of ``history``, see `LoadedModel.token_ids`; verdicts are on the
    prompt alone. Where one alone is asked, `Said` tells what is there of its reply. ``first_logits`` takes the logits
    of each reply's first token, [vocabulary] on the CPU, under its prompt's place; reading is counted by itself then.
    """
    replies: dict[int, Reply] = {}
    prefix: DynamicCache | None = None

    def changed() -> AbstractContextManager[None]:
        return delta.applied(model, strength) if delta else nullcontext()

    for batch in model.batches(prompts, history=history, max_tokens=TOKENS, max_rows=ROWS, share_prefix=True):
        yield Progress(stage, len(replies), len(prompts))
        if prefix is None:
            with changed():
                prefix = read_prefix(model, batch)
        counted = len(batch.rows) if first_logits is not None else 0
        reading = prefill(model, batch, prefix, changed)
        cache, logits = yield from retold(reading, _as_rows(stage, len(replies), counted, len(prompts)))
        if first_logits is not None:
            first_logits.update(zip(batch.rows, logits.cpu(), strict=True))
            yield Progress(stage, len(replies), len(prompts))
        generated = logits.argmax(dim=1, keepdim=True).to(model.device)
        while batch.rows:
            look_at = (generated.shape[1] // TOKENS_BETWEEN_LOOKS + 1) * TOKENS_BETWEEN_LOOKS
            look_at = min(look_at, max_new_tokens)
            while generated.shape[1] < look_at and not bool(_ended(model, generated).all()):
                with changed():
                    generated = _continued(model, batch, generated, cache, look_at - generated.shape[1])
                yield Progress(stage, len(replies), len(prompts))
                if len(prompts) == 1:
                    yield Said(prompts[0], reply_of(model, prompts[0], generated[0].tolist()).text)
            over = _ended(model, generated) | (generated.shape[1] >= max_new_tokens)
            newest = {
                row: reply_of(model, prompts[row], tokens)
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


def _as_rows(stage: str, done: int, rows: int, total: int) -> Callable[[Progress], Progress]:
    """Tells how far a reading of ``rows`` prompts has come, ``done`` of ``total`` being done before it."""
    return lambda read: Progress(stage, done + rows * read.done // read.total, total)


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


def first_asked(
    model: LoadedModel, prompts: Sequence[str], max_new_tokens: int, *, stage: str
) -> Generator[Event, None, tuple[list[Reply], Tensor]]:
    """The untouched model's replies to ``prompts``, and the logits of their first tokens, [n, vocabulary].

    The latter in fp32 on the CPU. Of each batch reading and answering are counted one after the other.
    """
    logits: dict[int, Tensor] = {}
    replies = yield from answer(model, prompts, max_new_tokens=max_new_tokens, stage=stage, first_logits=logits)
    return replies, torch.stack([logits[row].float() for row in range(len(prompts))])


def reply_of(model: LoadedModel, prompt: str, tokens: Sequence[int]) -> Reply:
    """What the generated ``tokens`` say, up to the end token, and its verdict; truncated where there is none."""
    ends = set(_end_tokens(model))
    length = next((n for n, token in enumerate(tokens) if token in ends), len(tokens))
    text = str(model.tokenizer.decode(list(tokens[:length]), skip_special_tokens=True)).strip()
    truncated = length == len(tokens)
    verdict = judge(prompt, text, truncated=truncated)
    return Reply(prompt, text, verdict, truncated, tuple(tokens[: length + 1]))
