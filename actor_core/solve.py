"""The closed form: the change of one matrix that moves every prompt by its own target at once.

With targets t(q) = a(q) + y(q) * s * ĝ and x(q) what enters the matrix at the last token, the
change that reaches them is ΔW = s * ĝ wᵀ, with w the ridge regression of y on x. Other tokens
of the same prompts enter the regression with target 0. ΔW has rank 1.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from actor_core.delta import LowRank

__all__ = ["rank_one", "solve_ridge", "write_direction"]

# Columns, or rows, that are widened to fp64 at a time.
BLOCK = 512


def solve_ridge(
    inputs: Tensor, targets: Tensor, weights: Tensor, others: Tensor, *, ridge: float, other_weight: float
) -> Tensor:
    """w minimising Σ c(q) (w·x(q) - y(q))² + c' Σ (w·x')² + λ‖w‖², shape [d_in, k].

    ``inputs`` [n, d_in] are x(q), ``weights`` [n] is c(q); each of the k columns of ``targets`` [n, k] is a y of
    its own, and its solution a column of the result. ``others`` [m, d_in] are the inputs x' at other tokens,
    each of weight ``other_weight``.
    λ is ``ridge`` times the mean diagonal of the weighted kernel. Solved in fp64 in the smaller of
    the two forms, over rows or over columns.
    """
    scale = torch.cat([weights, torch.full((len(others),), other_weight)]).double().sqrt()
    rows = torch.cat([inputs, others]).mul_(scale.float()[:, None])  # [n + m, d_in]
    wanted = torch.cat([targets, torch.zeros(len(others), targets.shape[1])]).double() * scale[:, None]
    penalty = ridge * float(torch.linalg.vector_norm(rows)) ** 2 / len(rows)
    if rows.shape[0] <= rows.shape[1]:
        kernel = _gram(rows.split(BLOCK, dim=1))
        kernel.diagonal().add_(penalty)
        solution = torch.linalg.solve(kernel, wanted)
        return torch.cat([block.T.double() @ solution for block in rows.split(BLOCK, dim=1)]).float()
    covariance = _gram(block.T for block in rows.split(BLOCK))
    covariance.diagonal().add_(penalty)
    blocks = zip(rows.split(BLOCK), wanted.split(BLOCK), strict=True)
    return torch.linalg.solve(covariance, _sum(block.T.double() @ part for block, part in blocks)).float()


def _gram(blocks: Iterable[Tensor]) -> Tensor:
    """Σ B Bᵀ in fp64, one block at a time: a whole copy in fp64 would be the most that tuning holds."""
    return _sum(wide @ wide.T for wide in (block.double() for block in blocks))


def _sum(parts: Iterable[Tensor]) -> Tensor:
    """The sum of tensors of one shape, added up in place of the first."""
    remaining = iter(parts)
    total = next(remaining)
    for part in remaining:
        total += part
    return total


def write_direction(direction: Tensor, norm_weight: Tensor | None) -> Tensor:
    """What the matrix must write, shape [d_model], for the residual stream to move along ``direction``.

    The same where the layer adds what the matrix writes. Where a norm with ``norm_weight``
    [d_model] stands between (Gemma 2 and 3) each coordinate is divided by the norm's, and
    those that the norm all but silences are left out.
    """
    if norm_weight is None:
        return direction
    usable = norm_weight.abs() > 0.05 * norm_weight.abs().mean()
    return torch.where(usable, direction / norm_weight, torch.zeros_like(direction))


def rank_one(write: Tensor, read: Tensor) -> LowRank:
    """ΔW = write readᵀ as factors, from [d_model] and [d_in]."""
    return LowRank(a=read[None, :].contiguous(), b=write[:, None].contiguous())
