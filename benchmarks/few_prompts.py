"""Whether three or five prompts of one kind, enriched, repair that kind as well as twenty-five.

    python benchmarks/few_prompts.py --out benchmarks/results/few_prompts.md

For each file of `benchmarks/prompts/kinds/` (40 harmless prompts of one person) and each draw, 15 prompts are held
out and 3, 5, 10 or 25 of the others become the user's own. Each is tuned with the project's own set, plain and
enriched (`actor_core.enrich`), and measured on the 15, on the prompts of the four other kinds, and on the half of the
set's held-out prompts that the strength was not chosen by.

Verdicts are by the first token, at the threshold fitted to this model's generated replies: the two hundred tunings
differ by their own rows alone, so that the layer, the direction and the set's part of the solve are computed once,
and what each tuning does follows from how the held-out prompts respond to shifts (`tradeoff.Responses`). Generated
replies of 200 tunings would take a day on two cores. Prints one Markdown table and keeps it with ``--out``.
"""

from __future__ import annotations

import random
import statistics
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import torch
from few_solved import SolvedOnce
from real_model import arguments, halved, load, machine, tuning_prompts
from torch import Tensor

from actor_core.activations import read_activations, read_reply_tokens
from actor_core.direction import refusal_vector
from actor_core.enrich import EnrichSettings, Variant, enrich
from actor_core.events import finish
from actor_core.layer_choice import calibrate, candidate_layers, choose_layer
from actor_core.model import LoadedModel
from actor_core.presets import DEFAULT_PROMPT_SET, prompt_sets
from actor_core.probe import prepare_probe
from actor_core.prompt_sets import PromptSplit
from actor_core.readings import ReadingStore
from actor_core.targets import TuningPrompts, drawn, training_rows
from actor_core.tradeoff import Responses, choose_targets, chosen_point
from actor_core.tune import SHIFTS, STRENGTHS, TuneSettings

KINDS = Path(__file__).resolve().parent / "prompts" / "kinds"
HEADER = (
    "| own prompts | how | kind answered | other kinds answered | look-alikes answered | harmful refused | "
    "harmful refusals lost | ordinary newly refused |"
)
SIZES = (3, 5, 10, 25)
HELD_OUT = 15


@dataclass(frozen=True)
class Draw:
    """Prompts of one ``kind`` in an order of their own: the user's, and the ``others`` that are held out."""

    kind: str
    own: list[str]
    others: list[str]


@dataclass(frozen=True)
class Seen:
    """All that the model was run for; every tuning follows from it.

    ``responses`` are of ``prompts``: those of all kinds, and the set's held-out ones. ``own_rows`` says where in
    ``solved`` the row of a prompt, a variant or a twin is.
    """

    kinds: dict[str, list[str]]
    prompts: list[str]
    log_odds: Tensor  # [n, len(SHIFTS)], above the threshold
    solved: SolvedOnce
    own_rows: dict[str, int]
    variants: dict[str, list[Variant]]
    set_prompts: TuningPrompts
    chosen_by: tuple[list[str], list[str], list[str]]
    measured: tuple[list[str], list[str], list[str]]
    layer: int

    def untuned(self, prompts: Sequence[str]) -> Tensor:
        """Log-odds of ``prompts`` above the threshold, in nats."""
        return self.log_odds[self._places(prompts), SHIFTS.index(0.0)]

    def responses(self, reads: Tensor, *groups: Sequence[str]) -> Responses:
        """How the prompts of three ``groups`` respond, with ``reads`` [n, 3] of all ``prompts``."""
        places = self._places([prompt for group in groups for prompt in group])
        sizes = (len(groups[0]), len(groups[1]), len(groups[2]))
        return Responses(torch.tensor(SHIFTS), self.log_odds[places], reads[places], sizes, 0.0)

    def other_kinds(self, draw: Draw) -> list[str]:
        """All prompts of the kinds that ``draw`` is not of."""
        return [prompt for kind, prompts in self.kinds.items() if kind != draw.kind for prompt in prompts]

    def _places(self, prompts: Sequence[str]) -> list[int]:
        at = {prompt: place for place, prompt in enumerate(self.prompts)}
        return [at[prompt] for prompt in prompts]


@dataclass(frozen=True)
class Outcome:
    """Shares after one tuning: answered of the kind's held-out prompts, of other kinds and of the set's look-alikes;
    refused of the harmful ones, lost of those refused before, and newly refused of the ordinary ones."""

    kind: float
    other_kinds: float
    look_alikes: float
    harmful: float
    lost: float
    newly_refused: float


