"""The picture of a change: what before and after mean, held against states that are read under the change itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import CONFIGS, DANGEROUS, HARMLESS, HARMLESS_THINGS, PROMPTS, THINGS, VICTIMS, asked, random_delta

from actor_core.activations import norm_after_writer, read_activations
from actor_core.events import finish
from actor_core.probe import Probe, prepare_probe
from actor_core.projection import Plane, project_solved, project_trained
from actor_core.prompt_sets import PromptSplit
from actor_core.refusal_odds import RefusalOdds
from actor_core.train import PublishedSettings
from actor_core.tune import TuneSettings, TuningPrompts, tune

NAMED = [("own", PROMPTS[0]), ("harmful", PROMPTS[1]), ("pseudo-harmful", PROMPTS[2]), ("benign", PROMPTS[3])]
ODDS = RefusalOdds(torch.tensor([5, 9]), 0.0, 1.0)
LOOK_ALIKES, HARMFUL, ORDINARY = asked(DANGEROUS, HARMLESS_THINGS), asked(DANGEROUS, VICTIMS), asked(HARMLESS, THINGS)
HELD_OUT = PromptSplit(tuple(ORDINARY[1::2]), tuple(LOOK_ALIKES[1::2]), tuple(HARMFUL[1::2]))
SET = TuningPrompts(LOOK_ALIKES[:5:2], ORDINARY[::2], LOOK_ALIKES[::2], HARMFUL[::2], HELD_OUT)


def states(model, prompts, layer, delta=None, strength=1.0) -> torch.Tensor:
    """a(q) read in full, under the delta where one is given."""
    if delta is None:
        return finish(read_activations(model, prompts, [layer]))[layer].outputs
    with delta.applied(model, strength):
        return finish(read_activations(model, prompts, [layer]))[layer].outputs


def some_plane(width: int = 64) -> Plane:
    draw = torch.Generator().manual_seed(3)
    harmful, benign = torch.randn(9, width, generator=draw) + 1.0, torch.randn(11, width, generator=draw)
    return Plane.across(harmful, benign, torch.randn(width, generator=draw))


def test_along_r_the_benign_mean_is_at_0_and_the_harmful_mean_at_1():
    draw = torch.Generator().manual_seed(0)
    harmful, benign = torch.randn(30, 16, generator=draw) + 2.0, torch.randn(40, 16, generator=draw)
    plane = Plane.across(harmful, benign)
    assert plane.harmful == pytest.approx(1.0)
    means = plane.place(torch.stack([benign.mean(0), harmful.mean(0)]))
    torch.testing.assert_close(means[:, 0], torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)


def test_along_another_direction_the_unit_is_still_the_length_of_r():
    harmful, benign = torch.tensor([[3.0, 4.0, 1.0], [3.0, 4.0, -1.0]]), torch.tensor([[0.0, 0, 1.0], [0.0, 0, -1.0]])
    plane = Plane.across(harmful, benign, torch.tensor([2.0, 0.0, 0.0]))
    assert plane.unit == pytest.approx(5.0) and plane.harmful == pytest.approx(0.6)
    torch.testing.assert_close(plane.moves(torch.tensor([[5.0, 0.0, 0.0]])), torch.tensor([[1.0, 0.0]]))


def test_upwards_is_where_the_reference_states_differ_most_across_the_direction():
    draw = torch.Generator().manual_seed(1)
    spread = torch.tensor([9.0, 0.1, 4.0, 0.1])  # most along the direction itself, which does not count
    cloud = torch.randn(200, 4, generator=draw) * spread
    plane = Plane.across(cloud[:100] + torch.tensor([20.0, 0, 0, 0]), cloud[100:], torch.tensor([1.0, 0, 0, 0]))
    assert plane.axes[2, 1] > 0.99
    torch.testing.assert_close(plane.axes.T @ plane.axes, torch.eye(2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("strength", [0.5, 1.5])
def test_a_prompt_is_where_its_state_is_read_under_the_change_at_any_strength(tiny, kind, strength):
    model, plane = tiny(kind), some_plane()
    delta = random_delta(model)
    reading = finish(read_activations(model, PROMPTS, [delta.layer]))[delta.layer]
    norm = norm_after_writer(model.layers[delta.layer])
    placed = project_solved(plane, [(NAMED, reading)], delta, norm).prompts
    assert [(p.kind, p.prompt) for p in placed] == NAMED
    before = plane.place(states(model, PROMPTS, delta.layer))
    after = plane.place(states(model, PROMPTS, delta.layer, delta, strength))
    assert (after - before).abs().max() > 0.05
    torch.testing.assert_close(torch.tensor([p.before for p in placed]), before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.tensor([p.at(strength) for p in placed]), after, atol=1e-4, rtol=1e-3)


def test_behind_a_norm_it_is_where_a_small_change_moves_it(tiny):
    """To first order in what the writer writes; the part that the norm itself turns is left out."""
    model, plane = tiny("gemma2"), some_plane()
    delta = random_delta(model).scaled(1e-3)
    reading = finish(read_activations(model, PROMPTS, [delta.layer]))[delta.layer]
    placed = project_solved(plane, [(NAMED, reading)], delta, norm_after_writer(model.layers[delta.layer])).prompts
    moved = plane.moves(states(model, PROMPTS, delta.layer, delta) - states(model, PROMPTS, delta.layer))
    found = torch.tensor([p.move for p in placed])
    assert (found - moved).norm() < 0.05 * moved.norm()


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_trained_layer_is_looked_at_where_it_is_shown(tiny, kind):
    model, plane = tiny(kind), some_plane()
    delta = random_delta(model, mlp__down_proj=None, mlp__up_proj=None)
    probe = finish(prepare_probe(model, PROMPTS, ODDS, delta.layer))
    placed = project_trained(plane, [(NAMED, probe)], delta, 0.5).prompts
    after = plane.place(states(model, PROMPTS, delta.layer, delta, 0.5))
    torch.testing.assert_close(torch.tensor([p.at(0.5) for p in placed]), after, atol=1e-4, rtol=1e-3)
    before = plane.place(states(model, PROMPTS, delta.layer))
    torch.testing.assert_close(torch.tensor([p.at(0.0) for p in placed]), before, atol=1e-4, rtol=1e-4)


def mean(placed, kind: str, strength: float) -> float:
    found = [p.at(strength)[0] for p in placed if p.kind == kind]
    return sum(found) / len(found)


@pytest.mark.parametrize("method", ["causal", "refusal vector"])
def test_tuning_moves_look_alikes_away_from_where_refusing_lies_and_shows_it(refusing, method):
    tuned = finish(tune(refusing, SET, TuneSettings(method=method)))
    assert tuned.projection is not None
    placed, at = tuned.projection.prompts, tuned.strength
    assert [p.prompt for p in placed if p.kind == "own"] == SET.own
    assert {p.prompt for p in placed if p.kind == "harmful"} == set(HELD_OUT.harmful)
    for kind in ("own", "pseudo-harmful"):
        assert mean(placed, kind, at) < mean(placed, kind, 0.0) - 0.2
        assert mean(placed, kind, at) < mean(placed, "harmful", at) - 0.2
    layer, prompts = tuned.delta.layer, [p.prompt for p in placed]
    shift = states(refusing, prompts, layer, tuned.delta, at) - states(refusing, prompts, layer)
    across = torch.tensor([[*p.at(at)] for p in placed]) - torch.tensor([[*p.before] for p in placed])
    # Everything that the change does is along x: nothing of it is hidden from the picture.
    length = tuned.delta.measured["refusal_vector_norm"]
    torch.testing.assert_close(across[:, 0].abs(), shift.norm(dim=1) / length, atol=1e-3, rtol=1e-3)
    assert across[:, 1].abs().max() < 1e-3


def test_the_published_loop_has_a_picture_too(refusing):
    published = PublishedSettings(alpha=0.3, learning_rate=3e-3, epochs=1)
    tuned = finish(tune(refusing, SET, TuneSettings(method="published", layer=3, published=published)))
    assert tuned.projection is not None and tuned.projection.harmful == pytest.approx(1.0)
    kinds = {p.kind for p in tuned.projection.prompts}
    assert kinds == {"own", "pseudo-harmful", "harmful", "benign"}
    assert any(p.move[0] for p in tuned.projection.prompts)


def test_nothing_is_run_for_the_picture_of_a_solved_change(refusing, monkeypatch):
    """The probe reads its prompts once, as it did before there was a picture."""
    read = []
    reading = Probe.reading
    monkeypatch.setattr(Probe, "reading", lambda self: read.append(self.layer) or reading(self))
    tuned = finish(tune(refusing, SET, TuneSettings()))
    assert read == [tuned.delta.layer]


def test_without_prompts_of_ones_own_left_there_is_still_a_picture(refusing):
    """A harmful prompt stays harmful whoever pasted it, so nothing may be left as the person's own."""
    only_harmful = replace(SET, own=[HARMFUL[0]])
    for method in ("causal", "published"):
        settings = TuneSettings(method=method, layer=3, published=PublishedSettings(epochs=1))
        tuned = finish(tune(refusing, only_harmful, settings))
        assert {p.kind for p in tuned.projection.prompts} == {"pseudo-harmful", "harmful", "benign"}
