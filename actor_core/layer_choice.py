"""How the model's refusals begin, and the layer where a shift does most about them.

The paper takes the layer with the highest silhouette of its anchor prompts; on small models that is nearly
flat over the layers, so it is reported beside the causal effect and decides the published method alone.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from actor_core.direction import causal_directions, refusal_vector, silhouette
from actor_core.errors import ModelError, NothingToRepair
from actor_core.events import Event, LayerScored, Progress
from actor_core.generate import Reply, first_asked
from actor_core.judge import Verdict
from actor_core.model import LoadedModel
from actor_core.presets import middle_layers
from actor_core.readings import NOTHING_KEPT, ReadingStore
from actor_core.refusal_odds import RefusalOdds
from actor_core.targets import TuningPrompts, drawn
from actor_core.tune_settings import TuneSettings

__all__ = ["Calibration", "LayerChoice", "anchors_of", "asked_of", "calibrate", "candidate_layers", "choose_layer"]


@dataclass(frozen=True)
class Calibration:
    """How the model's refusals begin, the pseudo-harmful prompts that it was seen to refuse, and its replies: those to
    harmless prompts ``of_the_set``, which a store may have kept, and those that were ``asked_now``."""

    odds: RefusalOdds
    refused: tuple[str, ...]
    asked_now: tuple[Reply, ...]
    of_the_set: tuple[Reply, ...]


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
    model: LoadedModel, prompts: TuningPrompts, settings: TuneSettings, store: ReadingStore = NOTHING_KEPT
) -> Generator[Event, None, Calibration]:
    """Asks some prompts of each kind; harmless ones of the set once for a model and a ``store`` with a folder.

    Raises `NothingToRepair` where none of the pseudo-harmful ones is refused.
    """
    to_ask, of_the_set = asked_of(prompts, settings)
    tokens = settings.calibration_tokens
    kept, logits = yield from store.ask(model, of_the_set, tokens, stage="calibrate")
    asked, logits_now = yield from first_asked(model, to_ask, tokens, stage="calibrate")
    replies, logits = asked + kept, torch.cat([logits_now, logits])
    refused = torch.tensor([reply.verdict is Verdict.REFUSED for reply in replies])
    odds = RefusalOdds.learnt(logits, refused)
    harmless = {*prompts.own, *prompts.pseudo_harmful}
    wrongly = tuple(r.prompt for r in replies if r.verdict is Verdict.REFUSED and r.prompt in harmless)
    if odds is None or not wrongly:
        raise NothingToRepair(
            f"{model.source.name} refused {int(refused.sum())} of {len(refused)} prompts it was tried on, "
            f"{len(wrongly)} of them wrongly. There is nothing to repair, and nothing was changed."
        )
    return Calibration(odds, wrongly, tuple(asked), tuple(kept))


def asked_of(prompts: TuningPrompts, settings: TuneSettings) -> tuple[list[str], list[str]]:
    """What the calibration asks: some of the user's own and of the harmful prompts; some harmless ones of the set."""
    own, harmful, pseudo_harmful, benign = (
        drawn(group, settings.calibration_prompts, settings.seed)
        for group in (prompts.own, prompts.harmful, prompts.pseudo_harmful, prompts.benign)
    )
    of_the_set = list(dict.fromkeys(pseudo_harmful + benign))
    return [prompt for prompt in dict.fromkeys(own + harmful) if prompt not in of_the_set], of_the_set


def anchors_of(prompts: TuningPrompts, settings: TuneSettings) -> tuple[list[str], list[str]]:
    """The harmful and the benign prompts by which layers are compared."""
    n = 2 * settings.calibration_prompts
    return drawn(prompts.harmful, n, settings.seed), drawn(prompts.benign, n, settings.seed)


def choose_layer(
    model: LoadedModel,
    prompts: TuningPrompts,
    calibration: Calibration,
    candidates: Sequence[int],
    settings: TuneSettings,
    store: ReadingStore = NOTHING_KEPT,
) -> Generator[Event, None, LayerChoice]:
    """Scores the candidates on anchor prompts and takes the one where a shift as long as R does most."""
    refused = drawn(calibration.refused, settings.gradient_prompts, settings.seed)
    gradients = yield from causal_directions(model, refused, candidates, calibration.odds)
    harmful, benign = anchors_of(prompts, settings)
    outputs = yield from store.read_outputs(model, harmful + benign, candidates, stage="layers")
    scores, vectors = [], {}
    for done, layer in enumerate(candidates, start=1):
        of_harmful, of_benign = outputs[done - 1].split([len(harmful), len(benign)])
        vectors[layer] = refusal_vector(of_harmful, of_benign)
        effect = float(vectors[layer].norm() * gradients[layer].norm())
        scores.append(LayerScored(layer, silhouette(of_harmful, of_benign, seed=settings.seed), effect))
        yield scores[-1]
        yield Progress("layers", done, len(candidates))
    by_silhouette = settings.method == "published"
    best = max(scores, key=lambda score: score.silhouette if by_silhouette else score.effect).layer
    along = vectors[best] if settings.method == "refusal vector" else gradients[best]
    of_harmful, of_benign = outputs[list(candidates).index(best)].split([len(harmful), len(benign)])
    return LayerChoice(best, along / along.norm(), tuple(scores), of_harmful, of_benign)
