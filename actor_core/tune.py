"""ACTOR on one layer, from prompts to a `LayerDelta`: the other modules of this package, in order.

    calibrate   how this model's refusals begin                          layer_choice, refusal_odds
    layers      R, g and the silhouette at each candidate; choose one    layer_choice, direction
    read        the training prompts up to that layer                    activations
    solve       the change along g (or R) in closed form                 targets, solve
    train       or the published loop                                    train
    strength    held-out prompts: choose how far to move which kind      probe, tradeoff
    picture     where prompts lie before and after                       projection
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from actor_core.activations import WRITER, LayerReading, norm_after_writer
from actor_core.delta import LayerDelta
from actor_core.direction import refusal_vector
from actor_core.errors import NothingToRepair, PromptError
from actor_core.events import Event, LayerScored, Progress, StrengthMeasured
from actor_core.finite import require_finite
from actor_core.freed_memory import give_back
from actor_core.layer_choice import Calibration, LayerChoice, calibrate, candidate_layers, choose_layer
from actor_core.memory import count_peak, peak_counted
from actor_core.model import LoadedModel
from actor_core.probe import Probe, prepare_probe
from actor_core.projection import Kind, Plane, Projection, project_solved, project_trained
from actor_core.prompt_sets import PromptSplit
from actor_core.readings import NOTHING_KEPT, ReadingStore
from actor_core.solve import rank_one, solve_ridge, write_direction
from actor_core.targets import TrainingRows, TuningPrompts, drawn, training_rows
from actor_core.tradeoff import Responses, Targets, choose_targets, chosen_point, measured
from actor_core.train import train
from actor_core.tune_settings import TuneSettings
from actor_core.tuning_words import tuning_words
from actor_core.work_ahead import WorkOfTuning

__all__ = ["TuneSettings", "Tuned", "TuningPrompts", "tune"]

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
# In ‖R‖: where a prompt's response to a shift is measured.
SHIFTS = (-1.5, -0.75, -0.35, 0.0, 0.35, 0.75, 1.5)
# Fewer harmful or ordinary prompts than this give no R worth the name.
LEAST_REFERENCE = 8
# Of a user's own prompts in the picture of what moved: the first ones, as nobody makes out more.
OWN_PLACED = 64


@dataclass(frozen=True)
class Tuned:
    """The result: ``delta`` at ``strength`` is the tuned model; ``words`` say to a person what was found.

    ``projection`` is None for a change that was opened from a file or stopped half way: nothing was read for it.
    """

    delta: LayerDelta
    strength: float
    layer_scores: tuple[LayerScored, ...]
    curve: tuple[StrengthMeasured, ...]
    words: tuple[str, ...]
    projection: Projection | None = None


@dataclass(frozen=True)
class _Solution:
    """``along`` [d_model] is ‖R‖ times the direction, ``reads`` [d_in, 3] w for a target of 1 of each kind.

    ``own`` is what was read of the user's first prompts, and ``plane`` where they are looked at.
    """

    layer: int
    along: Tensor
    reads: Tensor
    own: LayerReading
    plane: Plane

    def delta(self, model: LoadedModel, targets: Targets, settings: TuneSettings, prompts: int) -> LayerDelta:
        """ΔW = ‖R‖ ĝ wᵀ with w for ``targets``."""
        write = write_direction(self.along, norm_after_writer(model.layers[self.layer]))
        return LayerDelta(
            layer=self.layer,
            changes={WRITER: rank_one(write, self.reads @ targets.tensor())},
            base=model.id,
            method=settings.method,
            settings=asdict(settings) | {"targets": asdict(targets)},
            measured={"refusal_vector_norm": float(self.along.norm()), "prompts": prompts},
        )


@dataclass(frozen=True)
class _HeldOut:
    """Held-out prompts: pseudo-harmful, harmful and benign, as many of each as ``sizes`` says.

    Harmful ones are twice as many: the share lost of those refused before is held to the closest limit.
    """

    prompts: tuple[str, ...]
    sizes: tuple[int, int, int]

    def named(self) -> list[tuple[Kind, str]]:
        """Each prompt with its kind before it."""
        kinds: tuple[Kind, Kind, Kind] = ("pseudo-harmful", "harmful", "benign")
        each = [kind for kind, size in zip(kinds, self.sizes, strict=True) for _ in range(size)]
        return list(zip(each, self.prompts, strict=True))

    @classmethod
    def drawn_from(cls, split: PromptSplit, settings: TuneSettings) -> _HeldOut:
        n = settings.probe_prompts
        wanted = ((split.pseudo_harmful, n), (split.harmful, 2 * n), (split.benign, n))
        groups = [drawn(group, count, settings.seed) for group, count in wanted]
        sizes = (len(groups[0]), len(groups[1]), len(groups[2]))
        return cls(tuple(p for group in groups for p in group), sizes)


def tune(
    model: LoadedModel, prompts: TuningPrompts, settings: TuneSettings, store: ReadingStore = NOTHING_KEPT
) -> Generator[Event, None, Tuned]:
    """Tunes one layer of ``model`` for ``prompts.own``, which the model was seen to refuse.

    A ``store`` with a folder reads the prompts of the set once for each model and layer, and not again.

    Raises `NothingToRepair` where there is no own prompt or the model refuses nothing, `PromptError` for a
    prompt set without enough harmful or ordinary prompts or a share of it that is none, `ModelError` for a
    layer that the model does not have. The model itself is not changed.
    """
    if not prompts.own:
        raise NothingToRepair("None of your prompts is refused, so there is nothing to repair. Add one that is.")
    prompts = prompts.thinned(settings.set_share)
    _require_reference(prompts)
    candidates = candidate_layers(model, settings)
    rows = training_rows(prompts, harmful_weight=settings.harmful_weight)
    held_out = _HeldOut.drawn_from(prompts.held_out, settings)
    looked_at = STRENGTHS if settings.targets or settings.method == "published" else STRENGTHS + SHIFTS
    looks = 1 + sum(each != 0 for each in looked_at)  # without a change they are looked at once
    work = WorkOfTuning(model, prompts, rows, settings, store, held_out.prompts, looks)
    yield work.from_the_start(candidates)
    count_peak(model.device)
    calibration = yield from calibrate(model, prompts, settings, store)
    yield work.after_calibration(candidates, calibration)
    choice = yield from choose_layer(model, prompts, calibration, candidates, settings, store)
    yield work.after_choice(choice.layer, calibration)
    give_back(cycles=False)  # what each part needed at most would add up
    learnt: LayerDelta | _Solution
    if settings.method == "published":
        learnt = yield from train(model, choice.layer, rows, settings.published, seed=settings.seed)
    else:
        learnt = yield from _solve(model, choice, calibration, prompts, rows, settings, store)
    give_back(cycles=False)
    probe = yield from prepare_probe(model, held_out.prompts, calibration.odds, choice.layer, store)
    if isinstance(learnt, LayerDelta):
        delta = learnt
    else:
        reading = probe.reading()
        targets = settings.targets
        if targets is None:
            responses = yield from _respond(probe, learnt, reading, held_out.sizes)
            targets = choose_targets(responses, STRENGTHS, settings.limits)
        delta = learnt.delta(model, targets, settings, len(rows.prompts))
    delta.require_finite()
    curve = yield from _measure_strengths(probe, delta, held_out.sizes)
    strength = chosen_point(curve, settings.limits).strength
    figures = {"chosen_strength": strength, "held_out": [asdict(point) for point in curve]} | peak_counted(model.device)
    delta = replace(delta, measured=delta.measured | figures)
    words = tuning_words(delta, curve, strength, calibration.odds, settings.limits)
    own: list[tuple[Kind, str]] = [("own", prompt) for prompt in rows.of("own")[:OWN_PLACED]]
    if isinstance(learnt, LayerDelta):
        projection = yield from _look(probe, delta, strength, choice, held_out.named(), own)
    else:
        read = [(own, learnt.own), (held_out.named(), reading)]
        projection = project_solved(learnt.plane, read, delta, norm_after_writer(model.layers[delta.layer]))
    return Tuned(delta, strength, choice.scores, curve, words, projection)


def _solve(
    model: LoadedModel,
    choice: LayerChoice,
    calibration: Calibration,
    prompts: TuningPrompts,
    rows: TrainingRows,
    settings: TuneSettings,
    store: ReadingStore,
) -> Generator[Event, None, _Solution]:
    """w for each of the three kinds, for the matrix that writes into the residual stream; see `solve`.

    Held where they are, beside other tokens of the prompts, are those of the untuned model's replies: the
    change is for how a reply begins and not for how it goes on.
    """
    reading = yield from store.read_rows(
        model, rows.prompts, prompts.of_the_set(), choice.layer, other_tokens=settings.other_tokens, seed=settings.seed
    )
    replies = (calibration.asked_now, calibration.of_the_set)
    reply_tokens = yield from store.read_reply_tokens(model, *replies, choice.layer)
    yield Progress("solve", 0, 1)
    r = refusal_vector(reading.outputs[rows.are("harmful")], reading.outputs[rows.are("benign")])
    reads = solve_ridge(
        reading.inputs,
        rows.indicators() / reading.gains[:, None],
        rows.weights,
        torch.cat([reading.others, reply_tokens]),
        ridge=settings.ridge,
        other_weight=settings.other_weight,
    )
    require_finite("The solution for the layer", reads, r)
    yield Progress("solve", 1, 1)
    first = rows.are("own").nonzero()[:OWN_PLACED, 0]
    own = LayerReading(
        choice.layer, reading.outputs[first], reading.inputs[first], reading.gains[first], reading.others[:0]
    )
    plane = Plane.across(reading.outputs[rows.are("harmful")], reading.outputs[rows.are("benign")], choice.direction)
    return _Solution(choice.layer, choice.direction * r.norm(), reads, own, plane)


def _respond(
    probe: Probe, solution: _Solution, reading: LayerReading, sizes: tuple[int, int, int]
) -> Generator[Event, None, Responses]:
    """The held-out prompts' refusal log-odds at each of `SHIFTS` along the direction; ``reading`` is of them."""
    columns = []
    for shift in SHIFTS:
        columns.append(probe.shifted(shift * solution.along))
        yield Progress("strength", len(columns), len(SHIFTS) + len(STRENGTHS))
    reads = (reading.inputs @ solution.reads) * reading.gains[:, None]
    return Responses(torch.tensor(SHIFTS), torch.stack(columns, dim=1), reads, sizes, probe.odds.threshold)


