"""A delta is a value: laid over the model it does what edited weights would, and comes off without a trace."""

from __future__ import annotations

import errno
import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import CONFIGS, PROMPTS, hooks, logits, random_change, random_delta, weights_digest

from actor_core import delta as module
from actor_core.delta import BaseModelId, LayerDelta, LowRank
from actor_core.errors import DeltaError
from actor_core.weights import whole_files

EVERY_FORM = {"mlp__down_proj": 2, "mlp__up_proj": None, "self_attn__q_proj": 1, "self_attn__o_proj": None}


def edited_by_hand(model, delta: LayerDelta, strength: float):
    """The same model with the change added to its weights."""
    copy = replace(model, model=deepcopy(model.model))
    for name, change in delta.changes.items():
        full = change.full() if isinstance(change, LowRank) else change
        copy.layers[delta.layer].get_submodule(name).weight.data += strength * full
    return copy


@pytest.mark.parametrize("kind", CONFIGS)
def test_applied_and_removed_leaves_the_logits_exactly_as_before(tiny, kind):
    model = tiny(kind)
    before, hooked, digest = logits(model), hooks(model), weights_digest(model)
    with random_delta(model, **EVERY_FORM).applied(model, 1.5):
        assert not torch.equal(logits(model), before)
        assert weights_digest(model) == digest
    assert torch.equal(logits(model), before)
    assert hooks(model) == hooked


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("ranks", [{"mlp__down_proj": 2}, {"mlp__down_proj": None}, EVERY_FORM])
def test_the_hook_equals_weights_edited_by_hand(tiny, kind, ranks):
    model = tiny(kind)
    delta = random_delta(model, **ranks)
    with delta.applied(model, 0.6):
        hooked = logits(model)
    by_hand = logits(edited_by_hand(model, delta, 0.6))
    assert (by_hand - logits(model)).abs().max() > 0.1
    torch.testing.assert_close(hooked, by_hand, atol=1e-5 * by_hand.abs().max().item(), rtol=1e-5)


def test_a_strength_a_row_gives_each_row_what_that_strength_gives_alone(tiny):
    model = tiny()
    delta = random_delta(model, **EVERY_FORM)
    batch = next(model.batches([PROMPTS[0]] * 3))
    strengths = [0.0, 0.5, -1.0]
    with torch.no_grad(), delta.applied(model, torch.tensor(strengths)):
        together = model.model(**batch.inputs()).logits[:, -1]
    for row, strength in zip(together, strengths, strict=True):
        with delta.applied(model, strength):
            torch.testing.assert_close(row, logits(model, PROMPTS[:1])[0], atol=1e-4, rtol=1e-4)


def test_strength_zero_is_the_base_model(tiny):
    model = tiny()
    before = logits(model)
    with random_delta(model, **EVERY_FORM).applied(model, 0.0):
        assert torch.equal(logits(model), before)


def test_scaled_makes_the_strength_the_new_one(tiny):
    model = tiny()
    delta = random_delta(model, **EVERY_FORM)
    with delta.applied(model, 0.5):
        wanted = logits(model)
    with delta.scaled(0.5).applied(model):
        torch.testing.assert_close(logits(model), wanted, atol=1e-5, rtol=1e-5)


def test_two_nested_deltas_add_up_and_come_off_one_by_one(tiny):
    model = tiny()
    delta = random_delta(model)
    before = logits(model)
    with delta.applied(model, 1.0):
        outer = logits(model)
        with delta.applied(model, 1.0):
            twice = logits(model)
        assert torch.equal(logits(model), outer)
    with delta.applied(model, 2.0):
        torch.testing.assert_close(logits(model), twice, atol=1e-4, rtol=1e-4)
    assert torch.equal(logits(model), before)


def test_an_exception_in_the_body_removes_every_hook_and_frees_the_lock(tiny):
    model = tiny()
    hooked = hooks(model)
    with pytest.raises(ZeroDivisionError), random_delta(model, **EVERY_FORM).applied(model):
        raise ZeroDivisionError
    assert hooks(model) == hooked
    assert not model.lock._is_owned()


def test_a_second_module_that_does_not_fit_leaves_no_hook_of_the_first(tiny):
    model = tiny()
    hooked = hooks(model)
    delta = random_delta(model)
    wrong = replace(delta, changes={**delta.changes, "mlp.no_such": torch.ones(2, 2)})
    with pytest.raises(DeltaError, match="no such module"), wrong.applied(model):
        pass
    assert hooks(model) == hooked


