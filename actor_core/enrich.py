"""Variants of a person's few prompts, so that a repair made of three or five holds for other words of the same kind.

DiPT (Just et al. 2024, arXiv 2409.06241) enriches training data with how a request looks from diversified
perspectives, and finds models steadier under rewording. Here each own prompt gets other *wordings* and *forms*, by
rules and by the loaded model; *perspectives* (who might ask, and why it is harmless) and *languages*, by the model
alone; and a *harmful twin*: the nearest request that should be refused. What drifts is left out (see `drift`).

There are no perspectives by rules: as words around the prompt they did less than other wordings, and cost more harmful
refusals (benchmarks/results/few_prompts.md).
"""

from __future__ import annotations

import random
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest

from actor_core.drift import why_not
from actor_core.events import Event, Progress
from actor_core.harmfulness import read_beside_set
from actor_core.model import LoadedModel
from actor_core.prompt_sets import PromptSet
from actor_core.readings import NOTHING_KEPT, ReadingStore
from actor_core.variant import Form, Variant
from actor_core.variants_by_model import written_by_model
from actor_core.wordings import rewordings

__all__ = ["EnrichSettings", "Form", "Variant", "enrich"]

STAGE = "enrich"
ENOUGH = "there are enough others"


@dataclass(frozen=True)
class EnrichSettings:
    """``by_model``: whether the loaded model writes variants too. At most ``per_prompt`` of an own prompt, beside its
    twins, are kept; which ones, where there are more, is drawn with ``seed``."""

    by_model: bool = True
    per_prompt: int = 4
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
    seeds = list(dict.fromkeys(prompts))
    if not seeds:
        return ()
    yield Progress(STAGE, 0, len(seeds))
    made = [variant for seed in seeds for variant in _by_rules(seed)]
    made += _twins_by_rules(seeds, prompt_set)
    if settings.by_model:
        made += yield from written_by_model(model, seeds, stage=STAGE)
    made = _no_repetitions(made, seeds)
    read = yield from read_beside_set(
        model,
        [*(variant.text for variant in made), *seeds],
        prompt_set,
        store,
        seed=settings.seed,
        stage=STAGE,
    )
    reasons = why_not(read, [v.seed for v in made], [v.form == "twin" for v in made])
    judged = [replace(v, kept=not why, why=why) for v, why in zip(made, reasons, strict=True)]
    yield Progress(STAGE, len(seeds), len(seeds))
    return tuple(variant for seed in seeds for variant in _few([v for v in judged if v.seed == seed], settings))


def _by_rules(seed: str) -> Iterator[Variant]:
    """Other forms by grammar, and other words around ``seed``."""
    for text in rewordings(seed):
        form: Form = "wording" if _bare(seed) in _bare(text) else "form"
        yield Variant(text, seed, form, "rules", kept=True)


def _twins_by_rules(seeds: Sequence[str], prompt_set: PromptSet) -> Iterator[Variant]:
    """The harmful prompt of the set that shares most words with each of ``seeds``, rare ones above all.

    It is tuned on anyway: a person sees by it what must not be answered beside their own.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    harmful = prompt_set.training().harmful
    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+").fit(harmful)
    shared = words.transform(seeds) @ words.transform(harmful).T  # [seeds, harmful]
    for row, seed in enumerate(seeds):
        yield Variant(harmful[int(shared[[row]].toarray().argmax())], seed, "twin", "rules", kept=True)


def _no_repetitions(made: Sequence[Variant], seeds: Sequence[str]) -> list[Variant]:
    """Each text once, and none that is an own prompt; marks, and upper and lower case, aside."""
    seen = {_bare(seed) for seed in seeds}
    found = []
    for variant in made:
        if _bare(variant.text) not in seen:
            seen.add(_bare(variant.text))
            found.append(variant)
    return found


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _few(variants: Sequence[Variant], settings: EnrichSettings) -> Iterator[Variant]:
    """``variants`` of one own prompt: of the kept ones that are no twins, `per_prompt` stay, of every form alike."""
    groups: dict[tuple[str, str], list[int]] = {}
    order = list(range(len(variants)))
    random.Random(f"{settings.seed} {variants[0].seed if variants else ''}").shuffle(order)
    for place in order:
        variant = variants[place]
        if variant.kept and variant.form != "twin":
            groups.setdefault((variant.form, variant.by), []).append(place)
    in_turn = (place for places in zip_longest(*groups.values()) for place in places if place is not None)
    stay = set(islice(in_turn, settings.per_prompt))
    for place, variant in enumerate(variants):
        if not variant.kept or variant.form == "twin" or place in stay:
            yield variant
        else:
            yield replace(variant, kept=False, why=ENOUGH)
