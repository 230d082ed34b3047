"""The systems of benchmarks/compare.py: each leaves the model as it was, and does what its paper says."""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_models import DANGEROUS, HARMLESS, HARMLESS_THINGS, THINGS, VICTIMS, asked, hooks, logits, weights_digest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import compare  # noqa: E402
from baselines import answers, lora, mezo, mosr, poft, published, scans, sift, surgical, systems  # noqa: E402
from baselines.held_out import HeldOut, Shares  # noqa: E402
from baselines.system import Prepared, System  # noqa: E402

from actor_core import generate  # noqa: E402
from actor_core.events import finish  # noqa: E402
from actor_core.judge import Verdict  # noqa: E402
from actor_core.presets import prompt_sets  # noqa: E402
from actor_core.prompt_sets import PromptSplit  # noqa: E402
from actor_core.refusal_odds import first_token_logits  # noqa: E402
from actor_core.targets import TuningPrompts, training_rows  # noqa: E402
from actor_core.train import PublishedSettings, train  # noqa: E402

LOOK_ALIKES, HARMFUL, ORDINARY = asked(DANGEROUS, HARMLESS_THINGS), asked(DANGEROUS, VICTIMS), asked(HARMLESS, THINGS)
PROMPTS = TuningPrompts(
    own=LOOK_ALIKES[:6],
    benign=ORDINARY[:24],
    pseudo_harmful=LOOK_ALIKES[:24],
    harmful=HARMFUL[:24],
    held_out=PromptSplit(tuple(ORDINARY[24:]), tuple(LOOK_ALIKES[24:]), tuple(HARMFUL[24:])),
)

@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Everything that takes long done a little, and answers to the toy's prompts."""
    lines = [f"{prompt}\tYou can do this with a good tool" for prompt in LOOK_ALIKES[:6] + ORDINARY[:6]]
    lines.insert(0, f"{LOOK_ALIKES[30]}\theld out")
    (tmp_path / "answers.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "refusals.txt").write_text("I cannot help with that .\nI cannot\n", encoding="utf-8")
    monkeypatch.setattr(answers.lessons, "__defaults__", (tmp_path,))
    monkeypatch.setattr(mezo, "STEPS", 300)


def softly(model, prompts=tuple(LOOK_ALIKES[:4])):
    return finish(first_token_logits(model, list(prompts)))


@pytest.mark.parametrize("name", sorted(systems()))
def test_each_system_leaves_the_model_bit_for_bit_as_it_was(refusing, quick, name):
    model = refusing
    before, hooked, digest = logits(model), hooks(model), weights_digest(model)
    modules = [(n, type(m)) for n, m in model.model.named_modules()]
    prepared = systems()[name].prepare(model, PROMPTS, 0)
    assert hooks(model) == hooked and weights_digest(model) == digest
    within = torch.stack(prepared.run(LOOK_ALIKES[:4], partial(softly, model)))
    assert torch.equal(softly(model), within) == (name == "untuned" or "strength 0;" in prepared.note + ";")
    assert hooks(model) == hooked and weights_digest(model) == digest and torch.equal(logits(model), before)
    assert [(n, type(m)) for n, m in model.model.named_modules()] == modules
    assert not any(p.requires_grad for p in model.model.parameters()) and not model.lock._is_owned()


def test_a_system_that_breaks_while_it_answers_leaves_the_model_as_it_was(refusing, quick):
    def breaks(_prompts):
        raise RuntimeError

    hooked, digest = hooks(refusing), weights_digest(refusing)
    for name in ("surgical", "scans", "lora-sft"):
        prepared = systems()[name].prepare(refusing, PROMPTS, 0)
        with pytest.raises(RuntimeError):
            prepared.run(LOOK_ALIKES, breaks)
        assert hooks(refusing) == hooked and weights_digest(refusing) == digest


@pytest.mark.parametrize("name", ["lora-sft", "sift", "mezo", "scans"])
def test_the_same_seed_prepares_the_same_change(refusing, quick, name):
    found = []
    for seed in (0, 0, 1):
        prepared = systems()[name].prepare(refusing, PROMPTS, seed)
        found.append(torch.stack(prepared.run(LOOK_ALIKES[:4], partial(softly, refusing))))
    assert torch.equal(found[0], found[1])
    # SCANS draws nothing where the prompts are as few as here.
    assert torch.equal(found[0], found[2]) == (name == "scans")


def test_the_sparse_rule_changes_only_that_share_of_the_entries():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(40, 50))
    start, gradient = weight.detach().clone(), torch.randn(40, 50)
    rule = sift.SparseIncrement([weight], rate=0.05, learning_rate=0.1)
    for _ in range(5):
        weight.grad = gradient + 0.1 * torch.randn(40, 50)
        rule.step()
    changed = weight.detach() != start
    assert int(changed.sum()) == 100
    # They are those of the largest gradient at the first step, and go against it, as Adam does, by the rate.
    assert gradient[changed].abs().mean() > 1.9 and gradient[~changed].abs().mean() < 0.8
    moved = (weight.detach() - start)[changed]
    torch.testing.assert_close(moved, -0.5 * gradient[changed].sign(), atol=0.05, rtol=0)


