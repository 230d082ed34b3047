"""The probe: refusal log-odds under any delta from the last token alone, as a full pass would give them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from tiny_models import CONFIGS, PROMPTS, hooks, loaded, logits, random_delta, saved, tiny_model

from actor_core.events import finish
from actor_core.probe import prepare_probe
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


@pytest.mark.parametrize("kind", CONFIGS)
def test_without_a_delta_it_gives_what_a_full_pass_gives(tiny, kind):
    probe = finish(prepare_probe(tiny(kind), MANY, ODDS))
    torch.testing.assert_close(probe.log_odds(), ODDS.log_odds(logits(tiny(kind), MANY)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_under_a_delta_it_gives_what_a_full_pass_gives_that_changes_the_last_token_only(tiny, kind):
    model = tiny(kind)
    delta = random_delta(model)
    probe = finish(prepare_probe(model, MANY, ODDS))
    with acting_on_the_last_token_only(model, delta, 1.5):
        wanted = ODDS.log_odds(logits(model, MANY))
    assert (wanted - probe.log_odds()).abs().max() > 0.1
    torch.testing.assert_close(probe.log_odds(delta, 1.5), wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", CONFIGS)
def test_asking_again_gives_the_same_whatever_was_asked_between(tiny, kind):
    model = tiny(kind)
    probe = finish(prepare_probe(model, MANY, ODDS))
    first = probe.log_odds()
    for strength in (0.5, 3.0, -1.0):
        assert not torch.equal(probe.log_odds(random_delta(model), strength), first)
    assert torch.equal(probe.log_odds(), first)
    assert torch.equal(probe.log_odds(random_delta(model), 0.0), first)


def test_prompts_longer_than_a_sliding_window_are_measured_too(tmp_path):
    model = loaded(saved(tiny_model("gemma2", sliding_window=8), tmp_path))
    long = ["alpha beta gamma delta epsilon zeta " * 3, "zeta alpha " * 5, "beta"]
    probe = finish(prepare_probe(model, long, ODDS))
    first = probe.log_odds()
    torch.testing.assert_close(first, ODDS.log_odds(logits(model, long)), atol=1e-4, rtol=1e-4)
    assert torch.equal(probe.log_odds(), first)


def test_a_call_that_fails_half_way_spoils_nothing(tiny, monkeypatch):
    probe = finish(prepare_probe(tiny(), MANY, ODDS))
    first = probe.log_odds()
    with monkeypatch.context() as failing:
        failing.setattr(torch.nn.Module, "__call__", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            probe.log_odds(random_delta(tiny()))
    assert torch.equal(probe.log_odds(), first)


def test_refused_is_log_odds_above_the_threshold(tiny):
    measured = finish(prepare_probe(tiny(), MANY, ODDS)).log_odds().sort().values
    odds = replace(ODDS, threshold=float(measured[3] + measured[4]) / 2)
    probe = finish(prepare_probe(tiny(), MANY, odds))
    assert int(probe.refused().sum()) == len(MANY) - 4
    assert torch.equal(probe.refused(), probe.log_odds() > odds.threshold)


def test_no_hook_is_left_on_the_model(tiny):
    hooked = hooks(tiny())
    finish(prepare_probe(tiny(), MANY, ODDS)).log_odds(random_delta(tiny()))
    assert hooks(tiny()) == hooked
