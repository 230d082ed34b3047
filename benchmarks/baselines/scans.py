"""SCANS (Cao et al. 2025, arXiv 2408.11491): safety-conscious activation steering.

At the middle layers a refusal vector is added or taken away from the last token of the prompt on: v_l, the
mean last-token state of harmful prompts less that of benign ones, at unit length. Which of the two is decided
prompt by prompt: "Sure" is put behind the prompt, and where the change of state from the prompt's last token
to "Sure" is like the mean change of harmful prompts (cosine, averaged from the first steered layer to the last of
the model, at least a threshold) the prompt is taken for harmful and v_l is added, else it is taken away.

The paper's: 64 anchors of each class; layers 10 to 19 of 32, so those at the same depth here. Its multiplier,
3.5 for Llama-2-7b-chat and 4 for Vicuna, depends on the model's scale: ours is in units of the length of v_l
before it is normed, one for all layers, chosen on our held-out prompts. Its thresholds, 0.6 to 0.75, differ by
model and test set: ours is the one that parts other training prompts best.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from actor_core.activations import read_activations
from actor_core.direction import refusal_vector
from actor_core.events import finish
from actor_core.model import LoadedModel
from actor_core.targets import TuningPrompts, drawn
from baselines.held_out import HeldOut
from baselines.system import HELD_OUT, Applied, Prepared, System

__all__ = ["SYSTEM", "Steering", "parting_threshold", "steered_layers"]

ANCHORS = 64
REPLY = "Sure"
MULTIPLIERS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5)


def steered_layers(n_layers: int) -> range:
    """Layers 10 to 19 of 32, at the same depth of a model of ``n_layers``."""
    return range(round(n_layers * 10 / 32), round(n_layers * 20 / 32))


@dataclass(frozen=True)
class Steering:
    """``vectors`` are what is added at each steered layer, [d_model]; ``reference`` is the mean change of harmful
    prompts from the first steered layer to the last of the model, [layers, d_model]; a prompt whose likeness is at
    least ``threshold`` is taken for harmful."""

    model: LoadedModel
    vectors: dict[int, Tensor]
    reference: Tensor
    threshold: float = 0.0

    @contextmanager
    def applied(self, multiplier: float) -> Iterator[None]:
        """Runs the body with ``multiplier`` times the vectors added at each prompt's last token and its reply's."""
        ending, reading_prefix = _template_ending(self.model), False

        def look(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            nonlocal reading_prefix
            if "inputs_embeds" in kwargs:  # what comes after the layers is wanted alone
                return
            input_ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
            cache = kwargs.get(self.model.cache_name)
            begins = cache is None or cache.get_seq_length() == 0
            reading_prefix = begins and input_ids[0, -len(ending) :].tolist() != ending

        def steer(vector: Tensor, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if reading_prefix:  # what all prompts begin with ends with no prompt's last token
                return output
            steered = output.clone()
            steered[:, -1] += (multiplier * vector).to(output)
            return steered

        with self.model.lock, ExitStack() as hooks:
            hooks.callback(self.model.model.register_forward_pre_hook(look, with_kwargs=True).remove)
            for layer, vector in self.vectors.items():
                hooks.callback(self.model.layers[layer].register_forward_hook(partial(steer, vector)).remove)
            yield

    def likeness(self, prompts: Sequence[str]) -> Tensor:
        """How like a harmful prompt's each prompt's change of state is, in [-1, 1], on the CPU, shape [n]."""
        changes = transitions(self.model, prompts, min(self.vectors))
        return nn.functional.cosine_similarity(changes, self.reference, dim=2).mean(dim=1)

    def split(self, multiplier: float, prompts: Sequence[str]) -> list[tuple[list[int], Applied]]:
        """The prompts taken for harmful, steered towards refusal, and the others, steered away from it."""
        harmful = (self.likeness(prompts) >= self.threshold).tolist()
        places = {side: [n for n, each in enumerate(harmful) if each == side] for side in (True, False)}
        return [(places[True], partial(self.applied, multiplier)), (places[False], partial(self.applied, -multiplier))]


def _template_ending(model: LoadedModel) -> list[int]:
    """The tokens that the template puts behind every prompt."""
    one, other = (model.token_ids(word)[::-1] for word in ("a", "how"))
    return os.path.commonprefix([one, other])[::-1]


@torch.no_grad()
def transitions(model: LoadedModel, prompts: Sequence[str], first: int) -> Tensor:
    """States of each prompt's last token less those of `REPLY` behind it, from layer ``first`` on.

    fp32 on the CPU, shape [n, layers, d_model].
    """
    reply = list(model.tokenizer(REPLY, add_special_tokens=False)["input_ids"])
    found: dict[int, Tensor] = {}
    for batch in model.batches_of_ids([model.token_ids(prompt) + reply for prompt in prompts]):
        changes: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: Any, output: Tensor, changes: list[Tensor] = changes) -> None:  # noqa: ANN401
            changes.append((output[:, -1 - len(reply)] - output[:, -1]).float().cpu())

        with model.lock, ExitStack() as hooks:
            for layer in model.layers[first:]:
                hooks.callback(layer.register_forward_hook(keep).remove)
            model.model(**batch.inputs(), use_cache=False, logits_to_keep=1)
        found.update(zip(batch.rows, torch.stack(changes, dim=1), strict=True))
    return torch.stack([found[row] for row in range(len(prompts))])


def parting_threshold(likeness: Tensor, harmful: Tensor) -> tuple[float, float]:
    """The threshold on ``likeness`` [n] with the best balanced accuracy for ``harmful`` [n], boolean; and that."""
    values = likeness.sort().values
    between = (values[1:] + values[:-1]) / 2
    above = likeness[None] >= between[:, None]  # [n - 1, n]
    accuracy = (above[:, harmful].float().mean(1) + (~above[:, ~harmful]).float().mean(1)) / 2
    best = int(accuracy.argmax())
    return float(between[best]), float(accuracy[best])


def prepare(model: LoadedModel, prompts: TuningPrompts, seed: int) -> Prepared:
    """Vectors, the classifier and the multiplier."""
    steering, accuracy = _steering(model, prompts, seed)
    held_out = HeldOut.of(model, prompts, seed)
    multiplier, shares = held_out.best({m: Prepared(split=partial(steering.split, m)) for m in MULTIPLIERS})
    layers = sorted(steering.vectors)
    note = (
        f"layers {layers[0]} to {layers[-1]}, multiplier {multiplier:g}, threshold {steering.threshold:.2f} "
        f"(balanced accuracy {accuracy:.2f} on training prompts); held out {shares}"
    )
    return Prepared(split=partial(steering.split, multiplier), note=note)


def _steering(model: LoadedModel, prompts: TuningPrompts, seed: int) -> tuple[Steering, float]:
    """The steering with its threshold, and the classifier's balanced accuracy on the prompts that gave it."""
    harmful, benign = (drawn(group, 2 * ANCHORS, seed) for group in (prompts.harmful, prompts.benign))
    anchors, others = harmful[: len(harmful) // 2], harmful[len(harmful) // 2 :]
    benign_anchors = benign[: len(benign) // 2]
    layers = steered_layers(model.n_layers)
    readings = finish(read_activations(model, anchors + benign_anchors, layers, other_tokens=0, seed=seed))
    vectors = {}
    for layer in layers:
        states = readings[layer].outputs
        vectors[layer] = refusal_vector(states[: len(anchors)], states[len(anchors) :])
    reference = transitions(model, anchors, layers[0]).mean(dim=0)
    steering = Steering(model, vectors, reference)
    harmless = benign[len(benign) // 2 :][: len(others) // 2] + drawn(prompts.pseudo_harmful, len(others) // 2, seed)
    likeness = steering.likeness(others + harmless)
    threshold, accuracy = parting_threshold(likeness, torch.arange(len(likeness)) < len(others))
    return replace(steering, threshold=threshold), accuracy


SYSTEM = System("scans", "SCANS", HELD_OUT, prepare)
