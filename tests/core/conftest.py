"""Fixtures of the core's tests: tiny models, each made once for the whole run."""

from __future__ import annotations

from collections.abc import Callable

import gguf
import pytest
import torch
from tiny_gguf import base_gguf
from tiny_models import Source, loaded, refusing_folder, tiny_folder

from actor_core.llama import server as llama
from actor_core.model import LoadedModel


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Callable[..., LoadedModel]:
    """``tiny(kind, precision)``: a random model of that shape; nothing a test does may change it."""
    torch.set_num_threads(1)
    made: dict[tuple[str, str], LoadedModel] = {}

    def get(kind: str = "qwen2", precision: str = "fp32") -> LoadedModel:
        key = kind, precision
        if key not in made:
            made[key] = loaded(tiny_folder(kind, tmp_path_factory.mktemp("-".join(key))), precision)
        return made[key]

    return get


@pytest.fixture(scope="session")
def refusing(tmp_path_factory) -> LoadedModel:
    """A toy that refuses every prompt with a dangerous verb."""
    torch.set_num_threads(1)
    return loaded(refusing_folder(tmp_path_factory.mktemp("refusing")))


@pytest.fixture
def from_gguf(tiny, tmp_path, monkeypatch):
    """``from_gguf(kind)``: the tiny model as if it had been loaded from a GGUF file, which is made of it.

    llama.cpp could not load that file, which lacks the other layers: tests/real has one that it can.
    """
    find = llama.importlib.util.find_spec
    monkeypatch.setattr(llama.importlib.util, "find_spec", lambda name: None if name == "xllamacpp" else find(name))
    changed = []

    def get(kind: str = "qwen2", quantised: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.Q5_0):
        model = tiny(kind)
        changed.append((model, model.source))
        file = base_gguf(model, tmp_path / f"{kind}.gguf", kind, quantised)
        model.source = Source(model.source.folder, gguf=file)
        return model

    yield get
    for model, source in changed:
        model.source = source
