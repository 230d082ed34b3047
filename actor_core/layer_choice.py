"""How the model's refusals begin, and the layer where a shift does most about them.

The paper takes the layer with the highest silhouette of its anchor prompts; on small models that is nearly
flat over the layers, so it is reported beside the causal effect and decides the published method alone.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from actor_core.activations import read_activations
from actor_core.direction import causal_directions, refusal_vector, silhouette
from actor_core.errors import ModelError, NothingToRepair
from actor_core.events import Event, LayerScored, Progress
from actor_core.generate import Reply, answer
from actor_core.judge import Verdict
from actor_core.model import LoadedModel
from actor_core.presets import middle_layers
from actor_core.refusal_odds import RefusalOdds, first_token_logits
from actor_core.targets import TuningPrompts, drawn
from actor_core.tune_settings import TuneSettings

__all__ = ["Calibration", "LayerChoice", "calibrate", "candidate_layers", "choose_layer"]


@dataclass(frozen=True)
class Calibration:
    """How the model's refusals begin, the pseudo-harmful prompts that it was seen to refuse, and its replies."""

    odds: RefusalOdds
    refused: tuple[str, ...]
    replies: tuple[Reply, ...]


@dataclass(frozen=True)
class LayerChoice:
    """``harmful`` and ``benign`` are the untuned states of the anchor prompts at the layer."""

    layer: int
    direction: Tensor  # unit vector [d_model]
    scores: tuple[LayerScored, ...]
    harmful: Tensor  # [n, d_model]
    benign: Tensor  # [m, d_model]


def candidate_layers(model: LoadedModel, settings: TuneSettings) -> tuple[int, ...]:
    """The layers to choose among. The last one is none of them: no later layer makes anything of its change."""
    last = model.n_layers - 2
    if settings.layer is not None:
        wanted: tuple[int, ...] = (settings.layer,)
    elif settings.candidates:
        wanted = settings.candidates
    else:
        middle = middle_layers(model.n_layers)
        wanted = tuple(range(min(middle[0], last), min(middle[1], last) + 1))
    for layer in wanted:
        if not 0 <= layer <= last:
            raise ModelError(
                f"Layer {layer} cannot be tuned: {model.source.name} has layers 0 to {model.n_layers - 1}, "
                f"and the last one is left alone. Choose 0 to {last}, or leave the layer to the program."
            )
    return wanted


def calibrate(
    model: LoadedModel, prompts: TuningPrompts, settings: TuneSettings
) -> Generator[Event, None, Calibration]:
    n = settings.calibration_prompts
    groups = [
        drawn(prompts.own, n, settings.seed),
        drawn(prompts.pseudo_harmful, n, settings.seed),
        drawn(prompts.harmful, n, settings.seed),
        drawn(prompts.benign, n, settings.seed),
    ]
    asked = list(dict.fromkeys(p for group in groups for p in group))
    # Reading comes before answering: both are seen early, and how fast each goes says how long the rest takes.
    logits = yield from first_token_logits(model, asked)
    replies = yield from answer(model, asked, max_new_tokens=settings.calibration_tokens, stage="calibrate")
    refused = {r.prompt for r in replies if r.verdict is Verdict.REFUSED}
    odds = RefusalOdds.learnt(logits, torch.tensor([p in refused for p in asked]))
    wrongly = tuple(p for p in dict.fromkeys(groups[0] + groups[1]) if p in refused)
    if odds is None or not wrongly:
        raise NothingToRepair(
            f"{model.source.name} refused {len(refused)} of {len(asked)} prompts it was tried on, {len(wrongly)} of "
            "them wrongly. There is nothing to repair, and nothing was changed."
        )
    return Calibration(odds, wrongly, tuple(replies))


def choose_layer(
    model: LoadedModel,
    prompts: TuningPrompts,
    calibration: Calibration,
    candidates: Sequence[int],
    settings: TuneSettings,
) -> Generator[Event, None, LayerChoice]:
    """Scores the candidates on anchor prompts and takes the one where a shift as long as R does most."""
    refused = drawn(calibration.refused, settings.gradient_prompts, settings.seed)
    gradients = yield from causal_directions(model, refused, candidates, calibration.odds)
    harmful = drawn(prompts.harmful, 2 * settings.calibration_prompts, settings.seed)
    benign = drawn(prompts.benign, 2 * settings.calibration_prompts, settings.seed)
    readings = yield from read_activations(
        model, harmful + benign, candidates, other_tokens=0, seed=settings.seed, stage="layers"
    )
    scores, vectors = [], {}
    for done, layer in enumerate(candidates, start=1):
        states = readings[layer].outputs
        of_harmful, of_benign = states[: len(harmful)], states[len(harmful) :]
        vectors[layer] = refusal_vector(of_harmful, of_benign)
        effect = float(vectors[layer].norm() * gradients[layer].norm())
        scores.append(LayerScored(layer, silhouette(of_harmful, of_benign, seed=settings.seed), effect))
        yield scores[-1]
        yield Progress("layers", done, len(candidates))
    by_silhouette = settings.method == "published"
    best = max(scores, key=lambda score: score.silhouette if by_silhouette else score.effect).layer
    along = vectors[best] if settings.method == "refusal vector" else gradients[best]
    of_harmful, of_benign = readings[best].outputs.split([len(harmful), len(benign)])
    return LayerChoice(best, along / along.norm(), tuple(scores), of_harmful, of_benign)
