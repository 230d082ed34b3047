"""What all prompts begin with is read once, and padding is not read; nothing else changes."""

from __future__ import annotations

import pytest
import torch
from tiny_models import CONFIGS, PROMPTS, loaded, logits, random_delta, saved, tiny_model

from actor_core import prefill as module
from actor_core.events import Progress, finish
from actor_core.generate import answer, first_asked
from actor_core.passages import logits_of_last, read
from actor_core.refusal_odds import first_token_logits

HISTORY = [{"role": "user", "content": "alpha beta"}, {"role": "assistant", "content": "gamma"}]


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_batch_read_from_its_prefix_on_gives_what_each_prompt_gives_alone(tiny, kind):
    model = tiny(kind)
    batches = list(model.batches(PROMPTS, share_prefix=True, max_rows=2))
    assert len(batches) > 1 and all(batch.prefix >= 1 for batch in batches)
    for _, arrived in read(model, batches, model.n_layers):
        for place, found in zip(arrived, logits_of_last(model, list(arrived.values())), strict=True):
            torch.testing.assert_close(found, logits(model)[list(batches[place].rows)], atol=1e-4, rtol=1e-4)


def test_the_prefix_is_what_all_rows_share_and_leaves_two_tokens_of_each(tiny):
    model = tiny()
    shared = [[1, 5, 6, 7, 8], [1, 5, 6, 9, 9, 9], [1, 5, 6, 7, 2]]
    assert {batch.prefix for batch in model.batches_of_ids(shared, share_prefix=True)} == {3}
    assert {batch.prefix for batch in model.batches_of_ids([[1, 5, 6], [1, 5, 6, 7]], share_prefix=True)} == {1}
    for alone in ([[1, 5, 6]], [[1, 5], [2, 5]], [[1], [1]]):
        assert {batch.prefix for batch in model.batches_of_ids(alone, share_prefix=True)} == {0}
    assert {batch.prefix for batch in model.batches_of_ids(shared)} == {0}


def test_padding_stands_between_the_prefix_and_the_rest(tiny):
    batch = next(tiny().batches_of_ids([[1, 5, 7, 8], [1, 5, 9, 9, 9, 9]], share_prefix=True))
    row = batch.rows.index(0)
    assert batch.prefix == 2
    assert batch.attention_mask[row].tolist() == [1, 1, 0, 0, 1, 1]
    assert batch.position_ids[row].tolist()[-2:] == [2, 3]
    assert batch.input_ids[row].tolist()[:2] == [1, 5] and batch.input_ids[row].tolist()[-2:] == [7, 8]


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("history", [(), HISTORY])
def test_a_delta_acts_on_the_prefix_too_so_answers_together_are_answers_alone(tiny, kind, history):
    model = tiny(kind)
    delta = random_delta(model)
    together = finish(answer(model, PROMPTS, delta=delta, strength=2.0, max_new_tokens=6, history=history))
    for reply in together:
        alone = finish(answer(model, [reply.prompt], delta=delta, strength=2.0, max_new_tokens=6, history=history))
        assert alone[0].tokens == reply.tokens


LONG = "alpha beta gamma delta epsilon zeta kill bake process bread"
# One long prompt beside short ones, so that most of a padded batch is padding.
UNEVEN = [" ".join([LONG] * 8), "alpha beta", "kill a process", "bake", LONG, "bread gamma", "zeta zeta", "delta"]


def test_the_padding_of_short_prompts_is_not_read(tiny, monkeypatch):
    model, read_tokens = tiny("llama"), []
    monkeypatch.setattr(module, "MOST_PADDING", 8)
    real = sum(len(model.token_ids(prompt)) for prompt in UNEVEN)
    padded = len(UNEVEN) * max(len(model.token_ids(prompt)) for prompt in UNEVEN)
    note = model.model.register_forward_pre_hook(
        lambda _module, _args, given: read_tokens.append(given["input_ids"].numel()), with_kwargs=True
    )
    finish(answer(model, UNEVEN, max_new_tokens=1))
    note.remove()
    assert sum(read_tokens) < 1.2 * real < 0.5 * padded


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("most_padding", [0, 8, 10_000])
def test_rows_that_come_in_later_are_read_as_they_are_alone(tiny, kind, most_padding, monkeypatch):
    model = tiny(kind)
    monkeypatch.setattr(module, "MOST_PADDING", most_padding)
    delta = random_delta(model)
    replies, logits = {}, {}
    for prompts in (UNEVEN, *([prompt] for prompt in UNEVEN)):
        found: dict = {}
        for reply in finish(answer(model, prompts, delta=delta, max_new_tokens=6, first_logits=found)):
            replies.setdefault(reply.prompt, []).append(reply.tokens)
        for row, prompt in enumerate(prompts):
            logits.setdefault(prompt, []).append(found[row])
    for prompt in UNEVEN:
        together, alone = logits[prompt]
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
        assert replies[prompt][0] == replies[prompt][1]


def test_the_scores_of_first_tokens_are_those_of_reading_alone(tiny):
    model = tiny()
    replies, logits = finish(first_asked(model, PROMPTS, 6, stage="asked"))
    torch.testing.assert_close(logits, finish(first_token_logits(model, PROMPTS)), atol=1e-4, rtol=1e-4)
    assert [reply.tokens[0] for reply in replies] == logits.argmax(dim=1).tolist()
    assert replies == finish(answer(model, PROMPTS, max_new_tokens=6))


def test_reading_and_answering_are_counted_one_after_the_other(tiny):
    told = [event.done for event in first_asked(tiny(), UNEVEN, 20, stage="asked") if isinstance(event, Progress)]
    again = told.index(0, 1)
    for counted in (told[:again], told[again:]):
        assert counted == sorted(counted) and counted[0] == 0
    assert told[again - 1] == len(UNEVEN)


def test_prompts_longer_than_a_sliding_window_are_answered_as_they_are_alone(tmp_path):
    model = loaded(saved(tiny_model("gemma2", sliding_window=24), tmp_path))
    longest = max(len(model.token_ids(prompt)) for prompt in UNEVEN)
    assert longest > 2 * 24 and next(model.batches(UNEVEN, share_prefix=True)).prefix == 0
    for reply in finish(answer(model, UNEVEN, max_new_tokens=6)):
        assert reply == finish(answer(model, [reply.prompt], max_new_tokens=6))[0]
