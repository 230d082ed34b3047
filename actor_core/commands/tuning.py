"""``tune``: from a file of wrongly refused prompts to checked exports."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from actor_core.commands.options import held_out, load, store
from actor_core.commands.terminal import followed, tell
from actor_core.delta import LayerDelta
from actor_core.enrich import EnrichSettings, Variant, enrich
from actor_core.errors import NothingToRepair
from actor_core.evaluate import Comparison, Rates, spread
from actor_core.export import export
from actor_core.generate import Reply, answer
from actor_core.guard import Guard, Kept, measure_guard
from actor_core.guard_search import SHARES, GuardSearch, search_guard
from actor_core.harmfulness import Harmfulness, name_harmful
from actor_core.judge import Verdict
from actor_core.memory import before_tuning
from actor_core.model import LoadedModel
from actor_core.presets import prompt_sets
from actor_core.prompt_sets import PromptSet
from actor_core.prompts import read_prompts
from actor_core.readings import ReadingStore
from actor_core.recipe import Recipe
from actor_core.tune import TuneSettings, TuningPrompts, tune

__all__ = ["GUARD_NOT_PASSED", "tune_and_export"]

GUARD_NOT_PASSED = 3  # 2 is argparse's


def tune_and_export(options: argparse.Namespace) -> int:
    read = read_prompts(options.prompts)
    for problem in read.problems:
        tell(f"{options.prompts.name}, row {problem.row}: {problem.why}")
    model = load(options)
    replies = followed(answer(model, read.prompts))
    refused = [reply.prompt for reply in replies if reply.verdict is Verdict.REFUSED]
    tell(f"{len(refused)} of your {len(replies)} prompts are refused.")
    everyday = next(iter(prompt_sets().values()))
    kept = store(options)
    named = followed(name_harmful(model, refused, everyday, kept)) if refused else None
    own = _without_flagged(refused, named, options) if named else []
    made = _enriched(model, own, everyday, kept, options)
    variants = [each.text for each in made if each.kept and each.form != "twin"]
    twins = [each.text for each in made if each.kept and each.form == "twin"]
    prompts = TuningPrompts.of(own, everyday, variants, twins)
    settings = TuneSettings(method=options.method, layer=options.layer, seed=options.seed, set_share=options.set_share)
    tell(before_tuning(model, len(own) + len(made)).words())
    tuned = followed(tune(model, prompts, settings, kept))
    for words in tuned.words:
        tell(words)
    strength = tuned.strength if options.strength is None else options.strength
    if strength == 0:
        raise NothingToRepair("At strength 0 nothing changes, so nothing was exported. Choose another by --strength.")
    untuned = Kept()
    guard = followed(measure_guard(model, tuned.delta, strength, everyday.guard(), before=untuned))
    tell(guard.words())
    if options.lower_strength and guard.enough and not guard.passed:
        strength, guard = _lowered(model, tuned.delta, strength, everyday, guard, untuned)
    sets = {"your prompts": read.prompts, **held_out(everyday, options)}
    compared = [
        _compared(name, model, group, tuned.delta, strength) for name, group in sets.items() if group
    ]
    figures = [row for row, _ in compared]
    if not (guard.passed or options.accept_guard_not_passed):
        print(json.dumps(figures, indent=2))
        tell(
            "Nothing was exported: the guard was not passed. Tune with other prompts"
            + (f", or try a --strength below {strength:g} or --lower-strength" if guard.enough else "")
            + ". With --accept-guard-not-passed the files are written all the same, and say GUARD NOT PASSED."
        )
        return GUARD_NOT_PASSED
    seen = spread([reply for _, after in compared for reply in after], options.replayed)
    recipe = Recipe.of(model, own, everyday, settings, tuned.delta, variants, twins)
    flagged = None
    if named and named.tells:
        flagged = {"left_out": len(refused) - len(own), "included": len(named.flagged.intersection(own))}
    report = {
        "figures": figures,
        "flagged": flagged,
        "enriched": {"variants": len(variants), "twins": len(twins)},
        "settings": {"strength": strength, "seed": options.seed},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for kind in options.format:
        folder = options.out / kind
        work = export(
            model,
            tuned.delta,
            kind,
            folder,
            strength=strength,
            report=report,
            guard=guard,
            seen=seen,
            rank=options.rank,
            tensor_type=options.tensor_type,
            recipe=recipe,
        )
        done = followed(work)
        failed += done.failed
        print(f"{done.path}  ({done.bytes:,} bytes)  {done.check_words}")
        tell(done.command)
    print(json.dumps(figures, indent=2))
    return 1 if failed else 0


def _without_flagged(refused: Sequence[str], named: Harmfulness, options: argparse.Namespace) -> list[str]:
    """What is tuned on of the ``refused`` prompts, after those that look harmful were told."""
    if not named.flagged:
        return list(refused)
    for prompt in refused:
        if prompt in named.flagged:
            tell(f"Looks like a request that should be refused: {prompt}")
    tell(f"This is a guess. {named.words()}")
    if options.include_flagged:
        tell("They are tuned on all the same, as asked.")
        return list(refused)
    own = [prompt for prompt in refused if prompt not in named.flagged]
    if not own:
        raise NothingToRepair(
            f"All {len(refused)} refused prompts look like requests that should be refused, so nothing was tuned. "
            "Where that is wrong, --include-flagged tunes on them."
        )
    tell("They are left out; --include-flagged tunes on them, too.")
    return own


def _enriched(
    model: LoadedModel, own: Sequence[str], prompt_set: PromptSet, kept: ReadingStore, options: argparse.Namespace
) -> Sequence[Variant]:
    """What is made of ``own``, each told with what became of it; nothing where that was not asked for."""
    if options.enrich == "no" or not own:
        return ()
    settings = EnrichSettings(by_model=options.enrich == "model", seed=options.seed)
    made = followed(enrich(model, own, prompt_set, kept, settings))
    for each in made:
        tell(f"{each.form}, by {each.by}{'' if each.kept else f', left out: {each.why}'}: {each.text}")
    used = [each for each in made if each.kept]
    twins = sum(each.form == "twin" for each in used)
    tell(
        f"{len(used) - twins} prompts were made of yours and are to be answered, {twins} to be refused; "
        f"{len(made) - len(used)} others were left out."
    )
    return made


def _lowered(
    model: LoadedModel, delta: LayerDelta, strength: float, prompt_set: PromptSet, guard: Guard, untuned: Kept
) -> tuple[float, Guard]:
    """The largest strength below ``strength``, whose ``guard`` did not pass, that does, with its guard; where there is
    none the same two again."""
    strengths = [share * strength for share in SHARES]
    found: GuardSearch = followed(search_guard(model, delta, strengths, prompt_set.guard(), before=untuned))
    if found.largest is None:
        tell(f"No smaller strength passes: even at {min(strengths):.3g}, {found.lost} of {found.asked} are lost.")
        return strength, guard
    passed = found.passed[found.largest]
    tell(f"At strength {found.largest:.3g}: {passed.words()} From here on that is the strength.")
    return found.largest, passed


def _compared(
    name: str, model: LoadedModel, prompts: Sequence[str], delta: LayerDelta, strength: float
) -> tuple[dict[str, Any], list[Reply]]:
    before: list[Reply] = followed(answer(model, prompts))
    after: list[Reply] = followed(answer(model, prompts, delta=delta, strength=strength))
    outcomes = [Comparison(b.prompt, b, a).outcome for b, a in zip(before, after, strict=True)]
    tell(f"{name}: " + ", ".join(f"{outcomes.count(o)} {o}" for o in sorted(set(outcomes))))
    row = {"set": name, "n": len(prompts), "before": Rates.of(before).counts(), "after": Rates.of(after).counts()}
    return row, after