def test_actors_loop_with_the_sparse_rule_changes_that_share_of_each_matrix(refusing):
    rows = training_rows(PROMPTS, harmful_weight=1.0)
    settings = PublishedSettings(epochs=1)

    def rule(weights):
        return sift.SparseIncrement(weights, rate=0.05, learning_rate=1e-3)

    delta = finish(train(refusing, 2, rows, settings, seed=0, optimiser_of=rule))
    dense = finish(train(refusing, 2, rows, settings, seed=0))
    for name, change in delta.changes.items():
        assert int((change != 0).sum()) == pytest.approx(0.05 * change.numel(), rel=0.03)
        assert (dense.changes[name] != 0).float().mean() > 0.5


def test_mezos_perturbation_is_the_same_for_the_same_seed_and_can_be_undone():
    torch.manual_seed(0)
    parameters = [torch.randn(7, 5), torch.randn(11)]
    start = [p.clone() for p in parameters]
    mezo.perturb(parameters, 0.5, seed=3)
    moved = [p - s for p, s in zip(parameters, start, strict=True)]
    mezo.perturb(parameters, -0.5, seed=3)
    for parameter, begun in zip(parameters, start, strict=True):
        torch.testing.assert_close(parameter, begun, atol=1e-6, rtol=0)
    mezo.perturb(parameters, 0.5, seed=4)
    assert not torch.allclose(parameters[0] - start[0], moved[0], atol=0.1)
    assert torch.cat([m.flatten() for m in moved]).std() == pytest.approx(0.5, rel=0.3)


def test_mezos_step_goes_down_the_slope_that_two_evaluations_give():
    w, goal = torch.zeros(6), torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, -1.0])
    calls = []

    def loss():
        assert not torch.is_grad_enabled()
        calls.append(w.clone())
        return (w - goal).square().sum()

    slope = mezo.step([w], loss, seed=5, epsilon=1e-2, learning_rate=0.05)
    z = (calls[0] - calls[1]) / 2e-2
    assert len(calls) == 2 and slope == pytest.approx(float(-2 * goal @ z), rel=1e-2)
    torch.testing.assert_close(w, -0.05 * slope * z, atol=1e-4, rtol=1e-3)
    for seed in range(400):
        mezo.step([w], loss, seed=seed, epsilon=1e-2, learning_rate=0.05)
    torch.testing.assert_close(w, goal, atol=0.05, rtol=0)


def test_surgicals_vector_is_orthogonal_to_the_true_refusal_vector():
    torch.manual_seed(0)
    false, true = torch.randn(64), torch.randn(64) * 9
    vector = surgical.orthogonal(false, true)
    assert abs(float(vector @ true)) < 1e-4 and float(vector.norm()) == pytest.approx(1.0)
    assert float(vector @ false) > 0.5
    half = surgical.orthogonal(false, true, 0.5)
    assert abs(float(half @ true)) == pytest.approx(0.5 * abs(float(false @ true)) / float(
        (false - 0.5 * (false @ true) / (true @ true) * true).norm()), rel=1e-4)  # fmt: skip


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_nothing_is_left_along_the_ablated_vector_in_any_layer(tiny, kind):
    model = tiny(kind)
    direction = torch.nn.functional.normalize(torch.randn(64, generator=torch.Generator().manual_seed(0)), dim=0)
    seen = []
    with surgical.ablated(model, direction):
        handles = [layer.register_forward_hook(lambda *a: seen.append(a[2])) for layer in model.layers]
        logits(model)
        for handle in handles:
            handle.remove()
    assert len(seen) == 4 * model.n_layers
    for states in seen:
        assert (states @ direction).abs().max() < 1e-3 * states.norm(dim=-1).max()


def test_pofts_loss_is_ln_2_where_both_models_are_alike(refusing, quick):
    likelihood = torch.tensor([-3.0, -0.5])
    assert poft.preference_loss(likelihood, likelihood).item() == pytest.approx(math.log(2))
    assert poft.preference_loss(likelihood + 1, likelihood) < math.log(2) < poft.preference_loss(
        likelihood - 1, likelihood
    )
    # And so it is at the first step, whose adapter changes nothing yet.
    examples = answers.lessons(PROMPTS, 16, 0)
    reference, losses = poft.reference_log_likelihood(refusing, examples, 0), []

    def loss(batch):
        value = poft.preference_loss(lora.mean_log_likelihood(refusing, batch), reference[list(batch.rows)])
        losses.append(float(value.detach()))
        return value

    lora.trained_adapter(refusing, examples, loss, lora.LoraSettings(epochs=20, learning_rate=5e-3), seed=0)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5) and losses[-1] < losses[0] - 0.05


