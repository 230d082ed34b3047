"""How far each prompt is to be moved, and how much it counts.

Targets are in units of ‖R‖ along the direction: a pseudo-harmful prompt goes towards answering
(-), a harmful one towards refusing (+), an ordinary one a little away from refusing. They were
chosen on this project's own prompts (`benchmarks/overrefusal.py` says how they do on others').
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
OWN_AT_MOST = 4.0


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


@dataclass(frozen=True)
class TrainingRows:
    """The prompts in the order they are read, each with its kind, target and weight."""

    prompts: tuple[str, ...]
    kinds: tuple[str, ...]  # "own", "pseudo-harmful", "harmful" or "benign"
    targets: Tensor  # [n], in ‖R‖
    weights: Tensor  # [n]

    def are(self, *kinds: str) -> Tensor:
        """Which rows are of one of ``kinds``, boolean, shape [n]."""
        return torch.tensor([kind in kinds for kind in self.kinds])


def training_rows(
    prompts: TuningPrompts, *, pseudo_harmful: float, harmful: float, benign: float, harmful_weight: float
) -> TrainingRows:
    """Every training prompt once, with targets by kind. A prompt that is the user's own and in the set
    too is the user's own; a harmful prompt stays harmful whoever pasted it."""
    harmful_ones = set(prompts.harmful)
    own = [p for p in dict.fromkeys(prompts.own) if p not in harmful_ones]
    own_ones = set(own)
    rest = [p for p in dict.fromkeys(prompts.pseudo_harmful) if p not in own_ones]
    own_weight = max(1.0, min(OWN_AT_MOST, OWN_SHARE * len(rest) / max(1, len(own))))
    groups = [
        ("own", own, pseudo_harmful, own_weight),
        ("pseudo-harmful", rest, pseudo_harmful, 1.0),
        ("harmful", list(dict.fromkeys(prompts.harmful)), harmful, harmful_weight),
        ("benign", [p for p in dict.fromkeys(prompts.benign) if p not in own_ones], benign, 1.0),
    ]
    return TrainingRows(
        prompts=tuple(p for _, group, _, _ in groups for p in group),
        kinds=tuple(kind for kind, group, _, _ in groups for _ in group),
        targets=torch.tensor([target for _, group, target, _ in groups for _ in group]),
        weights=torch.tensor([weight for _, group, _, weight in groups for _ in group]),
    )


def drawn(prompts: Sequence[str], n: int, seed: int) -> list[str]:
    """Up to ``n`` different ones of ``prompts``, drawn with ``seed``: the sets lie in order of their kinds."""
    different = list(dict.fromkeys(prompts))
    return different if len(different) <= n else random.Random(seed).sample(different, n)
