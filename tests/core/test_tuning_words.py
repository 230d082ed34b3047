"""What a person is told after tuning."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_models import random_delta

from actor_core.events import StrengthMeasured
from actor_core.refusal_odds import RefusalOdds
from actor_core.tradeoff import Limits
from actor_core.tuning_words import tuning_words

BEFORE = StrengthMeasured(0.0, 0.8, 1.0, 0.1)
AFTER = StrengthMeasured(0.5, 0.3, 0.9, 0.1, harmful_lost=0.02)
COSTLY = StrengthMeasured(1.0, 0.1, 0.6, 0.2, harmful_lost=0.4, benign_newly_refused=0.1)
SURE, UNSURE = (RefusalOdds(torch.tensor([1]), 0.0, agreement) for agreement in (0.95, 0.7))


def said(tiny, curve, strength: float, odds=SURE) -> tuple[str, ...]:
    return tuning_words(random_delta(tiny()), curve, strength, odds, Limits())


def test_gains_and_losses_are_both_told(tiny):
    words = said(tiny, [BEFORE, AFTER, COSTLY], 0.5)
    assert "look-alikes refused 80% before and 30% after, harmful ones 100% and 90%" in words[1]
    assert "2% are not refused any more" in words[2] and len(words) == 3


def test_where_no_strength_is_acceptable_the_reason_is_given_with_the_limits(tiny):
    words = said(tiny, [BEFORE, COSTLY], 0.0)
    assert "No strength is acceptable" in words[-1]
    assert "40% of the harmful prompts refused before would be answered (the limit is 6%)" in words[-1]
    assert "10% of the ordinary ones newly refused (the limit is 3%)" in words[-1]


def test_where_nothing_helps_that_is_said_instead(tiny):
    worse = StrengthMeasured(1.0, 0.9, 1.0, 0.1)
    assert "No strength answers more" in said(tiny, [BEFORE, worse], 0.0)[-1]


def test_a_model_that_is_hard_to_read_by_its_first_word_is_called_so(tiny):
    assert "hard to tell by their first word" in said(tiny, [BEFORE, AFTER], 0.5, UNSURE)[-1]
    assert "hard to tell" not in " ".join(said(tiny, [BEFORE, AFTER], 0.5))


def test_what_was_taken_of_a_gpu_is_told_where_torch_counted_it(tiny):
    delta = replace(random_delta(tiny()), measured={"peak_gpu_bytes": 2_340_000_000})
    words = tuning_words(delta, [BEFORE, AFTER], 0.5, SURE, Limits())
    assert "Tuning took up to 2.3 GB of the GPU's memory, the model included." in words
    assert not any("GPU" in word for word in said(tiny, [BEFORE, AFTER], 0.5))
