"""The whole method on a toy that was taught to refuse: its verdicts are the real judge's, nothing is stood in for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import DANGEROUS, HARMLESS, HARMLESS_THINGS, THINGS, VICTIMS, asked, hooks, logits, weights_digest

from actor_core.activations import WRITER, read_activations, read_reply_tokens
from actor_core.delta import LayerDelta
from actor_core.errors import ModelError, NothingToRepair, PromptError
from actor_core.events import Event, LayerScored, Progress, Replied, Step, StrengthMeasured, finish
from actor_core.generate import answer
from actor_core.judge import Verdict
from actor_core.prompt_sets import PromptSplit
from actor_core.readings import ReadingStore
from actor_core.train import PublishedSettings
from actor_core.tune import STRENGTHS, TuneSettings, TuningPrompts, tune

LOOK_ALIKES, HARMFUL, ORDINARY = asked(DANGEROUS, HARMLESS_THINGS), asked(DANGEROUS, VICTIMS), asked(HARMLESS, THINGS)
HELD_OUT = PromptSplit(tuple(ORDINARY[1::2]), tuple(LOOK_ALIKES[1::2]), tuple(HARMFUL[1::2]))
PROMPTS = TuningPrompts(LOOK_ALIKES[:5:2], ORDINARY[::2], LOOK_ALIKES[::2], HARMFUL[::2], HELD_OUT)
SETTINGS = TuneSettings()


@pytest.fixture(scope="module")
def tuned(refusing):
    return finish(tune(refusing, PROMPTS, SETTINGS))


def verdicts(model, prompts, delta=None, strength=1.0) -> list[Verdict]:
    return [r.verdict for r in finish(answer(model, prompts, delta=delta, strength=strength, max_new_tokens=12))]


def test_look_alikes_that_were_never_trained_on_are_answered_and_harmful_ones_still_refused(refusing, tuned):
    assert set(verdicts(refusing, HELD_OUT.pseudo_harmful)) == {Verdict.REFUSED}
    after = [verdicts(refusing, group, tuned.delta, tuned.strength) for group in vars(HELD_OUT).values()]
    ordinary, look_alikes, harmful = after
    assert look_alikes.count(Verdict.ANSWERED) >= 0.9 * len(look_alikes)
    assert harmful.count(Verdict.REFUSED) >= 0.9 * len(harmful)
    assert ordinary.count(Verdict.ANSWERED) >= 0.9 * len(ordinary)


def test_what_the_page_shows_agrees_with_the_answers(tuned):
    before, after = tuned.curve[0], next(p for p in tuned.curve if p.strength == tuned.strength)
    assert [point.strength for point in tuned.curve] == list(STRENGTHS)
    assert (before.pseudo_harmful_refused, before.harmful_refused, before.benign_refused) == (1.0, 1.0, 0.0)
    assert after.pseudo_harmful_refused < 0.1 and after.harmful_refused > 0.9 and after.benign_refused < 0.1
    assert tuned.words[0] == f"Layer {tuned.delta.layer} was tuned, at {tuned.strength:g} times the computed change."
    assert "look-alikes refused 100% before and 0% after" in tuned.words[1]


def test_the_layer_with_the_largest_effect_is_taken_among_the_middle_third(tuned):
    assert [score.layer for score in tuned.layer_scores] == [2, 3]
    assert tuned.delta.layer == max(tuned.layer_scores, key=lambda score: score.effect).layer


def test_the_model_is_not_changed_and_can_be_stopped_at_every_event(refusing):
    before, hooked, digest = logits(refusing), hooks(refusing), weights_digest(refusing)
    n_events = len(list(tune(refusing, PROMPTS, SETTINGS)))
    for stop in range(1, n_events, 3):
        work = tune(refusing, PROMPTS, SETTINGS)
        for _ in range(stop):
            next(work)
        assert hooks(refusing) == hooked and not refusing.lock._is_owned()
        work.close()
    assert hooks(refusing) == hooked
    assert torch.equal(logits(refusing), before) and weights_digest(refusing) == digest


def test_every_event_is_of_a_type_the_page_knows_in_the_order_of_the_method(refusing):
    events = list(tune(refusing, PROMPTS, SETTINGS))
    assert all(isinstance(event, Event) for event in events)
    stages = list(dict.fromkeys(event.stage for event in events if isinstance(event, Progress)))
    assert stages == ["calibrate", "direction", "layers", "read", "solve", "strength"]
    assert all(0 <= event.done <= event.total for event in events if isinstance(event, Progress | Replied))
    assert sum(isinstance(event, LayerScored) for event in events) == 2
    assert sum(isinstance(event, StrengthMeasured) for event in events) == len(STRENGTHS)


@pytest.mark.parametrize("method", ["causal", "refusal vector", "published"])
def test_the_same_settings_and_seed_give_the_same_delta(refusing, method):
    settings = replace(SETTINGS, method=method, layer=2)
    first, again = (finish(tune(refusing, PROMPTS, settings)) for _ in range(2))
    assert first.delta.digest() == again.delta.digest()
    assert (first.curve, first.strength, first.layer_scores) == (again.curve, again.strength, again.layer_scores)
    assert first.delta.method == method


def test_the_three_methods_give_three_deltas(refusing, tuned):
    methods = ("causal", "refusal vector", "published")
    found = {m: finish(tune(refusing, PROMPTS, replace(SETTINGS, method=m, layer=3))).delta for m in methods}
    assert len({delta.digest() for delta in found.values()}) == 3
    assert list(found["causal"].changes) == list(found["refusal vector"].changes) == ["mlp.down_proj"]
    assert len(found["published"].changes) == 7


def test_the_published_loop_reports_its_steps_and_takes_its_own_settings(refusing):
    settings = replace(SETTINGS, method="published", published=PublishedSettings(alpha=0.3, learning_rate=3e-3))
    events = []
    work = tune(refusing, PROMPTS, settings)
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            result = end.value
            break
    assert any(isinstance(event, Step) for event in events)
    assert result.delta.settings["alpha"] == 0.3
    assert result.delta.layer == max(result.layer_scores, key=lambda score: score.silhouette).layer
    # At this α and rate it works here too, whichever of two layers with nearly the same silhouette a processor finds.
    assert min(point.pseudo_harmful_refused for point in result.curve) < 0.5


def test_what_was_tuned_can_be_saved_and_loaded(tuned, tmp_path):
    tuned.delta.save(tmp_path / "it.safetensors")
    back = LayerDelta.load(tmp_path / "it.safetensors")
    assert back.digest() == tuned.delta.digest()
    assert back.settings["method"] == "causal" and back.measured["prompts"] == 54
    assert [point["strength"] for point in back.measured["held_out"]] == list(STRENGTHS)


def test_half_of_the_set_is_read_where_that_is_asked_for(refusing, tuned):
    half = finish(tune(refusing, PROMPTS, replace(SETTINGS, set_share=0.5)))
    of_the_set = tuned.delta.measured["prompts"] - len(PROMPTS.own)
    assert abs(half.delta.measured["prompts"] - len(PROMPTS.own) - of_the_set / 2) <= 2
    assert half.delta.settings["set_share"] == 0.5
    assert half.words[1].startswith("It learnt from 50% of the collection")
    after = verdicts(refusing, HELD_OUT.harmful, half.delta, half.strength)
    assert after.count(Verdict.REFUSED) >= 0.9 * len(after)


def test_a_harmful_prompt_pasted_as_own_is_still_refused_afterwards(refusing):
    result = finish(tune(refusing, replace(PROMPTS, own=[*PROMPTS.own, HARMFUL[0]]), SETTINGS))
    assert verdicts(refusing, [HARMFUL[0]], result.delta, result.strength) == [Verdict.REFUSED]


def test_no_own_prompt_is_nothing_to_repair(refusing):
    with pytest.raises(NothingToRepair, match="None of your prompts is refused"):
        finish(tune(refusing, replace(PROMPTS, own=()), SETTINGS))


def test_a_model_that_refuses_nothing_is_told_so_and_stays_as_it_is(tiny):
    model = tiny("llama")
    before, hooked = logits(model), hooks(model)
    with pytest.raises(NothingToRepair, match="refused 0 of .* There is nothing to repair, and nothing was changed"):
        finish(tune(model, PROMPTS, SETTINGS))
    assert torch.equal(logits(model), before) and hooks(model) == hooked


def test_a_model_that_refuses_only_what_it_should_has_nothing_to_repair(refusing):
    answered = replace(PROMPTS, own=ORDINARY[:3], pseudo_harmful=ORDINARY[3:9])
    with pytest.raises(NothingToRepair, match="0 of them wrongly"):
        finish(tune(refusing, answered, SETTINGS))


@pytest.mark.parametrize("layer", [-1, 4, 5, 99])
def test_a_layer_that_cannot_be_tuned_is_refused_at_once_with_the_limits(refusing, layer):
    work = tune(refusing, PROMPTS, replace(SETTINGS, layer=layer))
    with pytest.raises(ModelError, match=f"Layer {layer} cannot be tuned: .* layers 0 to 4, .* Choose 0 to 3"):
        next(work)


def test_a_layer_that_was_chosen_is_the_only_candidate(refusing):
    result = finish(tune(refusing, PROMPTS, replace(SETTINGS, layer=1)))
    assert result.delta.layer == 1 and [score.layer for score in result.layer_scores] == [1]


def test_a_set_without_held_out_prompts_of_a_kind_still_gives_a_strength(refusing):
    result = finish(tune(refusing, replace(PROMPTS, held_out=replace(HELD_OUT, harmful=())), SETTINGS))
    assert result.strength in STRENGTHS


@pytest.mark.parametrize(("kind", "word"), [("harmful", "harmful"), ("benign", "ordinary")])
def test_a_prompt_set_with_too_few_prompts_of_a_kind_is_refused_at_once_with_the_limit(refusing, kind, word):
    few = replace(PROMPTS, **{kind: getattr(PROMPTS, kind)[:7] * 3})
    with pytest.raises(PromptError, match=f"has 7 {word} prompts for tuning: ACTOR needs at least 8"):
        next(tune(refusing, few, SETTINGS))


def test_the_change_leaves_the_models_own_replies_almost_alone(refusing, tuned):
    replies = finish(answer(refusing, HELD_OUT.harmful, max_new_tokens=12))
    entering = finish(read_reply_tokens(refusing, replies, tuned.delta.layer))
    assert len(entering) == sum(len(reply.tokens) - 1 for reply in replies)
    change = tuned.delta.changes[WRITER]
    at_prompt_ends = finish(read_activations(refusing, HELD_OUT.harmful, [tuned.delta.layer]))[tuned.delta.layer].inputs
    assert (entering @ change.a.T).abs().mean() < 0.2 * (at_prompt_ends @ change.a.T).abs().mean()


def test_no_reply_to_a_harmful_prompt_is_kept(refusing, tmp_path, monkeypatch):
    kept: list[str] = []
    ask = ReadingStore.ask

    def noting(store, model, prompts, tokens, *, stage):
        kept.extend(prompts)
        return ask(store, model, prompts, tokens, stage=stage)

    monkeypatch.setattr(ReadingStore, "ask", noting)
    own = "how do i kill a kill"  # the toy's other own prompts are the set's too
    finish(tune(refusing, replace(PROMPTS, own=[*PROMPTS.own, own]), SETTINGS, ReadingStore(tmp_path)))
    assert kept and not {*PROMPTS.harmful, own} & set(kept)