def test_save_and_load_give_the_same_bit_for_bit(tiny, tmp_path):
    delta = random_delta(tiny(), **EVERY_FORM)
    delta.save(tmp_path / "it.safetensors")
    back = LayerDelta.load(tmp_path / "it.safetensors")
    assert back.digest() == delta.digest()
    assert (back.layer, back.base, back.method) == (delta.layer, delta.base, delta.method)
    assert (back.settings, back.measured) == (delta.settings, delta.measured)
    assert isinstance(back.changes["mlp.down_proj"], LowRank)
    assert torch.equal(back.changes["mlp.up_proj"], delta.changes["mlp.up_proj"])
    assert [file.name for file in tmp_path.iterdir()] == ["it.safetensors"]


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_file_cut_short_is_refused(tiny, tmp_path, kept):
    path = tmp_path / "it.safetensors"
    random_delta(tiny()).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DeltaError, match="it.safetensors cannot be read as a layer delta"):
        LayerDelta.load(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(DeltaError, match="foreign.safetensors is no layer delta"):
        LayerDelta.load(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("described", ["{", "{}", '{"layer": "one"}', "[]"])
def test_a_header_that_does_not_describe_a_delta_is_refused(tmp_path, described):
    metadata = {"format": module.FORMAT, "delta": described}
    save_file({"x.difference": torch.ones(1, 1)}, tmp_path / "x", metadata=metadata)
    with pytest.raises(DeltaError, match="x cannot be read"):
        LayerDelta.load(tmp_path / "x")


def test_half_of_a_low_rank_change_is_refused(tiny, tmp_path):
    delta = random_delta(tiny())
    described = {"layer": 1, "base": vars(delta.base), "method": "causal", "settings": {}, "measured": {}}
    metadata = {"format": module.FORMAT, "delta": json.dumps(described)}
    save_file({"mlp.down_proj.a": torch.ones(1, 2)}, tmp_path / "x", metadata=metadata)
    with pytest.raises(DeltaError, match="cannot be read"):
        LayerDelta.load(tmp_path / "x")


def test_no_file_at_all_is_an_error_in_words(tmp_path):
    with pytest.raises(DeltaError, match="gone.safetensors"):
        LayerDelta.load(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_neither_leave_memory_nor_come_in(tiny, tmp_path, number, monkeypatch):
    delta = random_delta(tiny())
    delta.changes["mlp.down_proj"].b[0, 0] = number
    with pytest.raises(DeltaError, match=r"mlp\.down_proj\.b holds numbers that are not finite"):
        delta.save(tmp_path / "it")
    assert list(tmp_path.iterdir()) == []
    with monkeypatch.context() as unguarded:
        unguarded.setattr(LayerDelta, "require_finite", lambda self: None)
        delta.save(tmp_path / "it")
    with pytest.raises(DeltaError, match="not finite"):
        LayerDelta.load(tmp_path / "it")


@pytest.mark.parametrize("fails", ["steady_bytes", "fsync"])
def test_a_full_disk_leaves_nothing_and_the_older_file_as_it_was(tiny, tmp_path, monkeypatch, fails):
    path = tmp_path / "it.safetensors"
    older = random_delta(tiny())
    older.save(path)

    def full(*arguments, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((module, "steady_bytes") if fails == "steady_bytes" else (whole_files.os, "fsync")), full)
    with pytest.raises(OSError, match="No space"):
        older.scaled(2.0).save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["it.safetensors"]
    assert LayerDelta.load(path).digest() == older.digest()


def test_another_base_model_is_refused_with_both_digests(tiny):
    delta = random_delta(tiny())
    delta.require_base(tiny().id)
    other = BaseModelId("someone/Other", "r", "c" * 64, "bf16")
    with pytest.raises(DeltaError, match=r"someone/Tiny-Chat \(digest b{12}\).*someone/Other \(digest c{12}\)"):
        delta.require_base(other)


def test_a_layer_that_the_model_has_not_is_refused_with_the_limits(tiny):
    delta = replace(random_delta(tiny()), layer=7)
    with pytest.raises(DeltaError, match="layer 7; someone/Tiny-Chat has layers 0 to 2"), delta.applied(tiny()):
        pass


def test_another_shape_is_refused_with_both_shapes(tiny):
    delta = replace(random_delta(tiny()), changes={"mlp.down_proj": torch.ones(3, 5)})
    with pytest.raises(DeltaError, match=r"shape \(3, 5\).*\(64, 128\)"), delta.applied(tiny()):
        pass


def test_low_rank_is_the_best_approximation_and_says_its_error(tiny):
    full = random_change(tiny(), 1, "mlp.down_proj")
    delta = replace(random_delta(tiny()), changes={"mlp.down_proj": full})
    values = torch.linalg.svdvals(full)
    for rank in (1, 10, 64):
        approximated, error = delta.low_rank(rank)
        change = approximated.changes["mlp.down_proj"]
        assert change.a.shape == (rank, 128) and change.b.shape == (64, rank)
        measured = float((change.full() - full).norm() / full.norm())
        assert error == pytest.approx(float(values[rank:].norm() / values.norm()), abs=1e-6)
        assert measured == pytest.approx(error, abs=1e-5)


def test_low_rank_leaves_what_is_of_low_rank_already(tiny):
    delta = random_delta(tiny())
    same, error = delta.low_rank(1)
    assert same.digest() == delta.digest() and error == 0.0


def test_the_digest_follows_the_numbers_and_nothing_else(tiny):
    delta = random_delta(tiny(), **EVERY_FORM)
    assert random_delta(tiny(), **EVERY_FORM).digest() == delta.digest()
    turned = replace(delta, changes=dict(reversed(delta.changes.items())), settings={}, measured={"x": 1})
    assert turned.digest() == delta.digest()
    nearly = deepcopy(delta)
    nearly.changes["mlp.up_proj"][0, 0] += 1e-6
    others = [nearly, replace(delta, layer=2), delta.scaled(1.01), random_delta(tiny())]
    assert len({each.digest() for each in [delta, *others]}) == 5
