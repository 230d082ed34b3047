"""``python -m actor_core reproduce`` and ``compare``: the same change bit for bit, and two beside each other.

As in test_cli, only bringing the model and the prompt set is stood in for.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from test_cli import HARMFUL, LOOK_ALIKES, ORDINARY, ToySet, run, toy, unguarded  # noqa: F401 - fixtures
from tiny_models import Source, random_delta

from actor_core import __main__ as command
from actor_core.commands import made_before
from actor_core.delta import LayerDelta
from actor_core.errors import DeltaError, PresetError, PromptError
from actor_core.events import finish
from actor_core.export import export
from actor_core.recipe import RECIPE, Recipe, read_recipe, reproduce
from actor_core.tune import TuneSettings, TuningPrompts, tune
from actor_core.two_changes import alike, ask_both


@pytest.fixture
def made(toy, run, tmp_path):  # noqa: F811
    """An export of the toy, with its recipe."""
    code, *_ = run(LOOK_ALIKES[:3], "--format", "delta", "--compared", "4")
    assert code == 0
    return tmp_path / "out" / "delta"


def reproduced(capsys, *arguments: str) -> tuple[int, str, str]:
    code = command.main(["reproduce", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def edited(file, **changes):
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps(values))
    return file


def test_the_same_change_comes_out_bit_for_bit(made, capsys, tmp_path):
    code, out, err = reproduced(capsys, str(made / RECIPE), "--out", str(tmp_path / "again.safetensors"))
    assert code == 0 and out.startswith("The same change, bit for bit")
    recipe = read_recipe(made / RECIPE)
    again = LayerDelta.load(tmp_path / "again.safetensors")
    assert again.digest() == recipe.delta_digest and recipe.delta_digest in out
    assert "Not as it was" not in err
    assert recipe.own == tuple(LOOK_ALIKES[:3]) and recipe.settings["seed"] == 0
    card = (made / "README.md").read_text()
    assert recipe.delta_digest in card
    assert "| Prompts: repaired | 3 |" in card and "| Prompts: set | everyday |" in card
    assert f"| Prompts: set sha256 | {recipe.prompt_set_digest} |" in card


def test_another_setting_is_another_change_and_the_code_is_1(made, capsys):
    settings = json.loads((made / RECIPE).read_text())["settings"]
    file = edited(made / RECIPE, settings=settings | {"ridge": 0.2})
    code, out, err = reproduced(capsys, str(file))
    assert code == 1 and out.startswith("Another change: SHA-256")


def test_other_versions_are_named(made, capsys):
    versions = json.loads((made / RECIPE).read_text())["versions"]
    edited(made / RECIPE, versions=versions | {"torch": "1.0"})
    code, _, err = reproduced(capsys, str(made / RECIPE))
    assert code == 0 and f"torch {versions['torch']} instead of 1.0" in err


def test_a_file_without_prompts_needs_them_again_and_takes_no_others(made, capsys, tmp_path):
    recipe = read_recipe(made / RECIPE).without_prompts()
    (tmp_path / "shared.json").write_text(recipe.text())
    assert all(prompt not in recipe.text() for prompt in LOOK_ALIKES[:3])
    code, _, err = reproduced(capsys, str(tmp_path / "shared.json"))
    assert code == 1 and "--prompts FILE" in err
    for lines, wanted in ((LOOK_ALIKES[:3], 0), (LOOK_ALIKES[1:4], 1)):
        (tmp_path / "own.txt").write_text("\n".join(lines))
        code, _, err = reproduced(capsys, str(tmp_path / "shared.json"), "--prompts", str(tmp_path / "own.txt"))
        assert code == wanted
    assert "not those that the change was made with" in err


def test_what_was_made_of_the_own_prompts_is_tuned_on_again(toy, tmp_path):  # noqa: F811
    own, variants, twins = LOOK_ALIKES[:2], LOOK_ALIKES[2:4], HARMFUL[1:2]
    settings, prompt_set = TuneSettings(layer=2), ToySet()
    tuned = finish(tune(toy, TuningPrompts.of(own, prompt_set, variants, twins), settings))
    recipe = Recipe.of(toy, own, prompt_set, settings, tuned.delta, variants, twins)
    (tmp_path / RECIPE).write_text(recipe.text())
    read = read_recipe(tmp_path / RECIPE)
    assert read.variants == tuple(variants) and read.twins == tuple(twins)
    assert finish(reproduce(read, toy, prompt_set)).delta.digest() == tuned.delta.digest()
    assert finish(tune(toy, TuningPrompts.of(own, prompt_set), settings)).delta.digest() != tuned.delta.digest()

    shared = read.without_prompts()
    assert all(prompt not in shared.text() for prompt in (*variants, *twins))
    again = finish(reproduce(shared, toy, prompt_set, own, variants, twins))
    assert again.delta.digest() == tuned.delta.digest()
    with pytest.raises(PromptError, match="give them again"):
        finish(reproduce(shared, toy, prompt_set, own))
    with pytest.raises(PromptError, match="in their order"):
        finish(reproduce(shared, toy, prompt_set, own, variants[::-1], twins))


def test_a_recipe_from_before_there_were_variants_is_read(made, capsys):
    values = json.loads((made / RECIPE).read_text())
    for name in ("variants", "twins", "enriched_digest"):
        del values[name]
    (made / RECIPE).write_text(json.dumps(values))
    code, out, _ = reproduced(capsys, str(made / RECIPE))
    assert code == 0 and out.startswith("The same change, bit for bit")


def test_a_recipe_from_before_there_was_a_share_is_of_the_whole_set(made, capsys):
    settings = json.loads((made / RECIPE).read_text())["settings"]
    assert settings.pop("set_share") == 1.0
    edited(made / RECIPE, settings=settings)
    code, out, _ = reproduced(capsys, str(made / RECIPE))
    assert code == 0 and out.startswith("The same change, bit for bit")


def test_another_base_is_refused_with_both_digests(made, toy, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(toy, "source", Source(toy.source.folder, digest="c" * 64))
    code, _, err = reproduced(capsys, str(made / RECIPE))
    assert code == 1 and "b" * 12 in err and "c" * 12 in err


def test_another_version_of_the_prompt_set_is_refused(made, capsys, monkeypatch):
    class Later(ToySet):
        def held_out(self):
            return replace(super().held_out(), benign=tuple(ORDINARY[:2]))

    monkeypatch.setattr(made_before, "prompt_sets", lambda: {"everyday": Later()})
    code, _, err = reproduced(capsys, str(made / RECIPE))
    assert code == 1 and "another version" in err


@pytest.mark.parametrize(
    "settings", [{"seed": 0}, {"seed": "many"}, {"unheard of": 1}], ids=["gone", "wrong", "new"]
)
def test_settings_that_this_version_does_not_know_are_refused(made, capsys, settings):
    known = json.loads((made / RECIPE).read_text())["settings"]
    edited(made / RECIPE, settings=settings if settings == {"seed": 0} else known | settings)
    code, _, err = reproduced(capsys, str(made / RECIPE))
    assert code == 1 and "other settings" in err


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "second-take.reproduce.1"}', "\x00"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(PresetError, match="x.json is no reproduce.json"):
        read_recipe(tmp_path / "x.json")


# Two changes


def test_a_change_is_wholly_like_itself_and_opposite_to_its_negative(tiny):
    delta = random_delta(tiny(), mlp__down_proj=2, self_attn__o_proj=None)
    for module in alike(delta, delta.scaled(-2.0)):
        assert module.cosine == pytest.approx(-1, abs=1e-6)
        assert module.norms[1] == pytest.approx(2 * module.norms[0], rel=1e-6)
    assert [m.module for m in alike(delta, delta)] == ["mlp.down_proj", "self_attn.o_proj"]


def test_low_rank_and_written_out_changes_compare_the_same(tiny):
    a, b = random_delta(tiny()), random_delta(tiny(), mlp__down_proj=3)
    b.changes["mlp.down_proj"].a[0] += a.changes["mlp.down_proj"].a[0]
    full = replace(b, changes={name: change.full() for name, change in b.changes.items()})
    (low,), (written,) = alike(a, b), alike(a, full)
    assert low.cosine == pytest.approx(written.cosine, abs=1e-5) and low.cosine != 0
    product = torch.nn.functional.cosine_similarity(
        a.changes["mlp.down_proj"].full().flatten(), full.changes["mlp.down_proj"].flatten(), dim=0
    )
    assert low.cosine == pytest.approx(float(product), abs=1e-5)


def test_changes_of_different_bases_are_refused_and_of_different_layers_share_nothing(tiny):
    delta = random_delta(tiny())
    with pytest.raises(DeltaError, match="c{12}"):
        alike(replace(delta, base=replace(delta.base, digest="c" * 64)), delta)
    assert alike(delta, replace(delta, layer=2)) == []


def test_both_are_asked_and_the_same_verdicts_counted(refusing, made):
    delta = LayerDelta.load(made / "delta.safetensors")
    sets = {"look-alikes": LOOK_ALIKES[:6], "ordinary": ORDINARY[:4]}
    rows = finish(ask_both(refusing, ((delta, 1.0), (delta, 0.0)), sets, tokens=8))
    assert rows[0].second.refused == 6 and rows[0].first.refused < 6
    assert rows[0].same_verdict == rows[0].first.refused
    assert rows[1].same_verdict == 4


def test_the_command_compares_two_exports(refusing, made, capsys, tmp_path):
    weaker = finish(export(refusing, LayerDelta.load(made / "delta.safetensors"), "peft", tmp_path / "w", strength=0.5))
    code = command.main(["compare", str(made), str(weaker.path), "--compared", "4"])
    out = capsys.readouterr().out
    assert code == 0 and "mlp.down_proj: cosine 1.000" in out
    assert out.count("same verdict") == 3 and "held-out harmful, n = 4: refused 1.000" in out
