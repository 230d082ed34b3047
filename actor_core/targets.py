"""Which prompts are moved together, and how much each counts.

Three kinds share a target: pseudo-harmful prompts, the user's own among them, go towards answering,
harmful ones towards refusing, ordinary ones a little away from refusing. How far is chosen on
held-out prompts (`tradeoff`): the closed form is linear in the three.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from actor_core.errors import PromptError
from actor_core.evaluate import spread
from actor_core.prompt_sets import PromptSet, PromptSplit

__all__ = ["TrainingRows", "TuningPrompts", "drawn", "training_rows"]

# A user's own prompts count as much as this share of all the pseudo-harmful ones, however few they are,
# but no single one more than OWN_AT_MOST times.
OWN_SHARE = 0.25
OWN_AT_MOST = 20.0
# How far own prompts and their variants are sent where there are variants, in pseudo-harmful prompts' targets: other
# prompts of their kind come a part of the way with them, the smaller the fewer they are. Measured by few_prompts.py.
ENRICHED_REACH = 2.0


@dataclass(frozen=True)
class TuningPrompts:
    """``own`` are the user's wrongly refused prompts; ``benign`` to ``held_out`` come from a prompt set.

    ``variants`` and ``twins`` were made of the own ones (see `enrich`): the former are to be answered like them,
    the latter refused.
    """

    own: Sequence[str]
    benign: Sequence[str]
    pseudo_harmful: Sequence[str]
    harmful: Sequence[str]
    held_out: PromptSplit
    variants: Sequence[str] = ()
    twins: Sequence[str] = ()

    @classmethod
    def of(
        cls, own: Sequence[str], prompt_set: PromptSet, variants: Sequence[str] = (), twins: Sequence[str] = ()
    ) -> TuningPrompts:
        """``own`` and what was made of them with everything that ``prompt_set`` gives for training and measuring."""
        training, held_out = prompt_set.training(), prompt_set.held_out()
        return cls(own, training.benign, training.pseudo_harmful, training.harmful, held_out, variants, twins)

    def thinned(self, share: float) -> TuningPrompts:
        """Only ``share`` of the set's training prompts, evenly of every kind, twins together. What is measured on
        stays whole, as do the own prompts and what was made of them.

        Raises `PromptError` for a share that is not above 0 and up to 1.
        """
        if not 0 < share <= 1:  # no number is neither
            raise PromptError(f"The share of the prompt set is {share:g}: give a number above 0 and up to 1.")

        def some(prompts: Sequence[str]) -> list[str]:
            return spread(prompts, math.ceil(share * len(prompts)))

        twins = len(self.pseudo_harmful)
        return replace(
            self,
            benign=some(self.benign),
            pseudo_harmful=some(self.pseudo_harmful),
            harmful=[*some(self.harmful[:twins]), *some(self.harmful[twins:])],
        )

    def of_the_set(self) -> list[str]:
        """The set's training prompts, each once, whatever the user's own ones are."""
        return list(dict.fromkeys([*self.pseudo_harmful, *self.harmful, *self.benign]))


@dataclass(frozen=True)
class TrainingRows:
    """The prompts in the order they are read, each with its kind and weight."""

    prompts: tuple[str, ...]
    kinds: tuple[str, ...]  # "own", "variant", "pseudo-harmful", "harmful", "twin" or "benign"
    weights: Tensor  # [n]

    def are(self, *kinds: str) -> Tensor:
        """Which rows are of one of ``kinds``, boolean, shape [n]."""
        return torch.tensor([kind in kinds for kind in self.kinds])

    def of(self, kind: str) -> list[str]:
        """The prompts of ``kind``, in order."""
        return [prompt for prompt, its in zip(self.prompts, self.kinds, strict=True) if its == kind]

    def indicators(self) -> Tensor:
        """In the column of a row's target (to be answered, to be refused, ordinary) how much of it; shape [n, 3]."""
        groups = (("own", "variant", "pseudo-harmful"), ("harmful", "twin"), ("benign",))
        columns = torch.stack([self.are(*group).float() for group in groups], dim=1)
        if "variant" in self.kinds:
            columns[self.are("own", "variant")] *= ENRICHED_REACH
        return columns


def training_rows(prompts: TuningPrompts, *, harmful_weight: float) -> TrainingRows:
    """Every training prompt once. A prompt that is the user's own and in the set too is the user's own; a
    harmful prompt stays harmful whoever pasted it. What was made of the own ones shares their weight."""
    harmful, twins = list(dict.fromkeys(prompts.harmful)), list(dict.fromkeys(prompts.twins))
    seen = {*harmful, *twins}
    own = [p for p in dict.fromkeys(prompts.own) if p not in seen]
    variants = [p for p in dict.fromkeys(prompts.variants) if p not in {*seen, *own}]
    seen = {*own, *variants}
    rest = [p for p in dict.fromkeys(prompts.pseudo_harmful) if p not in seen]
    own_weight = max(1.0, min(OWN_AT_MOST, OWN_SHARE * len(rest) / max(1, len(own) + len(variants))))
    groups = [
        ("own", own, own_weight),
        ("variant", variants, own_weight),
        ("pseudo-harmful", rest, 1.0),
        ("harmful", harmful, harmful_weight),
        ("twin", [p for p in twins if p not in set(harmful)], harmful_weight),
        ("benign", [p for p in dict.fromkeys(prompts.benign) if p not in seen], 1.0),
    ]
    return TrainingRows(
        prompts=tuple(p for _, group, _ in groups for p in group),
        kinds=tuple(kind for kind, group, _ in groups for _ in group),
        weights=torch.tensor([weight for _, group, weight in groups for _ in group]),
    )


def drawn(prompts: Sequence[str], n: int, seed: int) -> list[str]:
    """Up to ``n`` different ones of ``prompts``, drawn with ``seed``: the sets lie in order of their kinds."""
    different = list(dict.fromkeys(prompts))
    return different if len(different) <= n else random.Random(seed).sample(different, n)
