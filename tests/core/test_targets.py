"""Which prompt is moved how far, and how much it counts."""

from __future__ import annotations

import math

import pytest

from actor_core.errors import PromptError
from actor_core.prompt_sets import PromptSplit
from actor_core.targets import ENRICHED_REACH, OWN_AT_MOST, OWN_SHARE, TrainingRows, TuningPrompts, training_rows

NOTHING = PromptSplit((), (), ())


def rows(own=(), benign=(), pseudo=(), harmful=(), variants=(), twins=()) -> TrainingRows:
    prompts = TuningPrompts(own, benign, pseudo, harmful, NOTHING, variants, twins)
    return training_rows(prompts, harmful_weight=2.0)


def of(made: TrainingRows, prompt: str) -> tuple[str, int, float]:
    """A prompt's kind, the column of its target and its weight; it is there once."""
    assert made.prompts.count(prompt) == 1
    n = made.prompts.index(prompt)
    assert made.indicators()[n].count_nonzero() == 1
    return made.kinds[n], int(made.indicators()[n].argmax()), made.weights[n].item()


def numbered(kind: str, count: int) -> list[str]:
    return [f"{kind}{n}" for n in range(count)]


def test_a_share_of_the_set_is_even_and_keeps_twins_together_and_what_is_the_users():
    held_out = PromptSplit(("b",), ("p",), ("h",))
    twins, extra = numbered("h", 40), numbered("e", 12)
    whole = TuningPrompts(
        ["own"], numbered("b", 8), numbered("p", 40), [*twins, *extra], held_out, ["variant"], ["twin"]
    )
    some = whole.thinned(0.25)
    assert (some.own, some.variants, some.twins, some.held_out) == (["own"], ["variant"], ["twin"], held_out)
    assert some.benign == ["b0", "b4"]
    assert some.pseudo_harmful == numbered("p", 40)[::4]
    assert some.harmful == [*twins[::4], *extra[::4]]
    assert whole.thinned(1.0) == whole
    assert len(whole.thinned(0.001).pseudo_harmful) == 1


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, math.nan, math.inf])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(PromptError, match="above 0 and up to 1"):
        TuningPrompts(["own"], ["b"], ["p"], ["h"], NOTHING).thinned(share)


def test_every_kind_has_its_column_and_weight():
    made = rows(["own"], ["b"], ["p1", "p2"], ["h"])
    assert of(made, "own") == ("own", 0, 1.0)
    assert of(made, "p1") == ("pseudo-harmful", 0, 1.0)
    assert of(made, "h") == ("harmful", 1, 2.0)
    assert of(made, "b") == ("benign", 2, 1.0)
    assert len(made.prompts) == len(made.kinds) == len(made.weights) == 5


@pytest.mark.parametrize(("n_own", "weight"), [(1, OWN_AT_MOST), (10, 2.5), (24, 25 / 24), (50, 1.0)])
def test_few_own_prompts_weigh_more_up_to_a_limit(n_own, weight):
    made = rows([f"own {n}" for n in range(n_own)], pseudo=[f"p{n}" for n in range(100)])
    assert of(made, "own 0")[2] == pytest.approx(weight)
    assert of(made, "p0")[2] == 1.0


def test_an_own_prompt_pasted_twice_is_one():
    made = rows(["own", "other", "own"])
    assert made.prompts == ("own", "other")


def test_an_own_prompt_that_is_in_the_set_too_is_the_users():
    made = rows(["p", "b"], ["b", "b2"], ["p", "p2"])
    assert of(made, "p")[0] == of(made, "b")[0] == "own"
    assert of(made, "b")[1] == 0
    assert of(made, "p2")[0] == "pseudo-harmful" and of(made, "b2")[0] == "benign"


def test_a_harmful_prompt_pasted_as_own_stays_harmful():
    made = rows(["h", "own"], harmful=["h", "h2"])
    assert of(made, "h") == ("harmful", 1, 2.0)
    assert of(made, "own")[0] == "own"


def test_are_picks_the_rows_of_the_kinds():
    made = rows(["own"], ["b"], ["p"], ["h1", "h2"])
    assert made.are("harmful").tolist() == [False, False, True, True, False]
    assert made.are("own", "benign").tolist() == [True, False, False, False, True]


def test_no_own_prompt_is_no_fault_here():
    assert rows(benign=["b"], pseudo=["p"]).kinds == ("pseudo-harmful", "benign")


def test_variants_are_answered_like_the_own_ones_and_share_their_weight():
    pseudo = [f"p{n}" for n in range(100)]
    alone, enriched = rows(["own"], pseudo=pseudo), rows(["own"], pseudo=pseudo, variants=["v1", "v2", "v3", "v4"])
    assert of(enriched, "v1")[:2] == ("variant", 0)
    assert of(enriched, "own")[2] == of(enriched, "v1")[2] == pytest.approx(OWN_SHARE * 100 / 5)
    assert of(alone, "own")[2] == OWN_AT_MOST


def test_where_there_are_variants_own_prompts_and_they_are_sent_farther():
    alone, enriched = rows(["own"], ["b"], ["p"], ["h"]), rows(["own"], ["b"], ["p"], ["h"], ["v"], ["t"])
    assert alone.indicators().max() == 1.0
    far = dict(zip(enriched.prompts, enriched.indicators().sum(dim=1).tolist(), strict=True))
    assert far == {"own": ENRICHED_REACH, "v": ENRICHED_REACH, "p": 1.0, "h": 1.0, "t": 1.0, "b": 1.0}


def test_twins_are_refused_like_harmful_ones_and_the_reference_is_of_the_set_alone():
    made = rows(["own"], harmful=["h"], twins=["t", "h"])
    assert of(made, "t") == ("twin", 1, 2.0)
    assert of(made, "h")[0] == "harmful"
    assert made.are("harmful").sum() == 1


def test_what_is_a_variant_and_something_else_too_is_there_once():
    made = rows(["own", "t"], ["b", "v"], ["p", "v2"], ["h"], variants=["own", "v", "v2", "h", "t"], twins=["t"])
    assert of(made, "own")[0] == "own"
    assert of(made, "v")[0] == of(made, "v2")[0] == "variant"
    assert of(made, "t")[0] == "twin" and of(made, "h")[0] == "harmful"
