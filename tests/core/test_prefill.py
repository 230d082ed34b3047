"""What all prompts begin with is read once, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from tiny_models import CONFIGS, PROMPTS, logits, random_delta

from actor_core.events import finish
from actor_core.generate import answer
from actor_core.passages import logits_of_last, read

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
