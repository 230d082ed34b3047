"""The model as it is."""

from __future__ import annotations

from actor_core.model import LoadedModel
from actor_core.targets import TuningPrompts
from baselines.system import Prepared, System

__all__ = ["SYSTEM"]


def prepare(_model: LoadedModel, _prompts: TuningPrompts, _seed: int) -> Prepared:
    """Nothing to do."""
    return Prepared()


SYSTEM = System("untuned", "untuned", "", prepare)
