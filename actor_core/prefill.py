"""Reads prompts up to where their replies begin: the prefill, after which one token follows another.

What all prompts begin with is read once, and every batch goes on from a copy of its keys and values. Rows stand the
longest first, flush on the right: where the others are still padding only the first rows are read.

(Where a model is only read, and does not answer, see `passages`.)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from copy import copy
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from actor_core.events import Progress
from actor_core.model import TOKENS_AT_ONCE, Batch, LoadedModel

__all__ = ["copied", "prefill", "read_prefix"]

# Of a pass at most so many tokens are padding: a run of columns ends before more rows begin within it.
MOST_PADDING = 64


@torch.inference_mode()
def read_prefix(model: LoadedModel, batch: Batch) -> DynamicCache:
    """Keys and values of the first ``batch.prefix`` tokens, one row; empty where nothing is shared."""
    cache = DynamicCache(config=model.model.config)
    if batch.prefix:
        _pass(model, batch.only(torch.tensor([0])), cache, 0, batch.prefix)
    return cache


def prefill(
    model: LoadedModel, batch: Batch, prefix: DynamicCache, changed: Callable[[], AbstractContextManager[Any]]
) -> Generator[Progress, None, tuple[DynamicCache, Tensor]]:
    """Keys and values of ``batch`` in a cache of its own, and the logits of what comes next, [batch, vocabulary].

    ``prefix`` holds those of what all rows begin with. Each pass is within ``changed()``, and after each it is told how
    many of the tokens have been read.
    """
    began = _begin_at(batch)
    cache = copied(prefix)
    done, of_all, logits = 0, int(batch.attention_mask[:, batch.prefix :].sum()), torch.empty(0)
    rows = 0
    for start, end in _runs(began, batch.prefix, batch.input_ids.shape[1]):
        begun = _rows_before(began, end)
        if begun > rows:
            _add_rows(cache, prefix, begun - rows, first=not rows)
            rows = begun
        with changed():
            logits = _pass(model, batch.only(torch.arange(rows)), cache, start, end)
        done += sum(end - max(start, column) for column in began[:rows])
        yield Progress("prefill", done, of_all)
    return cache, logits


def copied(cache: DynamicCache) -> DynamicCache:
    """A cache with the same keys and values that can grow by itself: it grows by new tensors.

    (`crop` cannot bring a grown one back: past a sliding window it raises.)
    """
    grown = copy(cache)
    grown.layers = [copy(layer) for layer in cache.layers]
    return grown


@torch.inference_mode()
def _pass(model: LoadedModel, batch: Batch, cache: DynamicCache, start: int, end: int) -> Tensor:
    """Reads columns ``start`` to ``end`` into ``cache``, which holds those before; logits after the last of them."""
    with model.lock:
        output = model.model(
            input_ids=batch.input_ids[:, start:end],
            attention_mask=batch.attention_mask[:, :end],
            position_ids=batch.position_ids[:, start:end],
            use_cache=True,
            logits_to_keep=1,
            **{model.cache_name: cache},
        )
    return output.logits[:, -1]


@torch.inference_mode()
def _add_rows(cache: DynamicCache, prefix: DynamicCache, more: int, *, first: bool) -> None:
    """Adds rows to ``cache`` that hold ``prefix``, which is one row, and are masked from there on."""
    if first:
        cache.batch_repeat_interleave(more)
        return
    shared = prefix.get_seq_length()
    for layer, start in zip(cache.layers, prefix.layers, strict=True):
        for name in ("keys", "values"):
            there = getattr(layer, name)
            if there is None:  # a layer that looks at the keys of another
                continue
            added = there.new_zeros(more, *there.shape[1:])
            if shared:
                added[:, :, :shared] = getattr(start, name)
            setattr(layer, name, torch.cat([there, added]))


def _begin_at(batch: Batch) -> list[int]:
    """The column where each row begins behind the prefix, the longest row's first."""
    width = batch.input_ids.shape[1]
    return [width - n for n in batch.attention_mask[:, batch.prefix :].sum(dim=1).tolist()]


def _rows_before(began: list[int], end: int) -> int:
    """How many rows begin before column ``end``."""
    return sum(column < end for column in began)


def _runs(began: list[int], start: int, width: int) -> Iterator[tuple[int, int]]:
    """Runs of columns from ``start`` to ``width``, each of up to `TOKENS_AT_ONCE` tokens in the rows that it has."""
    while start < width:
        end = start + 1
        while end < width and _fits(began[: _rows_before(began, end + 1)], start, end + 1):
            end += 1
        yield start, end
        start = end


def _fits(began: list[int], start: int, end: int) -> bool:
    padding = sum(max(0, column - start) for column in began)
    return len(began) * (end - start) <= TOKENS_AT_ONCE and padding <= MOST_PADDING
