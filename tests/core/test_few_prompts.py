"""benchmarks/few_prompts.py on the toy: every tuning of the table follows from one look at the model."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import pytest
from test_cli import HARMFUL, LOOK_ALIKES, ORDINARY
from tiny_models import asked, hooks

from actor_core.prompt_sets import Pair, PromptSet
from actor_core.targets import TuningPrompts

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import few_prompts  # noqa: E402


@pytest.fixture
def toy_sized(monkeypatch, tmp_path):
    pairs = tuple(Pair(p.split()[3], p, h) for p, h in zip(LOOK_ALIKES, HARMFUL, strict=True))
    everyday = PromptSet("everyday", "A toy", "", tuple(ORDINARY), pairs, ())
    kinds = {"first": asked(["kill"], ["bread", "wall", "car", "house"]), "second": asked(["hack"], ["bread", "wall"] * 2)}
    for name, prompts in kinds.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{p} {n}" for n, p in enumerate(prompts)) + "\n")
    monkeypatch.setattr(few_prompts, "KINDS", tmp_path)
    monkeypatch.setattr(few_prompts, "HELD_OUT", 2)
    monkeypatch.setattr(few_prompts, "SIZES", (1, 2))
    monkeypatch.setattr(few_prompts, "prompt_sets", lambda: {"everyday": everyday})
    monkeypatch.setattr(few_prompts, "tuning_prompts", lambda own: TuningPrompts.of(own, everyday))
    return Namespace(draws=2, enriched=1, seed=0, layer=2, by_model=False, data_dir=tmp_path)


def test_each_size_has_its_row_and_enriched_ones_as_far_as_wanted(refusing, toy_sized):
    before = hooks(refusing)
    seen = few_prompts.look(refusing, toy_sized)
    assert hooks(refusing) == before
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in few_prompts.table(seen, toy_sized)[2:]]
    assert [row[:2] for row in rows] == [["untuned", ""], ["1", "plain"], ["1", "enriched"], ["2", "plain"]]
    assert all(len(row) == few_prompts.HEADER.count(" | ") + 1 for row in rows)
    shares = [float(cell.split()[0]) for row in rows for cell in row[2:]]
    assert all(0 <= share <= 1 for share in shares)
    assert any(variants for variants in seen.variants.values())


def test_held_out_prompts_are_never_own_and_smaller_draws_are_part_of_larger_ones(toy_sized):
    kinds = {"kind": [str(n) for n in range(9)]}
    for draw in few_prompts.draws(kinds, toy_sized):
        assert len(draw.others) == 2 and not set(draw.own) & set(draw.others)
        assert sorted(draw.own + draw.others) == kinds["kind"]
    assert len({tuple(draw.own) for draw in few_prompts.draws(kinds, toy_sized)}) == 2
