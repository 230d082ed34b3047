"""NaN and infinities put into weights, states, the solve and the change: none may reach a file that is exported.

Kept where the tuning or the export is refused in words, or every number of the files is finite.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import quick_app  # noqa: F401  makes the other tests' helpers importable
import torch
from attempts import Attempt, spread
from safetensors.torch import load_file
from test_tune import PROMPTS
from tiny_gguf import base_gguf
from tiny_models import Source, loaded, refusing_folder

import actor_core.tune
from actor_core.delta import LayerDelta, LowRank
from actor_core.errors import ActorError
from actor_core.events import finish
from actor_core.export import KINDS, export
from actor_core.model import LoadedModel
from actor_core.tune import TuneSettings, tune

NUMBERS = (float("nan"), float("inf"), float("-inf"))
SETTINGS = replace(TuneSettings(), probe_prompts=4, other_tokens=40, calibration_prompts=4, calibration_tokens=8)
Spoil = Callable[[pytest.MonkeyPatch, LoadedModel, float], None]


def attempts(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    torch.set_num_threads(1)
    toy = refusing_folder(folder / "toy")
    model = _toy(toy, folder)
    whole = finish(tune(model, PROMPTS, SETTINGS)).delta
    cases = [(name, number) for number in NUMBERS for name in [*_places(model), *_deltas(whole)]]
    random.Random(seed).shuffle(cases)
    for turn, (name, number) in enumerate(spread(cases, count)):
        out = folder / f"out {turn}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(importlib.util, "find_spec", _without_llama)
            if name in _deltas(whole):
                delta = replace(whole, changes={k: _deltas(whole)[name](c, number) for k, c in whole.changes.items()})
                work = partial(_export, model, delta, out)
            else:
                model = _toy(toy, folder)
                _places(model)[name](patch, model, number)
                work = partial(_tune_and_export, model, out)
            yield Attempt(f"{number} in {name}", _fault(work, out))
        if name not in _deltas(whole):
            model = _toy(toy, folder)


def _without_llama(name: str, package: str | None = None, found: Any = importlib.util.find_spec) -> Any:  # noqa: ANN401
    """The toy's GGUF file lacks most of it: llama.cpp could not load what is made of that."""
    return None if name == "xllamacpp" else found(name, package)


def _toy(place: Path, folder: Path) -> LoadedModel:
    model = loaded(place)
    gguf = folder / "toy.gguf"
    if not gguf.exists():
        import gguf as library

        base_gguf(model, gguf, "llama", library.GGMLQuantizationType.F16)
    model.source = Source(place, gguf=gguf)
    return model


def _places(model: LoadedModel) -> dict[str, Spoil]:
    """Where a number is spoilt before, or while, the layer is tuned."""

    def weight(name: str) -> Spoil:
        def spoil(patch: pytest.MonkeyPatch, model: LoadedModel, number: float) -> None:
            parameter = dict(model.model.named_parameters())[name]
            parameter.data.view(-1)[parameter.numel() // 2] = number

        return spoil

    def returned(module: Any, name: str, change: Callable[[Any, float], Any]) -> Spoil:  # noqa: ANN401
        def spoil(patch: pytest.MonkeyPatch, model: LoadedModel, number: float) -> None:
            real = getattr(module, name)
            patch.setattr(module, name, lambda *given, **named: change(real(*given, **named), number))

        return spoil

    def states(layer: int, row: int) -> Spoil:
        def spoil(patch: pytest.MonkeyPatch, model: LoadedModel, number: float) -> None:
            seen = iter(range(10**9))

            def put(_module: Any, _given: Any, output: Any) -> Any:  # noqa: ANN401
                if next(seen) == row:
                    (output if isinstance(output, torch.Tensor) else output[0])[0, -1, 3] = number
                return output

            model.layers[layer].register_forward_hook(put)

        return spoil

    names = [name for name, _ in model.model.named_parameters()]
    places = {f"the weights {name}": weight(name) for name in names[::5]}
    places |= {f"a state after layer {layer}, pass {row}": states(layer, row) for layer in (1, 2, 3) for row in (0, 5)}
    places["the solution of the ridge regression"] = returned(actor_core.tune, "solve_ridge", _one_spoilt)
    places["the refusal vector"] = returned(actor_core.tune, "refusal_vector", _one_spoilt)
    return places


def _one_spoilt(tensor: torch.Tensor, number: float) -> torch.Tensor:
    spoilt = tensor.clone().contiguous()
    spoilt.reshape(-1)[1] = number
    return spoilt


def _deltas(whole: LayerDelta) -> dict[str, Callable[[LowRank, float], LowRank]]:
    """Where a number of a tuned change is spoilt before it is exported."""
    return {
        "what the change reads": lambda change, number: LowRank(_one_spoilt(change.a, number), change.b),
        "what the change writes": lambda change, number: LowRank(change.a, _one_spoilt(change.b, number)),
        "a change too large for fp32": lambda change, number: LowRank(change.a * 1e30, change.b * 1e30),
        "a change too large for half precision": lambda change, number: LowRank(change.a, change.b * 1e7),
    }


def _tune_and_export(model: LoadedModel, out: Path) -> None:
    tuned = finish(tune(model, PROMPTS, SETTINGS))
    _export(model, tuned.delta, out)


def _export(model: LoadedModel, delta: LayerDelta, out: Path) -> None:
    said = []
    for kind in KINDS:
        try:
            finish(export(model, delta, kind, out / kind, prompts=("how do i kill a process",)))
        except ActorError as error:
            said.append(error)


def _fault(work: Callable[[], None], out: Path) -> str:
    try:
        work()
    except ActorError as said:
        return "" if len(str(said)) > 20 else f"not clear: {said}"
    except Exception as fault:  # noqa: BLE001 - this is what must not be
        return f"{type(fault).__name__} escaped: {fault}"
    for path in out.rglob("*.safetensors"):
        for name, tensor in load_file(path).items():
            if not bool(torch.isfinite(tensor.float()).all()):
                return f"{path.parent.name}/{path.name} holds {name} that is not finite"
    for path in out.rglob("*.gguf"):
        import gguf
        import numpy as np

        for tensor in gguf.GGUFReader(path).tensors:
            if not np.isfinite(gguf.quants.dequantize(tensor.data, tensor.tensor_type)).all():
                return f"{path.parent.name}/{path.name} holds {tensor.name} that is not finite"
    return ""
