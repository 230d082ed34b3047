"""The closed form: the regression it claims to be, and a delta that moves a(q) to where the target says."""

from __future__ import annotations

import pytest
import torch
from tiny_models import PROMPTS

from actor_core.activations import WRITER, norm_after_writer, read_activations
from actor_core.delta import LayerDelta
from actor_core.events import finish
from actor_core.solve import rank_one, solve_ridge, write_direction

MOVED = torch.tensor([-1.0, 0.5, 0.0, -0.4])


def random_problem(n: int, m: int, d: int):
    draw = torch.Generator().manual_seed(0)
    return (
        torch.randn(n, d, generator=draw),
        torch.randn(n, 2, generator=draw),
        torch.rand(n, generator=draw) + 0.5,
        torch.randn(m, d, generator=draw),
    )


def by_the_formula(inputs, targets, weights, others, *, ridge, other_weight):
    """(Xᵀ C X + λ I)⁻¹ Xᵀ C y over the columns, written as the textbook has it."""
    x = torch.cat([inputs, others]).double()
    c = torch.cat([weights, torch.full((len(others),), other_weight)]).double()
    y = torch.cat([targets, torch.zeros(len(others), targets.shape[1])]).double()
    weighted = (x * c[:, None]).T @ x
    penalty = ridge * float(torch.diagonal(x * c[:, None] @ x.T).mean())
    return torch.linalg.solve(weighted + penalty * torch.eye(x.shape[1]), (x * c[:, None]).T @ y).float()


@pytest.mark.parametrize(("n", "m"), [(5, 4), (20, 12), (20, 60), (9, 0)])
def test_row_and_column_forms_give_the_weighted_ridge_regression(n, m):
    # 32 columns: fewer rows are solved over rows, more over columns.
    problem = random_problem(n, m, 32)
    found = solve_ridge(*problem, ridge=0.1, other_weight=0.3)
    assert found.dtype == torch.float32
    wanted = by_the_formula(*problem, ridge=0.1, other_weight=0.3)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_with_a_tiny_ridge_every_target_is_met_where_there_is_room():
    inputs, targets, weights, others = random_problem(10, 12, 32)
    w = solve_ridge(inputs, targets, weights, others, ridge=1e-8, other_weight=0.3)
    torch.testing.assert_close(inputs @ w, targets, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(others @ w, torch.zeros(12, 2), atol=1e-4, rtol=0)


def test_a_larger_ridge_gives_a_shorter_answer():
    problem = random_problem(20, 10, 32)
    lengths = [float(solve_ridge(*problem, ridge=ridge, other_weight=0.3).norm()) for ridge in (1e-3, 0.1, 10.0)]
    assert lengths[0] > lengths[1] > lengths[2]


def test_a_row_that_weighs_more_is_met_better():
    inputs, targets, weights, others = random_problem(40, 0, 32)
    targets = targets[:, :1]
    targets[0] = 3.0

    def missed(weight: float) -> float:
        weights[0] = weight
        w = solve_ridge(inputs, targets, weights, others, ridge=0.1, other_weight=0.3)
        return abs(float(inputs[0] @ w - targets[0]))

    assert missed(50.0) < missed(1.0) < missed(0.01)


def test_other_tokens_that_weigh_more_are_moved_less():
    problem = random_problem(20, 40, 32)
    answers = [solve_ridge(*problem, ridge=0.1, other_weight=weight) for weight in (0.01, 0.3, 10.0)]
    moved = [float((problem[3] @ w).norm()) for w in answers]
    assert moved[0] > moved[1] > moved[2]


def solved(model, layer: int, ridge: float, length: float, shared: torch.Tensor | None = None):
    """The delta for `MOVED`, and the readings before and under it."""
    before = finish(read_activations(model, PROMPTS, [layer]))[layer]
    direction = torch.randn(64, generator=torch.Generator().manual_seed(3))
    direction = length * direction / direction.norm()
    read = solve_ridge(
        before.inputs, (MOVED / before.gains)[:, None], torch.ones(4), before.others, ridge=ridge, other_weight=0.3
    )[:, 0]
    write = write_direction(direction, norm_after_writer(model.layers[layer]))
    delta = LayerDelta(layer, {WRITER: rank_one(write, read)}, model.id, "causal", {}, {})
    with delta.applied(model):
        after = finish(read_activations(model, PROMPTS, [layer]))[layer]
    return direction, before.outputs, after.outputs


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_solved_delta_moves_every_prompt_to_its_target(tiny, kind):
    direction, before, after = solved(tiny(kind), 1, ridge=1e-9, length=5.0)
    wanted = before + MOVED[:, None] * direction
    assert (wanted - before).abs().max() > 0.5
    torch.testing.assert_close(after, wanted, atol=1e-3, rtol=1e-3)


def test_behind_gemmas_norm_prompts_move_the_right_way_and_nearly_as_far(tiny):
    # A small move: the norm divides what is written by its own length, which the solve takes as fixed.
    direction, before, after = solved(tiny("gemma2"), 1, ridge=1e-9, length=0.3)
    along = (after - before) @ direction / direction.dot(direction)
    torch.testing.assert_close(along, MOVED, atol=0.1, rtol=0.1)
    for n in (0, 1, 3):
        assert torch.cosine_similarity(after[n] - before[n], MOVED[n] * direction, dim=0) > 0.9


def test_a_solved_delta_leaves_the_tokens_before_the_last_nearly_where_they_were(tiny):
    model = tiny()
    before = finish(read_activations(model, PROMPTS, [1]))[1]
    read = solve_ridge(before.inputs, MOVED[:, None], torch.ones(4), before.others, ridge=1e-9, other_weight=0.3)
    assert (before.others @ read).abs().max() < 1e-3 < (before.inputs @ read).abs().max()


def test_write_direction_undoes_the_norm_and_leaves_out_what_it_silences():
    direction = torch.tensor([1.0, 2.0, 3.0])
    assert write_direction(direction, None) is direction
    norm = torch.tensor([2.0, -0.5, 0.001])
    assert write_direction(direction, norm).tolist() == [0.5, -4.0, 0.0]


def test_rank_one_is_the_outer_product():
    change = rank_one(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0, -1.0]))
    assert change.full().tolist() == [[3.0, 0.0, -1.0], [6.0, 0.0, -2.0]]


def test_targets_side_by_side_are_solved_as_each_alone_and_add_up():
    inputs, targets, weights, others = random_problem(20, 12, 32)
    together = solve_ridge(inputs, targets, weights, others, ridge=0.1, other_weight=0.3)
    for column in (0, 1):
        alone = solve_ridge(inputs, targets[:, [column]], weights, others, ridge=0.1, other_weight=0.3)
        torch.testing.assert_close(together[:, [column]], alone)
    summed = solve_ridge(inputs, targets @ torch.tensor([[2.0], [-3.0]]), weights, others, ridge=0.1, other_weight=0.3)
    torch.testing.assert_close(together @ torch.tensor([[2.0], [-3.0]]), summed, atol=1e-5, rtol=1e-4)
