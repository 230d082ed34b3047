"""A delta as the low-rank matrices that adapter files hold: W' = W + b @ a, all of one rank.

PEFT and llama.cpp scale an adapter by alpha / rank, with one alpha for the whole file. Here
alpha is the rank, the strength is already inside b, and every module has the same rank (padded
with zeros), so that the scale is 1 in every program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from actor_core.delta import LayerDelta, LowRank
from actor_core.errors import DeltaError, ExportError

__all__ = ["MAX_RANK", "MAX_RELATIVE_ERROR", "Adapter", "at_strength", "bytes_of", "low_rank_adapter"]

MAX_RANK = 64
MAX_RELATIVE_ERROR = 0.02
SHOWN_RANKS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Adapter:
    """``modules`` maps a module's name inside layer ``layer`` to its change, all of rank ``rank``.

    ``relative_error`` is that of the singular value decomposition of full differences, in
    Frobenius norm, the largest over the modules; 0 where the delta was of low rank already.
    ``error_by_rank`` says what other ranks would lose, empty where the delta was of low rank already.
    """

    layer: int
    rank: int
    modules: dict[str, LowRank]
    relative_error: float
    error_by_rank: dict[int, float]


def at_strength(delta: LayerDelta, strength: float) -> LayerDelta:
    """The delta with ``strength`` folded into its numbers.

    Raises `ExportError` for a strength that is not finite or 0, and for numbers that are not finite.
    """
    if not math.isfinite(strength):
        raise ExportError(f"The strength {strength} is no number to export. Move the slider and try again.")
    if strength == 0:
        raise ExportError("At strength 0 the files would change nothing. Choose another and export again.")
    scaled = delta.scaled(strength)
    try:
        scaled.require_finite()
    except DeltaError as error:
        raise ExportError(f"Nothing was exported. {error}") from error
    return scaled


def low_rank_adapter(delta: LayerDelta, rank: int | None = None) -> Adapter:
    """The delta's changes, low-rank ones as they are, a full difference by truncated SVD.

    ``rank`` is that of full differences. Without it, it is the smallest whose relative error is at most
    `MAX_RELATIVE_ERROR`, but at most `MAX_RANK`. Raises `ExportError` for a rank below 1.
    """
    if rank is not None and rank < 1:
        raise ExportError(f"Rank {rank} makes no adapter: choose 1 or more, or leave it to the program.")
    parts: dict[str, LowRank] = {}
    worst, by_rank = 0.0, dict[int, float]()
    for name, change in delta.changes.items():
        if isinstance(change, LowRank):
            parts[name] = LowRank(_plain(change.a), _plain(change.b))
            continue
        parts[name], errors = _truncated(_plain(change), rank)
        worst = max(worst, errors[parts[name].a.shape[0]])
        for shown in (r for r in SHOWN_RANKS if r < len(errors)):
            by_rank[shown] = max(by_rank.get(shown, 0.0), errors[shown])
    highest = max(change.a.shape[0] for change in parts.values())
    padded = {name: _padded(change, highest) for name, change in parts.items()}
    return Adapter(delta.layer, highest, padded, worst, by_rank)


def bytes_of(changes: Mapping[str, LowRank | Tensor]) -> int:
    """The size of the changes' numbers in fp32."""
    counts = (c.numel() if isinstance(c, Tensor) else c.a.numel() + c.b.numel() for c in changes.values())
    return 4 * sum(counts)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32)


def _truncated(difference: Tensor, wanted: int | None) -> tuple[LowRank, list[float]]:
    """``difference`` [d_out, d_in] as b @ a of rank ``wanted``, or of the smallest that is close enough.

    With the relative errors of all ranks from 0 on (Eckart and Young, Psychometrika 1, 1936).
    """
    u, s, vh = torch.linalg.svd(difference, full_matrices=False)
    total = float(s.double().norm())
    if total == 0:
        return LowRank(vh[:1].contiguous(), torch.zeros(difference.shape[0], 1)), [0.0, 0.0]
    # tail[r] is the error of keeping the first r directions: the norm of the others.
    tail = s.double().square().flip(0).cumsum(0).flip(0).sqrt() / total
    errors = [*tail.tolist(), 0.0]
    highest = min(wanted or MAX_RANK, len(s))
    close = (r for r in range(1, highest) if errors[r] <= MAX_RELATIVE_ERROR)
    rank = highest if wanted else next(close, highest)
    return LowRank(vh[:rank].contiguous(), (u[:, :rank] * s[:rank]).contiguous()), errors


def _padded(change: LowRank, rank: int) -> LowRank:
    missing = rank - change.a.shape[0]
    a = torch.nn.functional.pad(change.a, (0, 0, 0, missing))  # [rank, d_in]
    b = torch.nn.functional.pad(change.b, (0, missing))  # [d_out, rank]
    return LowRank(a.contiguous(), b.contiguous())
