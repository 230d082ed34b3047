"""DiPT, diversified perspective-taking (Just et al. 2024, arXiv 2409.06241), by prompting alone.

The model is asked to look at the request from several perspectives before it answers. The paper lets it
write them out; the comparison gives every system the same few tokens, and so here they are to be weighed
silently and the reply alone written. The wording is this project's, chosen among a few on our held-out prompts.
"""

from __future__ import annotations

from collections.abc import Sequence

from actor_core.model import LoadedModel
from actor_core.targets import TuningPrompts
from baselines.system import HELD_OUT, Prepared, System

__all__ = ["SYSTEM", "asked_for_perspectives"]

WORDS = (
    "{prompt}\n\n"
    "Before you answer, consider this request from several perspectives without writing them down: what most "
    "people who ask it want to know, whether its words have a harmless meaning, and whether an answer would help "
    "someone to do harm. Then answer it directly if it is harmless, and decline if it is not."
)


def asked_for_perspectives(prompts: Sequence[str]) -> list[str]:
    """Each prompt with the request to consider it from several perspectives."""
    return [WORDS.format(prompt=prompt) for prompt in prompts]


def prepare(_model: LoadedModel, _prompts: TuningPrompts, _seed: int) -> Prepared:
    """Nothing to compute."""
    return Prepared(rewritten=asked_for_perspectives)


SYSTEM = System("dipt", "DiPT prompting", HELD_OUT, prepare)