def look(model: LoadedModel, options: Namespace) -> Seen:
    """Runs the model for everything that the tunings need."""
    settings = TuneSettings(seed=options.seed, layer=options.layer)
    kinds = {path.stem: path.read_text(encoding="utf-8").splitlines() for path in sorted(KINDS.glob("*.txt"))}
    of_kinds = [prompt for prompts in kinds.values() for prompt in prompts]
    store = ReadingStore.of(options.data_dir)
    prompts, unseen = halved(tuning_prompts([]))
    calibration = finish(calibrate(model, prompts, settings))
    choice = finish(choose_layer(model, prompts, calibration, candidate_layers(model, settings), settings))
    rows = training_rows(prompts, harmful_weight=settings.harmful_weight)
    of_the_set, tokens = prompts.of_the_set(), settings.other_tokens
    work = store.read_rows(model, rows.prompts, of_the_set, choice.layer, other_tokens=tokens, seed=settings.seed)
    reading = finish(work)
    spoken = finish(read_reply_tokens(model, [*calibration.asked_now, *calibration.of_the_set], choice.layer))
    chosen_by = _drawn_from(prompts.held_out, settings)
    measured = _drawn_from(unseen, settings)
    seen = [*of_kinds, *(prompt for groups in (chosen_by, measured) for group in groups for prompt in group)]
    probe = finish(prepare_probe(model, seen, calibration.odds, choice.layer))
    r = refusal_vector(reading.outputs[rows.are("harmful")], reading.outputs[rows.are("benign")])
    along = choice.direction * r.norm()
    log_odds = torch.stack([probe.shifted(shift * along) for shift in SHIFTS], dim=1)
    inputs = probe.reading().inputs
    del probe
    seeds = sorted({prompt for draw in draws(kinds, options) for prompt in draw.own[: options.enriched]})
    found = finish(
        enrich(
            model,
            seeds,
            prompt_sets()[DEFAULT_PROMPT_SET],
            store,
            EnrichSettings(by_model=options.by_model, seed=options.seed),
        )
    )
    variants = {seed: [v for v in found if v.kept and v.seed == seed] for seed in seeds}
    texts = list(dict.fromkeys(v.text for kept in variants.values() for v in kept))
    made = finish(read_activations(model, texts, [choice.layer], other_tokens=0, seed=settings.seed))[choice.layer]
    solved = SolvedOnce(
        reading.inputs,
        rows.indicators() / reading.gains[:, None],
        rows.weights,
        torch.cat([reading.others, spoken]),
        torch.cat([inputs[: len(of_kinds)], made.inputs]),
        inputs,
        ridge=settings.ridge,
        other_weight=settings.other_weight,
    )
    own_rows = {text: row for row, text in enumerate([*of_kinds, *texts])}
    above_threshold = log_odds - calibration.odds.threshold
    return Seen(kinds, seen, above_threshold, solved, own_rows, variants, prompts, chosen_by, measured, choice.layer)


def draws(kinds: dict[str, list[str]], options: Namespace) -> Iterator[Draw]:
    """The same ones for the same seed: those of a larger tuning are those of the smaller one and others."""
    for kind, prompts in kinds.items():
        for draw in range(options.draws):
            mixed = random.Random(f"{options.seed} {kind} {draw}").sample(prompts, len(prompts))
            yield Draw(kind, mixed[HELD_OUT:], mixed[:HELD_OUT])


def untuned(seen: Seen, draw: Draw) -> Outcome:
    """The same shares before any tuning."""

    def refused(prompts: Sequence[str]) -> float:
        return float((seen.untuned(prompts) > 0).float().mean())

    look_alikes, harmful, _ = seen.measured
    others = seen.other_kinds(draw)
    return Outcome(1 - refused(draw.others), 1 - refused(others), 1 - refused(look_alikes), refused(harmful), 0.0, 0.0)


