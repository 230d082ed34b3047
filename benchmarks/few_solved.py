"""Many solves that differ by a few rows: the set's part is factorised once.

`actor_core.solve.solve_ridge` with rows added is (A + Xᵀ C X) w = b + Xᵀ C Y; A and b are the set's, with their λ. By
Woodbury's identity only a system as large as the added rows is left. λ stays that of the set: a few rows do not
change the mean diagonal of the kernel of thousands.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["SolvedOnce"]


class SolvedOnce:
    """``inputs`` [n, d] with ``targets`` [n, k] and ``weights`` [n], and ``others`` held at zero, as in `solve_ridge`.

    ``added`` [m, d] are all the rows that any solve may add; what is asked for is where ``seen`` [e, d] are moved.
    """

    def __init__(
        self,
        inputs: Tensor,
        targets: Tensor,
        weights: Tensor,
        others: Tensor,
        added: Tensor,
        seen: Tensor,
        *,
        ridge: float,
        other_weight: float,
    ) -> None:
        scale = torch.cat([weights, torch.full((len(others),), other_weight)]).double().sqrt()[:, None]
        rows = torch.cat([inputs, others]).double() * scale
        wanted = torch.cat([targets, torch.zeros(len(others), targets.shape[1])]).double() * scale
        covariance = rows.T @ rows
        covariance.diagonal().add_(ridge * float(covariance.trace()) / len(rows))
        factor = torch.linalg.cholesky(covariance)
        base = torch.cholesky_solve(rows.T @ wanted, factor)  # [d, k]
        del covariance, rows
        reached = torch.cholesky_solve(added.T.double(), factor)  # A⁻¹Xᵀ, [d, m]
        self.among = added.double() @ reached  # [m, m]
        self.base_of_added = added.double() @ base  # [m, k]
        self.seen_by_added = seen.double() @ reached  # [e, m]
        self.base_of_seen = seen.double() @ base  # [e, k]

    def reads(self, rows: Sequence[int], targets: Tensor, weights: Tensor) -> Tensor:
        """w·x of every row of ``seen`` with ``rows`` of ``added`` in the regression, [e, k].

        ``targets`` [r, k] and ``weights`` [r] are theirs.
        """
        if not rows:
            return self.base_of_seen.float()
        chosen = torch.tensor(rows)
        system = self.among[chosen][:, chosen] + torch.diag(1 / weights.double())
        left = targets.double() - self.base_of_added[chosen]
        return (self.base_of_seen + self.seen_by_added[:, chosen] @ torch.linalg.solve(system, left)).float()
