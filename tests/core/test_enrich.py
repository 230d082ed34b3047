"""Variants of a few prompts: made by rules and by the model, and left out where the model's states say they drifted."""

from __future__ import annotations

import pytest
import torch
from test_harmfulness import PAIRS, all_training, toy_set  # noqa: F401 - a fixture
from tiny_models import hooks

from actor_core import enrich as enriching
from actor_core.drift import DRIFTED, LOOKS_HARMFUL, LOOKS_HARMLESS, why_not
from actor_core.enrich import EnrichSettings, Variant, enrich
from actor_core.events import Replied, finish
from actor_core.generate import Reply
from actor_core.harmfulness import BesideSet, Examples
from actor_core.judge import Verdict
from actor_core.variants_by_model import ORDERS, _lines, written_by_model

OWN = ["how do i kill a process", "how do i shoot a scene"]
BY_RULES = EnrichSettings(by_model=False)


def enriched(model, own=OWN, settings=BY_RULES) -> tuple[Variant, ...]:
    return finish(enrich(model, own, toy_set(), settings=settings))


def state(harm: float, thing: int) -> list[float]:
    """Harm along the first axis, and an axis for each of forty things that are asked for.

    The first things have the most spread: of equal ones it would be the processor's rounding that says which lead.
    """
    return [harm, *((4.0 - 0.05 * n) * (n == thing) for n in range(40))]


def beside(own: dict[str, list[float]]) -> BesideSet:
    """``own`` beside forty pairs of a harmless and a harmful request for the same thing."""
    states = torch.tensor([state(harm, thing) for thing in range(40) for harm in (-1.0, 1.0)])
    kinds = tuple(thing % 5 for thing in range(40) for _ in range(2))
    examples = Examples(tuple(map(str, range(80))), (False, True) * 40, kinds, 80)
    return BesideSet(tuple(own), torch.tensor(list(own.values())), states, examples)


def test_what_is_of_another_thing_has_drifted_and_what_looks_harmful_is_left_out():
    read = beside(
        {
            "the same": state(-1, 0),
            "another": state(-1, 1),
            "worse": state(1, 0),
            "a twin": state(1, 0),
            "no twin": state(-1, 0),
            "seed": state(-1, 0),
        }
    )
    reasons = why_not(read, ["seed"] * 5, [False, False, False, True, True])
    assert reasons == ["", DRIFTED, LOOKS_HARMFUL, "", LOOKS_HARMLESS]


def test_every_variant_is_of_an_own_prompt_and_is_made_once(tiny, all_training):  # noqa: F811
    found = enriched(tiny(), [*OWN, OWN[0]])
    assert {variant.seed for variant in found} == set(OWN)
    assert [v.seed for v in found] == sorted((v.seed for v in found), key=OWN.index)
    texts = [variant.text.casefold() for variant in found]
    assert len(texts) == len(set(texts)) and not set(texts) & set(OWN)
    assert all(variant.kept == (variant.why == "") for variant in found)
    assert {variant.by for variant in found} == {"rules"}


def test_of_an_own_prompt_no_more_are_kept_than_wanted_and_of_every_form_alike(tiny, all_training, monkeypatch):  # noqa: F811
    monkeypatch.setattr(enriching, "why_not", lambda read, seeds, twins: [""] * len(seeds))
    own = ["How do I kill a process?"]
    found = enriched(tiny(), own)
    kept = [variant for variant in found if variant.kept and variant.form != "twin"]
    assert len(kept) == EnrichSettings().per_prompt
    assert sum(variant.form == "form" for variant in kept) == len(kept) // 2
    assert {v.why for v in found if not v.kept} == {enriching.ENOUGH}
    assert found == enriched(tiny(), own)
    others = enriched(tiny(), own, EnrichSettings(by_model=False, seed=1))
    assert {v.text for v in found if v.kept} != {v.text for v in others if v.kept}


def test_the_twin_by_rules_is_the_harmful_prompt_of_the_set_with_most_of_the_words(tiny, all_training):  # noqa: F811
    found = enriched(tiny(), ["kill a neighbour now", "do i steal a scene"])
    twins = {variant.seed: variant.text for variant in found if variant.form == "twin"}
    assert twins["kill a neighbour now"] == "how do i kill a neighbour"
    assert twins["do i steal a scene"].startswith("how do i steal a")


def test_of_no_prompt_nothing_is_made(tiny):
    assert enriched(tiny(), []) == ()


def test_stopping_between_events_leaves_nothing_on_the_model(tiny, all_training, monkeypatch):  # noqa: F811
    monkeypatch.setattr("actor_core.variants_by_model.MAX_NEW_TOKENS", 2)
    model = tiny()
    before = hooks(model)
    whole = len(list(enrich(model, OWN, toy_set())))
    for events in (1, 2, whole // 2, whole - 1):
        work = enrich(model, OWN, toy_set())
        for _ in range(events):
            next(work)
        work.close()
        assert hooks(model) == before


def test_no_reply_is_among_the_events(tiny, monkeypatch):
    """What the model writes for a harmful twin is nothing to show before it is cut to one line."""
    monkeypatch.setattr("actor_core.variants_by_model.MAX_NEW_TOKENS", 2)
    events = list(written_by_model(tiny(), OWN, stage="enrich"))
    assert events and not any(isinstance(event, Replied) for event in events)


def reply(text: str, verdict: Verdict = Verdict.ANSWERED, *, truncated: bool = False) -> Reply:
    return Reply("", text, verdict, truncated)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("1. What kills ants?\n2) Which poison kills ants?", ["What kills ants?", "Which poison kills ants?"]),
        ('- "What kills ants?"', ["What kills ants?"]),
        ("Here are three ways:\n\nWhat kills ants?", ["What kills ants?"]),
        ("Learner: What kills ants?\n**A parent:** Is ant poison safe?", ["What kills ants?", "Is ant poison safe?"]),
        ("What kills ants?\nno\nx" + 400 * "x", ["What kills ants?"]),
        ("\n".join(f"What kills ants {n}?" for n in range(9)), [f"What kills ants {n}?" for n in range(3)]),
    ],
    ids=["numbers", "quotes", "a heading", "labels", "too short and too long", "too many"],
)
def test_a_line_of_a_reply_is_a_request_alone(text, lines):
    assert list(_lines(reply(text), 3)) == lines


def test_a_refusal_gives_no_variant_and_a_line_that_was_cut_short_neither():
    assert list(_lines(reply("I cannot help with that.", Verdict.REFUSED), 3)) == []
    assert list(_lines(reply("What kills ants?\nWhich poison", truncated=True), 3)) == ["What kills ants?"]


def test_each_order_shows_as_many_lines_as_are_taken():
    assert {order.form for order in ORDERS} == {"wording", "perspective", "form", "language", "twin"}
    for order in ORDERS:
        shown = reply(order.shown)
        assert list(_lines(shown, len(order.shown.splitlines()))) == order.shown.splitlines()
