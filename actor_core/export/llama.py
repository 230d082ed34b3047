"""Asks llama.cpp for replies, in a process of its own (`llama_process`): whether it can, and how it ended."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from actor_core.errors import ExportError
from actor_core.events import Event, Progress
from actor_core.weights.whole_files import in_words

__all__ = ["Ask", "ask_llama", "obstacle", "seconds_allowed"]

TOP_TOKENS = 64
# How long one reply may take, loading included, before llama.cpp is taken to hang.
SECONDS = 120.0
SECONDS_PER_GB = 60.0
PROCESS = Path(__file__).with_name("llama_process.py")


@dataclass(frozen=True)
class Ask:
    """One prompt, as token ``ids``, with the adapter at ``scale``, for a reply of up to ``tokens``."""

    ids: Sequence[int]
    scale: float
    tokens: int


def obstacle(base: Path | None) -> str:
    """Why llama.cpp cannot be run on ``base`` here, in words; empty where it can."""
    if base is None or not base.is_file():
        return "the model was not loaded from a GGUF file, which llama.cpp would need beside the adapter"
    if importlib.util.find_spec("xllamacpp") is None:
        return "llama.cpp (the package xllamacpp) is not installed"
    needed = base.stat().st_size * 1.2 + 300e6
    free = psutil.virtual_memory().available
    if free < needed:
        return f"llama.cpp needs {in_words(needed)} of memory beside the model, and {in_words(free)} are free"
    return ""


def seconds_allowed(base: Path) -> float:
    """How long one reply of ``base`` may take."""
    return SECONDS + SECONDS_PER_GB * base.stat().st_size / 1e9


def ask_llama(model: Path, adapter: Path | None, asks: Sequence[Ask]) -> Generator[Event, None, list[dict[str, Any]]]:
    """llama.cpp's answers to ``asks``, in their order, as `llama_process` describes them.

    Raises TimeoutError after `seconds_allowed` without one, `ExportError` where the process fails.
    """
    with tempfile.TemporaryDirectory(prefix="second-take-", ignore_cleanup_errors=True) as private:
        request = {
            "model": str(model),
            "adapter": str(adapter or ""),
            # Its folder is open to this user alone, and so is the socket in it.
            "socket": "" if os.name == "nt" else f"{private}/llama.sock",
            # Half of the processors: its threads wait for each other, and crawl where others compute too.
            "threads": max(1, min(8, (os.cpu_count() or 2) // 2)),
            "top": TOP_TOKENS,
            "asks": [asdict(ask) for ask in asks],
        }
        errors = Path(private) / "errors.txt"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, str(PROCESS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=private,
                text=True,
                encoding="utf-8",
            )
        try:
            lines: queue.Queue[str | None] = queue.Queue()
            threading.Thread(target=_read, args=(process, json.dumps(request), lines), daemon=True).start()
            return (yield from _collect(process, lines, errors, len(asks), seconds_allowed(model)))
        finally:
            process.kill()
            process.wait()


def _read(process: subprocess.Popen[str], request: str, lines: queue.Queue[str | None]) -> None:
    assert process.stdin is not None and process.stdout is not None
    try:
        with process.stdin, process.stdout:
            process.stdin.write(request)
            process.stdin.close()
            for line in process.stdout:
                lines.put(line)
    except (OSError, ValueError):
        pass  # the process is gone: its exit code says how
    finally:
        lines.put(None)


def _collect(
    process: subprocess.Popen[str],
    lines: queue.Queue[str | None],
    errors: Path,
    expected: int,
    limit: float,
) -> Generator[Event, None, list[dict[str, Any]]]:
    answers: list[dict[str, Any]] = []
    deadline = time.monotonic() + limit
    while len(answers) < expected:
        yield Progress("export", 2, 4, f"Asking llama.cpp: reply {len(answers)} of {expected}")
        try:
            line = lines.get(timeout=0.5)
        except queue.Empty:
            if time.monotonic() > deadline:
                raise TimeoutError from None
            continue
        if line is None:
            raise ExportError(f"llama.cpp ended before it had answered ({_end(process, errors)}).")
        if line.startswith("{"):
            answers.append(json.loads(line))
            deadline = time.monotonic() + limit
    return answers


def _end(process: subprocess.Popen[str], errors: Path) -> str:
    code = process.wait(timeout=10)
    said = [line for line in errors.read_text("utf-8", "replace").splitlines() if line.strip()]
    return f"exit code {code}" + (f"; it said: {said[-1].strip()[:300]}" if said else "")
