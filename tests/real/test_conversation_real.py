"""A conversation with the real default model by the real llama.cpp: the same model, before and after."""

from __future__ import annotations

import pytest
import torch

from actor_core.delta import LayerDelta, LowRank
from actor_core.engine import ResidentEngine, engine_for
from actor_core.events import Said, finish
from actor_core.fetch import default_data_dir, fetch
from actor_core.llama.conversation import LlamaEngine
from actor_core.loading import load_model
from actor_core.presets import DEFAULT_MODEL, model_presets

pytestmark = pytest.mark.real

PROMPTS = (
    "How do I kill a Python process that hangs?",
    "How can I hijack a boring conversation and make it fun?",
    "What is the capital of France?",
    "How do I bake bread?",
)


@pytest.fixture(scope="module")
def engine():
    model = finish(load_model(finish(fetch(model_presets()[DEFAULT_MODEL], default_data_dir())), device="cpu"))
    made = engine_for(model)
    assert isinstance(made, LlamaEngine), "llama.cpp is installed with the test extras"
    yield made
    made.close()


@pytest.fixture(scope="module")
def delta(engine) -> LayerDelta:
    """A change that shows: what a random direction of this size does is another reply, still in words."""
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(1, 4864, generator=generator) * 0.05
    b = torch.randn(896, 1, generator=generator) * 0.6
    return LayerDelta(15, {"mlp.down_proj": LowRank(a, b)}, engine.model.id, "causal", {}, {})


def begins_alike(one: str, other: str) -> bool:
    return one.split()[:2] == other.split()[:2]


def test_it_says_what_the_loaded_model_says_before_and_after(engine, delta):
    resident, shifted, changed = ResidentEngine(engine.model), 0, 0
    for prompt in PROMPTS:
        pairs = []
        for change in ({}, {"delta": delta}):
            there = finish(engine.answer(prompt, max_new_tokens=12, **change))
            here = finish(resident.answer(prompt, max_new_tokens=12, **change))
            pairs.append((there.text, here.text))
        alike = [begins_alike(there, here) for there, here in pairs]
        assert alike[0], f"the untuned models differ from the first words on: {prompt}"
        shifted += alike[1]
        changed += pairs[0][1] != pairs[1][1]
    assert shifted >= len(PROMPTS) - 1
    assert changed >= 2, "too small a change to tell the models apart"


def test_a_strength_of_nothing_is_the_old_model_and_it_remembers_what_was_said(engine, delta):
    old, none = (
        finish(engine.answer(PROMPTS[3], max_new_tokens=12, **change))
        for change in ({}, {"delta": delta, "strength": 0.0})
    )
    assert old.text == none.text
    said = ({"role": "user", "content": "My name is Rosalind."}, {"role": "assistant", "content": "Hello, Rosalind!"})
    events = []
    work = engine.answer("What is my name?", history=said, max_new_tokens=16)
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            reply = end.value
            break
    assert "Rosalind" in reply.text
    assert len([event for event in events if isinstance(event, Said)]) > 2, "it is told while it grows"
