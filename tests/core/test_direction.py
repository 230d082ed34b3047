"""R, the direction that refusal follows, and how far apart two kinds of prompts lie."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from tiny_models import CONFIGS, PROMPTS, hooks, logits, tiny_model

from actor_core.direction import causal_directions, refusal_vector, silhouette
from actor_core.events import finish
from actor_core.refusal_odds import RefusalOdds

ODDS = RefusalOdds(torch.tensor([5, 9]), 0.0, 1.0)
# Two batches, with padding.
MANY = [*PROMPTS, *(f"{a} {b} {c}" for a in ("alpha", "beta") for b in ("gamma", "delta") for c in ("zeta", "alpha"))]


@contextmanager
def shifted(model, layer: int, by: torch.Tensor):
    """The layer's output moved at the last token."""

    def add(_module, _inputs, output):
        moved = output.clone()
        moved[:, -1] += by
        return moved

    handle = model.layers[layer].register_forward_hook(add)
    yield
    handle.remove()


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_gradient_is_the_finite_difference_of_the_log_odds(tiny, kind):
    model = tiny(kind)
    found = finish(causal_directions(model, PROMPTS, [0, 1], ODDS))
    for layer, gradient in found.items():
        assert gradient.shape == (64,)
        for seed in range(3):
            along = torch.randn(64, generator=torch.Generator().manual_seed(seed))
            step = 2e-3 * along
            with shifted(model, layer, step):
                above = ODDS.log_odds(logits(model)).double().mean()
            with shifted(model, layer, -step):
                below = ODDS.log_odds(logits(model)).double().mean()
            slope = float((above - below) / 4e-3)
            assert float(gradient @ along) == pytest.approx(slope, abs=0.01 * float(gradient.norm()) + 1e-3)


def test_one_layers_gradient_does_not_depend_on_which_others_are_asked_for(tiny):
    together = finish(causal_directions(tiny(), MANY, [0, 1, 2], ODDS))
    for layer in (0, 1, 2):
        torch.testing.assert_close(together[layer], finish(causal_directions(tiny(), MANY, [layer], ODDS))[layer])


def test_the_mean_is_over_the_prompts_whatever_their_batches(tiny):
    alone = [finish(causal_directions(tiny(), [prompt], [1], ODDS))[1] for prompt in MANY]
    together = finish(causal_directions(tiny(), MANY, [1], ODDS))[1]
    torch.testing.assert_close(together, torch.stack(alone).mean(0), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("precision", ["nf4", "int8", "bf16"])
def test_a_model_in_few_bits_gives_nearly_the_gradient_of_the_whole_one(tmp_path_factory, precision):
    # Calmer weights than `tiny` has, or rounding alone turns the gradient. It answers first: bitsandbytes may
    # change how weights lie in memory at their first use.
    from tiny_models import loaded, saved

    folder = saved(tiny_model("llama", spread=0.1), tmp_path_factory.mktemp("calm"))
    exact, model = loaded(folder), loaded(folder, precision)
    logits(model)
    wanted, found = (finish(causal_directions(m, PROMPTS, [0], ODDS))[0] for m in (exact, model))
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.9
    assert float(found.norm() / wanted.norm()) == pytest.approx(1, abs=0.2)


def test_no_hook_and_no_gradient_is_left_on_the_model(tiny):
    model = tiny()
    hooked = hooks(model)
    finish(causal_directions(model, PROMPTS, [0, 1], ODDS))
    assert hooks(model) == hooked
    assert all(p.grad is None and not p.requires_grad for p in model.model.parameters())


def test_the_refusal_vector_points_from_benign_to_harmful():
    harmful, benign = torch.tensor([[4.0, 1.0], [6.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, 3.0], [1.0, 2.0]])
    assert refusal_vector(harmful, benign).tolist() == [4.0, -1.0]


def test_the_silhouette_is_higher_for_parted_clouds():
    draw = torch.Generator().manual_seed(0)
    one, other = torch.randn(24, 16, generator=draw), torch.randn(24, 16, generator=draw)
    mixed, parted = silhouette(one, other), silhouette(one, other + 6)
    assert -1 <= mixed < 0.2 < 0.6 < parted <= 1
    assert silhouette(one, other + 6) == parted


def test_the_silhouette_takes_few_prompts():
    assert -1 <= silhouette(torch.randn(2, 8), torch.randn(2, 8)) <= 1
