"""The base's GGUF file with the change inside it: only the changed matrices are stored anew.

Quantising a whole model again would change every layer. So all other tensors, and all metadata, are copied byte
for byte; the changed ones are unpacked, changed, and stored in a finer type than they had. One line of metadata
is added, which says what was changed and how the guard went.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import gguf
import numpy as np
from torch import Tensor

from actor_core.errors import ExportError
from actor_core.export.gguf_lora import in_llama_order, tensor_name
from actor_core.export.request import Request
from actor_core.weights.gguf_header import Header, StoredTensor, read_header

__all__ = ["TENSOR_TYPES", "gguf_changes", "merged_note", "write_merged_gguf"]

TENSOR_TYPES = ("F16", "Q8_0", "F32")
NOTE_KEY = "second_take.change"
STRING = 8  # GGUF's number for a string (gguf.GGUFValueType.STRING)
BLOCK = 1 << 24


def gguf_changes(request: Request) -> dict[str, Tensor]:
    """The full differences [d_out, d_in] by llama.cpp's names, rows in its order."""
    config = request.model.model.config.get_text_config()
    changes = {}
    for module, change in request.scaled.changes.items():
        full = change if isinstance(change, Tensor) else change.full()
        rows = in_llama_order(full.detach().float().cpu(), module, config)
        changes[tensor_name(module, request.scaled.layer, config)] = rows.contiguous()
    return changes


def merged_note(request: Request) -> str:
    """The added line of metadata: JSON with the digests of base and change, and the guard's words."""
    note = {
        "base_sha256": request.delta.base.digest,
        "delta_sha256": request.scaled.digest(),
        "layer": request.scaled.layer,
        "guard": request.guard,
    }
    return json.dumps(note)


def write_merged_gguf(base: Path, target: Path, changes: Mapping[str, Tensor], tensor_type: str, note: str) -> None:
    """Writes ``target``: ``base`` with ``changes`` added, those tensors stored as ``tensor_type``.

    Raises `ExportError` where ``base`` lacks a tensor or it cannot be unpacked, `ModelError` where it is no whole file.
    """
    header = read_header(base)
    missing = changes.keys() - {tensor.name for tensor in header.tensors}
    if missing:
        raise ExportError(f"{base.name} holds no {min(missing)}: export the GGUF adapter instead.")
    kind = gguf.GGMLQuantizationType[tensor_type]
    # In the order in which they lie in the file, which need not be that of the header.
    in_order = sorted(header.tensors, key=lambda tensor: tensor.start)
    with base.open("rb") as source, target.open("wb") as file:
        changed = {t.name: _changed(source, t, changes[t.name], kind) for t in in_order if t.name in changes}
        offsets, at = {}, 0
        for tensor in in_order:
            offsets[tensor.name] = at
            size = len(changed[tensor.name]) if tensor.name in changed else tensor.size
            at = _aligned(at + size, header.alignment)
        file.write(_header(source, header, changed, kind, offsets, note))
        file.write(bytes(_aligned(file.tell(), header.alignment) - file.tell()))
        for tensor in in_order:
            if tensor.name in changed:
                file.write(changed[tensor.name])
            else:
                _copy(source, file, tensor.start, tensor.size)
            file.write(bytes(_aligned(file.tell(), header.alignment) - file.tell()))


def _changed(source: BinaryIO, tensor: StoredTensor, change: Tensor, kind: gguf.GGMLQuantizationType) -> bytes:
    stored = gguf.GGMLQuantizationType(tensor.kind)
    shape = gguf.quant_shape_to_byte_shape(tensor.dimensions[::-1], stored)
    source.seek(tensor.start)
    try:
        packed = np.frombuffer(source.read(tensor.size), dtype=np.uint8)
        weight = gguf.quants.dequantize(packed.reshape(shape), stored)  # [d_out, d_in]
    except NotImplementedError as error:
        raise ExportError(
            f"{tensor.name} is stored as {stored.name}, which cannot be unpacked here: export the GGUF adapter instead."
        ) from error
    if weight.shape != tuple(change.shape):
        raise ExportError(
            f"{tensor.name} has the shape {weight.shape} in the GGUF file and {tuple(change.shape)} in the change: it "
            "belongs to another model."
        )
    packed = gguf.quants.quantize(weight.astype(np.float32) + change.numpy(), kind)
    if not np.isfinite(gguf.quants.dequantize(packed, kind)).all():
        raise ExportError(
            f"Nothing was exported: {tensor.name} would hold numbers that {kind.name} cannot hold. Move the strength "
            "down, or choose F32 for the changed matrix."
        )
    return packed.tobytes()


def _header(
    source: BinaryIO,
    header: Header,
    changed: Mapping[str, bytes],
    kind: gguf.GGMLQuantizationType,
    offsets: Mapping[str, int],
    note: str,
) -> bytes:
    """The base's header with one more line of metadata, and the tensors' new types and places."""
    if NOTE_KEY in header.keys:
        raise ExportError(
            f"{Path(source.name).name} was merged with a change before: take the file that it was made from."
        )
    source.seek(0)
    head = bytearray(source.read(header.listed_at))
    struct.pack_into("<Q", head, 16, len(header.keys) + 1)  # magic, version and the number of tensors lie before
    head += _string(NOTE_KEY) + struct.pack("<I", STRING) + _string(note)
    for tensor in header.tensors:
        number = int(kind) if tensor.name in changed else tensor.kind
        count = len(tensor.dimensions)
        head += _string(tensor.name) + struct.pack(f"<I{count}Q", count, *tensor.dimensions)
        head += struct.pack("<IQ", number, offsets[tensor.name])
    return bytes(head)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


def _copy(source: BinaryIO, target: BinaryIO, start: int, count: int) -> None:
    source.seek(start)
    while count:
        block = source.read(min(BLOCK, count))
        if not block:
            raise ExportError("The base's GGUF file is cut short: download it again.")
        target.write(block)
        count -= len(block)
