"""The whole model with the change inside it, as a folder that every program of transformers' kind loads.

The base's own files are read, not the model in memory: that one may be rounded or quantised. The changed
matrices are stored in fp32, so that nothing is lost where the file is loaded in fp32; all others are stored as
the base stores them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from actor_core.delta import LowRank
from actor_core.errors import ExportError
from actor_core.export.request import Request, layers_name
from actor_core.memory import bytes_of_weights
from actor_core.weights.model_folder import folder_files
from actor_core.weights.whole_files import in_words

__all__ = ["merged_bytes", "merged_matrices", "require_mergeable", "write_merged"]

# As transformers' own default; the hub shows files of this size without delay.
SHARD = "5GB"


def require_mergeable(request: Request) -> None:
    """Raises `ExportError` where the base's own files are quantised, or memory is too little to load them."""
    folder = request.model.source.folder
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("quantization_config"):
        where = f" ({request.base.hub_id})" if request.base.hub_id else ""
        raise ExportError(
            f"The files of {request.base.title} are quantised themselves, so the change cannot be merged into them "
            f"without rounding it away. Load the 16-bit model{where} in step 1 and open the Second Take file on it, or "
            "export the PEFT adapter instead."
        )
    needed, free = 1.1 * bytes_of_weights(folder), psutil.virtual_memory().available
    if free < needed:
        raise ExportError(
            f"Merging loads the model a second time, which needs {in_words(needed)} of memory, and {in_words(free)} "
            "are free. Close other programs, or export an adapter instead: it needs next to nothing."
        )


def merged_bytes(request: Request) -> int:
    """The size of the merged folder: the base's, and what storing the changed matrices in fp32 adds."""
    return bytes_of_weights(request.model.source.folder) + sum(4 * _size(c) for c in request.scaled.changes.values())


def write_merged(request: Request, folder: Path) -> None:
    """Writes weights, configuration, tokenizer, chat template and generation config into ``folder``."""
    from transformers import AutoModelForCausalLM

    source = request.model.source.folder
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto", trust_remote_code=False, use_safetensors=True)
    for key, matrix in merged_matrices(request).items():
        module = model.get_submodule(key.removesuffix(".weight"))
        module.weight = nn.Parameter(matrix, requires_grad=False)
    model.save_pretrained(folder, max_shard_size=SHARD)
    for name in folder_files(source):
        if not (folder / name).exists() and not name.endswith((".safetensors", ".index.json")):
            shutil.copyfile(source / name, folder / name)


def merged_matrices(request: Request) -> dict[str, Tensor]:
    """What the changed matrices must be, by their names in the files, fp32 [d_out, d_in]."""
    found = {}
    for name, change in request.scaled.changes.items():
        key = f"{layers_name(request.model)}.{request.scaled.layer}.{name}.weight"
        found[key] = _plus(stored_tensor(request.model.source.folder, key), change)
    return found


def stored_tensor(folder: Path, key: str) -> Tensor:
    """One tensor of a folder of safetensors files. Raises `ExportError` where none of them holds it."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if key in file.keys():  # noqa: SIM118 - no mapping
                return file.get_tensor(key)
    raise ExportError(f"The model's files hold no {key}: export an adapter instead.")


def _plus(weight: Tensor, change: LowRank | Tensor) -> Tensor:
    full = change if isinstance(change, Tensor) else change.full()
    merged = weight.to(torch.float32) + full.detach().to("cpu", torch.float32)
    if not bool(merged.isfinite().all()):
        raise ExportError(
            "Nothing was exported: the changed matrix would hold numbers that are not finite. Move the strength down, "
            "or load the model's files again: they may be damaged."
        )
    return merged


def _size(change: LowRank | Tensor) -> int:
    return change.numel() if isinstance(change, Tensor) else change.b.shape[0] * change.a.shape[1]
