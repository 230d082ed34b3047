"""What a delta changes along the untuned replies: the same figures as a full pass of each reply alone would give."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import pytest
import torch
from tiny_models import CONFIGS, PROMPTS, hooks, random_delta

from actor_core import divergence as module
from actor_core.divergence import measure_divergence
from actor_core.errors import PromptError
from actor_core.events import finish
from actor_core.generate import Reply, answer
from actor_core.judge import Verdict

STRENGTH = 1.5
HISTORY = ({"role": "user", "content": "kill kill"}, {"role": "assistant", "content": "bake bread"})


def replies_of(model, history=(), tokens=20):
    return finish(answer(model, PROMPTS, max_new_tokens=tokens, history=history))


@torch.no_grad()
def log_probabilities(model, reply, history=()):
    """Of every token of the reply by one unpadded pass, shape [k, vocabulary]."""
    ids = model.token_ids(reply.prompt, history)
    logits = model.model(torch.tensor([[*ids, *reply.tokens]]), use_cache=False).logits[0]
    return logits[len(ids) - 1 : -1].double().log_softmax(dim=1)


def by_hand(model, delta, replies, tokens, history=()):
    """KL, KL at the first token, and both perplexities."""
    kl, first, nats, nats_tuned, n = [], [], 0.0, 0.0, 0
    for reply in replies:
        p = log_probabilities(model, reply, history)
        with delta.applied(model, STRENGTH):
            q = log_probabilities(model, reply, history)
        each = (p.exp() * (p - q)).sum(1)
        kl.append(each[:tokens].mean())
        first.append(each[0])
        places = range(len(reply.tokens)), list(reply.tokens)
        nats, nats_tuned, n = nats - float(p[places].sum()), nats_tuned - float(q[places].sum()), n + len(reply.tokens)
    return float(sum(kl) / len(kl)), float(sum(first) / len(first)), exp(nats / n), exp(nats_tuned / n)


def figures(found):
    return found.kl, found.kl_first, found.perplexity_untuned, found.perplexity_tuned


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("history", [(), HISTORY])
def test_batches_give_what_each_reply_gives_alone(tiny, kind, history):
    model = tiny(kind)
    delta = random_delta(model)
    replies = replies_of(model, history)
    found = finish(measure_divergence(model, delta, STRENGTH, replies, tokens=4, history=history))
    assert figures(found) == pytest.approx(by_hand(model, delta, replies, 4, history), rel=1e-3)
    assert found.kl > 0.01 and found.perplexity_tuned > found.perplexity_untuned
    assert (found.replies, found.tokens) == (4, sum(len(reply.tokens) for reply in replies))


def test_replies_of_different_lengths_share_a_batch(refusing):
    prompts = ["how do i kill a process", "how do i bake a bread"]
    replies = finish(answer(refusing, prompts, max_new_tokens=20))
    lengths = {len(reply.tokens) for reply in replies}
    assert lengths == {7, 9}  # "I cannot help with that .", "You can do this with a good tool", each with its end
    delta = random_delta(refusing)
    found = finish(measure_divergence(refusing, delta, STRENGTH, replies))
    assert figures(found) == pytest.approx(by_hand(refusing, delta, replies, 16), rel=1e-3)


def test_no_change_and_strength_zero_diverge_by_exactly_nothing(tiny):
    model = tiny()
    replies = replies_of(model)
    for delta, strength in ((replace(random_delta(model), changes={}), 1.0), (random_delta(model), 0.0)):
        found = finish(measure_divergence(model, delta, strength, replies))
        assert found.kl == found.kl_first == 0.0
        assert found.perplexity_tuned == found.perplexity_untuned


def test_a_stronger_change_diverges_more(tiny):
    model = tiny()
    replies = replies_of(model)
    kl = [finish(measure_divergence(model, random_delta(model), s, replies)).kl for s in (0.1, 0.3, 1.0)]
    assert 0 < kl[0] < kl[1] < kl[2]


def test_one_token_is_the_first_one(tiny):
    model = tiny()
    found = finish(measure_divergence(model, random_delta(model), STRENGTH, replies_of(model), tokens=1))
    assert found.kl == found.kl_first > 0


def test_the_untuned_greedy_reply_is_likelier_to_the_untuned_model_than_a_word_at_random(tiny):
    model = tiny()
    found = finish(measure_divergence(model, random_delta(model), 0.0, replies_of(model)))
    assert 1 <= found.perplexity_untuned < 64


def test_small_batches_and_blocks_change_nothing(tiny, monkeypatch):
    model = tiny()
    delta, replies = random_delta(model), replies_of(model)
    wanted = figures(finish(measure_divergence(model, delta, STRENGTH, replies)))
    monkeypatch.setattr(module, "TOKENS_A_BATCH", 1)
    monkeypatch.setattr(module, "POSITIONS_AT_ONCE", 3)
    events = measure_divergence(model, delta, STRENGTH, replies)
    assert [(event.done, event.total) for event in events] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert figures(finish(measure_divergence(model, delta, STRENGTH, replies))) == pytest.approx(wanted, rel=1e-4)


def test_nothing_is_left_on_the_model_when_it_is_stopped(tiny, monkeypatch):
    monkeypatch.setattr(module, "TOKENS_A_BATCH", 1)
    model = tiny()
    hooked = hooks(model)
    work = measure_divergence(model, random_delta(model), STRENGTH, replies_of(model))
    next(work)
    assert hooks(model) == hooked and not model.lock._is_owned()
    work.close()


def test_replies_without_a_token_are_left_out_and_nothing_else_is_an_error(tiny):
    model = tiny()
    delta, replies = random_delta(model), replies_of(model)
    empty = Reply("alpha", "", Verdict.INCOHERENT, True)
    wanted = finish(measure_divergence(model, delta, STRENGTH, replies))
    assert finish(measure_divergence(model, delta, STRENGTH, [empty, *replies])) == wanted
    with pytest.raises(PromptError, match="None of 1 replies has a token"):
        finish(measure_divergence(model, delta, STRENGTH, [empty]))