def _look(
    probe: Probe,
    delta: LayerDelta,
    strength: float,
    choice: LayerChoice,
    held_out: Sequence[tuple[Kind, str]],
    own: Sequence[tuple[Kind, str]],
) -> Generator[Event, None, Projection]:
    """Where a trained ``delta`` moves prompts: there is no formula, so they are run where they are shown first."""
    seen = [(held_out, probe)]
    if own:
        seen.insert(0, (own, (yield from prepare_probe(probe.model, [p for _, p in own], probe.odds, delta.layer))))
    return project_trained(Plane.across(choice.harmful, choice.benign), seen, delta, strength or 1.0)


def _measure_strengths(
    probe: Probe, delta: LayerDelta, sizes: tuple[int, int, int]
) -> Generator[Event, None, tuple[StrengthMeasured, ...]]:
    """The held-out prompts under the delta itself, at every strength."""
    threshold = probe.odds.threshold
    untuned = probe.untuned - threshold
    curve = []
    for strength in STRENGTHS:
        curve.append(measured(probe.log_odds(delta, strength) - threshold, untuned, sizes, strength))
        yield curve[-1]
        yield Progress("strength", len(SHIFTS) + len(curve), len(SHIFTS) + len(STRENGTHS))
    return tuple(curve)


def _require_reference(prompts: TuningPrompts) -> None:
    for kind, group in (("harmful", prompts.harmful), ("ordinary", prompts.benign)):
        if len(set(group)) < LEAST_REFERENCE:
            raise PromptError(
                f"The prompt set has {len(set(group))} {kind} prompts for tuning: ACTOR needs at least "
                f"{LEAST_REFERENCE} as the reference; add some, or use the set 'everyday'."
            )
