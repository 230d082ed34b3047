"""Reads once what every prompt begins with: on short prompts the chat template's system turn is half of all tokens.

The keys and values of the shared beginning are kept as one row, and every batch goes on from copies of it.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from transformers import DynamicCache

from actor_core.model import Batch, LoadedModel

__all__ = ["continued", "copied", "read_prefix", "spread"]


@torch.inference_mode()
def read_prefix(model: LoadedModel, batch: Batch, into: DynamicCache | None = None) -> DynamicCache:
    """Keys and values of the first ``batch.prefix`` tokens, one row; empty where nothing is shared.

    ``into`` is for a pass that `stopped_after` ends early: it is filled as far as the pass comes.
    """
    cache = DynamicCache(config=model.model.config) if into is None else into
    if batch.prefix:
        with model.lock:
            model.model(
                input_ids=batch.input_ids[:1, : batch.prefix],
                attention_mask=batch.attention_mask[:1, : batch.prefix],
                position_ids=batch.position_ids[:1, : batch.prefix],
                use_cache=True,
                logits_to_keep=1,
                **{model.cache_name: cache},
            )
    return cache


def continued(
    model: LoadedModel, prefix: DynamicCache, batch: Batch, *, end: int | None = None
) -> dict[str, Any]:
    """What ``model`` takes to read ``batch`` from its prefix on, up to column ``end`` (None: to its last).

    The cache among it belongs to this call alone: ``prefix`` stays as it is.
    """
    return {
        "input_ids": batch.input_ids[:, batch.prefix : end],
        "attention_mask": batch.attention_mask[:, :end],
        "position_ids": batch.position_ids[:, batch.prefix : end],
        model.cache_name: spread(prefix, batch),
        "use_cache": True,
    }


def spread(prefix: DynamicCache, batch: Batch) -> DynamicCache:
    """The prefix's keys and values for every row of ``batch``, in a cache of its own."""
    cache = copied(prefix)
    cache.batch_repeat_interleave(len(batch.rows))
    return cache


def copied(cache: DynamicCache) -> DynamicCache:
    """A cache with the same keys and values that can grow by itself: it grows by new tensors.

    (`crop` cannot bring a grown one back: past a sliding window it raises.)
    """
    grown = copy(cache)
    grown.layers = [copy(layer) for layer in cache.layers]
    return grown
