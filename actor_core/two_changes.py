"""Two changes of one model beside each other: how alike their matrices are, and what the model does with each.

Matrices can be compared where both change the same one. The cosine is that of the two differences as vectors
(Frobenius product): 1 the same direction, 0 nothing in common, -1 the opposite.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from actor_core.delta import LayerDelta, LowRank
from actor_core.evaluate import Rates
from actor_core.events import Event
from actor_core.generate import answer
from actor_core.model import LoadedModel

__all__ = ["Likeness", "SetOfTwo", "alike", "ask_both"]


@dataclass(frozen=True)
class Likeness:
    """One matrix that both change: ``cosine`` in [-1, 1], and the Frobenius norms of the two differences."""

    module: str
    cosine: float
    norms: tuple[float, float]


@dataclass(frozen=True)
class SetOfTwo:
    """A prompt set asked with each of two changes: both counts, and on how many prompts the verdict is the same."""

    name: str
    first: Rates
    second: Rates
    same_verdict: int


def alike(first: LayerDelta, second: LayerDelta) -> list[Likeness]:
    """The matrices that both change; none where they change different layers.

    Raises `DeltaError`, with both digests, where they belong to different bases.
    """
    second.require_base(first.base)
    if first.layer != second.layer:
        return []
    found = []
    for name in sorted(first.changes.keys() & second.changes.keys()):
        a, b = first.changes[name], second.changes[name]
        norms = _product(a, a) ** 0.5, _product(b, b) ** 0.5
        size = norms[0] * norms[1]
        found.append(Likeness(name, _product(a, b) / size if size else 0.0, norms))
    return found


def ask_both(
    model: LoadedModel,
    changes: tuple[tuple[LayerDelta, float], tuple[LayerDelta, float]],
    sets: Mapping[str, Sequence[str]],
    tokens: int = 40,
) -> Generator[Event, None, list[SetOfTwo]]:
    """Asks every prompt of ``sets`` with each of ``changes`` (a delta and its strength), for ``tokens`` tokens.

    Raises `DeltaError`, with both digests, for a change of another base than ``model``.
    """
    for delta, _ in changes:
        delta.require_base(model.id)
    found = []
    for name, prompts in sets.items():
        replies = []
        for delta, strength in changes:
            work = answer(model, prompts, delta=delta, strength=strength, max_new_tokens=tokens, stage="two changes")
            replies.append((yield from work))
        first, second = replies
        same = sum(a.verdict is b.verdict for a, b in zip(first, second, strict=True))
        found.append(SetOfTwo(name, Rates.of(first), Rates.of(second), same))
    return found


def _product(a: LowRank | Tensor, b: LowRank | Tensor) -> float:
    """The Frobenius product of two differences [d_out, d_in], without writing low-rank ones out."""
    if isinstance(a, LowRank) and isinstance(b, LowRank):
        return float(((a.b.T @ b.b).double() * (a.a @ b.a.T).double()).sum())
    full = [change if isinstance(change, Tensor) else change.full() for change in (a, b)]
    return float(torch.dot(full[0].double().flatten(), full[1].double().flatten()))