def test_likelihoods_are_those_of_the_answers_tokens_alone(tiny):
    model = tiny("llama")
    example = answers.Example("alpha beta gamma", "zeta delta", refusal=False)
    longer = answers.Example("beta", "epsilon alpha zeta delta", refusal=True, prefix="gamma gamma")
    found = {}
    for batch in lora.answer_batches(model, [example, longer], lora.LoraSettings(), 0):
        values = lora.mean_log_likelihood(model, batch)
        found.update(zip(batch.rows, values.tolist(), strict=True))
        assert {row: int(n) for row, n in zip(batch.rows, batch.prefix.sum(1), strict=True)} == {0: 0, 1: 2}
    for row, each in enumerate((example, longer)):
        prompt = model.token_ids(each.prompt) + model.tokenizer(each.prefix)["input_ids"]
        answer = model.tokenizer(each.answer)["input_ids"] + [model.tokenizer.eos_token_id]
        logp = model.model(torch.tensor([prompt + answer])).logits[0].log_softmax(1)
        wanted = sum(float(logp[len(prompt) + n - 1, token]) for n, token in enumerate(answer)) / len(answer)
        assert found[row] == pytest.approx(wanted, abs=1e-4)


def test_the_adapter_applied_is_the_one_that_was_trained(refusing, quick):
    examples, seen = answers.lessons(PROMPTS, 16, 0), []

    def loss(batch):
        value = -lora.mean_log_likelihood(refusing, batch).mean()
        seen.append(float(value.detach()))
        return value

    settings = lora.LoraSettings(epochs=9, learning_rate=3e-3, batch_size=16)
    deltas = lora.trained_adapter(refusing, examples, loss, settings, seed=0)
    assert {delta.layer for delta in deltas} == set(range(refusing.n_layers))
    assert seen[-1] < 0.7 * seen[0]
    (batch,) = lora.answer_batches(refusing, examples, settings, 0)
    with lora_applied(refusing, deltas):
        after = float(-lora.mean_log_likelihood(refusing, batch).mean())
    assert after == pytest.approx(seen[-1], abs=0.05)


def lora_applied(model, deltas):
    from baselines.system import all_applied

    return all_applied(model, deltas)


def test_lessons_teach_nothing_that_is_held_out_and_pair_answers_with_the_twins_refused(quick):
    found = answers.lessons(PROMPTS, 20, 0)
    assert len(found) == 20 and sum(example.refusal for example in found) == 8
    prompts = {example.prompt for example in found}
    assert not prompts & {p for group in (ORDINARY[24:], LOOK_ALIKES[24:], HARMFUL[24:]) for p in group}
    answered = {example.prompt for example in found if not example.refusal}
    refused = {example.prompt for example in found if example.refusal}
    assert answered <= set(LOOK_ALIKES[:6] + ORDINARY[:6]) and refused <= set(HARMFUL)
    twins = {HARMFUL[LOOK_ALIKES.index(prompt)] for prompt in answered if prompt in LOOK_ALIKES}
    assert len(twins & refused) >= len(twins) - 1


def test_written_answers_belong_to_prompts_of_the_set():
    everyday = prompt_sets()["everyday"]
    known = {p for half in (everyday.training(), everyday.held_out()) for p in half.pseudo_harmful + half.benign}
    lines = (BENCHMARKS / "prompts" / "answers.tsv").read_text(encoding="utf-8").splitlines()
    assert all(line.count("\t") == 1 for line in lines)
    assert sum(line.split("\t")[0] in known for line in lines) >= 0.9 * len(lines)


def test_a_harmful_prompt_weighs_the_less_the_nearer_a_pseudo_harmful_one_lies():
    pseudo_harmful = torch.tensor([[0.0, 1.0], [0.2, 1.0]])
    harmful = torch.tensor([[0.1, 1.1], [1.0, 0.3], [3.0, -2.0]])
    weights = mosr.overlap_weights(harmful, pseudo_harmful)
    assert weights[0] < weights[1] <= weights[2] and weights.max() == 1.0
    assert weights.min() == pytest.approx(mosr.LEAST_WEIGHT)


