"""Gives back to the system what was freed: some allocators keep it for the next time that it is asked for.

A server would otherwise hold, as long as it runs, what its largest job once needed.
"""

from __future__ import annotations

import ctypes
import gc
import sys

__all__ = ["give_back"]


def give_back() -> None:
    """Returns freed memory to the system where glibc or CUDA's allocator holds it.

    Other allocators (macOS, Windows, musl) return it by themselves, or cannot be told.
    """
    gc.collect()
    torch = sys.modules.get("torch")  # where nothing has brought it yet, it holds nothing
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(ctypes.c_size_t(0))
