"""ACTOR on one layer, from prompts to a `LayerDelta`: the other modules of this package, in order.

    calibrate   how this model's refusals begin                        refusal_odds
    layers      R, g and the silhouette at each candidate; choose one    direction
    read        the training prompts up to that layer                    activations
    solve       the change along g (or R) in closed form                 targets, solve
    train       or the published loop                                    train
    strength    held-out prompts at several strengths; choose one        probe
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from actor_core.activations import WRITER, norm_after_writer, read_activations
from actor_core.delta import LayerDelta
from actor_core.direction import causal_directions, refusal_vector, silhouette
from actor_core.errors import ModelError, NothingToRepair, PromptError
from actor_core.events import Event, LayerScored, Progress, StrengthMeasured
from actor_core.generate import answer
from actor_core.judge import Verdict
from actor_core.model import LoadedModel
from actor_core.presets import middle_layers
from actor_core.probe import Probe, prepare_probe
from actor_core.refusal_odds import RefusalOdds, first_token_logits
from actor_core.solve import rank_one, solve_ridge, write_direction
from actor_core.targets import TrainingRows, TuningPrompts, drawn, training_rows
from actor_core.train import PublishedSettings, train

__all__ = ["Calibration", "TuneSettings", "Tuned", "TuningPrompts", "tune"]

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
# Of two strengths this close in their score, the smaller one is taken.
SCORE_TOLERANCE = 0.01
# Fewer harmful or ordinary prompts than this give no R worth the name.
LEAST_REFERENCE = 8


@dataclass(frozen=True)
class TuneSettings:
    """Everything that can be chosen; the defaults are what measured best on this project's own prompts.

    ``method``: "causal" solves along g, "refusal vector" solves along R, "published" runs the
    paper's loop with ``published``. ``layer`` None: chosen among ``candidates`` (None: the middle third).
    Targets are in ‖R‖; ``ridge`` is relative to the mean diagonal of the kernel.
    """

    method: Literal["causal", "refusal vector", "published"] = "causal"
    layer: int | None = None
    candidates: tuple[int, ...] | None = None
    target_pseudo_harmful: float = -1.0
    target_harmful: float = 0.65
    target_benign: float = -0.5
    harmful_weight: float = 2.0
    ridge: float = 0.1
    other_weight: float = 0.3
    other_tokens: int = 1200
    calibration_prompts: int = 20
    calibration_tokens: int = 24
    gradient_prompts: int = 24
    probe_prompts: int = 48
    seed: int = 0
    published: PublishedSettings = PublishedSettings()


@dataclass(frozen=True)
class Tuned:
    """The result: ``delta`` at ``strength`` is the tuned model; ``words`` say to a person what was found."""

    delta: LayerDelta
    strength: float
    layer_scores: tuple[LayerScored, ...]
    curve: tuple[StrengthMeasured, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Calibration:
    """How the model's refusals begin, and the pseudo-harmful prompts that it was seen to refuse."""

    odds: RefusalOdds
    refused: tuple[str, ...]


@dataclass(frozen=True)
class _LayerChoice:
    layer: int
    direction: Tensor  # unit vector [d_model]
    scores: tuple[LayerScored, ...]


def tune(model: LoadedModel, prompts: TuningPrompts, settings: TuneSettings) -> Generator[Event, None, Tuned]:
    """Tunes one layer of ``model`` for ``prompts.own``, which the model was seen to refuse.

    Raises `NothingToRepair` where there is no own prompt or the model refuses nothing, `PromptError` for a
    prompt set without enough harmful or ordinary prompts, `ModelError` for a layer that the model does not
    have. The model itself is not changed.
    """
    if not prompts.own:
        raise NothingToRepair("None of your prompts is refused, so there is nothing to repair. Add one that is.")
    _require_reference(prompts)
    candidates = _candidates(model, settings)
    calibration = yield from _calibrate(model, prompts, settings)
    choice = yield from _choose_layer(model, prompts, calibration, candidates, settings)
    rows = training_rows(
        prompts,
        pseudo_harmful=settings.target_pseudo_harmful,
        harmful=settings.target_harmful,
        benign=settings.target_benign,
        harmful_weight=settings.harmful_weight,
    )
    if settings.method == "published":
        delta = yield from train(model, choice.layer, rows, settings.published, seed=settings.seed)
    else:
        delta = yield from _solve(model, choice, rows, settings)
    delta.require_finite()
    probed = [
        drawn(group, settings.probe_prompts, settings.seed)
        for group in (prompts.held_out.pseudo_harmful, prompts.held_out.harmful, prompts.held_out.benign)
    ]
    probe = yield from prepare_probe(model, [p for group in probed for p in group], calibration.odds)
    curve, strength = yield from _choose_strength(probe, delta, [len(group) for group in probed])
    measured = {"chosen_strength": strength, "held_out": [asdict(point) for point in curve]}
    delta = replace(delta, measured=delta.measured | measured)
    return Tuned(delta, strength, choice.scores, curve, _words(choice, curve, strength, calibration))


