"""PoFT, preference-oriented supervised fine-tuning (Fan et al. 2025, arXiv 2412.12865), by LoRA.

That the trained model is to be preferred to a reference on the same answer y is put as Bradley and Terry do,
with the mean log-likelihood as the score: L = -ln σ(ln p_θ(y|x) - ln p_ref(y|x)), ln 2 where both are equal. An
answer that is already likelier than under the reference pulls less. The paper's references are several
aligned models beside a base model in training; here there is one model, so the untuned one is the reference,
and the paper's settings (full fine-tuning of 7B and 8B models) do not carry over: those of `lora` are used. The
likelihoods under the reference take a third of the time, hence fewer examples than sft has.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from actor_core.model import LoadedModel
from actor_core.targets import TuningPrompts
from baselines.answers import Example, lessons
from baselines.lora import AnswerBatch, LoraSettings, answer_batches, mean_log_likelihood, trained_adapter
from baselines.system import HELD_OUT, Prepared, System, all_applied

__all__ = ["SYSTEM", "preference_loss", "reference_log_likelihood"]

EXAMPLES = 160
SETTINGS = LoraSettings()


def preference_loss(log_likelihood: Tensor, reference: Tensor) -> Tensor:
    """-ln σ(ln p_θ - ln p_ref), averaged over the batch, from mean log-likelihoods in nats, shape [batch]."""
    return -torch.nn.functional.logsigmoid(log_likelihood - reference).mean()


@torch.no_grad()
def reference_log_likelihood(model: LoadedModel, examples: list[Example], seed: int) -> Tensor:
    """Each answer's mean log-likelihood under the model as it is, in the order of ``examples``, shape [n]."""
    found = torch.empty(len(examples), device=model.device)
    for batch in answer_batches(model, examples, SETTINGS, seed):
        found[list(batch.rows)] = mean_log_likelihood(model, batch)
    return found


def prepare(model: LoadedModel, prompts: TuningPrompts, seed: int) -> Prepared:
    """One adapter over all layers."""
    examples = lessons(prompts, EXAMPLES, seed)
    reference = reference_log_likelihood(model, examples, seed)

    def loss(batch: AnswerBatch) -> Tensor:
        return preference_loss(mean_log_likelihood(model, batch), reference[list(batch.rows)])

    deltas = trained_adapter(model, examples, loss, SETTINGS, seed=seed)
    refusals = sum(example.refusal for example in examples)
    note = f"{len(examples) - refusals} answers, {refusals} refusals"
    return Prepared(partial(all_applied, model, deltas), note=note)


SYSTEM = System("poft", "PoFT", HELD_OUT, prepare)
