"""Checks a GGUF file with llama.cpp itself, against the GGUF file that the model came from.

An adapter with scale 0 is the base and with scale 1 the tuned model; a merged file is the tuned model, and the
base's own file the base. llama.cpp's arithmetic is not ours (it keeps the base quantised), so what is compared is
the shift from the one to the other: by how much the log-probabilities of likely first tokens move.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import gguf
import torch
from torch import Tensor

from actor_core.events import Event, Progress
from actor_core.export.compare import Checked, last_logits
from actor_core.export.replay import seen_length, with_replay
from actor_core.export.request import Request
from actor_core.generate import Reply, answer
from actor_core.judge import judge
from actor_core.llama.server import Ask, LlamaServer, obstacle, seconds_allowed
from actor_core.weights.gguf_header import StoredTensor, read_header

__all__ = ["check_gguf_lora", "check_merged_gguf", "is_the_same_shift"]

REPLY_TOKENS = 16
SPARE_TOKENS = 64
# Likely first tokens whose log-probabilities are compared.
TOP_TOKENS = 64
# Of the shift's length: what quantised arithmetic explains is a tenth or two, a wrong file is about 1.
MAX_SHIFT_ERROR = 0.5
# In nats. What the rounding of a quantised base alone makes of a shift is .06 to .08, whatever its size (on the default
# model at shifts of .075 and .8); of one below SMALL_SHIFT that is too much for a share to say anything.
ROUNDING = 0.1
SMALL_SHIFT = 0.15
READ_BACK = "Only read back with the gguf package, and found whole"


def check_gguf_lora(request: Request, file: Path, tensors: Mapping[str, Tensor]) -> Generator[Event, None, Checked]:
    """Loads the adapter ``file`` beside the base where that can be done, and compares it with the delta.

    ``tensors`` is what the file was written from: it is always read back and compared with it.
    """
    if not _same_in_file(file, tensors):
        return Checked(False, "The GGUF file does not hold what was written to it: export again.")
    base = request.model.source.gguf
    return (yield from _check(request, base, [(base, file, (0.0, 1.0))], "beside the base's GGUF file"))


def check_merged_gguf(request: Request, file: Path, changed: Sequence[str]) -> Generator[Event, None, Checked]:
    """Loads the merged ``file`` where that can be done, and compares it with the base's and with the delta.

    Whether all tensors but ``changed`` are the base's, byte for byte, is always looked at.
    """
    base = request.model.source.gguf
    assert base is not None  # it was merged into
    yield Progress("export", 1, 4, "Comparing every tensor with the base's file")
    different = _different_tensors(base, file)
    if different != set(changed):
        what = ", ".join(sorted(different ^ set(changed))[:3])
        return Checked(False, f"The merged file differs from the base elsewhere than it should ({what}): export again.")
    runs = [(base, None, (0.0,)), (file, None, (1.0,))]
    checked = yield from _check(request, base, runs, "as a model of its own")
    kept = f"All tensors but {', '.join(changed)} are those of the base's file, byte for byte."
    return Checked(checked.passed, f"{checked.words} {kept}", checked.figures)


def _check(
    request: Request,
    base: Path | None,
    runs: Sequence[tuple[Path | None, Path | None, tuple[float, ...]]],
    how: str,
) -> Generator[Event, None, Checked]:
    """Asks each of ``runs`` (model file, adapter file, scales) the prompts, and the last one what was seen."""
    reason = obstacle(base)
    if reason:
        return Checked(None, f"{READ_BACK}: {reason}.")
    assert base is not None
    model, prompts = request.model, request.prompts
    ours = {0.0: last_logits(model, prompts).log_softmax(-1)}  # [prompts, vocabulary]
    with request.delta.applied(model, request.strength):
        ours[1.0] = last_logits(model, prompts).log_softmax(-1)
    replies = {}
    for scale in ours:
        yield Progress("export", 2, 4, "Comparing with llama.cpp: the replies here")
        replies[scale] = yield from _our_replies(request, scale)
    answers: list[dict[str, Any]] = []
    try:
        for file, adapter, scales in runs:
            assert file is not None
            asks = [Ask(model.token_ids(p), scale, REPLY_TOKENS, TOP_TOKENS) for scale in scales for p in prompts]
            if 1.0 in scales:
                asks += [Ask(model.token_ids(r.prompt), 1.0, seen_length(r), TOP_TOKENS) for r in request.seen]
            answers += yield from _answers(file, adapter, asks)
    except TimeoutError:
        return Checked(None, f"{READ_BACK}: llama.cpp gave no reply for {seconds_allowed(base):.0f} s and was ended.")
    n = len(prompts)
    checked = _compared(answers[:n], answers[n : 2 * n], ours, replies, how)
    there = [_as_reply(r.prompt, a) for r, a in zip(request.seen, answers[2 * n :], strict=True)]
    return with_replay(checked, request.seen, there, "llama.cpp")


def _answers(file: Path, adapter: Path | None, asks: Sequence[Ask]) -> Generator[Event, None, list[dict[str, Any]]]:
    """llama.cpp's answers to ``asks``, in their order, as `llama.process` describes them."""
    answers: list[dict[str, Any]] = []
    with LlamaServer(file, adapter, max(len(ask.ids) + ask.tokens for ask in asks) + SPARE_TOKENS) as server:
        for ask in asks:
            work = server.reply(ask)
            while True:
                yield Progress("export", 2, 4, f"Asking llama.cpp: reply {len(answers)} of {len(asks)}")
                try:
                    next(work)
                except StopIteration as end:
                    answers.append(end.value)
                    break
    return answers


