"""Keys and values of what all prompts begin with, read once: every batch that is answered goes on from a copy of them.

(Where a model is only read, and does not answer, see `passages`.)
"""

from __future__ import annotations

from copy import copy

import torch
from transformers import DynamicCache

from actor_core.model import Batch, LoadedModel

__all__ = ["copied", "read_prefix", "spread"]


@torch.inference_mode()
def read_prefix(model: LoadedModel, batch: Batch) -> DynamicCache:
    """Keys and values of the first ``batch.prefix`` tokens, one row; empty where nothing is shared."""
    cache = DynamicCache(config=model.model.config)
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
