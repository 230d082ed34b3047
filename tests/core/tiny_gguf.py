"""A tiny model's GGUF file: some of its matrices, metadata of several kinds, and an odd alignment."""

from __future__ import annotations

import gguf
import numpy as np

from actor_core.export.gguf_lora import permuted, tensor_name


def base_gguf(model, path, architecture: str, quantised: gguf.GGMLQuantizationType):
    """The model's matrices of layer 1 and two more tensors as a GGUF file with metadata of several kinds."""
    config = model.model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_uint32("general.alignment", 64)
    writer.add_array("tokenizer.ggml.tokens", ["one", "two", "drei"])
    writer.add_bool("a.flag", True)
    writer.add_tensor("output_norm.weight", np.linspace(0, 1, 37, dtype=np.float32))
    for module in ("mlp.down_proj", "self_attn.q_proj"):
        weight = model.layers[1].get_submodule(module).weight.detach().float()
        if architecture == "llama" and module.endswith("q_proj"):
            weight = permuted(weight, config.num_attention_heads)
        data = gguf.quants.quantize(weight.numpy(), quantised)
        writer.add_tensor(tensor_name(module, 1, config), data, raw_dtype=quantised)
    writer.add_tensor("rope_freqs.weight", np.arange(5, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
