"""MeZO (Malladi et al. 2023, arXiv 2305.17333) as the update rule of Second Take's one-layer objective.

No gradient is computed: the loss at θ + εz and at θ - εz gives the slope along one random z, and θ moves
along z by it. z is never kept, it is drawn again from its seed. The objective is the one that `actor_core.solve`
solves in closed form: Σ c(q) (w·x(q) - y(q))² with other tokens held at 0, where x(q) enters the writer of
the chosen layer and the change is ‖R‖ ĝ wᵀ, a LoRA of rank 1 whose output side is fixed.

The paper's: ε 1e-2 (for LoRA), batches of 64 and 100,000 steps (for RoBERTa-large, the model nearest in size).
Its learning rates are for the likelihood of text; ours is for inputs of mean square norm 1 and was chosen on our
held-out prompts, as the strength is. At the 20,000 steps and batches of 16 that the paper gives larger models w
is left half-way: on the default model held-out twins are told apart with an AUC of .82, here .87, as by the solve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from actor_core.activations import WRITER, norm_after_writer, read_activations
from actor_core.delta import LayerDelta
from actor_core.direction import refusal_vector
from actor_core.events import finish
from actor_core.model import LoadedModel
from actor_core.solve import rank_one, write_direction
from actor_core.targets import TuningPrompts, drawn, training_rows
from baselines.held_out import HeldOut
from baselines.system import HELD_OUT, Prepared, System

__all__ = ["SYSTEM", "perturb", "step"]

EPSILON = 1e-2
STEPS = 100_000
BATCH = 64
LEARNING_RATE = 0.01
# Prompts of each kind that are read, and other tokens of them with their weight.
PROMPTS = 320
OTHER_TOKENS, OTHER_WEIGHT = 1200, 0.3
# Of look-alikes, harmful and ordinary prompts, in ‖R‖.
TARGETS = (-1.0, 0.65, -0.5)
HARMFUL_WEIGHT = 2.0
STRENGTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def perturb(parameters: Sequence[Tensor], scale: float, seed: int) -> None:
    """Adds ``scale`` times z to ``parameters`` in place; z is standard normal, the same for the same ``seed``."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.add_(torch.randn(parameter.shape, generator=draw).to(parameter), alpha=scale)


@torch.no_grad()
def step(
    parameters: Sequence[Tensor], loss: Callable[[], Tensor], *, seed: int, epsilon: float, learning_rate: float
) -> float:
    """One update of ``parameters`` in place by two evaluations of ``loss`` (algorithm 1); gives the slope along z."""
    perturb(parameters, epsilon, seed)
    above = float(loss())
    perturb(parameters, -2 * epsilon, seed)
    slope = (above - float(loss())) / (2 * epsilon)
    perturb(parameters, epsilon, seed)
    perturb(parameters, -learning_rate * slope, seed)
    return slope


def prepare(model: LoadedModel, prompts: TuningPrompts, seed: int) -> Prepared:
    """The read vector w of one layer's change."""
    held_out = HeldOut.of(model, prompts, seed)
    chosen = held_out.layer(prompts, seed)
    inputs, targets, weights, length = _objective(model, prompts, chosen.layer, seed)
    norm = float(inputs.square().sum(dim=1).mean().sqrt())
    w = _minimised(inputs / norm, targets, weights, seed)
    left = float((inputs / norm @ w - targets).square() @ weights / (targets.square() @ weights))
    write = write_direction(chosen.direction * length, norm_after_writer(model.layers[chosen.layer]))
    change = rank_one(write, w / norm)
    delta = LayerDelta(chosen.layer, {WRITER: change}, model.id, "mezo", {"steps": STEPS, "seed": seed}, {})
    strength, shares = held_out.best({s: Prepared(partial(delta.applied, model, s)) for s in STRENGTHS})
    note = f"layer {chosen.layer}, {left:.2f} of the loss left, strength {strength:g}; held out {shares}"
    return Prepared(partial(delta.applied, model, strength), note=note)


def _minimised(inputs: Tensor, targets: Tensor, weights: Tensor, seed: int) -> Tensor:
    """w [d_in] after `STEPS` updates, each on `BATCH` rows drawn by their weights."""
    draw = torch.Generator().manual_seed(seed)
    w = torch.zeros(inputs.shape[1])
    for n in range(STEPS):
        rows = torch.multinomial(weights, BATCH, replacement=True, generator=draw)
        x, y = inputs[rows], targets[rows]
        loss = partial(_mean_square, w, x, y)
        step([w], loss, seed=seed + n, epsilon=EPSILON, learning_rate=LEARNING_RATE)
    return w


def _mean_square(w: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
    return (inputs @ w - targets).square().mean()


def _objective(
    model: LoadedModel, prompts: TuningPrompts, layer: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, float]:
    """What enters the writer, [n, d_in], where it is to go along ĝ in ‖R‖, [n], its weight, [n], and ‖R‖."""
    fewer = TuningPrompts(
        prompts.own,
        drawn(prompts.benign, PROMPTS, seed),
        drawn(prompts.pseudo_harmful, PROMPTS, seed),
        drawn(prompts.harmful, PROMPTS, seed),
        prompts.held_out,
    )
    rows = training_rows(fewer, harmful_weight=HARMFUL_WEIGHT)
    readings = finish(read_activations(model, rows.prompts, [layer], other_tokens=OTHER_TOKENS, seed=seed))
    reading, targets = readings[layer], rows.indicators() @ torch.tensor(TARGETS)
    # A row whose target is 0 may be shortened if it weighs more instead: long ones would make the steps unsteady.
    lengths = reading.others.norm(dim=1) / reading.inputs.norm(dim=1).mean()
    return (
        torch.cat([reading.inputs, reading.others / lengths[:, None]]),
        torch.cat([targets / reading.gains, torch.zeros(len(lengths))]),
        torch.cat([rows.weights, OTHER_WEIGHT * lengths.square()]),
        float(refusal_vector(reading.outputs[rows.are("harmful")], reading.outputs[rows.are("benign")]).norm()),
    )


SYSTEM = System("mezo", "MeZO", HELD_OUT, prepare)
