"""ACTOR's own training loop (arXiv 2507.04250), uncentred as published and with centred projections.

As published: the layer with the highest silhouette, α 0.0015 (the paper's value for Llama-2-7b-chat; for
models of other sizes it gives none), AdamW at 1e-5, 3 epochs, one update a prompt, strength 1; trained on
330 harmful, 210 ordinary and 100 pseudo-harmful prompts, as many as the paper's HEx-PHI, UltraChat and four
times 25 pseudo-harmful ones, but this project's own. K, the steps between two computations of R, is not
published: `PublishedSettings` has 50.

Centred: the same, its projections measured from the benign mean, in batches of 8, at the strength that
`actor_core.tune` chooses on our held-out prompts.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from actor_core.events import finish
from actor_core.layer_choice import calibrate, candidate_layers, choose_layer
from actor_core.model import LoadedModel
from actor_core.targets import TuningPrompts, drawn, training_rows
from actor_core.train import PublishedSettings, train
from actor_core.tune import TuneSettings, tune
from baselines.system import HELD_OUT, PAPER, Prepared, System

__all__ = ["AS_PUBLISHED", "CENTRED", "paper_sized"]

HARMFUL, ORDINARY, PSEUDO_HARMFUL = 330, 210, 100


def paper_sized(prompts: TuningPrompts, seed: int) -> TuningPrompts:
    """As many prompts of each kind as the paper trains on; a user's own ones count among the pseudo-harmful."""
    own = list(prompts.own)[:PSEUDO_HARMFUL]
    others = [p for p in prompts.pseudo_harmful if p not in set(own)]
    return replace(
        prompts,
        own=own,
        benign=drawn(prompts.benign, ORDINARY, seed),
        pseudo_harmful=drawn(others, PSEUDO_HARMFUL - len(own), seed),
        harmful=drawn(prompts.harmful, HARMFUL, seed),
    )


def as_published(model: LoadedModel, prompts: TuningPrompts, seed: int) -> Prepared:
    """Algorithm 1 at its own settings."""
    settings = _settings(PublishedSettings(centred=False, batch_size=1), seed)
    fewer = paper_sized(prompts, seed)
    calibration = finish(calibrate(model, fewer, settings))
    candidates = candidate_layers(model, settings)
    layer = finish(choose_layer(model, fewer, calibration, candidates, settings)).layer
    rows = training_rows(fewer, harmful_weight=1.0)
    delta = finish(train(model, layer, rows, settings.published, seed=seed))
    return Prepared(partial(delta.applied, model), note=f"layer {layer}")


def centred(model: LoadedModel, prompts: TuningPrompts, seed: int) -> Prepared:
    """The same loop with centred projections, at the best strength."""
    tuned = finish(tune(model, paper_sized(prompts, seed), _settings(PublishedSettings(), seed)))
    return Prepared(
        partial(tuned.delta.applied, model, tuned.strength),
        note=f"layer {tuned.delta.layer}, strength {tuned.strength:g}",
    )


def _settings(loop: PublishedSettings, seed: int) -> TuneSettings:
    return TuneSettings(method="published", published=loop, seed=seed)


AS_PUBLISHED = System("actor", "ACTOR, as published", PAPER, as_published)
CENTRED = System("actor-centred", "ACTOR, centred", HELD_OUT, centred)
