"""Few rows: the same numbers the other way round, and only where that was measured to be faster."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

import actor_core.few_rows as module
from actor_core import in_turns
from actor_core.events import finish
from actor_core.few_rows import MOST_ROWS, FewRowsLinear, take_few_rows_faster
from actor_core.generate import answer


def linear(bias: bool = True) -> FewRowsLinear:
    torch.manual_seed(0)
    return FewRowsLinear(300, 500, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(300,), (1, 1, 300), (2, 300), (4, 1, 300), (MOST_ROWS, 300), (3, 200, 300)])
def test_it_gives_what_torch_gives_in_the_same_shape(shape, bias):
    layer = linear(bias)
    rows = torch.randn(*shape)
    found, wanted = layer(rows), nn.Linear.forward(layer, rows)
    assert found.shape == wanted.shape and found.is_contiguous()
    assert torch.allclose(found, wanted, atol=1e-5)


def test_rows_that_are_a_slice_of_longer_ones_are_the_same_rows():
    layer = linear()
    rows = torch.randn(6, 9, 300)[:, -1:]
    assert torch.allclose(layer(rows), layer(rows.contiguous()), atol=1e-6)


def test_no_row_at_all_is_none():
    assert linear()(torch.empty(0, 300)).shape == (0, 500)


def test_gradients_are_those_of_torch():
    layer = linear()
    rows = torch.randn(8, 300)
    gradients = []
    for way in (layer, lambda each: nn.Linear.forward(layer, each)):
        entering = rows.clone().requires_grad_(True)
        way(entering).square().sum().backward()
        gradients.append((entering.grad, layer.weight.grad.clone()))
        layer.weight.grad = None
    for found, wanted in zip(*gradients, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("faster", [True, False])
def test_a_model_is_changed_where_it_is_faster_and_replies_as_before(tiny, monkeypatch, faster):
    before = tiny("qwen2")  # loaded, and kept for other tests, as it is without what follows
    monkeypatch.setattr(module, "_is_faster", lambda _dtype: faster)
    monkeypatch.setattr(module, "LEAST_NUMBERS", 2)
    prompts = ["What is bread?", "Why is the sky blue?", "How do I kill a process?"]
    wanted = finish(answer(before, prompts, max_new_tokens=8))
    changed = replace(before, model=deepcopy(before.model))
    take_few_rows_faster(changed.model)
    kinds = {type(each) for each in changed.model.modules() if isinstance(each, nn.Linear)}
    assert kinds == {FewRowsLinear if faster else nn.Linear}
    assert [reply.tokens for reply in finish(answer(changed, prompts, max_new_tokens=8))] == [
        reply.tokens for reply in wanted
    ]


def test_small_matrices_and_those_of_other_kinds_stay_as_they_are(tiny, monkeypatch):
    small, packed = tiny("qwen2").model, deepcopy(tiny("llama", "nf4").model)
    monkeypatch.setattr(module, "_is_faster", lambda _dtype: True)
    take_few_rows_faster(small)
    assert not any(isinstance(each, FewRowsLinear) for each in small.modules())
    monkeypatch.setattr(module, "LEAST_NUMBERS", 2)
    kinds = [type(each) for each in packed.model.modules()]
    take_few_rows_faster(packed)
    assert [type(each) for each in packed.model.modules()] == kinds
    elsewhere = nn.Linear(300, 500, device="meta")
    take_few_rows_faster(elsewhere)
    assert type(elsewhere) is nn.Linear


@pytest.mark.parametrize(("share", "faster"), [(0.4, True), (0.9, False), (1.5, False)])
def test_it_is_taken_where_it_leads_clearly_and_a_busy_moment_decides_nothing(monkeypatch, share, faster):
    clock, busy = [0.0], random.Random(0)

    class Timed:
        def __init__(self, *_, **__):
            self.T = self

        def __matmul__(self, _other):
            clock[0] += share * busy.choice((1, 1.05, 3))

    def linear_of_torch(_rows, _weight):
        clock[0] += busy.choice((1, 1.05, 3))

    monkeypatch.setattr(module.torch, "ones", Timed)
    monkeypatch.setattr(module.functional, "linear", linear_of_torch)
    monkeypatch.setattr(in_turns.time, "perf_counter", lambda: clock[0])
    assert module._is_faster.__wrapped__(torch.float32) is faster
