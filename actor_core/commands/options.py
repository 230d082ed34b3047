"""What the options that several commands have stand for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from actor_core.commands.terminal import followed
from actor_core.fetch import default_data_dir, fetch, local_model
from actor_core.loading import load_model
from actor_core.model import LoadedModel
from actor_core.presets import model_presets
from actor_core.prompt_sets import PromptSet
from actor_core.readings import ReadingStore
from actor_core.targets import drawn

__all__ = ["held_out", "load", "store"]


def load(options: argparse.Namespace) -> LoadedModel:
    data_dir = options.data_dir or default_data_dir()
    preset = model_presets().get(options.model)
    work = (
        fetch(preset, data_dir, offline=options.offline)
        if preset
        else local_model(options.model, data_dir, offline=options.offline)
    )
    source = followed(work)
    return followed(
        load_model(source, precision=options.precision, device=options.device, memory=options.memory)
    )


def store(options: argparse.Namespace) -> ReadingStore:
    """What was read before, in the folder that is asked for."""
    return ReadingStore.of(options.data_dir or default_data_dir())


def held_out(prompt_set: PromptSet, options: argparse.Namespace) -> dict[str, Sequence[str]]:
    """Prompts that nothing was tuned on, ``options.compared`` of each kind."""
    held_out, n = prompt_set.held_out(), options.compared
    return {
        "held-out look-alikes": drawn(held_out.pseudo_harmful, n, options.seed),
        "held-out harmful": drawn(held_out.harmful, n, options.seed),
        "held-out ordinary": drawn(held_out.benign, n, options.seed),
    }
