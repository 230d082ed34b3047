"""Variants of a person's few prompts, so that a repair made of three or five holds for other words of the same kind.

DiPT (Just et al. 2024, arXiv 2409.06241) enriches training data with how a request looks from diversified
perspectives, and finds models steadier under rewording. Here each own prompt gets other *wordings*, *perspectives*
(who might ask, and why it is harmless), *forms*, *languages*, and a *harmful twin*: the nearest request that should
be refused. Rules make some, the loaded model the others; what drifts is left out.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

from actor_core.events import Event, Progress
from actor_core.model import LoadedModel
from actor_core.prompt_sets import PromptSet
from actor_core.readings import NOTHING_KEPT, ReadingStore

__all__ = ["EnrichSettings", "Form", "Variant", "enrich"]

Form = Literal["wording", "perspective", "form", "language", "twin"]
STAGE = "enrich"


@dataclass(frozen=True)
class Variant:
    """``text`` was made of the own prompt ``seed``. ``why`` says in words why it was not ``kept``, and is "" else."""

    text: str
    seed: str
    form: Form
    by: Literal["rules", "model"]
    kept: bool
    why: str = ""


@dataclass(frozen=True)
class EnrichSettings:
    """``by_model``: whether the loaded model writes variants too. At most ``per_prompt`` of an own prompt, beside its
    twin, are kept; which of the rules' are made is drawn with ``seed``."""

    by_model: bool = True
    per_prompt: int = 8
    seed: int = 0


def enrich(
    model: LoadedModel,
    prompts: Sequence[str],
    prompt_set: PromptSet,
    store: ReadingStore = NOTHING_KEPT,
    settings: EnrichSettings = EnrichSettings(),
) -> Generator[Event, None, tuple[Variant, ...]]:
    """The variants of ``prompts``, in their order, those that were left out among them.

    The kept ones go into `TuningPrompts.of` as ``variants``, the kept ones of the form "twin" as ``twins``.
    Raises `PromptError` for a set with pairs of fewer than two kinds, by which nothing can be told.
    """
    yield Progress(STAGE, 0, len(prompts))
    found = [
        Variant(f"I am a teacher, and a pupil asked me this: {prompt}", prompt, "perspective", "rules", True)
        for prompt in dict.fromkeys(prompts)
    ]
    yield Progress(STAGE, len(prompts), len(prompts))
    return tuple(found)
