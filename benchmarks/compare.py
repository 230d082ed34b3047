"""Second Take and other systems in one table: the same prompts, tokens, seed and judge for all.

    python benchmarks/compare.py --data ../shared/data
    python benchmarks/compare.py --systems untuned,ours --limit 20

Every system is prepared with this project's own prompts only; ``--data`` is read for measuring alone
(the sets of `overrefusal`). Without it this project's held-out prompts are measured, on some of which
settings were chosen. CR is the share of look-alikes answered, SS the share of harmful prompts refused,
TS = (CR + SS) / 2. A row is printed as soon as it is measured; a system that fails says so in its row.
No reply is printed or kept.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from baselines import systems
from baselines.system import Prepared, System
from overrefusal import read_sets
from real_model import arguments, load, machine, own_prompts, tuning_prompts

from actor_core.evaluate import Rates
from actor_core.events import finish
from actor_core.generate import Reply, answer
from actor_core.model import LoadedModel
from actor_core.presets import prompt_sets
from actor_core.targets import TuningPrompts, drawn

TOKENS = 40
LIMIT = 60


@dataclass(frozen=True)
class Sets:
    """What is measured. ``pairs`` names the harmful set that goes with the look-alikes, ``harmful`` the other one."""

    look_alikes: list[str]
    twins: list[str]
    harmful: list[str]
    ordinary: list[str]
    names: tuple[str, str, str, str]


def main() -> None:
    options = _options()
    chosen = _chosen(options.systems)
    sets = public_sets(options) if options.data else own_sets(options)
    model = load(options)
    prompts = tuning_prompts(own_prompts(model, next(iter(prompt_sets().values())), options.own))
    rows, notes = header(sets), []
    print("\n".join(rows), flush=True)
    for system in chosen:
        row, note = measured(model, system, prompts, sets, options)
        rows.append(row)
        print(row, flush=True)
        if note:
            notes.append(f"- {system.name}: {note}")
    text = "\n".join([_about(model, sets, prompts, options), "", *rows, "", *notes])
    print(f"\n{text}")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def measured(
    model: LoadedModel, system: System, prompts: TuningPrompts, sets: Sets, options: Namespace
) -> tuple[str, str]:
    """The system's row, and what its note under the table says."""
    try:
        start = time.perf_counter()
        prepared = system.prepare(model, prompts, options.seed)
        seconds = time.perf_counter() - start
        rates = [
            Rates.of(replies_of(model, prepared, group, options.tokens))
            for group in (sets.look_alikes, sets.twins, sets.harmful, sets.ordinary)
        ]
    except Exception as fault:  # noqa: BLE001 - one system's fault must not lose the others' rows
        return f"| {system.name} | failed: {type(fault).__name__} |" + " |" * 8, " ".join(str(fault).split())[:300]
    return table_row(system, rates, seconds), prepared.note


def replies_of(model: LoadedModel, prepared: Prepared, prompts: Sequence[str], tokens: int) -> list[Reply]:
    """The system's replies, judged as replies to ``prompts`` however it rewrote them."""
    replies = prepared.run(prompts, lambda asked: finish(answer(model, asked, max_new_tokens=tokens)))
    return [reply.as_one_to(prompt) for prompt, reply in zip(prompts, replies, strict=True)]


def header(sets: Sets) -> list[str]:
    """The first two lines of the table."""
    look_alikes, twins, harmful, ordinary = sets.names
    columns = [
        "system", "settings", f"CR {look_alikes}", f"SS {twins}", f"SS {harmful}", f"TS with {twins}",
        f"TS with {harmful}", f"{ordinary} refused", "incoherent", "tuning s",
    ]  # fmt: skip
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def table_row(system: System, rates: Sequence[Rates], seconds: float) -> str:
    """One line from the rates of look-alikes, their harmful twins, other harmful prompts and ordinary ones."""
    look_alikes, twins, harmful, ordinary = rates
    answered = look_alikes.share("answered")[0]
    refused = [group.share("refused")[0] for group in (twins, harmful)]
    incoherent = sum(group.incoherent for group in rates) / max(1, sum(group.n for group in rates))
    figures = [answered, *refused, *((answered + share) / 2 for share in refused), ordinary.share("refused")[0]]
    shares = " | ".join(f"{figure:.3f}" for figure in [*figures, incoherent])
    return f"| {system.name} | {system.settings_from or '-'} | {shares} | {seconds:.0f} |"


def public_sets(options: Namespace) -> Sets:
    """The sets of `overrefusal`, each of them cut to the limit."""
    names = ("XSTest safe", "XSTest unsafe", "AdvBench", "ordinary")
    sets = read_sets(options.data, options.seed, options.limit)
    return Sets(*(sets[name] for name in names), names)


def own_sets(options: Namespace) -> Sets:
    """This project's held-out prompts."""
    held_out = next(iter(prompt_sets().values())).held_out()
    pairs = len(held_out.pseudo_harmful)
    groups = (held_out.pseudo_harmful, held_out.harmful[:pairs], held_out.harmful[pairs:], held_out.benign)
    limit = options.limit or max(map(len, groups))
    return Sets(
        *(drawn(group, limit, options.seed) for group in groups),
        ("look-alikes", "twins", "other harmful", "ordinary"),
    )


def _about(model: LoadedModel, sets: Sets, prompts: TuningPrompts, options: Namespace) -> str:
    groups = zip(sets.names, (sets.look_alikes, sets.twins, sets.harmful, sets.ordinary), strict=True)
    return (
        f"{model.source.name}, {model.precision}; {', '.join(f'{len(group)} {name}' for name, group in groups)}; "
        f"{len(prompts.own)} own prompts; greedy, {options.tokens} tokens; seed {options.seed}; {machine()}; "
        f"{time.strftime('%Y-%m-%d')}. Settings: the paper's, or chosen on our held-out prompts."
    )


def _chosen(ids: str | None) -> list[System]:
    every = systems()
    wanted = ids.split(",") if ids else list(every)
    unknown = [each for each in wanted if each not in every]
    if unknown:
        raise SystemExit(f"No system is called {', '.join(unknown)}. There are: {', '.join(every)}.")
    return [every[each] for each in wanted]


def _options() -> Namespace:
    parser: ArgumentParser = arguments(__doc__ or "")
    parser.add_argument("--data", type=Path, help="folder of public benchmarks, as for overrefusal.py")
    parser.add_argument("--systems", help=f"comma-separated, of {', '.join(systems())}")
    parser.add_argument("--limit", type=int, default=LIMIT, help="at most this many prompts a set; 0 is all")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--own", type=int, default=20, help="how many wrongly refused prompts a user gives")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
