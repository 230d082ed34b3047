"""The same without a page: ``python -m actor_core tune --prompts FILE --out DIR``.

``reproduce FILE`` makes an exported change again, ``compare A B`` sets two changes of one model beside each other.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from actor_core.delta import LayerDelta
from actor_core.enrich import EnrichSettings, Variant, enrich
from actor_core.errors import ActorError, NothingToRepair
from actor_core.evaluate import Comparison, Rates, spread
from actor_core.events import Ahead, Event, LayerScored, Progress, Replied, Said, Step, StrengthMeasured
from actor_core.export import KINDS, SMALL_KINDS, TENSOR_TYPES, export, open_change
from actor_core.export.base import describe_base
from actor_core.fetch import default_data_dir, fetch, local_model
from actor_core.generate import Reply, answer
from actor_core.guard import measure_guard
from actor_core.harmfulness import Harmfulness, name_harmful
from actor_core.judge import Verdict
from actor_core.loading import PRECISIONS, load_model
from actor_core.memory import before_tuning
from actor_core.model import LoadedModel
from actor_core.presets import DEFAULT_MODEL, model_presets, prompt_sets
from actor_core.prompt_sets import PromptSet
from actor_core.prompts import read_prompts
from actor_core.readings import ReadingStore
from actor_core.recipe import RECIPE, Recipe, read_recipe, reproduce
from actor_core.targets import drawn
from actor_core.tune import TuneSettings, TuningPrompts, tune
from actor_core.two_changes import alike, ask_both
from actor_core.weights.whole_files import bytes_of

Result = TypeVar("Result")

GUARD_NOT_PASSED = 3  # 2 is argparse's


def main(argv: list[str] | None = None) -> int:
    """Runs one command; 0 when it did what was asked, 1 with a message on stderr, 130 when stopped, and 3
    where nothing was exported because the guard was not passed."""
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options))
    except NothingToRepair as outcome:
        print(outcome)
        return 0
    except ActorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Nothing half-written is left.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m actor_core", description=__doc__)
    commands = parser.add_subparsers(required=True)
    tuning = commands.add_parser("tune", help="tune one layer and export what was learnt")
    tuning.set_defaults(run=_tune)
    _add_model(tuning, DEFAULT_MODEL)
    tuning.add_argument("--prompts", type=Path, required=True, help="wrongly refused prompts, .txt or .csv")
    tuning.add_argument("--out", type=Path, required=True, help="the folder that the exports are written into")
    tuning.add_argument("--format", nargs="+", choices=KINDS, default=list(SMALL_KINDS))
    tuning.add_argument("--rank", type=int, help="of a trained layer's adapter (default: by its error)")
    tuning.add_argument("--tensor-type", choices=TENSOR_TYPES, help="of the changed matrix in a merged GGUF")
    tuning.add_argument("--replayed", type=int, default=24, help="compared prompts that each check asks again")
    tuning.add_argument("--method", choices=("causal", "refusal vector", "published"), default="causal")
    tuning.add_argument("--layer", type=int, help="counted from 0 (default: chosen)")
    tuning.add_argument("--strength", type=float, help="of the change (default: chosen on held-out prompts)")
    tuning.add_argument("--compared", type=int, default=40, help="held-out prompts a set, for the figures")
    tuning.add_argument(
        "--accept-guard-not-passed",
        action="store_true",
        help="export even where the change may cost more refusals of harmful prompts than the guard allows",
    )
    tuning.add_argument(
        "--include-flagged",
        action="store_true",
        help="tune on those of your prompts, too, that look like requests that should be refused",
    )
    tuning.add_argument(
        "--enrich",
        choices=("no", "rules", "model"),
        default="no",
        help="tune on more prompts that are made of yours: by rules alone, or by the model as well (default: no)",
    )
    tuning.add_argument("--seed", type=int, default=0)
    again = commands.add_parser("reproduce", help=f"make the change of a {RECIPE} again, and compare it bit for bit")
    again.set_defaults(run=_reproduce)
    again.add_argument("file", type=Path, help=f"the {RECIPE} beside an exported file")
    again.add_argument("--prompts", type=Path, help="the repaired prompts, where the file leaves them out")
    again.add_argument("--out", type=Path, help="write the delta into this new file")
    _add_model(again, None)
    both = commands.add_parser("compare", help="two exported changes of one model beside each other")
    both.set_defaults(run=_compare)
    both.add_argument("changes", type=Path, nargs=2, help="a delta or PEFT adapter: its file, folder or zip")
    both.add_argument("--compared", type=int, default=40, help="held-out prompts a set")
    both.add_argument("--seed", type=int, default=0)
    _add_model(both, DEFAULT_MODEL)
    return parser


def _add_model(command: argparse.ArgumentParser, default: str | None) -> None:
    """The options that say which model is loaded, and how."""
    command.add_argument(
        "--model",
        default=default,
        help="a preset (" + ", ".join(model_presets()) + "), a hub id, a folder, or a .gguf file",
    )
    command.add_argument("--data-dir", type=Path, help="where models are kept (default: your data folder)")
    command.add_argument("--precision", choices=PRECISIONS, default="auto")
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    command.add_argument(
        "--memory",
        metavar="SIZE",
        type=bytes_of,
        help="how much of the model may be in memory at once, as 600MB or 6GB; the rest is read from the disk at each "
        "use, which is slow (default: all of it)",
    )
    command.add_argument("--offline", action="store_true", help="never use the network")


def _tune(options: argparse.Namespace) -> int:
    read = read_prompts(options.prompts)
    for problem in read.problems:
        _tell(f"{options.prompts.name}, row {problem.row}: {problem.why}")
    model = _load(options)
    replies = _followed(answer(model, read.prompts))
    refused = [reply.prompt for reply in replies if reply.verdict is Verdict.REFUSED]
    _tell(f"{len(refused)} of your {len(replies)} prompts are refused.")
    everyday = next(iter(prompt_sets().values()))
    store = ReadingStore.of(options.data_dir or default_data_dir())
    named = _followed(name_harmful(model, refused, everyday, store)) if refused else None
    own = _without_flagged(refused, named, options) if named else []
    made = _enriched(model, own, everyday, store, options)
    variants = [each.text for each in made if each.kept and each.form != "twin"]
    twins = [each.text for each in made if each.kept and each.form == "twin"]
    prompts = TuningPrompts.of(own, everyday, variants, twins)
    settings = TuneSettings(method=options.method, layer=options.layer, seed=options.seed)
    _tell(before_tuning(model, len(own) + len(made)).words())
    tuned = _followed(tune(model, prompts, settings, store))
    for words in tuned.words:
        _tell(words)
    strength = tuned.strength if options.strength is None else options.strength
    if strength == 0:
        raise NothingToRepair("At strength 0 nothing changes, so nothing was exported. Choose another by --strength.")
    sets = {"your prompts": read.prompts, **_held_out(everyday, options)}
    compared = [
        _compared(name, model, group, tuned.delta, strength) for name, group in sets.items() if group
    ]
    figures = [row for row, _ in compared]
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
    guard = _followed(measure_guard(model, tuned.delta, strength, everyday.guard()))
    _tell(guard.words())
    if not (guard.passed or options.accept_guard_not_passed):
        print(json.dumps(figures, indent=2))
        _tell(
            "Nothing was exported: the guard was not passed. Tune with other prompts"
            + (f", or try a --strength below {strength:g}" if guard.enough else "")
            + ". With --accept-guard-not-passed the files are written all the same, and say GUARD NOT PASSED."
        )
        return GUARD_NOT_PASSED
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
        done = _followed(work)
        failed += done.failed
        print(f"{done.path}  ({done.bytes:,} bytes)  {done.check_words}")
        _tell(done.command)
    print(json.dumps(figures, indent=2))
    return 1 if failed else 0


def _without_flagged(refused: Sequence[str], named: Harmfulness, options: argparse.Namespace) -> list[str]:
    """What is tuned on of the ``refused`` prompts, after those that look harmful were told."""
    if not named.flagged:
        return list(refused)
    for prompt in refused:
        if prompt in named.flagged:
            _tell(f"Looks like a request that should be refused: {prompt}")
    _tell(f"This is a guess. {named.words()}")
    if options.include_flagged:
        _tell("They are tuned on all the same, as asked.")
        return list(refused)
    own = [prompt for prompt in refused if prompt not in named.flagged]
    if not own:
        raise NothingToRepair(
            f"All {len(refused)} refused prompts look like requests that should be refused, so nothing was tuned. "
            "Where that is wrong, --include-flagged tunes on them."
        )
    _tell("They are left out; --include-flagged tunes on them, too.")
    return own


def _enriched(
    model: LoadedModel, own: Sequence[str], prompt_set: PromptSet, store: ReadingStore, options: argparse.Namespace
) -> Sequence[Variant]:
    """What is made of ``own``, each told with what became of it; nothing where that was not asked for."""
    if options.enrich == "no" or not own:
        return ()
    settings = EnrichSettings(by_model=options.enrich == "model", seed=options.seed)
    made = _followed(enrich(model, own, prompt_set, store, settings))
    for each in made:
        _tell(f"{each.form}, by {each.by}{'' if each.kept else f', left out: {each.why}'}: {each.text}")
    kept = [each for each in made if each.kept]
    twins = sum(each.form == "twin" for each in kept)
    _tell(
        f"{len(kept) - twins} prompts were made of yours and are to be answered, {twins} to be refused; "
        f"{len(made) - len(kept)} others were left out."
    )
    return made


def _reproduce(options: argparse.Namespace) -> int:
    recipe = read_recipe(options.file)
    own = tuple(read_prompts(options.prompts).prompts) if options.prompts else None
    for difference in recipe.differences():
        _tell(f"Not as it was then: {difference}.")
    base = describe_base(recipe.base)
    options.model = options.model or base.preset or base.loadable
    options.precision, options.device = recipe.base.precision, recipe.device
    model = _load(options)
    tuned = _followed(reproduce(recipe, model, prompt_sets()[recipe.prompt_set], own))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        tuned.delta.save(options.out)
    digest = tuned.delta.digest()
    if digest == recipe.delta_digest:
        print(f"The same change, bit for bit (SHA-256 {digest}).")
        return 0
    print(f"Another change: SHA-256 {digest} instead of {recipe.delta_digest}.")
    _tell("The same machine, versions and number of threads give the same bits; others nearly the same.")
    return 1


def _compare(options: argparse.Namespace) -> int:
    first, second = (open_change(path) for path in options.changes)
    likeness = alike(first, second)
    model = _load(options)
    sets = _held_out(next(iter(prompt_sets().values())), options)
    rows = _followed(ask_both(model, ((first, 1.0), (second, 1.0)), sets))
    if not likeness:
        print(f"They change different matrices: layer {first.layer} and layer {second.layer}.")
    for each in likeness:
        print(f"{each.module}: cosine {each.cosine:.3f}, norms {each.norms[0]:.4g} and {each.norms[1]:.4g}")
    for row in rows:
        shares = ["{:.3f} ({:.3f}-{:.3f})".format(*rates.share("refused")) for rates in (row.first, row.second)]
        print(f"{row.name}, n = {row.first.n}: refused {shares[0]} and {shares[1]}, same verdict {row.same_verdict}")
    return 0


def _held_out(prompt_set: PromptSet, options: argparse.Namespace) -> dict[str, Sequence[str]]:
    """Prompts that nothing was tuned on, ``options.compared`` of each kind."""
    held_out, n = prompt_set.held_out(), options.compared
    return {
        "held-out look-alikes": drawn(held_out.pseudo_harmful, n, options.seed),
        "held-out harmful": drawn(held_out.harmful, n, options.seed),
        "held-out ordinary": drawn(held_out.benign, n, options.seed),
    }


def _load(options: argparse.Namespace) -> LoadedModel:
    data_dir = options.data_dir or default_data_dir()
    preset = model_presets().get(options.model)
    work = (
        fetch(preset, data_dir, offline=options.offline)
        if preset
        else local_model(options.model, data_dir, offline=options.offline)
    )
    source = _followed(work)
    return _followed(
        load_model(source, precision=options.precision, device=options.device, memory=options.memory)
    )


def _compared(
    name: str, model: LoadedModel, prompts: Sequence[str], delta: LayerDelta, strength: float
) -> tuple[dict[str, Any], list[Reply]]:
    before: list[Reply] = _followed(answer(model, prompts))
    after: list[Reply] = _followed(answer(model, prompts, delta=delta, strength=strength))
    outcomes = [Comparison(b.prompt, b, a).outcome for b, a in zip(before, after, strict=True)]
    _tell(f"{name}: " + ", ".join(f"{outcomes.count(o)} {o}" for o in sorted(set(outcomes))))
    row = {"set": name, "n": len(prompts), "before": Rates.of(before).counts(), "after": Rates.of(after).counts()}
    return row, after


def _followed(work: Generator[Event, None, Result]) -> Result:
    """The result of ``work``; what it yields goes to stderr, one line that is written over."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            if sys.stderr.isatty():
                print("\r\033[K", end="", file=sys.stderr)
            return end.value
        line = _line(event)
        if line and sys.stderr.isatty():
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def _line(event: Event) -> str:
    match event:
        case Ahead() | Said():
            return ""
        case Progress():
            return event.note or f"{event.stage} {event.done}/{event.total}"
        case Replied():
            return f"answer {event.done}/{event.total}"
        case LayerScored():
            return f"layer {event.layer}: silhouette {event.silhouette:.2f}, effect {event.effect:.2f}"
        case Step():
            return f"update {event.step}/{event.total}: loss {event.loss:.2e}"
        case StrengthMeasured():
            return f"strength {event.strength:g}: look-alikes refused {event.pseudo_harmful_refused:.0%}"


def _tell(words: str) -> None:
    print(words, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
