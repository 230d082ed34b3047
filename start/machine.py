"""What this machine has: its GPU and driver, memory, and whether an address answers. Installs nothing."""

import ctypes
import os
import subprocess
import sys
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """The first NVIDIA GPU as nvidia-smi reports it."""

    name: str
    memory_gb: float
    driver: str
    capability: float  # compute capability: 6.1 is a GTX 1080, 8.9 an RTX 4090

    def cuda_build(self) -> str:
        """The build of PyTorch for it: CUDA 13 needs driver 580, 12.8 needs 570, and both need Turing."""
        driver = int(self.driver.split(".")[0])
        if self.before_turing or driver < 570:
            return "cu126"
        return "cu130" if driver >= 580 else "cu128"

    @property
    def before_turing(self) -> bool:
        return self.capability < 7.5


def gpu() -> Gpu | None:
    fields = "name,memory.total,driver_version,compute_cap"
    try:
        said = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=20, check=True,
        ).stdout  # fmt: skip
        name, memory_mb, driver, capability = said.strip().splitlines()[0].split(", ")
        return Gpu(name, float(memory_mb) / 1024, driver, float(capability))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def memory_gb() -> float:
    """The machine's memory in GB; 0 where it cannot be told."""
    if sys.platform == "win32":
        kilobytes = ctypes.c_ulonglong()
        ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))
        return kilobytes.value / 2**20
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        return 0.0


def reachable(url: str) -> bool:
    """Whether the address answers within 5 seconds, the look-up of its name included."""
    import urllib.request  # slow to load, and a second start asks nobody

    answers: list[int] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                answers.append(response.status)
        except Exception:  # whatever goes wrong, the answer is no
            return

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(5)
    return bool(answers)
