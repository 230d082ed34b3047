"""safetensors files that are the same bytes whenever they hold the same: the library writes metadata in any order."""

from __future__ import annotations

import json

from safetensors.torch import save
from torch import Tensor

__all__ = ["steady_bytes"]

ALIGNMENT = 8  # of the first tensor's bytes (safetensors format, version 0.4)


def steady_bytes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """``tensors`` and ``metadata`` as a safetensors file whose metadata is sorted by its keys."""
    data = save(tensors, metadata=metadata)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]
