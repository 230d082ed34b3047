"""SIFT, sparse increment fine-tuning (Song et al. 2024, arXiv 2312.11875), as the update rule of ACTOR's loop.

Of each matrix only the entries whose gradient was largest in the first batch are ever changed, by Adam; the
paper takes 5 % of the entries at a learning rate of 2e-4 for instructions. At that rate this objective breaks a
small model, so lower ones are tried too. Objective, data and epochs are those of ACTOR, centred (`published`), on the
layer that `tune` would choose; rate and strength are those that do best on our held-out prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from actor_core.events import finish
from actor_core.model import LoadedModel
from actor_core.targets import TuningPrompts, training_rows
from actor_core.train import PublishedSettings, train
from baselines.held_out import HeldOut
from baselines.published import paper_sized
from baselines.system import HELD_OUT, Prepared, System

__all__ = ["RATE", "SYSTEM", "SparseIncrement"]

RATE = 0.05
LEARNING_RATES = (2e-4, 2e-5, 2e-6)
STRENGTHS = (0.25, 0.5, 1.0, 1.5, 2.0)


class SparseIncrement(torch.optim.Optimizer):
    """Adam on the share ``rate`` of each tensor's entries whose gradient was largest at the first step."""

    def __init__(
        self,
        weights: Sequence[nn.Parameter],
        *,
        rate: float,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        defaults = {"rate": rate, "learning_rate": learning_rate, "betas": betas, "epsilon": epsilon}
        super().__init__(list(weights), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; what is kept of a gradient and of Adam's moments is as sparse as the increment."""
        loss = closure() if closure else None
        for group in self.param_groups:
            for weight in (w for w in group["params"] if w.grad is not None):
                self._update(weight, group)
        return loss

    def _update(self, weight: nn.Parameter, group: dict[str, object]) -> None:
        state, gradient = self.state[weight], weight.grad.flatten()  # type: ignore[union-attr]
        if not state:
            kept = max(1, round(group["rate"] * gradient.numel()))  # type: ignore[operator]
            state["entries"] = gradient.abs().topk(kept).indices
            state["mean"], state["square"] = gradient.new_zeros(kept), gradient.new_zeros(kept)
            state["step"] = 0
        entries, (slow, slower) = state["entries"], group["betas"]  # type: ignore[misc]
        state["step"] += 1
        g = gradient[entries]
        state["mean"].lerp_(g, 1 - slow)
        state["square"].lerp_(g * g, 1 - slower)
        mean = state["mean"] / (1 - slow ** state["step"])
        square = state["square"] / (1 - slower ** state["step"])
        change = mean / (square.sqrt() + group["epsilon"])
        weight.view(-1)[entries] -= group["learning_rate"] * change  # type: ignore[operator]


def prepare(model: LoadedModel, prompts: TuningPrompts, seed: int) -> Prepared:
    """ACTOR's loop with `SparseIncrement` in AdamW's place."""
    held_out = HeldOut.of(model, prompts, seed)
    layer = held_out.layer(prompts, seed).layer
    rows = training_rows(paper_sized(prompts, seed), harmful_weight=1.0)
    tried = {}
    for learning_rate in LEARNING_RATES:
        rule = partial(SparseIncrement, rate=RATE, learning_rate=learning_rate)
        delta = finish(train(model, layer, rows, PublishedSettings(), seed=seed, optimiser_of=rule))
        tried |= {(learning_rate, s): Prepared(partial(delta.applied, model, s)) for s in STRENGTHS}
    (learning_rate, strength), shares = held_out.best(tried)
    note = f"layer {layer}, {RATE:.0%} of the entries at {learning_rate:g}, strength {strength:g}; held out {shares}"
    return replace(tried[learning_rate, strength], note=note)


SYSTEM = System("sift", "SIFT", HELD_OUT, prepare)
