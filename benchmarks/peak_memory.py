"""The most memory that this process takes while something runs, and what another process measured of itself."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import psutil

__all__ = ["PeakMemory", "measured_apart"]


class PeakMemory:
    """Looks every 10 ms within the body; all in bytes.

    ``peak`` is the largest resident size. ``added`` is by how much it grew over that before the body, and ``held`` the
    same without what is mapped from files, which the system takes back when it needs it.
    """

    def __enter__(self) -> PeakMemory:
        self.process = psutil.Process()
        self.before = self._now()
        self.peak = self.added = self.held = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _now(self) -> tuple[int, int]:
        now = self.process.memory_info()
        return now.rss, now.rss - now.shared

    def _watch(self) -> None:
        while not self.done.wait(0.01):
            resident, unmapped = self._now()
            self.peak = max(self.peak, resident)
            self.added = max(self.added, resident - self.before[0])
            self.held = max(self.held, unmapped - self.before[1])


def measured_apart(arguments: Sequence[str]) -> dict[str, Any]:
    """The JSON that a Python process of its own prints last, so that its peak of memory is its own."""
    command = [sys.executable, "-W", "ignore", *arguments]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(said.splitlines()[-1]))
