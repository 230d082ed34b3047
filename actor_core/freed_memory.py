"""Gives back to the system what was freed: some allocators keep it for the next time that it is asked for.

A server would otherwise hold, as long as it runs, what its largest job once needed.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["give_back", "giving_back_at_once"]

# glibc's numbers for its two limits, and what they grow to by themselves in a process that frees large blocks.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
GROWN_TRIM, GROWN_MMAP = 64 << 20, 32 << 20
AT_ONCE = 1 << 20


def give_back(*, cycles: bool = True) -> None:
    """Returns freed memory to the system where glibc or CUDA's allocator holds it.

    Other allocators (macOS, Windows, musl) return it by themselves, or cannot be told. ``cycles``: first frees what
    only Python's garbage collector finds, which takes some tenths of a second.
    """
    if cycles:
        gc.collect()
    torch = sys.modules.get("torch")  # where nothing has brought it yet, it holds nothing
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))


@contextmanager
def giving_back_at_once() -> Iterator[None]:
    """Within the body glibc returns every block of 1 MB or more as soon as it is freed.

    Otherwise the small results of large operands, as 4-bit weights are, lie between freed blocks, which then are too
    small for the next operand: a model of 1.8 GB took 4.1 on its way.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        yield
        return
    mallopt(MMAP_THRESHOLD, AT_ONCE)
    try:
        yield
    finally:
        mallopt(MMAP_THRESHOLD, GROWN_MMAP)
        mallopt(TRIM_THRESHOLD, GROWN_TRIM)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where that has none of this name, or is another system's."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
