"""Everything that can be chosen about a tuning, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from actor_core.tradeoff import Limits, Targets
from actor_core.train import PublishedSettings

__all__ = ["TuneSettings"]


@dataclass(frozen=True)
class TuneSettings:
    """Everything that can be chosen; the defaults are what measured best on this project's own prompts.

    ``method``: "causal" solves along g, "refusal vector" solves along R, "published" runs the
    paper's loop with ``published``. ``layer`` None: chosen among ``candidates`` (None: the middle third).
    ``targets`` None: chosen on held-out prompts within ``limits``, as the strength is. ``ridge`` is relative
    to the mean diagonal of the kernel. ``set_share`` of the prompt set's training prompts are learnt from, above
    0 and up to 1: reading them is most of the time of a first tuning.
    """

    method: Literal["causal", "refusal vector", "published"] = "causal"
    layer: int | None = None
    candidates: tuple[int, ...] | None = None
    targets: Targets | None = None
    limits: Limits = Limits()
    harmful_weight: float = 2.0
    ridge: float = 0.1
    other_weight: float = 0.3
    other_tokens: int = 1200
    calibration_prompts: int = 20
    calibration_tokens: int = 24
    gradient_prompts: int = 24
    probe_prompts: int = 88
    seed: int = 0
    published: PublishedSettings = PublishedSettings()
    set_share: float = 1.0
