"""``python -m app.doctor``: what this machine has, and which models fit it, in words.

``launch.py --doctor`` calls it in the program's own environment for what only that can say.
"""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from actor_core.fetch import default_data_dir
from actor_core.memory import Machine, fits
from actor_core.presets import model_presets
from app.words import size

__all__ = ["main", "report"]

PACKAGES = ("torch", "transformers", "bitsandbytes", "gradio", "peft", "xllamacpp")
ROOM_WANTED = 3_000_000_000  # the default model as a download and as it is kept


def report(data_dir: Path) -> list[str]:
    """One finding a line, each fault with what to do about it."""
    machine = Machine.look()
    lines = [f"Packages: {', '.join(_installed(name) for name in PACKAGES)}"]
    lines.append(f"Memory: {size(machine.memory_bytes)}, of which {size(machine.memory_free)} are free")
    if machine.gpu_bytes:
        lines.append(f"GPU: {machine.gpu_name}, {size(machine.gpu_bytes)}, {size(machine.gpu_free)} free")
    else:
        lines.append("GPU: none that PyTorch can use; the small models run well without. " + _gpu_remedy())
    existing = next(folder for folder in (data_dir, *data_dir.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    lines.append(f"Data folder: {data_dir}, {size(free)} free on its disk")
    if free < ROOM_WANTED:
        lines.append(f"  Too little for the default model ({size(ROOM_WANTED)}): free some, or give --data-dir.")
    lines.append("Models:")
    lines += [f"  {preset.title}: {fits(preset, machine).words}" for preset in model_presets().values()]
    return lines


def main() -> None:
    """Prints the report."""
    data_dir = Path(sys.argv[1]).expanduser().resolve() if len(sys.argv) > 1 else default_data_dir()
    sys.stdout.write("\n".join(report(data_dir)) + "\n")


def _installed(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} is missing"


def _gpu_remedy() -> str:
    import torch

    if shutil.which("nvidia-smi") and not torch.version.cuda:
        return "An NVIDIA driver is here, but PyTorch was installed for the CPU: start with --reinstall."
    if shutil.which("nvidia-smi"):
        return "An NVIDIA driver is here, but PyTorch cannot use it: update the driver."
    return "Nothing to do."


if __name__ == "__main__":
    main()
