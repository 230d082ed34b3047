"""Starts llama.cpp in a process of its own (`process`) and asks it: whether it can, and how it ended."""

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

from actor_core.errors import ModelError
from actor_core.weights.whole_files import in_words

__all__ = ["Ask", "LlamaServer", "obstacle", "seconds_allowed"]

# How long one token may take, loading included, before llama.cpp is taken to hang.
SECONDS = 120.0
SECONDS_PER_GB = 60.0
SECONDS_BETWEEN_TICKS = 0.5
PROCESS = Path(__file__).with_name("process.py")


@dataclass(frozen=True)
class Ask:
    """One prompt, as token ``ids``, with the adapter at ``scale``, for a reply of up to ``tokens``.

    ``top`` log-probabilities of the first token are wanted. Where it ``reads_on``, what ``slot`` has read of the same
    tokens is not read again; how the last figures are rounded then depends on what was asked before.
    """

    ids: Sequence[int]
    scale: float
    tokens: int
    top: int = 0
    slot: int = 0
    reads_on: bool = False


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
    """How long one token of ``base`` may take."""
    return SECONDS + SECONDS_PER_GB * base.stat().st_size / 1e9


class LlamaServer:
    """llama.cpp with the GGUF file ``model`` in memory, and ``adapter`` where there is one, until it is closed.

    Each of ``slots`` holds a prompt and its reply of ``context`` tokens together.
    """

    def __init__(self, model: Path, adapter: Path | None, context: int, slots: int = 1) -> None:
        self._allowed = seconds_allowed(model)
        # Its folder is open to this user alone, and so is the socket in it.
        self._private = tempfile.TemporaryDirectory(prefix="second-take-", ignore_cleanup_errors=True)
        private = self._private.name
        wanted = {
            "model": str(model),
            "adapter": str(adapter or ""),
            "socket": "" if os.name == "nt" else f"{private}/llama.sock",
            # Half of the processors: its threads wait for each other, and crawl where others compute too.
            "threads": max(1, min(8, (os.cpu_count() or 2) // 2)),
            "context": context,
            "slots": slots,
        }
        self._errors = Path(private) / "errors.txt"
        with self._errors.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, str(PROCESS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=private,
                text=True,
                encoding="utf-8",
            )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._send(wanted)

    def __enter__(self) -> LlamaServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._private.cleanup()

    def reply(self, ask: Ask) -> Generator[str, None, dict[str, Any]]:
        """The reply as `process` describes it. Yields its pieces as they come, and '' twice a second between them.

        A caller that leaves before the end has to close the server. Raises TimeoutError after `seconds_allowed`
        without a token, `ModelError` where the process fails.
        """
        self._send(asdict(ask))
        deadline = time.monotonic() + self._allowed
        while True:
            try:
                line = self._lines.get(timeout=SECONDS_BETWEEN_TICKS)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise TimeoutError from None
                yield ""
                continue
            if line is None:
                raise ModelError(f"llama.cpp ended before it had answered ({self._end()}).")
            if not line.startswith("{"):
                continue
            said = json.loads(line)
            if "piece" not in said:
                return dict(said)
            deadline = time.monotonic() + self._allowed
            yield said["piece"]

    def _send(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            pass  # the process is gone: its exit code says how

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as lines:
                for line in lines:
                    self._lines.put(line)
        except (OSError, ValueError):
            pass
        finally:
            self._lines.put(None)

    def _end(self) -> str:
        code = self._process.wait(timeout=10)
        said = [line for line in self._errors.read_text("utf-8", "replace").splitlines() if line.strip()]
        return f"exit code {code}" + (f"; it said: {said[-1].strip()[:300]}" if said else "")
