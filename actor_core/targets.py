"""Which prompts are moved together, and how much each counts.

Three kinds share a target: pseudo-harmful prompts, the user's own among them, go towards answering,
harmful ones towards refusing, ordinary ones a little away from refusing. How far is chosen on
held-out prompts (`tradeoff`): the closed form is linear in the three.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from actor_core.prompt_sets import PromptSet, PromptSplit

__all__ = ["TrainingRows", "TuningPrompts", "drawn", "training_rows"]

# A user's own prompts count as much as this share of all the pseudo-harmful ones, however few they are,
# but no single one more than OWN_AT_MOST times.
OWN_SHARE = 0.25
OWN_AT_MOST = 20.0


@dataclass(frozen=True)
class TuningPrompts:
    """``own`` are the user's wrongly refused prompts; the others come from a prompt set."""

    own: Sequence[str]
    benign: Sequence[str]
    pseudo_harmful: Sequence[str]
    harmful: Sequence[str]
    held_out: PromptSplit

    @classmethod
    def of(cls, own: Sequence[str], prompt_set: PromptSet) -> TuningPrompts:
        """``own`` with everything that ``prompt_set`` gives for training and for measuring."""
        training = prompt_set.training()
        return cls(own, training.benign, training.pseudo_harmful, training.harmful, prompt_set.held_out())

    def of_the_set(self) -> list[str]:
        """The set's training prompts, each once, whatever the user's own ones are."""
        return list(dict.fromkeys([*self.pseudo_harmful, *self.harmful, *self.benign]))


@dataclass(frozen=True)
class TrainingRows:
    """The prompts in the order they are read, each with its kind and weight."""

    prompts: tuple[str, ...]
    kinds: tuple[str, ...]  # "own", "pseudo-harmful", "harmful" or "benign"
    weights: Tensor  # [n]

    def are(self, *kinds: str) -> Tensor:
        """Which rows are of one of ``kinds``, boolean, shape [n]."""
        return torch.tensor([kind in kinds for kind in self.kinds])

    def of(self, kind: str) -> list[str]:
        """The prompts of ``kind``, in order."""
        return [prompt for prompt, its in zip(self.prompts, self.kinds, strict=True) if its == kind]

    def indicators(self) -> Tensor:
        """1 in the column of a row's target: pseudo-harmful and own, harmful, benign; shape [n, 3]."""
        groups = (("own", "pseudo-harmful"), ("harmful",), ("benign",))
        return torch.stack([self.are(*group).float() for group in groups], dim=1)


def training_rows(prompts: TuningPrompts, *, harmful_weight: float) -> TrainingRows:
    """Every training prompt once. A prompt that is the user's own and in the set too is the user's own; a
    harmful prompt stays harmful whoever pasted it."""
    harmful_ones = set(prompts.harmful)
    own = [p for p in dict.fromkeys(prompts.own) if p not in harmful_ones]
    own_ones = set(own)
    rest = [p for p in dict.fromkeys(prompts.pseudo_harmful) if p not in own_ones]
    own_weight = max(1.0, min(OWN_AT_MOST, OWN_SHARE * len(rest) / max(1, len(own))))
    groups = [
        ("own", own, own_weight),
        ("pseudo-harmful", rest, 1.0),
        ("harmful", list(dict.fromkeys(prompts.harmful)), harmful_weight),
        ("benign", [p for p in dict.fromkeys(prompts.benign) if p not in own_ones], 1.0),
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