def test_scans_steers_towards_refusal_where_its_classifier_says_harmful_and_away_elsewhere(tiny):
    model = tiny("llama")
    draw = torch.Generator().manual_seed(1)
    vectors = {1: torch.randn(64, generator=draw)}
    steering = scans.Steering(model, vectors, torch.randn(2, 64, generator=draw))
    prompts = ["alpha beta", "gamma", "zeta zeta zeta epsilon", "beta"]
    steering = replace(steering, threshold=float(steering.likeness(prompts).median()))
    harmful = steering.likeness(prompts) >= steering.threshold
    assert 0 < int(harmful.sum()) < 4
    plain = Prepared().run(prompts, partial(states, model))
    steered = Prepared(split=partial(steering.split, 2.0)).run(prompts, partial(states, model))
    for here, before, after in zip(harmful.tolist(), plain, steered, strict=True):
        wanted = torch.zeros_like(before)
        wanted[-1] = (2.0 if here else -2.0) * vectors[1]
        torch.testing.assert_close(after - before, wanted, atol=1e-4, rtol=1e-4)


def states(model, prompts):
    """What layer 1 gives out for every token of each prompt, read at once."""
    found = []
    for prompt in prompts:
        kept = []
        handle = model.layers[1].register_forward_hook(lambda *a, kept=kept: kept.append(a[2][0]))
        model.model(torch.tensor([model.token_ids(prompt)]), use_cache=False)
        handle.remove()
        found.append(kept[0].detach())
    return found


def test_scans_steers_the_same_whether_prompts_are_read_alone_or_from_a_shared_beginning(tiny):
    model = tiny("qwen2")
    vector = 3 * torch.randn(64, generator=torch.Generator().manual_seed(1))
    steering = scans.Steering(model, {1: vector}, torch.ones(2, 64))
    prompts = ["alpha beta", "alpha beta gamma zeta"]
    with steering.applied(1.0):
        together = softly(model, prompts)
        alone = torch.cat([softly(model, [prompt]) for prompt in prompts])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(together, softly(model, prompts), atol=0.1)


def test_scans_keeps_to_the_papers_depth_and_parts_as_well_as_can_be():
    assert list(scans.steered_layers(32)) == list(range(10, 20))
    threshold, accuracy = scans.parting_threshold(
        torch.tensor([0.1, 0.2, 0.3, 0.8, 0.9]), torch.tensor([False, False, True, True, True])
    )
    assert threshold == pytest.approx(0.25) and accuracy == 1.0


def test_the_best_candidate_answers_look_alikes_and_refuses_no_more_ordinary_prompts(refusing):
    plain = Shares(0.5, 0.8, 0.1)
    assert Shares(0.1, 0.8, 0.1).score(plain) > Shares(0.1, 0.8, 0.3).score(plain) > Shares(0.5, 0.5, 0.5).score(plain)
    assert HeldOut.of(refusing, PROMPTS, 0).untuned.harmful > 0.9


def test_actor_as_published_gets_as_many_prompts_as_the_paper_has():
    many = TuningPrompts(
        [f"own {n}" for n in range(20)], *([f"{kind} {n}" for n in range(500)] for kind in "bph"), PROMPTS.held_out
    )
    found = published.paper_sized(many, 0)
    assert (len(found.benign), len(found.own) + len(found.pseudo_harmful), len(found.harmful)) == (210, 100, 330)


def sets_of_the_toy():
    return compare.Sets(LOOK_ALIKES[24:28], HARMFUL[24:28], HARMFUL[28:32], ORDINARY[24:28], ("a", "b", "c", "d"))


def test_a_row_has_the_shares_and_a_failing_system_says_so_in_its_own(refusing):
    def fails(*_):
        raise ValueError("no such\nthing")

    options = Namespace(seed=0, tokens=8)
    rows = {
        name: compare.measured(refusing, system, PROMPTS, sets_of_the_toy(), options)
        for name, system in (
            ("plain", System("x", "plain", "", lambda *_: Prepared())),
            ("failing", System("y", "failing", "the paper's", fails)),
        )
    }
    width = compare.header(sets_of_the_toy())[0].count("|")
    assert all(row.count("|") == width for row, _ in rows.values())
    assert rows["plain"][0].split(" | ")[3] == "1.000"  # harmful prompts, all refused by the toy
    assert "failed: ValueError" in rows["failing"][0] and rows["failing"][1] == "no such thing"


def test_rewritten_prompts_are_judged_as_the_prompts_they_were(refusing, monkeypatch):
    judged = []
    monkeypatch.setattr(generate, "judge", lambda prompt, *_, **__: judged.append(prompt) or Verdict.ANSWERED)
    prepared = Prepared(nullcontext, lambda prompts: [f"{p} gamma" for p in prompts])
    replies = compare.replies_of(refusing, prepared, ["alpha", "beta"], 4)
    assert judged[-2:] == ["alpha", "beta"] == [reply.prompt for reply in replies]
