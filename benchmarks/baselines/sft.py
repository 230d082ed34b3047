"""Supervised fine-tuning by LoRA: answers for look-alikes and ordinary prompts, refusals for harmful ones.

The loss is the mean negative log-likelihood of an answer's tokens. Settings are those of `lora`.
"""

from __future__ import annotations

from functools import partial

from actor_core.model import LoadedModel
from actor_core.targets import TuningPrompts
from baselines.answers import lessons
from baselines.lora import LoraSettings, mean_log_likelihood, trained_adapter
from baselines.system import HELD_OUT, Prepared, System, all_applied

__all__ = ["SYSTEM"]

EXAMPLES = 200


def prepare(model: LoadedModel, prompts: TuningPrompts, seed: int) -> Prepared:
    """One adapter over all layers."""
    examples = lessons(prompts, EXAMPLES, seed)
    deltas = trained_adapter(
        model, examples, lambda batch: -mean_log_likelihood(model, batch).mean(), LoraSettings(), seed=seed
    )
    refusals = sum(example.refusal for example in examples)
    note = f"{len(examples) - refusals} answers, {refusals} refusals"
    return Prepared(partial(all_applied, model, deltas), note=note)


SYSTEM = System("lora-sft", "LoRA SFT", HELD_OUT, prepare)
