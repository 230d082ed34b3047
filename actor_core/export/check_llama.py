"""Checks a GGUF adapter with llama.cpp itself, beside the GGUF file that the model came from.

With scale 0 llama.cpp is the base and with scale 1 the tuned model, as here. Its arithmetic is
not ours (it keeps the base quantised), so what is compared is the shift from the one to the
other: by how much the log-probabilities of likely first tokens move.
"""

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
from pathlib import Path
from typing import Any

import gguf
import psutil
import torch
from torch import Tensor

from actor_core.delta import LayerDelta
from actor_core.errors import ExportError
from actor_core.events import Event, Progress
from actor_core.export.compare import Checked, last_logits
from actor_core.generate import answer
from actor_core.model import LoadedModel
from actor_core.weights.whole_files import in_words

__all__ = ["check_llama"]

REPLY_TOKENS = 16
TOP_TOKENS = 64
# Of the shift's length: what quantised arithmetic explains is a tenth or two, a wrong file is about 1.
MAX_SHIFT_ERROR = 0.5
# In nats: below this a shift cannot be told from the rounding of a quantised base.
SMALL_SHIFT = 0.05
# How long one reply may take, loading included, before llama.cpp is taken to hang.
SECONDS = 120.0
SECONDS_PER_GB = 60.0
READ_BACK = "Only read back with the gguf package, and found whole"
PROCESS = Path(__file__).with_name("llama_process.py")


def check_llama(
    model: LoadedModel,
    delta: LayerDelta,
    strength: float,
    file: Path,
    tensors: dict[str, Tensor],
    prompts: Sequence[str],
) -> Generator[Event, None, Checked]:
    """Loads ``file`` in llama.cpp where that can be done, and compares it with ``delta`` at ``strength``.

    ``tensors`` is what the file was written from: it is always read back and compared with it.
    """
    if not _same_in_file(file, tensors):
        return Checked(False, "The GGUF file does not hold what was written to it: export again.")
    obstacle = _obstacle(model.source.gguf)
    if obstacle:
        return Checked(None, f"{READ_BACK}: {obstacle}.")
    assert model.source.gguf is not None
    base = last_logits(model, prompts).log_softmax(-1)  # [prompts, vocabulary]
    with delta.applied(model, strength):
        tuned = last_logits(model, prompts).log_softmax(-1)
    replies = {}
    for scale in (0.0, 1.0):
        yield Progress("export", 2, 4, "Comparing with llama.cpp: the replies here")
        replies[scale] = yield from _our_replies(model, delta, strength * scale, prompts)
    limit = SECONDS + SECONDS_PER_GB * model.source.gguf.stat().st_size / 1e9
    asked = {
        "model": str(model.source.gguf),
        "adapter": str(file),
        # Half of the processors: its threads wait for each other, and crawl where others compute too.
        "threads": max(1, min(8, (os.cpu_count() or 2) // 2)),
        "tokens": REPLY_TOKENS,
        "top": TOP_TOKENS,
        "prompts": [model.token_ids(prompt) for prompt in prompts],
    }
    try:
        answers = yield from _run(asked, 2 * len(prompts), limit)
    except TimeoutError:
        return Checked(None, f"{READ_BACK}: llama.cpp gave no reply for {limit:.0f} s and was ended.")
    return _compared(answers, {0.0: base, 1.0: tuned}, replies)


def _same_in_file(file: Path, tensors: dict[str, Tensor]) -> bool:
    reader = gguf.GGUFReader(file)
    found = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
    return found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)


def _obstacle(base: Path | None) -> str:
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


def _our_replies(
    model: LoadedModel, delta: LayerDelta, strength: float, prompts: Sequence[str]
) -> Generator[Event, None, list[str]]:
    work = answer(model, prompts, delta=delta, strength=strength, max_new_tokens=REPLY_TOKENS)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return [reply.text for reply in end.value]
        yield Progress("export", 2, 4, "Comparing with llama.cpp: the replies here")


def _run(asked: dict[str, Any], expected: int, limit: float) -> Generator[Event, None, list[dict[str, Any]]]:
    """The objects that the process writes, a line each.

    Raises TimeoutError after ``limit`` seconds without a line, `ExportError` where the process fails.
    """
    with tempfile.TemporaryDirectory(prefix="second-take-", ignore_cleanup_errors=True) as private:
        # Its folder is open to this user alone, and so is the socket in it.
        asked = asked | {"socket": "" if os.name == "nt" else f"{private}/llama.sock"}
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
            threading.Thread(target=_read, args=(process, json.dumps(asked), lines), daemon=True).start()
            return (yield from _collect(process, lines, errors, expected, limit))
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
        yield Progress("export", 2, 4, f"Comparing with llama.cpp: reply {len(answers)} of {expected}")
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


def _compared(answers: list[dict[str, Any]], ours: dict[float, Tensor], replies: dict[float, list[str]]) -> Checked:
    found = {(answer["scale"], answer["prompt"]): answer for answer in answers}
    n = len(replies[0.0])
    first, same = {0.0: 0, 1.0: 0}, {0.0: 0, 1.0: 0}
    shift_here: list[float] = []
    shift_there: list[float] = []
    for prompt in range(n):
        off, on = found[0.0, prompt], found[1.0, prompt]
        for scale, there in ((0.0, off), (1.0, on)):
            first[scale] += there["token"] == int(ours[scale][prompt].argmax())
            same[scale] += there["text"].strip() == replies[scale][prompt]
        for token in off["logprobs"].keys() & on["logprobs"].keys():
            shift_there.append(on["logprobs"][token] - off["logprobs"][token])
            shift_here.append(float(ours[1.0][prompt, int(token)] - ours[0.0][prompt, int(token)]))
    here, there_ = torch.tensor(shift_here), torch.tensor(shift_there)
    size = float(here.square().mean().sqrt())
    error = float((there_ - here).square().mean().sqrt())
    figures = {
        "prompts": n,
        "same_first_token": first[1.0],
        "same_first_token_without": first[0.0],
        "same_reply": same[1.0],
        "same_reply_without": same[0.0],
        "shift_nats": size,
        "shift_error_nats": error,
    }
    words = (
        f"llama.cpp loaded it beside the base's GGUF file. With it, {first[1.0]} of {n} replies begin with "
        f"the same token as here, and {same[1.0]} are the same over {REPLY_TOKENS} tokens (without it, "
        f"{first[0.0]} and {same[0.0]}). The log-probabilities of first tokens move by {size:.2g} nats here, "
        f"and in llama.cpp by the same within {error:.2g}."
    )
    if size < SMALL_SHIFT:
        passed, note = error < 2 * SMALL_SHIFT, " The change moves these prompts too little to tell more."
    else:
        passed, note = error < MAX_SHIFT_ERROR * size, ""
    if not passed:
        return Checked(False, f"The adapter does not do in llama.cpp what it does here. {words}", figures)
    return Checked(True, words + note, figures)
