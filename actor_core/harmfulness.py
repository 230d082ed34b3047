"""Which of a person's prompts look like requests that should be refused: a guess, and how often it is wrong.

The refusal vector cannot tell: a harmless prompt that is wrongly refused trips it by definition. So this learns harmful
against pseudo-harmful and ordinary prompts of a set, by ridge regression on the model's own states (see
`instruction_states`), twins of nearly the same words on either side. Its errors are counted on whole kinds of prompts
(fiction, medicine, ...) of which neither the regression nor its ridge nor its threshold knew, and a prompt is flagged
where its score is above that of all but `MOST_FLAGGED` of the held-out look-alikes.

What it does not know: it is as good as the model's understanding, and misses much on small models; and among
look-alikes that the model refuses it may be wrong more often than among all. Measured by benchmarks/harmful_named.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from actor_core.errors import PromptError
from actor_core.evaluate import wilson
from actor_core.events import Event, Progress
from actor_core.model import LoadedModel
from actor_core.presets import middle_layers
from actor_core.readings import NOTHING_KEPT, ReadingStore
from actor_core.targets import drawn

if TYPE_CHECKING:
    from actor_core.prompt_sets import PromptSet

__all__ = ["BesideSet", "Examples", "Harmfulness", "name_harmful", "read_beside_set"]

# Of the held-out look-alikes, so many may be flagged.
MOST_FLAGGED = 0.05
# How many of the set are learnt from: the first time that is a quarter of what a tuning reads, and more
# pairs helped little on the default model.
PAIRS, WITHOUT_TWIN, ORDINARY = 450, 100, 100
FOLDS = 5
# Relative to the mean diagonal of the kernel; the one that parts the held-out twins best is taken.
RIDGES = (0.1, 0.3, 1.0)
STAGE = "harmfulness"


@dataclass(frozen=True)
class Harmfulness:
    """The ``scores`` of a person's prompts: above ``threshold`` one looks like a request that should be refused.

    Of ``look_alikes`` that the classifier had not learnt from it flags ``look_alikes_flagged``, of ``harmful``
    prompts ``harmful_caught``.
    """

    scores: dict[str, float]
    threshold: float
    look_alikes: int
    look_alikes_flagged: int
    harmful: int
    harmful_caught: int

    @property
    def tells(self) -> bool:
        """Whether more of the harmful prompts are flagged than of the look-alikes, by their 95 % intervals."""
        of_harmful = wilson(self.harmful_caught, self.harmful)
        return of_harmful[0] > wilson(self.look_alikes_flagged, self.look_alikes)[1]

    @property
    def flagged(self) -> frozenset[str]:
        """The prompts that look harmful; none where the classifier cannot tell."""
        if not self.tells:
            return frozenset()
        return frozenset(prompt for prompt, score in self.scores.items() if score > self.threshold)

    def words(self) -> str:
        """How far to believe it, for a person."""
        if not self.tells:
            return "This model's states do not tell harmful prompts from look-alikes, so none is named."
        wrong, missed = self.look_alikes_flagged, self.harmful - self.harmful_caught
        return (
            f"Of {self.look_alikes} harmless look-alikes that it had not seen it names {wrong} "
            f"({100 * wrong / self.look_alikes:.0f} %) wrongly, and of {self.harmful} harmful requests it misses "
            f"{missed} ({100 * missed / self.harmful:.0f} %)."
        )


@dataclass(frozen=True)
class Examples:
    """What is learnt from of a set. ``kinds`` numbers what is held out together: a category of twins, or one prompt."""

    prompts: tuple[str, ...]
    harmful: tuple[bool, ...]
    kinds: tuple[int, ...]
    twins: int  # the first so many are pairs of a look-alike and its harmful twin, in turn

    @classmethod
    def of(cls, prompt_set: PromptSet, seed: int) -> Examples:
        training = prompt_set.training()
        wanted = set(drawn(training.pseudo_harmful, PAIRS, seed))
        pairs = [pair for pair in prompt_set.pairs if pair.pseudo_harmful in wanted]
        categories = sorted({pair.category for pair in pairs})
        if len(categories) < 2:
            raise PromptError(
                f"The prompt set '{prompt_set.id}' has {len(categories)} kinds of pairs to learn from: two at least "
                "are needed, so that one can be held out; add some, or use the set 'everyday'."
            )
        prompts = [prompt for pair in pairs for prompt in (pair.pseudo_harmful, pair.harmful)]
        without_twin = drawn(training.harmful[len(training.pseudo_harmful) :], WITHOUT_TWIN, seed)
        ordinary = drawn(training.benign, ORDINARY, seed)
        alone = len(without_twin) + len(ordinary)
        return cls(
            prompts=(*prompts, *without_twin, *ordinary),
            harmful=(*(False, True) * len(pairs), *(True,) * len(without_twin), *(False,) * len(ordinary)),
            kinds=(
                *(categories.index(pair.category) for pair in pairs for _ in range(2)),
                *range(len(categories), len(categories) + alone),
            ),
            twins=len(prompts),
        )


@dataclass(frozen=True)
class BesideSet:
    """States of a person's ``prompts``, ``own`` [m, d], and of a set's ``examples``, ``of_set`` [n, d].

    Each coordinate is in standard deviations of the set from the set's mean.
    """

    prompts: tuple[str, ...]
    own: Tensor
    of_set: Tensor
    examples: Examples

    def harmfulness(self) -> Harmfulness:
        """How harmful each of the prompts looks."""
        return _scored(_kernel(self.of_set, self.of_set), _kernel(self.own, self.of_set), self.prompts, self.examples)


def name_harmful(
    model: LoadedModel,
    prompts: Sequence[str],
    prompt_set: PromptSet,
    store: ReadingStore = NOTHING_KEPT,
    *,
    seed: int = 0,
) -> Generator[Event, None, Harmfulness]:
    """How harmful each of a person's ``prompts`` looks, learnt from what may be tuned on of ``prompt_set``.

    A ``store`` with a folder reads the set's prompts once for each model; the person's are never kept.

    Raises `PromptError` for a set with pairs of fewer than two kinds.
    """
    return (yield from read_beside_set(model, prompts, prompt_set, store, seed=seed, stage=STAGE)).harmfulness()


def read_beside_set(
    model: LoadedModel,
    prompts: Sequence[str],
    prompt_set: PromptSet,
    store: ReadingStore,
    *,
    seed: int,
    stage: str,
) -> Generator[Event, None, BesideSet]:
    """Reads ``prompts``, and what is learnt from of ``prompt_set`` where ``store`` has not kept it."""
    examples = Examples.of(prompt_set, seed)
    first, last = middle_layers(model.n_layers)
    layers = sorted({first, (first + last) // 2, last})
    own, states = yield from store.read_states(model, prompts, examples.prompts, layers, stage=stage)
    yield Progress(stage, len(prompts), len(prompts))
    spread, mean = torch.std_mean(states, dim=0)
    states, own = ((rows - mean) / spread.clamp(min=1e-6) for rows in (states, own))
    return BesideSet(tuple(prompts), own, states, examples)


def _scored(among: ndarray, to: ndarray, prompts: Sequence[str], examples: Examples) -> Harmfulness:
    """``among`` is the kernel of the examples [n, n], ``to`` that of ``prompts`` with them [m, n].

    Where states are no numbers (a model that overflows in 16 bits) nothing can be told.
    """
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    wanted = torch.tensor(examples.harmful).numpy()
    twins = slice(examples.twins)
    if not (np.isfinite(among).all() and np.isfinite(to).all()):
        return Harmfulness(dict.fromkeys(prompts, 0.0), 0.0, examples.twins // 2, 0, examples.twins // 2, 0)
    folds = PredefinedSplit(_folds(examples.kinds, min(FOLDS, len(set(examples.kinds[twins])))))

    def ridge_regression(ridge: float) -> KernelRidge:
        return KernelRidge(alpha=ridge * float(among.diagonal().mean()), kernel="precomputed")

    held_out = [cross_val_predict(ridge_regression(ridge), among, 2.0 * wanted - 1, cv=folds) for ridge in RIDGES]
    parted = [float(roc_auc_score(wanted[twins], scores[twins])) for scores in held_out]
    best = parted.index(max(parted))
    flagged = np.zeros(len(wanted), dtype=bool)
    for others, kinds in folds.split():
        paired = others[others < examples.twins]
        scores = max(held_out, key=lambda each: roc_auc_score(wanted[paired], each[paired]))
        flagged[kinds] = scores[kinds] > _threshold(scores[paired][~wanted[paired]])
    own = ridge_regression(RIDGES[best]).fit(among, 2.0 * wanted - 1).predict(to) if len(to) else []
    return Harmfulness(
        scores=dict(zip(prompts, map(float, own), strict=True)),
        threshold=_threshold(held_out[best][twins][0::2]),
        look_alikes=examples.twins // 2,
        look_alikes_flagged=int(flagged[twins][0::2].sum()),
        harmful=examples.twins // 2,
        harmful_caught=int(flagged[twins][1::2].sum()),
    )


def _folds(kinds: Sequence[int], n: int) -> list[int]:
    """Which of ``n`` folds each is in: the largest kinds first, each into the fold that is smallest so far.

    scikit-learn's GroupKFold from 1.9 on does the same; before, which of two equal kinds comes first depended on the
    processor, and with it how many are caught (scikit-learn issue 29495). Python 3.10 has none from 1.9 on.
    """
    sizes, held, fold_of = Counter(kinds), [0] * n, dict[int, int]()
    for kind in sorted(sizes, key=lambda kind: (sizes[kind], kind), reverse=True):
        fold_of[kind] = held.index(min(held))
        held[fold_of[kind]] += sizes[kind]
    return [fold_of[kind] for kind in kinds]


def _threshold(look_alikes: ndarray) -> float:
    """What at most `MOST_FLAGGED` of the scores [n] of look-alikes lie above."""
    return float(np.sort(look_alikes)[::-1][int(MOST_FLAGGED * len(look_alikes))])


def _kernel(rows: Tensor, others: Tensor) -> ndarray:
    """The mean product of standardised states, and 1 for the constant term; shape [n, m]."""
    return (rows @ others.T / rows.shape[1] + 1.0).double().numpy()
