"""A model whose layers are read from its files as they are used gives what it gives when it lies in memory."""

from __future__ import annotations

import pytest
import torch
from accelerate.utils import OffloadedWeightsLoader
from tiny_models import (
    DANGEROUS,
    HARMLESS,
    HARMLESS_THINGS,
    PROMPTS,
    THINGS,
    VICTIMS,
    Source,
    asked,
    random_delta,
    saved,
    tiny_folder,
    tiny_model,
    tiny_tokenizer,
)

from actor_core.activations import norm_after_writer, read_activations, read_reply_tokens
from actor_core.direction import causal_directions
from actor_core.errors import ModelError, OutOfMemory
from actor_core.events import finish
from actor_core.generate import answer
from actor_core.instruction_states import read_instructions
from actor_core.loading import load_model
from actor_core.model import LoadedModel
from actor_core.model_shape import Shape
from actor_core.passages import held
from actor_core.probe import prepare_probe
from actor_core.prompt_sets import PromptSplit
from actor_core.refusal_odds import RefusalOdds, first_token_logits
from actor_core.tune import TuneSettings, TuningPrompts, tune

ODDS = RefusalOdds(torch.tensor([5, 9, 20]), 0.0, 1.0)
LAYERS = 5
LOOK_ALIKES, HARMFUL, ORDINARY = asked(DANGEROUS, HARMLESS_THINGS), asked(DANGEROUS, VICTIMS), asked(HARMLESS, THINGS)
HELD_OUT = PromptSplit(tuple(ORDINARY[1::2]), tuple(LOOK_ALIKES[1::2]), tuple(HARMFUL[1::2]))
PROMPTS_TO_TUNE = TuningPrompts(LOOK_ALIKES[:5:2], ORDINARY[::2], LOOK_ALIKES[::2], HARMFUL[::2], HELD_OUT)


def in_memory(folder, memory: int | None = None) -> LoadedModel:
    model = finish(load_model(Source(folder), precision="fp32", device="cpu", memory=memory))
    model.tokenizer = tiny_tokenizer()
    return model


def bytes_of(model: LoadedModel, layers: float) -> int:
    """Of ``layers`` layers, beside what is read at a time."""
    shape = Shape.of(model.model)
    return int(4 * (max(shape.embedding, shape.layer) + layers * shape.layer))


@pytest.fixture(scope="module", params=["qwen2", "gemma2"])
def both(request, tmp_path_factory) -> tuple[LoadedModel, LoadedModel]:
    """The same random model in memory, and all but its embeddings and a layer on the disk."""
    torch.set_num_threads(1)
    folder = tiny_folder(request.param, tmp_path_factory.mktemp(request.param), layers=LAYERS)
    resident = in_memory(folder)
    return resident, in_memory(folder, bytes_of(resident, 1.3))


@pytest.mark.parametrize("kind", ["qwen2", "gemma2"])
def test_files_in_fewer_bits_are_computed_with_in_as_many_as_in_memory(kind, tmp_path):
    folder = saved(tiny_model(kind, layers=LAYERS, width=48).bfloat16(), tmp_path)  # Gemma's scale: 48 ** 0.5
    resident = in_memory(folder)
    streamed = in_memory(folder, bytes_of(resident, 1.3))
    assert streamed.streamed and {p.dtype for p in streamed.model.parameters()} == {torch.float32}
    wanted, found = (finish(read_activations(model, PROMPTS, [3]))[3].outputs for model in (resident, streamed))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    wanted, found = (finish(first_token_logits(model, PROMPTS)) for model in (resident, streamed))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def in_place(model: LoadedModel) -> list[int]:
    """The layers whose weights are in memory now."""
    return [n for n, layer in enumerate(model.layers) if layer.mlp.down_proj.weight.device.type != "meta"]


def test_as_many_layers_stay_as_fit_and_the_rest_lies_on_the_disk(both):
    resident, streamed = both
    assert not resident.streamed and streamed.streamed
    assert in_place(resident) == list(range(LAYERS)) and in_place(streamed) == [0]


def test_states_are_those_of_the_model_in_memory_and_the_same_tokens_are_drawn(both):
    wanted, found = (finish(read_activations(model, PROMPTS, [1, 3], other_tokens=9)) for model in both)
    for layer in (1, 3):
        for name in ("outputs", "inputs", "gains", "others"):
            expected, got = getattr(wanted[layer], name), getattr(found[layer], name)
            assert expected.shape == got.shape
            torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-4)