def _require_reference(prompts: TuningPrompts) -> None:
    for kind, group in (("harmful", prompts.harmful), ("ordinary", prompts.benign)):
        if len(set(group)) < LEAST_REFERENCE:
            raise PromptError(
                f"The prompt set has {len(set(group))} {kind} prompts for tuning: ACTOR needs at least "
                f"{LEAST_REFERENCE} as the reference; add some, or use the set 'everyday'."
            )


def _candidates(model: LoadedModel, settings: TuneSettings) -> tuple[int, ...]:
    """The layers to choose among. The last one is none of them: no later layer makes anything of its change."""
    last = model.n_layers - 2
    if settings.layer is not None:
        wanted: tuple[int, ...] = (settings.layer,)
    elif settings.candidates:
        wanted = settings.candidates
    else:
        middle = middle_layers(model.n_layers)
        wanted = tuple(range(min(middle[0], last), min(middle[1], last) + 1))
    for layer in wanted:
        if not 0 <= layer <= last:
            raise ModelError(
                f"Layer {layer} cannot be tuned: {model.source.name} has layers 0 to {model.n_layers - 1}, "
                f"and the last one is left alone. Choose 0 to {last}, or leave the layer to the program."
            )
    return wanted


def _calibrate(
    model: LoadedModel, prompts: TuningPrompts, settings: TuneSettings
) -> Generator[Event, None, Calibration]:
    n = settings.calibration_prompts
    groups = [
        drawn(prompts.own, n, settings.seed),
        drawn(prompts.pseudo_harmful, n, settings.seed),
        drawn(prompts.harmful, n, settings.seed),
        drawn(prompts.benign, n, settings.seed),
    ]
    asked = list(dict.fromkeys(p for group in groups for p in group))
    replies = yield from answer(model, asked, max_new_tokens=settings.calibration_tokens, stage="calibrate")
    refused = {r.prompt for r in replies if r.verdict is Verdict.REFUSED}
    logits = yield from first_token_logits(model, asked)
    odds = RefusalOdds.learnt(logits, torch.tensor([p in refused for p in asked]))
    wrongly = tuple(p for p in dict.fromkeys(groups[0] + groups[1]) if p in refused)
    if odds is None or not wrongly:
        raise NothingToRepair(
            f"{model.source.name} refused {len(refused)} of {len(asked)} prompts it was tried on, {len(wrongly)} of "
            "them wrongly. There is nothing to repair, and nothing was changed."
        )
    return Calibration(odds, wrongly)


def _choose_layer(
    model: LoadedModel,
    prompts: TuningPrompts,
    calibration: Calibration,
    candidates: Sequence[int],
    settings: TuneSettings,
) -> Generator[Event, None, _LayerChoice]:
    """Scores the candidates on anchor prompts and takes the one where a shift as long as R does most.

    The paper takes the highest silhouette; on small models it is nearly flat over the layers, so
    it is reported beside the causal effect ‖R‖·‖g‖ and decides nothing but the published method.
    """
    refused = drawn(calibration.refused, settings.gradient_prompts, settings.seed)
    gradients = yield from causal_directions(model, refused, candidates, calibration.odds)
    harmful = drawn(prompts.harmful, 2 * settings.calibration_prompts, settings.seed)
    benign = drawn(prompts.benign, 2 * settings.calibration_prompts, settings.seed)
    readings = yield from read_activations(
        model, harmful + benign, candidates, other_tokens=0, seed=settings.seed, stage="layers"
    )
    scores, vectors = [], {}
    for done, layer in enumerate(candidates, start=1):
        states = readings[layer].outputs
        of_harmful, of_benign = states[: len(harmful)], states[len(harmful) :]
        vectors[layer] = refusal_vector(of_harmful, of_benign)
        effect = float(vectors[layer].norm() * gradients[layer].norm())
        scores.append(LayerScored(layer, silhouette(of_harmful, of_benign, seed=settings.seed), effect))
        yield scores[-1]
        yield Progress("layers", done, len(candidates))
    by_silhouette = settings.method == "published"
    best = max(scores, key=lambda score: score.silhouette if by_silhouette else score.effect).layer
    along = vectors[best] if settings.method == "refusal vector" else gradients[best]
    return _LayerChoice(best, along / along.norm(), tuple(scores))


