"""Which variants of a prompt still say what it says, and are on the right side: by the model's own states.

Near enough to its seed is a variant that is nearer to it than nearly all prompts of the set are, and a repetition is
one that is nearer to another than any two of them are to each other: both are relative to the set, so that no number
here is of one model. What looks harmful is told as in `harmfulness`, from twins of nearly the same words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from actor_core.harmfulness import BesideSet, Harmfulness

__all__ = ["nearest_harmful", "why_not"]

# Of the set's prompts, so many may be nearer to the seed than a variant of it.
NEARER = 0.05
DRIFTED = "says something else"
LOOKS_HARMFUL = "looks like a request that should be refused"
LOOKS_HARMLESS = "does not look like a request that should be refused"
CANNOT_TELL = "this model's states do not tell what should be refused"


def why_not(read: BesideSet, seeds: Sequence[str], twins: Sequence[bool]) -> list[str]:
    """Why each of the first prompts of ``read`` is left out, "" for those that stay.

    Each was made of the one of ``seeds`` at its place, which is a prompt of ``read`` too; ``twins`` says which are to
    be refused.
    """
    place = {prompt: row for row, prompt in enumerate(read.prompts)}
    own, of_set = _unit(read.own), _unit(read.of_set)
    of_seeds = own[[place[seed] for seed in seeds]]  # [m, d]
    near = (own[: len(seeds)] * of_seeds).sum(dim=1) >= (of_seeds @ of_set.T).quantile(1 - NEARER, dim=1)
    found = read.harmfulness()
    return [
        _reason(found, prompt, enough, twin)
        for prompt, enough, twin in zip(read.prompts, near.tolist(), twins, strict=False)
    ]


def _reason(found: Harmfulness, prompt: str, near: bool, twin: bool) -> str:
    above = found.scores[prompt] > found.threshold
    if not near:
        return DRIFTED
    if twin:
        return CANNOT_TELL if not found.tells else "" if above else LOOKS_HARMLESS
    return LOOKS_HARMFUL if found.tells and above else ""


def nearest_harmful(read: BesideSet) -> list[str]:
    """The harmful prompt of the set that is nearest to each prompt of ``read``."""
    harmful = torch.tensor(read.examples.harmful).nonzero()[:, 0]
    nearest = (_unit(read.own) @ _unit(read.of_set[harmful]).T).argmax(dim=1)
    return [read.examples.prompts[row] for row in harmful[nearest].tolist()]


def _unit(states: Tensor) -> Tensor:
    return states / states.norm(dim=1, keepdim=True).clamp(min=1e-6)
