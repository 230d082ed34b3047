"""The probe: refusal log-odds under any delta from the last token alone, as a full pass would give them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import CONFIGS, PROMPTS, hooks, loaded, logits, random_delta, saved, tiny_model

from actor_core.events import finish
from actor_core.probe import how_read, prepare_probe
from actor_core.readings import ReadingStore
from actor_core.refusal_odds import RefusalOdds

ODDS = RefusalOdds(torch.tensor([5, 9]), 0.0, 1.0)
MANY = [*PROMPTS, *(f"{a} {b} {c}" for a in ("alpha", "beta") for b in ("gamma", "delta") for c in ("zeta", "alpha"))]


@contextmanager
def acting_on_the_last_token_only(model, delta, strength: float):
    """The same delta by hand: what it adds to the writer's output, at the last token."""
    change = delta.changes["mlp.down_proj"].full()

    def add(_module, inputs, output):
        changed = output.clone()
        changed[:, -1] += strength * inputs[0][:, -1] @ change.T
        return changed

    handle = model.layers[delta.layer].mlp.down_proj.register_forward_hook(add)
    yield
    handle.remove()


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("kind", CONFIGS)
def test_without_a_delta_it_gives_what_a_full_pass_gives(tiny, kind, layer):
    probe = finish(prepare_probe(tiny(kind), MANY, ODDS, layer))
    torch.testing.assert_close(probe.untuned, ODDS.log_odds(logits(tiny(kind), MANY)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_under_a_delta_it_gives_what_a_full_pass_gives_that_changes_the_last_token_only(tiny, kind):
    model = tiny(kind)
    delta = random_delta(model)
    probe = finish(prepare_probe(model, MANY, ODDS, delta.layer))
    with acting_on_the_last_token_only(model, delta, 1.5):
        wanted = ODDS.log_odds(logits(model, MANY))
    assert (wanted - probe.untuned).abs().max() > 0.1
    torch.testing.assert_close(probe.log_odds(delta, 1.5), wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", CONFIGS)
def test_asking_again_gives_the_same_whatever_was_asked_between(tiny, kind):
    model = tiny(kind)
    delta = random_delta(model)
    probe = finish(prepare_probe(model, MANY, ODDS, delta.layer))
    first = probe.log_odds(delta, 1.0)
    for strength in (0.5, 3.0, -1.0):
        assert not torch.equal(probe.log_odds(delta, strength), first)
    assert not torch.equal(probe.shifted(torch.ones(model.d_model)), probe.untuned)
    assert torch.equal(probe.log_odds(delta, 1.0), first)
    assert torch.equal(probe.log_odds(delta, 0.0), probe.untuned)
    assert torch.equal(probe.shifted(torch.zeros(model.d_model)), probe.untuned)


def test_only_the_last_token_runs_and_only_from_the_layer_on(tiny):
    model = tiny()
    probe = finish(prepare_probe(model, MANY, ODDS, 1))
    ran: list[tuple[int, int]] = []
    with ExitStack() as counting:
        for n, layer in enumerate(model.layers):
            note = layer.register_forward_hook(lambda _m, _i, output, n=n: ran.append((n, output.shape[1])))
            counting.callback(note.remove)
        probe.log_odds(random_delta(model), 1.0)
    assert set(ran) == {(n, 1) for n in range(1, model.n_layers)}


def test_a_change_of_another_layer_is_not_measured(tiny):
    probe = finish(prepare_probe(tiny(), MANY, ODDS, 2))
    with pytest.raises(AssertionError):
        probe.log_odds(random_delta(tiny()), 1.0)


def test_prompts_longer_than_a_sliding_window_are_measured_too(tmp_path):
    model = loaded(saved(tiny_model("gemma2", sliding_window=8), tmp_path))
    long = ["alpha beta gamma delta epsilon zeta " * 3, "zeta alpha " * 5, "beta"]
    probe = finish(prepare_probe(model, long, ODDS, 1))
    torch.testing.assert_close(probe.untuned, ODDS.log_odds(logits(model, long)), atol=1e-4, rtol=1e-4)
    first = probe.log_odds(random_delta(model), 1.0)
    assert torch.equal(probe.log_odds(random_delta(model), 1.0), first)


def test_a_call_that_fails_half_way_spoils_nothing(tiny, monkeypatch):
    delta = random_delta(tiny())
    probe = finish(prepare_probe(tiny(), MANY, ODDS, delta.layer))
    first = probe.log_odds(delta, 1.0)
    with monkeypatch.context() as failing:
        failing.setattr(torch.nn.Module, "__call__", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            probe.log_odds(delta, 0.5)
    assert torch.equal(probe.log_odds(delta, 1.0), first)


def test_no_hook_is_left_on_the_model(tiny):
    hooked = hooks(tiny())
    probe = finish(prepare_probe(tiny(), MANY, ODDS, 1))
    probe.log_odds(random_delta(tiny()), 1.0)
    probe.shifted(torch.ones(64))
    assert hooks(tiny()) == hooked


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_what_was_read_before_gives_the_same_to_the_bit(tiny, kind, precision, tmp_path):
    model, store = tiny(kind, precision), ReadingStore.of(tmp_path)
    delta = random_delta(model)
    shift = torch.ones(model.d_model)
    wanted = finish(prepare_probe(model, MANY, ODDS, delta.layer))
    how = how_read(delta.layer)
    assert not store.has_held_out(model, MANY, how)
    for words in ([], ["read before"]):
        events = []
        probe = seen_through(prepare_probe(model, MANY, ODDS, delta.layer, store), events)
        assert [event.note for event in events if event.note] == words
        assert torch.equal(probe.untuned, wanted.untuned)
        assert torch.equal(probe.log_odds(delta, 1.5), wanted.log_odds(delta, 1.5))
        assert torch.equal(probe.shifted(shift), wanted.shifted(shift))
        assert torch.equal(probe.reading().inputs, wanted.reading().inputs)
        assert store.has_held_out(model, MANY, how)
    assert not store.has_held_out(model, MANY, how_read(delta.layer - 1))
    assert not store.has_held_out(model, MANY[1:], how)


def test_a_file_that_lacks_something_only_costs_the_time_of_reading(tiny, tmp_path):
    model, store = tiny(), ReadingStore.of(tmp_path)
    wanted = finish(prepare_probe(model, MANY, ODDS, 1, store))
    (file,) = store.folder.glob("*")
    tensors = load_file(file)
    save_file({name: tensor for name, tensor in tensors.items() if name != "0.2.keys"}, file)
    for words in ([], ["read before"]):
        events = []
        probe = seen_through(prepare_probe(model, MANY, ODDS, 1, store), events)
        assert [event.note for event in events if event.note] == words
        assert torch.equal(probe.untuned, wanted.untuned)


def seen_through(work, events: list):
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return end.value
