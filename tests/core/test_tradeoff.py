"""Which targets and strength are taken, from what held-out prompts would do under each."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from actor_core.events import StrengthMeasured
from actor_core.tradeoff import GRID, Limits, Responses, Targets, choose_targets, chosen_point, measured

LIMITS = Limits(lost=0.05, newly_refused=0.01)
SHIFTS = torch.tensor([-1.0, 0.0, 1.0])
STRENGTHS = (0.0, 0.5, 1.0)


def point(strength: float, look_alikes: float, lost: float = 0.0, newly: float = 0.0) -> StrengthMeasured:
    return StrengthMeasured(strength, look_alikes, 0.9, 0.1, lost, newly, score=1 - look_alikes)


def responses(untuned, slope: float, reads) -> Responses:
    """Prompts whose log-odds grow by ``slope`` for each ‖R‖; a third of them of each kind; refused above 0."""
    start = torch.tensor(untuned)
    third = len(untuned) // 3
    return Responses(
        SHIFTS, start[:, None] + slope * SHIFTS, torch.tensor(reads), (third, third, third), threshold=0.0
    )


def odds(refused: str) -> torch.Tensor:
    """Log-odds of sure verdicts: 1 refused, 0 not."""
    return torch.tensor([30.0 if each == "1" else -30.0 for each in refused])


def test_the_shares_are_of_each_kind_and_lost_ones_of_those_refused_before():
    found = measured(odds("0100 0111 1000".replace(" ", "")), odds("1100 1110 0100".replace(" ", "")), (4, 4, 4), 0.5)
    assert replace(found, score=0.0) == StrengthMeasured(0.5, 0.25, 0.75, 0.25, pytest.approx(1 / 3), 0.25)


def test_a_kind_without_prompts_has_no_share():
    assert measured(odds("00"), odds("00"), (2, 0, 0), 1.0) == StrengthMeasured(
        1.0, 0.0, 0.0, 0.0, 0.0, 0.0, score=pytest.approx(1.0)
    )


def score(tuned: str, untuned: str) -> float:
    return measured(odds(tuned), odds(untuned), (4, 4, 4), 1.0).score


def test_the_score_counts_repairs_and_takes_off_twice_what_is_lost():
    as_it_is = score("111111100000", "111111100000")
    assert score("011111100000", "111111100000") == pytest.approx(as_it_is + 0.25)  # a look-alike answered
    assert score("111111110000", "111111100000") == pytest.approx(as_it_is + 0.25 / 4)  # a harmful one refused
    assert score("111101110000", "111111100000") == pytest.approx(as_it_is - 2 / 3)  # one lost, another gained
    assert score("111111101000", "111111100000") == pytest.approx(as_it_is - 2 / 4)  # an ordinary one refused


def test_the_score_moves_with_every_nat_and_not_only_where_a_verdict_turns():
    untuned = torch.tensor([1.0, 1.0, -1.0])
    scores = [measured(untuned - torch.tensor([by, 0, 0]), untuned, (1, 1, 1), 1.0).score for by in (0.0, 0.3, 0.6)]
    assert scores[0] < scores[1] < scores[2]


def test_a_response_is_interpolated_and_stays_at_its_ends():
    one = Responses(SHIFTS, torch.tensor([[0.0, 2.0, 3.0]]).repeat(5, 1), torch.zeros(5, 3), (5, 0, 0), 0.0)
    found = one.at(torch.tensor([-9.0, -0.5, 0.0, 0.5, 9.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 2.0, 2.5, 3.0]))


def test_the_smallest_strength_that_is_as_good_as_any_is_taken():
    curve = [point(0.0, 0.8), point(0.5, 0.3), point(0.75, 0.115), point(1.0, 0.11), point(1.25, 0.3)]
    assert chosen_point(curve, LIMITS).strength == 0.75


@pytest.mark.parametrize("harm", [{"lost": 0.06}, {"newly": 0.02}])
def test_a_strength_that_loses_too_much_is_not_taken(harm):
    curve = [point(0.0, 0.8), point(0.5, 0.4), point(1.0, 0.1, **harm)]
    assert chosen_point(curve, LIMITS).strength == 0.5
    assert chosen_point(curve, Limits(1.0, 1.0)).strength == 1.0


def test_where_no_strength_is_acceptable_the_model_stays_as_it_is():
    assert chosen_point([point(0.0, 0.8), point(0.5, 0.4, lost=0.5)], LIMITS).strength == 0.0


def test_the_targets_that_answer_most_within_the_limits_are_taken_with_the_smallest_shift_of_the_others():
    # Each prompt answers to the target of its own kind alone. A look-alike needs -0.2, which every target of -1
    # gives at half strength; the harmful ones and the ordinary ones are where they should be.
    each = torch.eye(3).repeat_interleave(2, dim=0).tolist()
    found = choose_targets(responses([1.0, 1.0, 2.0, 2.0, -2.0, -2.0], 5.0, each), STRENGTHS, LIMITS)
    assert found == Targets(-1.0, min(h for h, _ in GRID), 0.0)


def test_harmful_prompts_that_are_dragged_along_need_a_larger_target():
    # The second harmful prompt is half a look-alike: at half strength it moves by 1.25 (y - 1) nats, and has 0.6.
    reads = [[1.0, 0.0, 0.0]] * 2 + [[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]] + [[0.0, 0.0, 1.0]] * 2
    found = choose_targets(responses([1.0, 1.0, 2.0, 0.6, -2.0, -2.0], 5.0, reads), STRENGTHS, LIMITS)
    assert found.harmful >= 0.65


def test_where_nothing_is_within_the_limits_what_loses_least_is_taken():
    # Harmful prompts read as look-alikes whole: every target loses them, and the point still says so.
    reads = [[1.0, 0.0, 0.0]] * 4 + [[0.0, 0.0, 1.0]] * 2
    made = responses([1.0, 1.0, 1.0, 1.0, -2.0, -2.0], 5.0, reads)
    targets = choose_targets(made, STRENGTHS, LIMITS)
    assert made.point(targets, 1.0)[0].harmful_lost == 1.0
    assert chosen_point([made.point(targets, s)[0] for s in STRENGTHS], LIMITS).strength == 0.0
