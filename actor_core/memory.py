"""What this machine has, what a model needs, and whether the one fits the other, in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from actor_core.model_shape import Shape

if TYPE_CHECKING:
    from actor_core.model import LoadedModel
    from actor_core.presets import ModelPreset

__all__ = ["Demand", "Fit", "Machine", "before_tuning", "bytes_of_weights", "count_peak", "fits", "peak_counted"]

# From the most exact and largest to the smallest, with what a person calls them.
ON_A_PROCESSOR = (("fp32", "32 bits"), ("bf16", "16 bits"), ("nf4", "4 bits"))
ON_A_GPU = (("bf16", "16 bits"), ("nf4", "4 bits"))


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
    """Whether the preset's model can be loaded and tuned on this machine, by the most exact precision that fits.

    While it is loaded its file is mapped too, which the system takes back where memory is short: that does not count.
    """
    shape = Shape.of_preset(preset)
    device, place, precisions = ("cuda", "GPU", ON_A_GPU) if machine.gpu_bytes else ("cpu", "memory", ON_A_PROCESSOR)
    free = machine.free_bytes(device)
    for precision, name in precisions:
        needed = shape.needs(precision, device).tuning
        if needed < free:
            return Fit("fits", needed, f"fits in {name}: tuning takes {_gb(needed)} of {_gb(free)} free {place}")
    streamed = shape.streamed("bf16", device)
    if streamed < free:
        room = free - streamed + shape.largest_piece("bf16")
        return Fit(
            "fits with offload",
            streamed,
            f"fits with offload, slowly: with --memory {room / 1e9:.1f}GB its layers are read from the disk as they "
            f"are used, and tuning takes {_gb(streamed)} and what stays of the model, of {_gb(free)} free {place}; in "
            f"{name} it would take {_gb(needed)}",
        )
    return Fit(
        "does not fit",
        needed,
        f"does not fit this machine: tuning takes {_gb(needed)} even in {name}, and {_gb(free)} of {place} are free. "
        f"Close other programs until {_gb(needed - free)} more are free, or choose a smaller model",
    )


@dataclass(frozen=True)
class Demand:
    """What tuning takes at most, and the part of it that is in use already, in bytes; ``missing`` is not free."""

    needed: int
    used: int
    missing: int

    def words(self) -> str:
        takes = f"Tuning takes up to {_gb(self.needed)} of memory, of which {_gb(self.used)} are in use already"
        if not self.missing:
            return f"{takes}: it fits."
        return (
            f"{takes}: it does not fit. Close other programs until {_gb(self.missing)} more are free, load the model "
            "in fewer bits, or with less --memory."
        )


def before_tuning(model: LoadedModel, own_prompts: int) -> Demand:
    """What tuning for ``own_prompts`` takes where ``model`` lies, as things are now."""
    device = model.device.type
    shape = model.shape
    if model.streamed:
        needed = shape.streamed(model.precision, device, own_prompts) + model.bytes_that_stay
    else:
        needed = shape.needs(model.precision, device, own_prompts).tuning
    used = torch.cuda.memory_reserved() if device == "cuda" else psutil.Process().memory_info().rss
    return Demand(needed, used, max(0, needed - used - Machine.look().free_bytes(device)))


def count_peak(device: torch.device) -> None:
    """Has torch count from here on how much memory tensors take on ``device`` at most."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_counted(device: torch.device) -> dict[str, int]:
    """``peak_gpu_bytes`` since `count_peak`, the model included; nothing where torch counts none."""
    return {"peak_gpu_bytes": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {}


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
