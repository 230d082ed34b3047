"""Solves that share the set's part give what each whole solve gives."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from few_solved import SolvedOnce  # noqa: E402

from actor_core.solve import solve_ridge  # noqa: E402


@pytest.mark.parametrize("rows", [[], [2], [0, 3, 4]])
def test_added_rows_move_others_as_in_a_whole_solve(rows):
    draw = torch.Generator().manual_seed(0)
    inputs, others, added, seen = (torch.randn(n, 12, generator=draw) for n in (30, 20, 5, 7))
    targets, weights = torch.randn(30, 3, generator=draw), 0.5 + torch.rand(30, generator=draw)
    of_added, weigh = torch.randn(len(rows), 3, generator=draw), 1 + torch.rand(len(rows), generator=draw)
    once = SolvedOnce(inputs, targets, weights, others, added, seen, ridge=0.1, other_weight=0.3)
    size = sum(float((weights[:, None] * inputs.square()).sum() if i else 0.3 * others.square().sum()) for i in (0, 1))
    whole = size + float((weigh[:, None] * added[rows].square()).sum())
    n = len(inputs) + len(others)
    solved = solve_ridge(
        torch.cat([inputs, added[rows]]),
        torch.cat([targets, of_added]),
        torch.cat([weights, weigh]),
        others.clone(),
        # The same λ, which is relative to all rows in the one and to the set's in the other.
        ridge=0.1 * size / n * (n + len(rows)) / whole,
        other_weight=0.3,
    )
    torch.testing.assert_close(once.reads(rows, of_added, weigh), seen @ solved, rtol=1e-3, atol=1e-4)
