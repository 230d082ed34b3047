"""Which variants of a prompt still say what it says, and are on the right side: by the model's own states.

Near enough to its seed is a variant that is nearer to it than nearly all prompts of the set are: relative to the set,
so that no number here is of one model. Nearness is the cosine along the set's leading principal directions, each in
its own spread; without that the states' few largest directions, which are of style and length, decide. (Of 60
paraphrases by hand it keeps 97 in 100, of other prompts 8; the plain cosine 57 and 7.) What looks harmful is told as
in `harmfulness`, from twins of nearly the same words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from actor_core.harmfulness import BesideSet, Harmfulness

__all__ = ["why_not"]

# Of the set's prompts, so many may be nearer to the seed than a variant of it.
NEARER = 0.05
# Principal directions for each prompt of the set that they are taken from.
DIRECTIONS = 1 / 3
DRIFTED = "says something else"
LOOKS_HARMFUL = "looks like a request that should be refused"
LOOKS_HARMLESS = "does not look like a request that should be refused"
CANNOT_TELL = "this model's states do not tell"


def why_not(read: BesideSet, seeds: Sequence[str], twins: Sequence[bool]) -> list[str]:
    """Why each of the first prompts of ``read`` is left out, "" for those that stay.

    Each was made of the one of ``seeds`` at its place, which is a prompt of ``read`` too; ``twins`` says which are to
    be refused.
    """
    if not bool(read.own.isfinite().all() and read.of_set.isfinite().all()):
        return [CANNOT_TELL] * len(seeds)
    place = {prompt: row for row, prompt in enumerate(read.prompts)}
    own, of_set = _along_principal(read.own, read.of_set)
    of_seeds = own[[place[seed] for seed in seeds]]  # [m, d]
    near = (own[: len(seeds)] * of_seeds).sum(dim=1) > (of_seeds @ of_set.T).quantile(1 - NEARER, dim=1)
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


def _along_principal(own: Tensor, of_set: Tensor) -> tuple[Tensor, Tensor]:
    """``own`` [m, d] and ``of_set`` [n, d] along the latter's leading principal directions, as unit vectors."""
    rows = of_set.double()
    spread, vectors = torch.linalg.eigh(rows @ rows.T)  # ascending
    leading = slice(-max(1, round(DIRECTIONS * len(rows))), None)
    spread, vectors = spread[leading], vectors[:, leading]
    usable = spread > 1e-9 * spread[-1]
    directions = rows.T @ vectors[:, usable] / spread[usable]  # [d, k]
    return _unit(own.double() @ directions), _unit(rows @ directions)


def _unit(states: Tensor) -> Tensor:
    return states / states.norm(dim=1, keepdim=True).clamp(min=1e-12)
