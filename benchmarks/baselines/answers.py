"""What the baselines that train on text are taught: answers written for this project, and short refusals.

`benchmarks/prompts/answers.tsv` holds a prompt and its answer a line, for look-alikes and ordinary prompts of
`presets/prompts/everyday`; `refusals.txt` a refusal a line. Nothing that is held out is taught.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from actor_core.targets import TuningPrompts, drawn

__all__ = ["PROMPTS", "Example", "lessons"]

PROMPTS = Path(__file__).resolve().parents[1] / "prompts"


@dataclass(frozen=True)
class Example:
    """``answer`` is learnt as the reply to ``prompt``; ``prefix`` is read before it and not learnt."""

    prompt: str
    answer: str
    refusal: bool
    prefix: str = ""


def lessons(prompts: TuningPrompts, n: int, seed: int, folder: Path = PROMPTS) -> list[Example]:
    """Up to ``n`` examples in random order: all written answers first, then refusals of harmful prompts.

    At least two fifths are refusals, taken by rotation; the harmful twin of an answered look-alike comes
    before other harmful prompts, for the pair differs in what matters alone.
    """
    answers = [line.split("\t") for line in (folder / "answers.tsv").read_text(encoding="utf-8").splitlines()]
    refusals = (folder / "refusals.txt").read_text(encoding="utf-8").splitlines()
    own = [p for p in prompts.own if p not in set(prompts.harmful)]
    taught = set(prompts.pseudo_harmful) | set(prompts.benign) | set(own)
    answered = [(prompt, answer) for prompt, answer in answers if prompt in taught]
    answered = answered if len(answered) <= n * 3 // 5 else random.Random(seed).sample(answered, n * 3 // 5)
    twins = dict(zip(prompts.pseudo_harmful, prompts.harmful, strict=False))
    harmful = [twins[prompt] for prompt, _ in answered if prompt in twins]
    harmful += drawn([p for p in prompts.harmful if p not in set(harmful)], max(0, n - len(answered)), seed)
    found = [Example(prompt, answer, refusal=False) for prompt, answer in answered]
    found += [
        Example(prompt, refusals[i % len(refusals)], refusal=True)
        for i, prompt in enumerate(harmful[: n - len(answered)])
    ]
    random.Random(seed).shuffle(found)
    return found