def _same_in_file(file: Path, tensors: Mapping[str, Tensor]) -> bool:
    reader = gguf.GGUFReader(file)
    found = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
    return found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)


def _different_tensors(base: Path, merged: Path) -> set[str]:
    """The names of tensors that are not the same bytes of the same type and shape in both files."""
    old = {tensor.name: tensor for tensor in read_header(base).tensors}
    new = {tensor.name: tensor for tensor in read_header(merged).tensors}
    different = set(old.keys() ^ new.keys())
    with base.open("rb") as here, merged.open("rb") as there:
        for name in old.keys() & new.keys():
            a, b = old[name], new[name]
            if (a.kind, a.dimensions) != (b.kind, b.dimensions) or _bytes_of(here, a) != _bytes_of(there, b):
                different.add(name)
    return different


def _bytes_of(file: BinaryIO, tensor: StoredTensor) -> bytes:
    file.seek(tensor.start)
    return file.read(tensor.size)


def _our_replies(request: Request, scale: float) -> Generator[Event, None, list[str]]:
    strength = request.strength * scale
    work = answer(request.model, request.prompts, delta=request.delta, strength=strength, max_new_tokens=REPLY_TOKENS)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return [reply.text for reply in end.value]
        yield Progress("export", 2, 4, "Comparing with llama.cpp: the replies here")


def _as_reply(prompt: str, answer: Mapping[str, Any]) -> Reply:
    text, cut = str(answer["text"]).strip(), bool(answer["truncated"])
    return Reply(prompt, text, judge(prompt, text, truncated=cut), cut, (int(answer["token"]),))


def _compared(
    off: Sequence[Mapping[str, Any]],
    on: Sequence[Mapping[str, Any]],
    ours: Mapping[float, Tensor],
    replies: Mapping[float, Sequence[str]],
    how: str,
) -> Checked:
    n = len(off)
    first, same = {0.0: 0, 1.0: 0}, {0.0: 0, 1.0: 0}
    shift_here: list[float] = []
    shift_there: list[float] = []
    for prompt in range(n):
        for scale, there in ((0.0, off[prompt]), (1.0, on[prompt])):
            first[scale] += there["token"] == int(ours[scale][prompt].argmax())
            same[scale] += there["text"].strip() == replies[scale][prompt]
        before, after = off[prompt]["logprobs"], on[prompt]["logprobs"]
        for token in before.keys() & after.keys():
            shift_there.append(after[token] - before[token])
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
        f"llama.cpp loaded it {how}. With it, {first[1.0]} of {n} replies begin with "
        f"the same token as here, and {same[1.0]} are the same over {REPLY_TOKENS} tokens (without it, "
        f"{first[0.0]} and {same[0.0]}). The log-probabilities of first tokens move by {size:.2g} nats here, "
        f"and in llama.cpp by the same within {error:.2g}."
    )
    if not is_the_same_shift(size, error):
        return Checked(False, f"The file does not do in llama.cpp what the change does here. {words}", figures)
    note = " The change moves these prompts too little to tell more." if size < SMALL_SHIFT else ""
    return Checked(True, words + note, figures)


def is_the_same_shift(size: float, error: float) -> bool:
    """Whether a shift of ``size`` nats here is the one of llama.cpp, which differs by ``error`` from it."""
    return error < (ROUNDING if size < SMALL_SHIFT else MAX_SHIFT_ERROR * size)
