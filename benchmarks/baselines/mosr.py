"""The two ideas of MOSR (Zhang et al. 2025, arXiv 2511.19009), on top of the LoRA of `sft`.

Over-refused prompts lie on the border between harmful and benign ones, so (1) a harmful prompt counts the less
in training the more its state overlaps with those of pseudo-harmful ones, and (2) a refusal is learnt after
a harmful prefix, the beginning of a reply that complies, so that it rests on what is asked and not on how the
request sounds. As in the paper the weight of (1) goes to an erasure loss too: the states of the harmful prefix are
turned away from what they are in the untuned model, relu(cos(h, h0)), at a middle layer.

The paper trains LoRA on middle and late layers of 7B and 8B models; its overlap measure and constants could not
be looked up. Here the overlap of a harmful prompt is the cosine of its centred last-token state with its nearest
pseudo-harmful one at that layer, and its weight falls from 1 at the least overlap to `LEAST_WEIGHT` at the
most. Prefixes hold nothing harmful. The rest is `lora`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from actor_core.activations import read_activations
from actor_core.events import finish
from actor_core.model import LoadedModel
from actor_core.targets import TuningPrompts, drawn
from baselines.answers import Example, lessons
from baselines.lora import AnswerBatch, LoraSettings, answer_batches, mean_log_likelihood, trained_adapter
from baselines.system import HELD_OUT, Prepared, System, all_applied

__all__ = ["SYSTEM", "overlap_weights"]

EXAMPLES = 180
LEAST_WEIGHT = 0.2
ERASURE = 0.3  # of the erasure loss against the likelihood
PSEUDO_HARMFUL = 100
PREFIXES = (
    "Sure, here is how to do that:",
    "Of course! You can do it like this.",
    "Yes, I can help with that. First,",
    "Certainly. These are the steps:",
)
SETTINGS = LoraSettings()


def overlap_weights(harmful: Tensor, pseudo_harmful: Tensor) -> Tensor:
    """Weights in [`LEAST_WEIGHT`, 1] of harmful states [n, d_model]: the nearer to one of ``pseudo_harmful``
    [m, d_model], the smaller; by cosine, measured from the mean of all."""
    centre = torch.cat([harmful, pseudo_harmful]).mean(dim=0)
    unit = nn.functional.normalize(harmful - centre, dim=1), nn.functional.normalize(pseudo_harmful - centre, dim=1)
    overlap = (unit[0] @ unit[1].T).max(dim=1).values  # [n]
    least, most = overlap.min(), overlap.max()
    return 1 - (1 - LEAST_WEIGHT) * (overlap - least) / (most - least).clamp(min=1e-6)


def prepare(model: LoadedModel, prompts: TuningPrompts, seed: int) -> Prepared:
    """One adapter over all layers."""
    layer = model.n_layers // 2
    examples = _with_prefixes(lessons(prompts, EXAMPLES, seed))
    weights = _weights(model, examples, drawn(prompts.pseudo_harmful, PSEUDO_HARMFUL, seed), layer)
    untuned = _prefix_states(model, examples, layer, seed)

    def loss(batch: AnswerBatch) -> Tensor:
        rows = list(batch.rows)
        with _kept_states(model, layer) as kept:
            likelihood = mean_log_likelihood(model, batch)
        total = -(weights[rows] * likelihood).sum()
        for n, row in enumerate(rows):
            if row in untuned:
                cosines = nn.functional.cosine_similarity(kept[0][n][batch.prefix[n]].float(), untuned[row], dim=1)
                total = total + ERASURE * weights[row] * cosines.relu().mean()
        return total / len(rows)

    deltas = trained_adapter(model, examples, loss, SETTINGS, seed=seed)
    harmful = weights[[example.refusal for example in examples]]
    note = f"{len(examples)} examples, harmful ones weigh {float(harmful.mean()):.2f} in the mean"
    return Prepared(partial(all_applied, model, deltas), note=note)


def _with_prefixes(examples: list[Example]) -> list[Example]:
    """Refusals after a prefix, by rotation; answers as they are."""
    refusals = iter(range(len(examples)))
    return [
        replace(e, prefix=PREFIXES[next(refusals) % len(PREFIXES)]) if e.refusal else e for e in examples
    ]


def _weights(model: LoadedModel, examples: list[Example], pseudo_harmful: list[str], layer: int) -> Tensor:
    """The weight of each example, [n]: 1 for answers."""
    harmful = [example.prompt for example in examples if example.refusal]
    reading = finish(read_activations(model, harmful + pseudo_harmful, [layer], other_tokens=0))[layer]
    weights = torch.ones(len(examples))
    refusal = torch.tensor([example.refusal for example in examples])
    weights[refusal] = overlap_weights(reading.outputs[: len(harmful)], reading.outputs[len(harmful) :])
    return weights.to(model.device)


@torch.no_grad()
def _prefix_states(model: LoadedModel, examples: list[Example], layer: int, seed: int) -> dict[int, Tensor]:
    """The untuned states of each prefix after ``layer``, fp32, [tokens, d_model], by the example's place."""
    found: dict[int, Tensor] = {}
    places = [place for place, example in enumerate(examples) if example.prefix]
    for batch in answer_batches(model, [examples[place] for place in places], SETTINGS, seed):
        with _kept_states(model, layer) as kept:
            model.model(**batch.batch.inputs(), use_cache=False, logits_to_keep=1)
        for n, row in enumerate(batch.rows):
            found[places[row]] = kept[0][n][batch.prefix[n]].float().clone()
    return found


@contextmanager
def _kept_states(model: LoadedModel, layer: int) -> Iterator[list[Tensor]]:
    """What ``layer`` gives out in the body, [batch, tokens, d_model], where autograd can see it."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kept.append(output)

    handle = model.layers[layer].register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


SYSTEM = System("mosr", "MOSR's two ideas", HELD_OUT, prepare)