def tuned(seen: Seen, draw: Draw, size: int, *, enriched: bool, settings: TuneSettings) -> Outcome:
    """What a tuning with the first ``size`` own prompts of ``draw`` does, within the limits that `tune` keeps."""
    own = draw.own[:size]
    made = [variant for prompt in own for variant in seen.variants[prompt]] if enriched else []
    rows = training_rows(
        replace(
            seen.set_prompts,
            own=own,
            variants=[variant.text for variant in made if variant.form != "twin"],
            twins=[variant.text for variant in made if variant.form == "twin"],
        ),
        harmful_weight=settings.harmful_weight,
    )
    added = rows.are("own", "variant", "twin")
    texts = [text for text, is_added in zip(rows.prompts, added.tolist(), strict=True) if is_added]
    reads = seen.solved.reads([seen.own_rows[t] for t in texts], rows.indicators()[added], rows.weights[added])
    chosen_by = seen.responses(reads, *seen.chosen_by)
    targets = choose_targets(chosen_by, STRENGTHS, settings.limits)
    curve = [chosen_by.point(targets, strength)[0] for strength in STRENGTHS]
    strength = chosen_point(curve, settings.limits).strength

    def share(prompts: Sequence[str]) -> float:
        """The share of ``prompts`` that is answered."""
        return 1 - seen.responses(reads, prompts, (), ()).point(targets, strength)[0].pseudo_harmful_refused

    point = seen.responses(reads, *seen.measured).point(targets, strength)[0]
    return Outcome(
        kind=share(draw.others),
        other_kinds=share(seen.other_kinds(draw)),
        look_alikes=1 - point.pseudo_harmful_refused,
        harmful=point.harmful_refused,
        lost=point.harmful_lost,
        newly_refused=point.benign_newly_refused,
    )


def table(seen: Seen, options: Namespace) -> list[str]:
    """A row for the untuned model, and one for each number of own prompts, plain and enriched."""
    settings = TuneSettings(seed=options.seed)
    every = list(draws(seen.kinds, options))
    rows = [HEADER, "|---" * HEADER.count(" | ") + "|---|"]
    rows.append(_row("untuned", "", [untuned(seen, draw) for draw in every]))
    for size in SIZES:
        plain = [tuned(seen, draw, size, enriched=False, settings=settings) for draw in every]
        rows.append(_row(str(size), "plain", plain))
        if size <= options.enriched:
            rich = [tuned(seen, draw, size, enriched=True, settings=settings) for draw in every]
            rows.append(_row(str(size), "enriched", rich))
    return rows


def _row(size: str, how: str, outcomes: Sequence[Outcome]) -> str:
    columns = zip(*(astuple(outcome) for outcome in outcomes), strict=True)
    return f"| {size} | {how} | " + " | ".join(_interval(list(column)) for column in columns) + " |"


def _interval(shares: Sequence[float]) -> str:
    """The mean over draws with its 95 % interval: prompts of one draw share a tuning, so that draws are counted."""
    mean = statistics.fmean(shares)
    half = 1.96 * statistics.stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else 0.0
    return f"{mean:.3f} ± {half:.3f}"


def _drawn_from(split: PromptSplit, settings: TuneSettings) -> tuple[list[str], list[str], list[str]]:
    """As many look-alikes, harmful and ordinary prompts as `tune` chooses by."""
    n = settings.probe_prompts
    return (
        drawn(split.pseudo_harmful, n, settings.seed),
        drawn(split.harmful, 2 * n, settings.seed),
        drawn(split.benign, n, settings.seed),
    )


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--draws", type=int, default=5, help="how often own prompts of each kind are drawn")
    parser.add_argument("--enriched", type=int, default=10, help="up to how many own prompts are enriched")
    parser.add_argument("--by-model", action="store_true", help="the model writes variants too, which takes long")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    model = load(options)
    seen = look(model, options)
    text = "\n".join([about(model, seen, options), "", *table(seen, options)])
    print(f"{text}\n\n{time.perf_counter() - start:.0f} s")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def about(model: LoadedModel, seen: Seen, options: Namespace) -> str:
    """What the figures are, and of which model."""
    kept = [len(variants) for variants in seen.variants.values()]
    return (
        f"{model.source.name}, {model.precision}, layer {seen.layer}; {len(seen.kinds)} kinds, {options.draws} draws "
        f"of each, {HELD_OUT} held-out prompts; {statistics.fmean(kept):.1f} variants of an own prompt, by rules"
        f"{' and by the model' if options.by_model else ''}; verdicts by the first token at the threshold fitted to "
        f"generated replies, since {len(SIZES) * 2 * len(seen.kinds) * options.draws} tunings are compared; seed "
        f"{options.seed}; {machine()}; {time.strftime('%Y-%m-%d')}. Means over draws with 95 % intervals."
    )


if __name__ == "__main__":
    main()
