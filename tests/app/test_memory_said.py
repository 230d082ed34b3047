"""Before tuning the page says what it takes of memory, and what helps where it does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

import actor_core.memory
from actor_core.memory import Demand
from app.steps import tune


@pytest.fixture
def said(studio, checked, monkeypatch):
    asked = []

    def say(missing: int) -> str:
        def before_tuning(model, prompts):
            asked.append(prompts)
            return Demand(4_100_000_000, 2_000_000_000, missing)

        monkeypatch.setattr(actor_core.memory, "before_tuning", before_tuning)
        return tune._memory(studio, checked)

    say.asked = asked
    return say


def test_what_fits_is_one_quiet_line(said, checked):
    assert "takes up to 4.1 GB of memory with the model in it, and it fits" in said(0)
    assert "st-notice" not in said(0)
    assert said.asked == [len(checked.chosen)] * 2


def test_what_does_not_fit_is_a_warning_with_what_helps(said):
    assert "st-warning" in said(700_000_000)
    assert "700 MB more than is free" in said(700_000_000) and "in fewer bits in step 1" in said(700_000_000)


def test_a_visitor_of_a_space_is_told_nothing_that_only_its_owner_could_change(said, studio):
    studio.settings = replace(studio.settings, in_space=True)
    assert said(700_000_000) == ""
