"""The systems that `benchmarks/compare.py` puts into one table, one module each.

    system                  what a system is, and how changes are laid over the model
    held_out                the fast verdict on held-out prompts, for settings that are chosen on them
    untuned, ours           the model as it is, and what this program does by default
    published               ACTOR's loop, uncentred as published and centred
    sift, mezo              two update rules of a one-layer objective
    lora                    LoRA by PEFT on written answers, which sft, poft and mosr train with their losses
    dipt                    a prompt that asks for several perspectives
    surgical, scans         vectors that are ablated or added while the model answers

Each is written from its paper for this project. A module's docstring says which settings are the paper's.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from baselines import dipt, mezo, mosr, ours, poft, published, scans, sft, sift, surgical, untuned  # noqa: E402
from baselines.system import System  # noqa: E402

__all__ = ["systems"]


def systems() -> dict[str, System]:
    """Every system by its id, in the order of the table."""
    every = [
        untuned.SYSTEM,
        published.AS_PUBLISHED,
        published.CENTRED,
        ours.SYSTEM,
        sft.SYSTEM,
        poft.SYSTEM,
        sift.SYSTEM,
        mezo.SYSTEM,
        mosr.SYSTEM,
        dipt.SYSTEM,
        surgical.SYSTEM,
        scans.SYSTEM,
    ]
    return {system.id: system for system in every}
