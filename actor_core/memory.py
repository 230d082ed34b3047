"""What this machine has, what a model needs, and whether the one fits the other, in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from actor_core.presets import ModelPreset

__all__ = ["BYTES_PER_WEIGHT", "Fit", "Machine", "bytes_of_weights", "fits"]
BYTES_PER_WEIGHT = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.1, "nf4": 0.6}

# Activations, the tokenizer and the libraries themselves, over the weights.
WORKING_BYTES = 1_500_000_000


@dataclass(frozen=True)
class Machine:
    """Memory in bytes, as it is now; ``gpu_bytes`` is 0 without a CUDA GPU."""

    memory_bytes: int
    memory_free: int
    gpu_name: str
    gpu_bytes: int
    gpu_free: int

    @classmethod
    def look(cls) -> Machine:
        memory = psutil.virtual_memory()
        if not torch.cuda.is_available():
            return cls(memory.total, memory.available, "", 0, 0)
        free, total = torch.cuda.mem_get_info()
        return cls(memory.total, memory.available, torch.cuda.get_device_name(), total, free)

    def free_bytes(self, device: str) -> int:
        return self.gpu_free if device == "cuda" else self.memory_free

    def words(self, device: str) -> str:
        if device == "cuda":
            return f"the GPU ({self.gpu_name}, {self.gpu_free / 1e9:.1f} of {self.gpu_bytes / 1e9:.1f} GB free)"
        return f"memory ({self.memory_free / 1e9:.1f} of {self.memory_bytes / 1e9:.1f} GB free)"


@dataclass(frozen=True)
class Fit:
    """``verdict`` is 'fits', 'fits with offload' or 'does not fit'; ``words`` says why to a person."""

    verdict: str
    bytes_needed: int
    words: str


def bytes_of_weights(folder: Path) -> int:
    """The size of the folder's safetensors files in bytes: the weights as they lie on disk, 16 bits each."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def fits(preset: ModelPreset, machine: Machine) -> Fit:
    """Whether the preset's model can be tuned on this machine, by the cheapest precision that is fast."""
    place, free = ("GPU", machine.gpu_free) if machine.gpu_bytes else ("memory", machine.memory_free)
    for precision, name in (("bf16", "16 bits"), ("nf4", "4 bits")):
        needed = int(preset.parameters * BYTES_PER_WEIGHT[precision]) + WORKING_BYTES
        if needed < free:
            return Fit("fits", needed, f"fits in {name}: {_gb(needed)} of {_gb(free)} free {place}")
    if machine.gpu_bytes and needed < machine.gpu_free + machine.memory_free:
        return Fit("fits with offload", needed, f"fits with offload, slowly: {_gb(needed)}, GPU has {_gb(free)} free")
    return Fit("does not fit", needed, f"does not fit this machine: needs {_gb(needed)}, {_gb(free)} free")


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
