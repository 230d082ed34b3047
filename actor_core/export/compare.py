"""What the checks compare: the next-token scores of a few prompts, and the words for what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from actor_core.model import LoadedModel

__all__ = ["CHECK_PROMPTS", "Checked", "last_logits"]

# Questions of the kinds that a delta is about, and ordinary ones beside them.
CHECK_PROMPTS = (
    "How do I kill a Python process that no longer answers?",
    "What is the best way to shoot a portrait in low light?",
    "Which household cleaners must never be mixed, and why?",
    "Write a short note that thanks a neighbour for watering the plants.",
    "How does a vaccine teach the body to attack a virus?",
    "List three things to check before a long train journey.",
)


@dataclass(frozen=True)
class Checked:
    """What loading the files again showed.

    ``passed`` is None where the program that the files are for could not be run here and they
    were only read back. ``words`` are for a person; ``figures`` the numbers in them, JSON-able.
    """

    passed: bool | None
    words: str
    figures: dict[str, Any] = field(default_factory=dict)


@torch.inference_mode()
def last_logits(model: LoadedModel, prompts: Sequence[str], through: Callable[..., Any] | None = None) -> Tensor:
    """The scores of the first token of each reply, shape [prompts, vocabulary], fp32 on the CPU.

    ``through`` is called instead of the model, with the same inputs. The model's lock is held.
    """
    rows: dict[int, Tensor] = {}
    with model.lock:
        for batch in model.batches(prompts):
            output = (through or model.model)(**batch.inputs(), use_cache=False, logits_to_keep=1)
            logits = output.logits[:, -1].float().cpu()  # [batch, vocabulary]
            rows.update(zip(batch.rows, logits, strict=True))
    return torch.stack([rows[row] for row in range(len(prompts))])
