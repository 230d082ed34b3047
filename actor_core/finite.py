"""Ends a computation in words where NaN or infinity came into it, before anything is learnt from them."""

from __future__ import annotations

from torch import Tensor

from actor_core.errors import ModelError

__all__ = ["require_finite"]


def require_finite(what: str, *tensors: Tensor) -> None:
    """Raises ModelError, naming ``what``, where one of ``tensors`` holds a number that is not finite."""
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise ModelError(
            f"{what} came out as numbers that are not finite (NaN or infinity), so nothing was learnt from them. Load "
            "the model in step 1 as bf16 or fp32; where that does not help, its files are damaged: download them again."
        )
