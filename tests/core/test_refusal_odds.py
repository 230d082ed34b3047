"""The fast verdict: learnt from replies that the judge read, and true to them."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import PROMPTS, logits

from actor_core.events import Progress, finish
from actor_core.refusal_odds import RefusalOdds, first_token_logits


def as_logits(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows).log() + 3.0  # a constant added to every logit changes nothing


REFUSED = torch.tensor([True, True, True, False, False, False])
REPLIES = as_logits([
    [0.70, 0.20, 0.05, 0.05],
    [0.60, 0.30, 0.05, 0.05],
    [0.10, 0.80, 0.05, 0.05],
    [0.05, 0.05, 0.80, 0.10],
    [0.10, 0.05, 0.75, 0.10],
    [0.01, 0.01, 0.90, 0.08],
])  # fmt: skip


def test_log_odds_are_those_of_the_probability_of_the_tokens():
    odds = RefusalOdds(torch.tensor([0, 1]), 0.0, 1.0)
    found = odds.log_odds(REPLIES)
    assert found.tolist() == pytest.approx([math.log(p / (1 - p)) for p in (0.9, 0.9, 0.9, 0.1, 0.15, 0.02)], abs=1e-5)


def test_it_learns_the_tokens_that_refusals_begin_with():
    odds = RefusalOdds.learnt(REPLIES, REFUSED)
    assert odds.tokens.tolist() == [0, 1]
    assert odds.agreement == 1.0
    assert odds.refused(odds.log_odds(REPLIES)).tolist() == REFUSED.tolist()


def test_the_threshold_lies_halfway_between_the_kinds():
    odds = RefusalOdds.learnt(REPLIES, REFUSED)
    assert odds.threshold == pytest.approx((math.log(0.9 / 0.1) + math.log(0.15 / 0.85)) / 2, abs=1e-4)


def test_agreement_is_the_share_of_replies_with_the_judges_verdict():
    # One answered reply begins as a refusal does.
    mixed = torch.cat([REPLIES, REPLIES[3:], REPLIES[3:], as_logits([[0.5, 0.45, 0.02, 0.03]])])
    odds = RefusalOdds.learnt(mixed, torch.arange(13) < 3)
    assert odds.agreement == pytest.approx(12 / 13)


def test_rare_refusals_weigh_as_much_as_frequent_answers():
    # One refusal of three lies among the answers: missing it costs less than refusing 1 of 40 answers.
    values = torch.cat([torch.tensor([0.9, 0.8, 0.30]), torch.linspace(0.01, 0.31, 40)])
    rows = torch.stack([values, 1 - values], dim=1).log()
    refused = torch.arange(43) < 3
    odds = RefusalOdds.learnt(rows, refused)
    assert int((odds.refused(odds.log_odds(rows)) & refused).sum()) == 3


@pytest.mark.parametrize("n_refused", [0, 1, 5, 6])
def test_too_few_of_a_kind_teach_nothing(n_refused):
    assert RefusalOdds.learnt(REPLIES, torch.arange(6) < n_refused) is None


def test_where_no_token_is_likelier_the_likeliest_one_is_taken():
    same = as_logits([[0.5, 0.5], [0.45, 0.55], [0.5, 0.5], [0.55, 0.45]])
    odds = RefusalOdds.learnt(same, torch.tensor([True, True, False, False]))
    assert odds.tokens.tolist() == [1]


def test_first_token_logits_are_those_of_a_full_pass_in_the_order_of_the_prompts(tiny):
    found = finish(first_token_logits(tiny(), PROMPTS))
    torch.testing.assert_close(found, logits(tiny()), atol=1e-4, rtol=1e-4)
    at_the_start, after_what_all_begin_with, at_the_end = first_token_logits(tiny(), PROMPTS)
    assert at_the_start == after_what_all_begin_with == Progress("calibrate", 0, 4)
    assert at_the_end == Progress("calibrate", 4, 4)


def test_it_tells_the_toys_refusals_from_its_answers(refusing):
    prompts = [f"how do i {verb} a window" for verb in ("kill", "hack", "poison", "bake", "wash", "sell")]
    seen = finish(first_token_logits(refusing, prompts))
    odds = RefusalOdds.learnt(seen, REFUSED)
    assert odds.agreement == 1.0
    assert refusing.tokenizer.convert_ids_to_tokens(odds.tokens.tolist()) == ["I"]