def test_every_weight_is_read_once_for_all_prompts_and_two_layers_at_most_lie_in_memory(both, monkeypatch):
    _, streamed = both
    read, most = [], []
    get = OffloadedWeightsLoader.__getitem__
    monkeypatch.setattr(OffloadedWeightsLoader, "__getitem__", lambda self, key: read.append(key) or get(self, key))
    handles = [
        layer.mlp.register_forward_hook(lambda *_: most.append(len(in_place(streamed)))) for layer in streamed.layers
    ]
    many = [f"{prompt} {word}" for prompt in PROMPTS for word in ("alpha", "beta", "gamma")]
    monkeypatch.setattr("actor_core.model.TOKENS_AT_ONCE", 8)
    list(read_activations(streamed, many, [3]))
    for handle in handles:
        handle.remove()
    down = [key for key in read if key.endswith("down_proj.weight")]
    once = [f"model.layers.{layer}.mlp.down_proj.weight" for layer in (1, 2, 3)]
    assert down == once * 2  # for what all prompts begin with, and for all of them
    assert max(most) == 2  # the one that stays, and the one that is read
    assert in_place(streamed) == [0]


def test_logits_gradients_and_probes_are_the_same(both):
    wanted, found = (finish(first_token_logits(model, PROMPTS)) for model in both)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)
    wanted, found = (finish(causal_directions(model, PROMPTS, [1, 3], ODDS)) for model in both)
    for layer in (1, 3):
        torch.testing.assert_close(found[layer], wanted[layer], atol=1e-4, rtol=1e-3)
    probes = [finish(prepare_probe(model, PROMPTS, ODDS, 2)) for model in both]
    shift = torch.linspace(-1, 1, 64)
    for measure in (
        lambda probe: probe.untuned,
        lambda probe: probe.log_odds(random_delta(probe.model, 2), 0.7),
        lambda probe: probe.shifted(shift),
        lambda probe: probe.reading().inputs,
    ):
        torch.testing.assert_close(measure(probes[1]), measure(probes[0]), atol=1e-3, rtol=1e-3)
    assert in_place(both[1]) == [0]


def test_replies_with_and_without_a_change_are_the_same(both):
    for delta in (None, random_delta(both[0], 2)):
        wanted, found = (finish(answer(model, PROMPTS, delta=delta, max_new_tokens=6)) for model in both)
        assert [reply.tokens for reply in found] == [reply.tokens for reply in wanted]
    wanted, found = (finish(read_reply_tokens(model, wanted, 3)) for model in both)
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=1e-4)


def test_a_layer_that_is_held_is_let_go_of_after_a_failure_too(both):
    _, streamed = both
    with pytest.raises(ZeroDivisionError), held(streamed.layers[2]):
        assert in_place(streamed) == [0, 2]
        1 / 0  # noqa: B018
    assert in_place(streamed) == [0]
    first, second = (norm_after_writer(model.layers[2]) for model in both)
    assert (first is None and second is None) or torch.equal(first, second)


def test_what_a_prompt_asks_for_is_read_the_same(both):
    wanted, found = (finish(read_instructions(model, PROMPTS, [1, 3], stage="read")) for model in both)
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=1e-4)


def test_a_whole_tuning_gives_the_change_that_it_gives_in_memory(refusing):
    streamed = in_memory(refusing.source.folder, bytes_of(refusing, 1.3))
    assert streamed.streamed
    wanted, found = (finish(tune(model, PROMPTS_TO_TUNE, TuneSettings())) for model in (refusing, streamed))
    assert (found.delta.layer, found.strength, found.words) == (wanted.delta.layer, wanted.strength, wanted.words)
    for name in ("a", "b"):
        expected, got = (getattr(tuned.delta.changes["mlp.down_proj"], name) for tuned in (wanted, found))
        assert float((got - expected).norm() / expected.norm()) < 1e-3
    with pytest.raises(ModelError, match="choose the causal method, or give more --memory"):
        finish(tune(streamed, PROMPTS_TO_TUNE, TuneSettings(method="published")))


def test_too_little_memory_and_four_bits_are_refused_with_what_to_choose(both):
    folder = both[0].source.folder
    with pytest.raises(OutOfMemory, match="0 MB are too little: what is read at a time takes 0 MB in fp32. Give more"):
        in_memory(folder, 1000)
    with pytest.raises(ModelError, match="choose bf16 or fp32"):
        finish(load_model(Source(folder), precision="nf4", device="cpu", memory=10**6))
