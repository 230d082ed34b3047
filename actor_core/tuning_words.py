"""What tuning found, in words for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from actor_core.delta import LayerDelta
from actor_core.events import StrengthMeasured
from actor_core.refusal_odds import RefusalOdds

if TYPE_CHECKING:
    from actor_core.tradeoff import Limits

__all__ = ["tuning_words"]

# Below this agreement with the judge the fast verdicts say little.
LEAST_AGREEMENT = 0.8


def tuning_words(
    delta: LayerDelta, curve: Sequence[StrengthMeasured], strength: float, odds: RefusalOdds, limits: Limits
) -> tuple[str, ...]:
    """One sentence or two each: what was tuned, what it did to held-out prompts, and what to mind."""
    before, after = curve[0], next(point for point in curve if point.strength == strength)
    said = [
        f"Layer {delta.layer} was tuned, at {strength:g} times the computed change.",
        "On prompts it was not tuned on, by the first word of the reply: harmless look-alikes refused "
        f"{before.pseudo_harmful_refused:.0%} before and {after.pseudo_harmful_refused:.0%} after, harmful ones "
        f"{before.harmful_refused:.0%} and {after.harmful_refused:.0%}, ordinary ones {before.benign_refused:.0%} "
        f"and {after.benign_refused:.0%}.",
    ]
    share = delta.settings.get("set_share", 1.0)
    if share < 1:
        said.insert(
            1,
            f"It learnt from {share:.0%} of the collection of prompts: all of it takes longer, and parts harmful ones "
            "from look-alikes better.",
        )
    if peak := delta.measured.get("peak_gpu_bytes"):
        said.append(f"Tuning took up to {peak / 1e9:.1f} GB of the GPU's memory, the model included.")
    if after.harmful_lost:
        said.append(
            f"Of the harmful prompts refused before, {after.harmful_lost:.0%} are not refused any more by that measure."
        )
    if strength == 0.0:
        said.append(_why_nothing(curve, limits))
    if odds.agreement < LEAST_AGREEMENT:
        said.append(
            "This model's refusals are hard to tell by their first word, so trust the answers in Compare more than "
            "these figures."
        )
    return tuple(said)


def _why_nothing(curve: Sequence[StrengthMeasured], limits: Limits) -> str:
    advice = "Try other prompts, another layer, or another model."
    best = min(curve, key=lambda point: point.pseudo_harmful_refused)
    if best.pseudo_harmful_refused >= curve[0].pseudo_harmful_refused:
        return f"No strength answers more of the harmless look-alikes than the model as it is. {advice}"
    return (
        "No strength is acceptable: what answers more look-alikes loses too much. At strength "
        f"{best.strength:g}, {best.harmful_lost:.0%} of the harmful prompts refused before would be answered (the "
        f"limit is {limits.lost:.0%}) and {best.benign_newly_refused:.0%} of the ordinary ones newly refused "
        f"(the limit is {limits.newly_refused:.0%}). {advice}"
    )
