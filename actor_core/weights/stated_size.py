"""How large a model's configuration says that it is, held against the weights that came with it.

A library builds what a configuration describes before it looks at the weights: a billion layers, said in twenty bytes,
take all time and memory there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["StatedSize"]

LAYERS_BEYOND_DOUBT = 64  # built in no time, whatever the weights say
WEIGHTS_A_BYTE = 8  # of the narrowest quantisation, one bit a weight
NAMES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "d_model": ("hidden_size", "n_embd"),
    "width": ("intermediate_size", "vocab_size", "ffn_dim", "n_inner"),
    "heads": ("num_attention_heads", "n_head"),
    "head_dim": ("head_dim",),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts"),
    "expert_width": ("moe_intermediate_size",),
}


@dataclass(frozen=True)
class StatedSize:
    """``layers`` decoder layers of width ``d_model``, and ``widths`` of matrices beside it; 0 where it is not said."""

    layers: int
    d_model: int
    widths: tuple[int, ...]

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> StatedSize:
        """The largest numbers that a transformers configuration, or one within it, has under the usual names."""
        most = dict.fromkeys(NAMES, 0)
        waiting: list[Mapping[str, Any]] = [config]
        while waiting:
            values = waiting.pop()
            waiting += [value for value in values.values() if isinstance(value, Mapping)]
            for name, keys in NAMES.items():
                said = [values.get(key) for key in keys]
                numbers = [each for each in said if isinstance(each, (int, float)) and not isinstance(each, bool)]
                # Negative ones are not outweighed, and infinity becomes a number that no file holds.
                most[name] = max([most[name], *(_whole(abs(each)) for each in numbers)])
        heads, experts = most["heads"] * max(1, most["head_dim"]), most["experts"] * max(1, most["expert_width"])
        return cls(most["layers"], most["d_model"], (most["width"], heads, experts))

    def fault(self, tensors: int, weight_bytes: int) -> str:
        """Why ``tensors`` tensors of ``weight_bytes`` bytes cannot be this model; '' where they can."""
        most = WEIGHTS_A_BYTE * weight_bytes
        if self.layers > tensors + LAYERS_BEYOND_DOUBT:
            return f"it states {self.layers:,} layers and has {tensors:,} tensors"
        width = max(self.widths, default=0)
        if max(self.d_model, 1) * width > most or self.d_model > most:
            return f"it states matrices of {self.d_model:,} by {width:,} and has {weight_bytes:,} bytes"
        return ""


def _whole(number: float) -> int:
    return int(number) if number < 1e30 else 10**30
