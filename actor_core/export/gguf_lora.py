"""The adapter in llama.cpp's form: a GGUF file of type adapter, which Ollama takes as well.

Names and row order are those of llama.cpp's own converter (``convert_lora_to_gguf.py``): for
architectures that rotate neighbouring pairs, it reorders the rows of q and k, and the adapter's
``lora_b`` must follow.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
from torch import Tensor

from actor_core.errors import ExportError
from actor_core.export.adapter import Adapter
from actor_core.export.base import Base

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = [
    "gguf_architecture",
    "gguf_tensors",
    "in_llama_order",
    "modelfile",
    "permuted",
    "tensor_name",
    "write_gguf_lora",
]

# transformers' model_type -> llama.cpp's architecture, and whether q and k are reordered there.
ARCHITECTURES = {
    "llama": ("llama", True),
    "mistral": ("llama", True),
    "granite": ("granite", True),
    "smollm3": ("smollm3", True),
    "qwen2": ("qwen2", False),
    "qwen3": ("qwen3", False),
    "gemma": ("gemma", False),
    "gemma2": ("gemma2", False),
    "gemma3_text": ("gemma3", False),
    "olmo2": ("olmo2", False),
    "phi3": ("phi3", False),
}


def gguf_architecture(config: PretrainedConfig) -> tuple[str, bool]:
    """llama.cpp's name of the architecture, and whether it reorders q and k; `ExportError` if unknown."""
    known = ARCHITECTURES.get(config.model_type)
    if known is None:
        raise ExportError(
            f"How llama.cpp stores the architecture '{config.model_type}' is not known here, so no GGUF "
            "adapter was written. Export the PEFT adapter, and convert it with llama.cpp's own converter "
            "(convert_lora_to_gguf.py)."
        )
    return known


def gguf_tensors(adapter: Adapter, config: PretrainedConfig) -> dict[str, Tensor]:
    """The file's tensors by name: ``blk.N.….weight.lora_a`` [r, d_in] and ``.lora_b`` [d_out, r], fp32."""
    tensors: dict[str, Tensor] = {}
    for module, change in adapter.modules.items():
        name = tensor_name(module, adapter.layer, config)
        tensors[f"{name}.lora_a"] = change.a.contiguous()
        tensors[f"{name}.lora_b"] = in_llama_order(change.b, module, config).contiguous()
    return tensors


def tensor_name(module: str, layer: int, config: PretrainedConfig) -> str:
    """llama.cpp's name of a module's matrix, such as ``blk.14.ffn_down.weight``; `ExportError` where it has none."""
    architecture, _ = gguf_architecture(config)
    number = next(n for n, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    name = gguf.get_tensor_name_map(number, config.num_hidden_layers).get_name(f"model.layers.{layer}.{module}")
    if name is None:
        raise ExportError(
            f"llama.cpp has no tensor for '{module}' of {architecture}, so no GGUF file was written. "
            "Export the PEFT adapter, or tune mlp.down_proj."
        )
    return f"{name}.weight"


def in_llama_order(rows: Tensor, module: str, config: PretrainedConfig) -> Tensor:
    """The first dimension as llama.cpp stores ``module``'s: q and k reordered for some architectures."""
    _, reorders = gguf_architecture(config)
    if reorders and module.endswith("q_proj"):
        return permuted(rows, config.num_attention_heads)
    if reorders and module.endswith("k_proj"):
        return permuted(rows, config.num_key_value_heads)
    return rows


def permuted(rows: Tensor, heads: int) -> Tensor:
    """The first dimension reordered within each head: halves become neighbouring pairs."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def write_gguf_lora(
    path: Path, adapter: Adapter, config: PretrainedConfig, base: Base, name: str, description: str
) -> None:
    """Writes the adapter to ``path``; its scale is 1 because alpha is the rank."""
    tensors = gguf_tensors(adapter, config)
    writer: Any = gguf.GGUFWriter(path, gguf_architecture(config)[0])
    try:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(adapter.rank))
        writer.add_name(name)
        writer.add_description(description)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        if base.hub_id:
            writer.add_base_model_count(1)
            writer.add_base_model_name(0, base.title)
            writer.add_base_model_repo_url(0, f"https://huggingface.co/{base.hub_id}")
        for key, tensor in tensors.items():
            writer.add_tensor(key, tensor.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def modelfile(base: Path, adapter: str = "") -> str:
    """Ollama's Modelfile: the GGUF file ``base``, and the ``adapter`` that lies beside the Modelfile.

    Where ``base`` is a mere name it lies beside it as well, or has to be put there.
    """
    lines = [f"FROM {base if base.is_absolute() else f'./{base}'}"]
    if base.is_absolute():
        lines.insert(0, "# Where the base lies on the machine that wrote this.")
    elif adapter:
        lines.insert(0, f"# Put the path of {base.stem} as a GGUF file here.")
    return "\n".join([*lines, *([f"ADAPTER ./{adapter}"] if adapter else []), ""])
