"""Linear layers that take a batch of few rows the faster way round, on processors where there is one.

When replies are generated, each step multiplies a layer's matrix W [d_out, d_in] with one row for each reply. torch
asks for x Wᵀ, and on some processors its library (MKL on an EPYC of AMD) takes up to three times as long for that as
for W xᵀ, which gives the same numbers but for rounding. Whether it does is measured and not guessed.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from actor_core.in_turns import best_in_turns

__all__ = ["FewRowsLinear", "take_few_rows_faster"]

# Rows of a batch that are few: beyond them either way takes the same time.
MOST_ROWS = 128
# Matrices with fewer numbers stay in the processor's cache, where nothing is gained.
LEAST_NUMBERS = 2**18
# The other way round is taken where it needs at most this share of the time.
CLEAR_LEAD = 0.75


class FewRowsLinear(nn.Linear):
    """As `torch.nn.Linear`, by way of W xᵀ where x has 2 to `MOST_ROWS` rows."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        """``input`` [..., d_in] times the transposed weight, and the bias added, [..., d_out]."""
        rows = input.numel() // self.in_features
        if not 1 < rows <= MOST_ROWS:
            return super().forward(input)
        product = (self.weight @ input.reshape(rows, self.in_features).T).T.contiguous()
        product = product if self.bias is None else product + self.bias
        return product.reshape(*input.shape[:-1], self.out_features)


def take_few_rows_faster(model: nn.Module) -> None:
    """Makes the linear layers of ``model`` `FewRowsLinear` where their processor is faster for it.

    Those of other kinds (on a GPU, in 4 or 8 bits, read from files at each use) and small ones stay as they are.
    """
    for module in model.modules():
        if type(module) is nn.Linear and not hasattr(module, "_hf_hook"):
            weight = module.weight
            if weight.device.type == "cpu" and weight.numel() >= LEAST_NUMBERS and _is_faster(weight.dtype):
                module.__class__ = FewRowsLinear


@cache
def _is_faster(dtype: torch.dtype) -> bool:
    """Whether W xᵀ takes this processor clearly less time than x Wᵀ, at 4 rows of ``dtype``.

    On several matrices, which its caches do not all hold.
    """
    weights = [torch.ones(4096, 1024, dtype=dtype) for _ in range(4)]
    rows = torch.ones(4, 1024, dtype=dtype)
    ways = (
        lambda: [functional.linear(rows, weight) for weight in weights],
        lambda: [weight @ rows.T for weight in weights],
    )
    with torch.inference_mode():
        as_torch_does, other = best_in_turns(ways, 16)
    return other < CLEAR_LEAD * as_torch_does
