"""DiPT, diversified perspective-taking (Just et al. 2024, arXiv 2409.06241), by prompting alone.

The comparison gives every system the same few tokens, as `actor_core.perspectives` does.
"""

from __future__ import annotations

from actor_core.model import LoadedModel
from actor_core.perspectives import asked_for_perspectives
from actor_core.targets import TuningPrompts
from baselines.system import HELD_OUT, Prepared, System

__all__ = ["SYSTEM"]


def prepare(_model: LoadedModel, _prompts: TuningPrompts, _seed: int) -> Prepared:
    """Nothing to compute."""
    return Prepared(rewritten=asked_for_perspectives)


SYSTEM = System("dipt", "DiPT prompting", HELD_OUT, prepare)
