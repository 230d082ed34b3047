"""The published loop: the paper's equations, one layer trained, and a delta that is what was trained."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny_models import CONFIGS, hooks, logits, weights_digest

from actor_core import train as module
from actor_core.activations import read_activations
from actor_core.errors import ModelError
from actor_core.events import Progress, Step, finish
from actor_core.model import linear_weight
from actor_core.prompt_sets import PromptSplit
from actor_core.targets import TuningPrompts, training_rows
from actor_core.train import PublishedSettings, actor_loss, actor_targets, train

HARMFUL = [f"{a} {b}" for a in ("alpha", "alpha alpha", "beta alpha") for b in ("zeta", "zeta delta", "zeta gamma")]
BENIGN = [f"{a} {b}" for a in ("gamma", "delta", "epsilon") for b in ("delta", "gamma beta", "epsilon beta beta")]
OWN = ["alpha gamma", "zeta epsilon delta"]
ROWS = training_rows(
    TuningPrompts(OWN, BENIGN, ["beta zeta delta"], HARMFUL, PromptSplit((), (), ())), harmful_weight=2.0
)
QUICK = PublishedSettings(alpha=0.2, learning_rate=1e-3, epochs=4, refresh=4)


def test_targets_are_those_of_equations_2_to_4_by_hand():
    a, r = torch.tensor([[3.0, 1.0], [1.0, -2.0]]), torch.tensor([2.0, 0.0])
    # Proj_R(a) = (R·a / ‖R‖²) R is [3, 0] and [1, 0].
    answered = actor_targets(a, r, torch.tensor([-1.0, -1.0]), 0.1, torch.zeros(2))
    torch.testing.assert_close(answered, torch.tensor([[2.7, 1.0], [0.9, -2.0]]))
    refused = actor_targets(a, r, torch.tensor([1.0, 1.0]), 0.1, torch.zeros(2))
    torch.testing.assert_close(refused, torch.tensor([[3.3, 1.0], [1.1, -2.0]]))
    # Measured from [2, 5] the first lies 1 along R and the second -1.
    centred = actor_targets(a, r, torch.tensor([1.0, 1.0]), 0.1, torch.tensor([2.0, 5.0]))
    torch.testing.assert_close(centred, torch.tensor([[3.1, 1.0], [0.9, -2.0]]))


def test_loss_is_one_less_the_mean_cosine_of_equation_5():
    a, t = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    assert actor_loss(a, t).item() == pytest.approx((0 + 1 - math.sqrt(0.5)) / 2)


def test_a_loss_below_the_steps_of_fp32_is_not_rounded_to_zero():
    a = torch.tensor([[1.0, 1.0]])
    assert 0 < actor_loss(a, a + torch.tensor([[1e-5, 0.0]])).item() < 1e-9


def test_uncentred_projections_push_the_other_way_where_the_classes_lie_below_zero(tiny):
    # R·a < 0 for every a: ACTOR as published then moves what is to be answered towards refusing.
    a, r = torch.tensor([[-3.0, 1.0]]), torch.tensor([1.0, 0.0])
    answered = torch.tensor([-1.0])
    assert actor_targets(a, r, answered, 0.1, torch.zeros(2))[0, 0] > a[0, 0]
    assert actor_targets(a, r, answered, 0.1, torch.tensor([-5.0, 0.0]))[0, 0] < a[0, 0]
    centred, published = (finish(train(tiny(), 1, ROWS, replace(QUICK, centred=c), seed=0)) for c in (True, False))
    assert centred.digest() != published.digest()


@pytest.mark.parametrize("kind", CONFIGS)
def test_harmful_and_benign_prompts_move_apart_along_r(tiny, kind):
    model = tiny(kind)
    delta = finish(train(model, 1, ROWS, QUICK, seed=0))
    before = finish(read_activations(model, ROWS.prompts, [1]))[1].outputs
    with delta.applied(model):
        after = finish(read_activations(model, ROWS.prompts, [1]))[1].outputs
    harmful, benign = ROWS.are("harmful"), ROWS.are("benign")
    r = before[harmful].mean(0) - before[benign].mean(0)
    moved = (after - before) @ r / r.dot(r)
    assert moved[harmful].mean() > 0.01
    assert moved[harmful].mean() - moved[benign].mean() > 0.02


def test_the_loss_falls_towards_targets_that_stay(tiny):
    # The paper's targets move along with the weights, and so the loss need not fall: here they are held.
    model = tiny()
    first_targets = []

    def fixed(a, r, signs, alpha, centre):
        key = tuple(signs.tolist())
        first_targets.append((key, a, actor_targets(a, r, signs, alpha, centre)))
        return next(t for k, old, t in first_targets if k == key and len(old) == len(a))

    one_batch = training_rows(
        TuningPrompts(["alpha gamma"], ["gamma delta"], [], ["alpha zeta"], PromptSplit((), (), ())),
        harmful_weight=2.0,
    )
    settings = PublishedSettings(alpha=0.5, learning_rate=1e-3, epochs=60, refresh=1000)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "actor_targets", fixed)
        losses = [e.loss for e in train(model, 1, one_batch, settings, seed=0) if isinstance(e, Step)]
    assert len(losses) == 3
    assert losses[2] < losses[1] < losses[0] and losses[2] < losses[0] / 5


def test_steps_and_progress_say_how_far_it_is(tiny):
    events = list(train(tiny(), 1, ROWS, replace(QUICK, epochs=9, batch_size=8), seed=0))
    steps = [event for event in events if isinstance(event, Step)]
    assert [(step.step, step.total) for step in steps] == [(20, 27), (27, 27)]
    assert {e.stage for e in events if isinstance(e, Progress)} == {"read", "train"}
    assert steps[0].delta.digest() != steps[1].delta.digest()
    assert steps[1].delta.measured == {"steps": 27} and steps[1].delta.method == "published"


def test_a_step_that_was_kept_does_not_change_as_training_goes_on(tiny):
    work = train(tiny(), 1, ROWS, replace(QUICK, epochs=14), seed=0)
    first = next(event for event in work if isinstance(event, Step)).delta
    digest = first.digest()
    last = finish(work)
    assert first.digest() == digest != last.digest()


@pytest.mark.parametrize("events", [1, 5, 9])
def test_stop_between_two_steps_leaves_the_model_as_it_was(tiny, events):
    model = tiny()
    before, hooked, digest = logits(model), hooks(model), weights_digest(model)
    work = train(model, 1, ROWS, QUICK, seed=0)
    for _ in range(events):
        next(work)
        assert hooks(model) == hooked and not model.lock._is_owned()
    work.close()
    assert torch.equal(logits(model), before) and weights_digest(model) == digest
    assert not any(p.requires_grad for p in model.model.parameters())


def test_the_same_seed_gives_the_same_delta_bit_for_bit_and_another_one_another(tiny):
    first, again, other = (finish(train(tiny(), 1, ROWS, QUICK, seed=seed)) for seed in (0, 0, 1))
    assert first.digest() == again.digest() != other.digest()


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_delta_applied_reproduces_the_trained_copy(tiny, kind, monkeypatch):
    model = tiny(kind)
    copies = []
    copy_of = module._fp32_copy
    monkeypatch.setattr(module, "_fp32_copy", lambda layer: copies.append(copy_of(layer)) or copies[0])
    delta = finish(train(model, 1, ROWS, QUICK, seed=0))
    entering = finish(module._read_entering(model, ROWS, 1, 8))
    before = finish(read_activations(model, ROWS.prompts, [1]))[1].outputs
    with delta.applied(model):
        applied = finish(read_activations(model, ROWS.prompts, [1]))[1].outputs
    for batch in entering:
        with torch.no_grad():
            wanted = module._outputs(copies[0], batch)
        torch.testing.assert_close(applied[list(batch.rows)], wanted, atol=1e-3, rtol=1e-3)
    assert (applied - before).abs().max() > 0.01


def test_only_linear_modules_of_the_one_layer_change(tiny):
    delta = finish(train(tiny(), 1, ROWS, QUICK, seed=0))
    assert delta.layer == 1
    assert set(delta.changes) == {
        *(f"self_attn.{name}_proj" for name in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    }  # fmt: skip
    assert all(change.abs().max() > 0 for change in delta.changes.values())


def test_a_layer_in_four_bits_is_trained_through_a_copy_in_fp32(tiny):
    model = tiny("llama", "nf4")
    logits(model)
    master = module._fp32_copy(model.layers[1])
    weights = {name: m.weight for name, m in master.named_modules() if isinstance(m, torch.nn.Linear)}
    assert len(weights) == 7
    for name, weight in weights.items():
        assert type(weight) is torch.nn.Parameter and weight.dtype == torch.float32 and weight.requires_grad
        assert torch.equal(weight, linear_weight(model.layers[1].get_submodule(name)))
    delta = finish(train(model, 1, ROWS, QUICK, seed=0))
    assert delta.base.precision == "nf4"
    # The same prompts through the 4-bit layer and the delta, beside the trained copy.
    before = logits(model)
    with delta.applied(model):
        assert (logits(model) - before).abs().max() > 0.01
    assert type(model.layers[1].mlp.down_proj.weight).__name__ == "Params4bit"


def test_a_bias_is_held_and_still_counts(tiny):
    master = module._fp32_copy(tiny("qwen2").layers[1])
    theirs = tiny("qwen2").layers[1].self_attn.q_proj.bias
    assert theirs.abs().max() > 0
    assert torch.equal(master.self_attn.q_proj.bias, theirs) and not master.self_attn.q_proj.bias.requires_grad


def test_anchors_are_rows_of_one_kind_up_to_the_limit(tiny, monkeypatch):
    entering = finish(module._read_entering(tiny(), ROWS, 1, 8))
    harmful = ROWS.are("harmful").nonzero().flatten().tolist()
    found = module._anchor_batches(entering, ROWS, "harmful")
    assert sorted(row for batch in found for row in batch.rows) == harmful
    monkeypatch.setattr(module, "ANCHORS", 4)
    found = module._anchor_batches(entering, ROWS, "harmful")
    assert sum(len(batch.rows) for batch in found) == 4
    before = finish(read_activations(tiny(), ROWS.prompts, [1]))[1].outputs
    for batch in found:
        states = module._outputs(tiny().layers[1], batch)
        torch.testing.assert_close(states, before[list(batch.rows)], atol=1e-4, rtol=1e-4)


def test_a_loss_that_is_no_number_ends_it_with_what_to_change(tiny):
    with pytest.raises(ModelError, match="no longer a number after [0-9]+ updates: choose a smaller learning rate"):
        finish(train(tiny(), 1, ROWS, replace(QUICK, learning_rate=1e30, epochs=20), seed=0))