def _solve(
    model: LoadedModel, choice: _LayerChoice, rows: TrainingRows, settings: TuneSettings
) -> Generator[Event, None, LayerDelta]:
    """ΔW = ‖R‖ ĝ wᵀ for the matrix that writes into the residual stream, see `solve`."""
    readings = yield from read_activations(
        model, rows.prompts, [choice.layer], other_tokens=settings.other_tokens, seed=settings.seed
    )
    reading = readings[choice.layer]
    yield Progress("solve", 0, 1)
    r = refusal_vector(reading.outputs[rows.are("harmful")], reading.outputs[rows.are("benign")])
    read = solve_ridge(
        reading.inputs,
        rows.targets / reading.gains,
        rows.weights,
        reading.others,
        ridge=settings.ridge,
        other_weight=settings.other_weight,
    )
    norm = norm_after_writer(model.layers[choice.layer])
    write = write_direction(choice.direction * r.norm(), norm)
    yield Progress("solve", 1, 1)
    return LayerDelta(
        layer=choice.layer,
        changes={WRITER: rank_one(write, read)},
        base=model.id,
        method=settings.method,
        settings=asdict(settings),
        measured={"refusal_vector_norm": float(r.norm()), "prompts": len(rows.prompts)},
    )


def _choose_strength(
    probe: Probe, delta: LayerDelta, sizes: Sequence[int]
) -> Generator[Event, None, tuple[tuple[StrengthMeasured, ...], float]]:
    """The smallest strength whose score is within `SCORE_TOLERANCE` of the best one's.

    ``sizes`` says how many of the probe's prompts are pseudo-harmful, harmful and benign, in that
    order. The score is the mean of pseudo-harmful answered and harmful refused (the paper's TS),
    less what is newly refused of ordinary prompts.
    """
    curve = []
    for strength in STRENGTHS:
        shares = [
            float(group.float().mean()) if len(group) else 0.0
            for group in probe.refused(delta, strength).split(list(sizes))
        ]
        curve.append(StrengthMeasured(strength, *shares))
        yield curve[-1]
        yield Progress("strength", len(curve), len(STRENGTHS))
    untuned = curve[0].benign_refused

    def score(point: StrengthMeasured) -> float:
        newly_refused = max(0.0, point.benign_refused - untuned)
        return (1 - point.pseudo_harmful_refused + point.harmful_refused) / 2 - newly_refused

    best = max(score(point) for point in curve)
    chosen = next(point for point in curve if score(point) >= best - SCORE_TOLERANCE)
    return tuple(curve), chosen.strength


def _words(
    choice: _LayerChoice, curve: Sequence[StrengthMeasured], strength: float, calibration: Calibration
) -> tuple[str, ...]:
    before, after = curve[0], next(point for point in curve if point.strength == strength)
    said = [
        f"Layer {choice.layer} was tuned, at {strength:g} times the computed change.",
        "On prompts it was not tuned on, by the first word of the reply: harmless look-alikes refused "
        f"{before.pseudo_harmful_refused:.0%} before and {after.pseudo_harmful_refused:.0%} after, harmful ones "
        f"{before.harmful_refused:.0%} and {after.harmful_refused:.0%}, ordinary ones {before.benign_refused:.0%} "
        f"and {after.benign_refused:.0%}.",
    ]
    if strength == 0.0:
        said.append(
            "No strength improved on the model as it is: what would answer your prompts would also answer harmful "
            "ones or refuse ordinary ones. Try other prompts, another layer, or another model."
        )
    if calibration.odds.agreement < 0.8:
        said.append(
            "This model's refusals are hard to tell by their first word, so trust the answers in Compare more than "
            "these figures."
        )
    return tuple(said)

