"""Memory that runs out in the middle of the work: a message that names the setting, nothing left on the model, and the
next action works."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import quick_app  # noqa: F401  makes the other tests' helpers importable
import torch
from attempts import Attempt
from not_finite import SETTINGS
from test_tune import HELD_OUT, PROMPTS
from tiny_models import Source, hooks, loaded, refusing_folder, weights_digest

import actor_core.tune
from actor_core.events import finish
from actor_core.export import export
from actor_core.generate import answer
from actor_core.guard import measure_guard
from actor_core.loading import load_model
from actor_core.model import LoadedModel
from actor_core.tune import tune
from app.errors import explain

ERRORS: tuple[Callable[[], BaseException], ...] = (
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 8.00 GiB."),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 12 bytes."),
    lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 12 bytes."),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError,
)
MOST_LEFT = 300_000_000  # bytes that all attempts together may leave behind, libraries' caches included


def attempts(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """In every kind of work, at a random one of the model's passes or in the solve."""
    torch.set_num_threads(1)
    draw = random.Random(seed)
    model = loaded(refusing_folder(folder / "toy"))
    delta = finish(tune(model, PROMPTS, SETTINGS)).delta
    clean, digest = hooks(model), weights_digest(model)
    works: dict[str, Callable[[], Any]] = {
        "asking": lambda: finish(answer(model, HELD_OUT.harmful, max_new_tokens=8)),
        "tuning": lambda: finish(tune(model, PROMPTS, SETTINGS)),
        "the guard": lambda: finish(measure_guard(model, delta, 1.0, HELD_OUT.harmful, max_new_tokens=8)),
        "asking both": lambda: finish(answer(model, HELD_OUT.benign, delta=delta, max_new_tokens=8)),
    }
    passes = {name: _passes(model, work) for name, work in works.items()}
    names = ["tuning", "asking", "tuning", "the guard", "asking both", "the solve", "loading", "exporting"]
    before = psutil.Process().memory_info().rss
    for number in range(count):
        name, error = names[number % len(names)], ERRORS[draw.randrange(len(ERRORS))]
        if name in works:
            at = draw.randrange(passes[name])
            fault = _fault(partial(_broken_at, model, at, error, works[name]))
        else:
            at = 0
            fault = _fault(partial(_elsewhere(name), model, delta, error, folder / f"out {number}"))
        if not fault and (hooks(model) != clean or model.lock._is_owned() or weights_digest(model) != digest):
            fault = "the model is not as it was"
        if not fault and len(finish(answer(model, HELD_OUT.harmful[:2], max_new_tokens=2))) != 2:
            fault = "the next action does not work"
        yield Attempt(f"{name}, pass {at}, {type(error()).__name__}", fault)
    gc.collect()
    left = psutil.Process().memory_info().rss - before
    yield Attempt("all of them together", f"{left:,} bytes are left" if left > MOST_LEFT else "")


def _passes(model: LoadedModel, work: Callable[[], Any]) -> int:
    seen = []
    handle = model.layers[1].register_forward_pre_hook(lambda *_: seen.append(1))
    try:
        work()
    finally:
        handle.remove()
    return len(seen)  # of the layer, which every pass goes through


def _broken_at(model: LoadedModel, at: int, error: Callable[[], BaseException], work: Callable[[], Any]) -> None:
    seen = iter(range(10**9))

    def broken(*_: Any) -> None:  # noqa: ANN401
        if next(seen) == at:
            raise error()

    handle = model.layers[1].register_forward_pre_hook(broken)
    try:
        work()
    finally:
        handle.remove()


def _elsewhere(name: str) -> Callable[..., None]:
    def broken(error: Callable[[], BaseException]) -> Callable[..., None]:
        def raises(*_: Any, **__: Any) -> None:  # noqa: ANN401
            raise error()

        return raises

    def solving(model: LoadedModel, delta: Any, error: Callable[[], BaseException], out: Path) -> None:  # noqa: ANN401
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(actor_core.tune, "solve_ridge", broken(error))
            finish(tune(model, PROMPTS, SETTINGS))

    def loading(model: LoadedModel, delta: Any, error: Callable[[], BaseException], out: Path) -> None:  # noqa: ANN401
        import transformers

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", broken(error))
            finish(load_model(Source(model.source.folder), precision="fp32", device="cpu"))

    def exporting(model: LoadedModel, delta: Any, error: Callable[[], BaseException], out: Path) -> None:  # noqa: ANN401
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "contiguous", broken(error))
            finish(export(model, delta, "peft", out, prompts=("how do i kill a process",)))

    return {"the solve": solving, "loading": loading, "exporting": exporting}[name]


def _fault(work: Callable[[], None]) -> str:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - what the page would be told
        notice = explain(error)
        if notice.heading != "Not enough memory":
            return f"the page says “{notice.heading}: {notice.text}”"
        return (
            "" if "4 bits" in notice.whole() or "smaller model" in notice.whole() else f"no setting: {notice.whole()}"
        )
    return "it was not noticed"
