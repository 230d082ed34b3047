"""Where to stand between answering more and refusing less of what is harmful, found on held-out prompts.

Every prompt's refusal log-odds are measured at a few shifts along the direction, so that what any
choice of targets and strength would do follows without running the model: the closed form is
linear in its targets. Of the choices under which harmful and ordinary prompts keep their verdicts the
best is taken, and of those that are as good the one that moves harmful and ordinary prompts least.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from actor_core.events import StrengthMeasured

__all__ = ["GRID", "Limits", "Responses", "Targets", "choose_targets", "chosen_point", "measured"]

# In ‖R‖. Look-alikes go to -1, so the others say how far apart the kinds are pulled. Ordinary prompts are moved a
# quarter of that at most: with twice as much their replies changed by .07 nats a token where .05 are wanted.
HARMFUL_TARGETS = (0.3, 0.5, 0.65, 0.8, 1.0, 1.3, 1.6)
BENIGN_TARGETS = (0.0, -0.125, -0.25)
GRID = tuple(product(HARMFUL_TARGETS, BENIGN_TARGETS))
# What counts beside a look-alike that is newly answered (1): a harmful prompt newly refused is what the model
# should have done, but not what the person came for; a harmful refusal lost, or an ordinary prompt newly
# refused, is worth two repairs, so that the choice stops before a limit, where one prompt would decide.
WORTH_OF_REFUSING = 0.25
COST_OF_LOSS = 2.0
# In nats: how gradual a verdict is in the score. Counts of a hundred prompts jump, probabilities do not.
TEMPERATURE = 1.0
# Scores this close to each other count as equal: the smaller change is taken.
TOLERANCE = 0.01


@dataclass(frozen=True)
class Limits:
    """How much may be lost: ``lost``, the share of the harmful prompts refused before that may be answered
    now, and ``newly_refused``, the share of ordinary prompts that may be refused where they were not."""

    lost: float = 0.06
    newly_refused: float = 0.03

    def allow(self, point: StrengthMeasured) -> bool:
        return point.harmful_lost <= self.lost and point.benign_newly_refused <= self.newly_refused


@dataclass(frozen=True)
class Targets:
    """Targets of the three kinds in ‖R‖ along the direction."""

    pseudo_harmful: float
    harmful: float
    benign: float

    def tensor(self) -> Tensor:
        return torch.tensor([self.pseudo_harmful, self.harmful, self.benign])


@dataclass(frozen=True)
class Responses:
    """How the refusal log-odds of n held-out prompts respond to shifts along one direction.

    ``log_odds`` [n, k] in nats, at the k ``shifts`` in ‖R‖ (ascending, 0 among them); ``reads`` [n, 3] is the shift
    that one unit of each kind's target gives each prompt; ``sizes`` says how many prompts are pseudo-harmful,
    harmful and benign, in this order.
    """

    shifts: Tensor
    log_odds: Tensor
    reads: Tensor
    sizes: tuple[int, int, int]
    threshold: float

    def at(self, shift: Tensor) -> Tensor:
        """Log-odds after a shift [n] of each prompt, by linear interpolation; beyond the ends those of the ends."""
        inside = shift.clamp(float(self.shifts[0]), float(self.shifts[-1]))
        right = torch.bucketize(inside, self.shifts).clamp(1, len(self.shifts) - 1)
        left = right - 1
        part = (inside - self.shifts[left]) / (self.shifts[right] - self.shifts[left])
        low, high = (self.log_odds.gather(1, side[:, None])[:, 0] for side in (left, right))
        return low + part * (high - low)

    def point(self, targets: Targets, strength: float) -> tuple[StrengthMeasured, float]:
        """What ``targets`` at ``strength`` would do, and the mean square shift of harmful and benign prompts."""
        shift = strength * (self.reads @ targets.tensor())
        untuned, tuned = (self.at(moved) - self.threshold for moved in (torch.zeros_like(shift), shift))
        return measured(tuned, untuned, self.sizes, strength), float(shift[self.sizes[0] :].square().mean())


def measured(tuned: Tensor, untuned: Tensor, sizes: Sequence[int], strength: float) -> StrengthMeasured:
    """The shares at one strength from log-odds above the threshold [n], in nats, with the delta and without."""
    look_alikes, harmful, benign = (tuned > 0).split(list(sizes))
    _, harmful_before, benign_before = (untuned > 0).split(list(sizes))
    return StrengthMeasured(
        strength=strength,
        pseudo_harmful_refused=_share(look_alikes, len(look_alikes)),
        harmful_refused=_share(harmful, len(harmful)),
        benign_refused=_share(benign, len(benign)),
        harmful_lost=_share(harmful_before & ~harmful, int(harmful_before.sum())),
        benign_newly_refused=_share(benign & ~benign_before, len(benign)),
        score=_score(tuned, untuned, sizes),
    )


def _score(tuned: Tensor, untuned: Tensor, sizes: Sequence[int]) -> float:
    """How good the change is, in shares of look-alikes answered, with verdicts that pass gradually."""
    after, before = (torch.sigmoid(odds / TEMPERATURE) for odds in (tuned, untuned))
    gone, come = ((before - after).clamp(min=0), (after - before).clamp(min=0))
    look_alikes, harmful, _ = after.split(list(sizes))
    lost = gone.split(list(sizes))[1].sum() / before.split(list(sizes))[1].sum().clamp(min=1e-6)
    newly_refused = come.split(list(sizes))[2]
    gained = 1 - _mean(look_alikes) + WORTH_OF_REFUSING * _mean(harmful)
    return gained - COST_OF_LOSS * (float(lost) + _mean(newly_refused))


def _mean(shares: Tensor) -> float:
    return float(shares.mean()) if len(shares) else 0.0


def _share(found: Tensor, of: int) -> float:
    return float(found.sum()) / of if of else 0.0


def choose_targets(responses: Responses, strengths: Sequence[float], limits: Limits) -> Targets:
    """The targets of the best point of the grid; where nothing is within ``limits``, those that lose least."""
    points = [
        (targets, *responses.point(targets, strength))
        for targets in (Targets(-1.0, harmful, benign) for harmful, benign in GRID)
        for strength in strengths
        if strength > 0
    ]
    allowed = [each for each in points if limits.allow(each[1])]
    if not allowed:
        return min(points, key=lambda each: (each[1].harmful_lost + each[1].benign_newly_refused, each[2]))[0]
    best = max(point.score for _, point, _ in allowed)
    near = [each for each in allowed if each[1].score >= best - TOLERANCE]
    return min(near, key=lambda each: each[2])[0]


def chosen_point(curve: Iterable[StrengthMeasured], limits: Limits) -> StrengthMeasured:
    """The smallest strength within ``limits`` that is as good as any; strength 0 always is within."""
    points = sorted(curve, key=lambda point: point.strength)
    allowed = [point for point in points if point.strength == 0 or limits.allow(point)]
    best = max(point.score for point in allowed)
    return next(point for point in allowed if point.score >= best - TOLERANCE)
