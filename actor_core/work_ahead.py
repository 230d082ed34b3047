"""How much work a tuning is, before it is done: what a page needs to say how long is left of a first run.

Nothing here is in seconds. Work is counted from the prompts, the layers and the settings, and how fast this
machine does each kind of it shows while the first parts run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from actor_core.activations import WRITER
from actor_core.events import Ahead, Part
from actor_core.generate import ROWS
from actor_core.layer_choice import Calibration, anchors_of, asked_of
from actor_core.model import LoadedModel, shared_start
from actor_core.probe import how_read
from actor_core.readings import ReadingStore
from actor_core.targets import TrainingRows, TuningPrompts
from actor_core.tune_settings import TuneSettings

__all__ = ["WorkOfTuning", "generating"]

# Of a group of prompts so many, evenly, are looked at to know how many tokens all of them have.
SAMPLED = 32
# Fetching the weights for one token costs about as much as applying them to so many rows.
ROWS_TO_FETCH = 25
# A step of training goes forward and back, and the gradient of the weights is as much again.
PASSES_OF_TRAINING = 3


@dataclass(frozen=True)
class WorkOfTuning:
    """``held_out`` prompts are looked at ``looks`` times, each time at their last token, from the layer on."""

    model: LoadedModel
    prompts: TuningPrompts
    rows: TrainingRows
    settings: TuneSettings
    store: ReadingStore
    held_out: Sequence[str]
    looks: int

    def from_the_start(self, candidates: Sequence[int]) -> Ahead:
        """All of it."""
        to_ask, of_the_set = asked_of(self.prompts, self.settings)
        kept = self.store.has_asked(self.model, of_the_set, self.settings.calibration_tokens)
        asking = ((Part("calibrate", "read", 0.0),) if kept else self._asking(of_the_set)) + self._asking(to_ask)
        return Ahead(asking + self.after_calibration(candidates).parts)

    def after_calibration(self, candidates: Sequence[int], calibration: Calibration | None = None) -> Ahead:
        """What follows once the calibration is done; before it is, as many as at most are taken to be refused.

        Which of ``candidates`` is chosen is not known yet: one whose readings are kept stands for it, else the middle
        one.
        """
        refused = calibration.refused if calibration else [*self.prompts.own, *self.prompts.pseudo_harmful]
        gradients = refused[: self.settings.gradient_prompts]
        harmful, benign = anchors_of(self.prompts, self.settings)
        read = self.store.has_outputs(self.model, harmful + benign, candidates)
        likely = next(filter(self._kept, candidates), sorted(candidates)[len(candidates) // 2])
        parts = (
            # Forward through all layers, and back to the first candidate.
            Part("direction", "read", self._read(gradients, 2 * self.model.n_layers - min(candidates), shared=False)),
            Part("layers", "read", 0.0 if read else self._read(harmful + benign, max(candidates) + 1)),
            Part("layers", "score", len(candidates)),
        )
        return Ahead(parts + self.after_choice(likely, calibration).parts)

    def after_choice(self, layer: int, calibration: Calibration | None = None) -> Ahead:
        """What follows once ``layer`` is chosen; of ``calibration``, where it is known, how long the replies are."""
        kept = self.store.has_held_out(self.model, self.held_out, how_read(layer))
        measured = 0.0 if kept else self._read(self.held_out, self.model.n_layers)
        count = len(self.held_out)
        one_look = count * sum(map(_weights, self.model.layers[layer:])) + self._heads(count)
        last = (Part("strength", "read", measured), Part("strength", "read", self.looks * one_look))
        learn = self._training(layer) if self.settings.method == "published" else self._solving(layer, calibration)
        return Ahead((*learn, *last))

    def _training(self, layer: int) -> tuple[Part, ...]:
        tokens = _tokens(self.model, self.rows.prompts, shared=False)
        passes = self.settings.published.epochs * PASSES_OF_TRAINING
        return (
            Part("read", "read", self._read(self.rows.prompts, layer, shared=False)),
            Part("train", "train", passes * tokens * _weights(self.model.layers[layer])),
        )

    def _asking(self, prompts: Sequence[str]) -> tuple[Part, ...]:
        read = self._read(prompts, self.model.n_layers) + self._heads(len(prompts))
        replies = generating(self.model, "calibrate", len(prompts), self.settings.calibration_tokens)
        return (Part("calibrate", "read", read), replies)

    def _solving(self, layer: int, calibration: Calibration | None) -> tuple[Part, ...]:
        of_the_set = self.prompts.of_the_set()
        known = set(of_the_set)
        rest = [prompt for prompt in self.rows.prompts if prompt not in known]
        to_ask, asked = asked_of(self.prompts, self.settings)
        tokens = self.settings.calibration_tokens
        spoken, of_set, kept = tokens * len(to_ask), tokens * len(asked), False
        if calibration is not None:
            spoken, of_set = (sum(len(r.tokens) for r in g) for g in (calibration.asked_now, calibration.of_the_set))
            kept = self.store.has_reply_tokens(self.model, calibration.of_the_set, layer)
        again = of_set * self._layers_up_to(layer) + self._read(asked, layer + 1)
        rows = len(self.rows.prompts) + self.settings.other_tokens + spoken + of_set
        d_in = _sizes(self.model.layers[layer].get_submodule(WRITER))[0][0]
        return (
            Part("read", "read", 0.0 if self._kept(layer) else self._read(of_the_set, layer + 1)),
            *((Part("read", "read", self._read(rest, layer + 1)),) if rest else ()),
            Part("read", "read", 0.0 if kept else again),
            Part("read", "read", spoken * self._layers_up_to(layer) + self._read(to_ask, layer + 1)),
            Part("solve", "solve", float(rows * d_in * min(rows, d_in))),
        )

    def _layers_up_to(self, layer: int) -> int:
        """Weights of the layers up to ``layer``."""
        return sum(map(_weights, self.model.layers[: layer + 1]))

    def _kept(self, layer: int) -> bool:
        of_the_set, settings = self.prompts.of_the_set(), self.settings
        return self.store.has(self.model, of_the_set, layer, settings.other_tokens, settings.seed)

    def _read(self, prompts: Sequence[str], layers: int, *, shared: bool = True) -> float:
        """Reading ``prompts`` through so many layers."""
        return _tokens(self.model, prompts, shared=shared) * layers * _weights(self.model.layers[0])

    def _heads(self, rows: int) -> float:
        """The logits of so many rows."""
        return rows * _weights(self.model.model.get_output_embeddings())


def generating(model: LoadedModel, stage: str, prompts: int, tokens: int) -> Part:
    """Replies of up to ``tokens`` tokens to so many prompts: how many end sooner nobody knows before."""
    full, rest = divmod(prompts, ROWS)
    rows = full * (ROWS + ROWS_TO_FETCH) + (rest + ROWS_TO_FETCH if rest else 0)
    weights = sum(map(_weights, model.layers)) + _weights(model.model.get_output_embeddings())
    return Part(stage, "generate", float(tokens * rows * weights))


def _weights(module: nn.Module) -> int:
    """How many weights its matrices have, however they are packed."""
    return sum(d_in * d_out for d_in, d_out in _sizes(module))


def _sizes(module: nn.Module) -> list[tuple[int, int]]:
    """d_in and d_out of each matrix of ``module``."""
    linear = [m for m in module.modules() if hasattr(m, "in_features")]
    return [(int(getattr(m, "in_features")), int(getattr(m, "out_features"))) for m in linear]  # noqa: B009


def _tokens(model: LoadedModel, prompts: Sequence[str], *, shared: bool) -> float:
    """About how many tokens ``prompts`` have in all; ``shared``: without those that all begin with."""
    ids = [model.token_ids(prompt) for prompt in _evenly(prompts, SAMPLED)]
    before = shared_start(ids) if shared else 0
    return len(prompts) * (sum(map(len, ids)) / len(ids) - before) if ids else 0.0


def _evenly(prompts: Sequence[str], count: int) -> list[str]:
    step = max(1, len(prompts) / count)
    return [prompts[int(n * step)] for n in range(min(count, len(prompts)))]
