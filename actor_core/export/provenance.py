"""What a small file says of itself in its header, so that it can be opened again without its folder."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from actor_core.delta import FORMAT, LayerDelta, LowRank
from actor_core.errors import DeltaError

__all__ = ["ADAPTER_FILE", "DELTA_FILE", "HEADER", "PREFIX", "open_change"]

DELTA_FILE = "delta.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"
HEADER = "second_take"
PREFIX = "base_model.model."
# A change of one layer in fp32 is far smaller; a zip that promises more is no export of this program.
MAX_BYTES = 8_000_000_000


def open_change(path: Path) -> LayerDelta:
    """An exported delta or PEFT adapter as a delta again: its safetensors file, its folder, or the zip of it.

    The strength that it was exported at is its new 1. Raises `DeltaError` for anything else, and for an
    adapter that does not say which weights it belongs to.
    """
    if path.is_dir():
        inside = [path / name for name in (DELTA_FILE, ADAPTER_FILE) if (path / name).is_file()]
        if not inside:
            raise DeltaError(f"{path.name} holds no {DELTA_FILE} and no {ADAPTER_FILE}: give the folder of an export.")
        return open_change(inside[0])
    if zipfile.is_zipfile(path):
        return _from_zip(path)
    if _metadata(path).get("format") == FORMAT:
        return LayerDelta.load(path)
    return _from_adapter(path)


def _from_zip(path: Path) -> LayerDelta:
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="second-take-") as private:
            wanted = (each for each in archive.infolist() if Path(each.filename).name in (DELTA_FILE, ADAPTER_FILE))
            member = next(wanted, None)
            if member is None or member.file_size > MAX_BYTES:
                raise DeltaError(
                    f"{path.name} holds neither {DELTA_FILE} nor {ADAPTER_FILE} of a usual size. Give the zip of a "
                    "Second Take file or of a PEFT adapter; the other kinds cannot be opened again."
                )
            # The name inside the archive decides nothing about where it is written.
            member.filename = Path(member.filename).name
            return open_change(Path(archive.extract(member, private)))
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DeltaError(f"{path.name} cannot be unpacked ({error}): download it again.") from error


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise DeltaError(
            f"{path.name} is no safetensors file, or is cut short ({error}). Give a Second Take file, the "
            f"{ADAPTER_FILE} of a PEFT adapter, or the zip of either."
        ) from error


def _from_adapter(path: Path) -> LayerDelta:
    header = _metadata(path).get(HEADER)
    if header is None:
        raise DeltaError(
            f"{path.name} does not say which weights it was made on, so it cannot be checked that it fits. Only "
            "adapters that this program exported can be opened here."
        )
    try:
        described = json.loads(header)
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        delta = LayerDelta.of(described, _low_rank(tensors, described))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DeltaError(f"{path.name} cannot be read as an adapter of this program: {error}.") from error
    delta.require_finite()
    return delta


def _low_rank(tensors: dict[str, Tensor], described: dict[str, Any]) -> dict[str, LowRank | Tensor]:
    """The matrices by the module's name inside the layer; alpha is the rank in this program's adapters."""
    changes: dict[str, LowRank | Tensor] = {}
    within = f".{int(described['layer'])}."
    for key in tensors:
        name, part, _ = key.removeprefix(PREFIX).rpartition(".lora_A.weight")
        if part:
            module = name.partition(within)[2]
            changes[module] = LowRank(tensors[key], tensors[f"{PREFIX}{name}.lora_B.weight"])
    if not changes:
        raise ValueError("it holds no lora_A")
    return changes
