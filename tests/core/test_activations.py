"""One read of the prompts gives a(q) and what enters the writer, for every candidate layer at once."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext

import pytest
import torch
from tiny_models import CONFIGS, PROMPTS, hooks

from actor_core.activations import Recorder, norm_after_writer, read_activations, residual_gain
from actor_core.events import Progress, finish
from actor_core.passages import PREFIX, read


def alone(model, prompt: str, layer: int) -> dict[str, torch.Tensor]:
    """The layer's output, and what goes into and comes out of its writer, in a full forward pass of one prompt."""
    seen: dict[str, torch.Tensor] = {}

    def keep(_module, inputs, output):
        seen.update(entering=inputs[0][0], written=output[0])

    handle = model.layers[layer].mlp.down_proj.register_forward_hook(keep)
    ids = torch.tensor([model.token_ids(prompt)])
    with torch.no_grad():
        states = model.model(ids, output_hidden_states=True, use_cache=False).hidden_states
    handle.remove()
    return seen | {"output": states[layer + 1][0]}


@pytest.mark.parametrize("kind", CONFIGS)
def test_outputs_are_the_hidden_states_of_a_full_pass_at_the_last_token(tiny, kind):
    # The last layer's own `hidden_states` have been through the final norm, so it is left out.
    model = tiny(kind)
    readings = finish(read_activations(model, PROMPTS, [0, 1]))
    assert list(readings) == [0, 1]
    for layer, reading in readings.items():
        assert reading.layer == layer and reading.outputs.dtype == torch.float32
        wanted = torch.stack([alone(model, prompt, layer)["output"][-1] for prompt in PROMPTS])
        torch.testing.assert_close(reading.outputs, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_inputs_are_what_enters_the_writer_at_the_last_token(tiny, kind):
    model = tiny(kind)
    for layer, reading in finish(read_activations(model, PROMPTS, [0, 2])).items():
        wanted = torch.stack([alone(model, prompt, layer)["entering"][-1] for prompt in PROMPTS])
        torch.testing.assert_close(reading.inputs, wanted, atol=1e-4, rtol=1e-4)


def test_others_are_real_tokens_before_the_last(tiny):
    model = tiny()
    reading = finish(read_activations(model, PROMPTS, [1], other_tokens=1000))[1]
    every = torch.cat([alone(model, prompt, 1)["entering"][:-1] for prompt in PROMPTS])
    assert len(PROMPTS) > 1 and len(reading.others) < len(every)  # what all begin with stands there once
    # and weighs as often as it occurs: the regression is the same.
    torch.testing.assert_close(reading.others.T @ reading.others, every.T @ every, atol=1e-2, rtol=1e-4)


def test_others_are_drawn_by_the_seed_and_no_more_than_asked_for(tiny):
    model = tiny()
    prompts = [f"{a} {b}" for a in ("alpha", "beta", "zeta") for b in ("gamma", "delta zeta", "alpha beta")]

    def others(seed: int, wanted: int = 8) -> torch.Tensor:
        return finish(read_activations(model, prompts, [1], other_tokens=wanted, seed=seed))[1].others

    assert 3 <= len(others(0)) <= 10 and len(others(0, 0)) <= 1
    assert torch.equal(others(0), others(0))
    assert not torch.equal(others(0), others(1))


def test_layers_after_the_last_candidate_do_not_run(tiny):
    model = tiny()
    ran = []
    with ExitStack() as counting:
        for n, layer in enumerate(model.layers):
            counting.callback(layer.register_forward_hook(lambda *_, n=n: ran.append(n)).remove)
        finish(read_activations(model, PROMPTS, [0, 1]))
    assert ran == [0, 1] * 2  # once for what all begin with, once for the rest


def test_what_is_kept_of_a_prompt_does_not_hold_the_other_tokens_of_its_batch(tiny):
    model = tiny()
    batches, recorder = list(model.batches(PROMPTS, share_prefix=True)), Recorder(model, 1)
    none = torch.empty((0, 2), dtype=torch.long)

    def recording(layer, place):
        of_layer = layer == recorder.layer and place != PREFIX
        return recorder.recording(batches[place], none) if of_layer else nullcontext()

    for _ in read(model, batches, 2, recording):
        pass
    assert len(recorder.rows) == len(PROMPTS)
    for row in recorder.rows.values():
        for states in row:
            assert states.untyped_storage().nbytes() <= states.numel() * 4 * len(PROMPTS)


def test_stopping_between_two_events_leaves_no_hook(tiny):
    model = tiny()
    hooked = hooks(model)
    work = read_activations(model, ["alpha beta"] * 70, [0, 1])
    assert next(work) == Progress("read", 0, 70)  # what all begin with
    assert next(work) == Progress("read", 32, 70)
    assert hooks(model) == hooked
    work.close()
    assert hooks(model) == hooked


def test_rows_come_back_in_the_order_of_the_prompts(tiny):
    model = tiny()
    turned = finish(read_activations(model, PROMPTS[::-1], [1]))[1]
    torch.testing.assert_close(turned.outputs.flip(0), finish(read_activations(model, PROMPTS, [1]))[1].outputs)


def test_gains_are_one_where_the_layer_adds_what_is_written(tiny):
    for kind in ("llama", "qwen2"):
        assert torch.equal(finish(read_activations(tiny(kind), PROMPTS, [1]))[1].gains, torch.ones(len(PROMPTS)))
        assert norm_after_writer(tiny(kind).layers[1]) is None


def test_gemmas_gain_and_norm_say_what_its_norm_does(tiny):
    model = tiny("gemma2")
    layer = model.layers[1]
    gains = finish(read_activations(model, PROMPTS, [1]))[1].gains
    for gain, prompt in zip(gains, PROMPTS, strict=True):
        written = alone(model, prompt, 1)["written"][-1]
        with torch.no_grad():
            normed = layer.post_feedforward_layernorm(written)
        torch.testing.assert_close(normed, written * gain * norm_after_writer(layer), atol=1e-4, rtol=1e-4)


def test_a_norm_of_the_manner_of_llama_keeps_its_weight_as_it_is():
    class Norm(torch.nn.Module):
        weight = torch.full((3,), 2.0)

    layer = torch.nn.Module()
    layer.post_feedforward_layernorm = Norm()
    assert norm_after_writer(layer).tolist() == [2.0, 2.0, 2.0]
    assert residual_gain(None, torch.ones(2, 3)).tolist() == [1.0, 1.0]
    assert residual_gain(torch.ones(3), torch.full((1, 3), 4.0)).item() == pytest.approx(0.25)
