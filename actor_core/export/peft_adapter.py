"""The adapter in PEFT's form: ``adapter_config.json`` and ``adapter_model.safetensors``.

The configuration holds only what every version of PEFT, and vLLM, knows; what is left out has
the value that changes nothing.
"""

from __future__ import annotations

import json

from torch import Tensor

from actor_core.delta import LayerDelta, LowRank
from actor_core.export.adapter import Adapter
from actor_core.export.base import Base
from actor_core.export.folder import File
from actor_core.export.provenance import ADAPTER_FILE, HEADER, PREFIX
from actor_core.weights.steady_header import steady_bytes

__all__ = ["peft_files"]


def peft_files(adapter: Adapter, scaled: LayerDelta, layers_name: str, base: Base, guard: str) -> dict[str, File]:
    """The two files by name. ``layers_name`` is where the decoder layers are, such as ``model.layers``;
    ``guard`` is what the header says of the guard, beside what ``scaled`` says of itself."""
    modules = {f"{layers_name}.{adapter.layer}.{name}": change for name, change in adapter.modules.items()}
    config = {
        "base_model_name_or_path": base.hub_id or base.title,
        "revision": base.revision,
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "r": adapter.rank,
        "lora_alpha": adapter.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        # Whole names: PEFT compares them with each module's, so no other layer is touched.
        "target_modules": sorted(modules),
    }
    header = {"format": "pt", "guard": guard, HEADER: json.dumps(scaled.described())}
    return {
        "adapter_config.json": json.dumps(config, indent=2).encode(),
        ADAPTER_FILE: steady_bytes(_tensors(modules), header),
    }


def _tensors(modules: dict[str, LowRank]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, change in modules.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = change.a  # [r, d_in]
        tensors[f"{PREFIX}{name}.lora_B.weight"] = change.b  # [d_out, r]
    return tensors
