"""What the program does by default: `actor_core.tune` with its own settings, strength and all."""

from __future__ import annotations

from functools import partial

from actor_core.events import finish
from actor_core.model import LoadedModel
from actor_core.targets import TuningPrompts
from actor_core.tune import TuneSettings, tune
from baselines.system import HELD_OUT, Prepared, System

__all__ = ["SYSTEM"]


def prepare(model: LoadedModel, prompts: TuningPrompts, seed: int) -> Prepared:
    """One call of `tune` with the default settings."""
    tuned = finish(tune(model, prompts, TuneSettings(seed=seed)))
    return Prepared(
        partial(tuned.delta.applied, model, tuned.strength),
        note=f"layer {tuned.delta.layer}, strength {tuned.strength:g}",
    )


SYSTEM = System("ours", "Second Take", HELD_OUT, prepare)
