"""Exported files opened again on their base, and replays of what the user compared."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import random_delta

from actor_core.errors import DeltaError
from actor_core.events import finish
from actor_core.export import export, open_change
from actor_core.export.compare import Checked
from actor_core.export.replay import with_replay
from actor_core.generate import Reply, answer
from actor_core.guard import Guard
from actor_core.judge import Verdict

PROMPTS = ("alpha beta gamma", "delta epsilon", "zeta")
GUARD = Guard.of(300, 1, asked=431)


def exported(model, delta, kind, target, **more):
    return finish(export(model, delta, kind, target, prompts=PROMPTS, guard=GUARD, **more))


@pytest.mark.parametrize("kind", ["delta", "peft"])
def test_export_import_export_gives_the_same_file(tiny, tmp_path, kind):
    model = tiny()
    delta = random_delta(model, mlp__down_proj=2, self_attn__o_proj=1)
    first = exported(model, delta, kind, tmp_path / "first", strength=0.7)
    opened = open_change(first.path)
    assert opened.base == delta.base and opened.layer == delta.layer and opened.settings == delta.settings
    second = exported(model, opened, kind, tmp_path / "second")
    name = {"delta": "delta.safetensors", "peft": "adapter_model.safetensors"}[kind]
    assert (second.path / name).read_bytes() == (first.path / name).read_bytes()
    assert open_change(second.path).digest() == opened.digest()


def test_an_adapter_opened_again_is_the_delta_at_its_strength(tiny, tmp_path):
    model = tiny()
    delta = random_delta(model)
    opened = open_change(exported(model, delta, "peft", tmp_path / "p", strength=0.7).path)
    assert opened.digest() == delta.scaled(0.7).digest()


def test_a_full_difference_comes_back_at_the_rank_that_was_chosen(tiny, tmp_path):
    model = tiny()
    delta = random_delta(model, mlp__down_proj=None)
    result = exported(model, delta, "peft", tmp_path / "p", rank=4)
    assert open_change(result.path).changes["mlp.down_proj"].a.shape[0] == 4
    assert list(result.error_by_rank) == [1, 2, 4, 8, 16, 32, 64]
    losses = list(result.error_by_rank.values())
    assert losses == sorted(losses, reverse=True) and losses[-1] < 1e-6
    card = (result.path / "README.md").read_text()
    assert f"4: {result.error_by_rank[4]:.1%}" in card and f"relative error {result.error_by_rank[4]:.1%}" in card


@pytest.mark.parametrize("kind", ["delta", "peft"])
def test_the_zip_of_an_export_is_opened_whatever_names_are_in_it(tiny, tmp_path, kind):
    model = tiny()
    result = exported(model, random_delta(model), kind, tmp_path / kind)
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for file in result.path.iterdir():
            made.write(file, f"../../{kind}/{file.name}")
    assert open_change(archive).digest() == open_change(result.path).digest()
    assert not (tmp_path.parent / kind).exists()


@pytest.mark.parametrize("kind", ["delta", "peft"])
def test_another_base_is_refused_with_both_digests(tiny, tmp_path, kind):
    model = tiny()
    opened = open_change(exported(model, random_delta(model), kind, tmp_path / "x").path)
    other = replace(model.id, name="another/Model", digest="c" * 64)
    with pytest.raises(DeltaError, match="b{12}.*another/Model.*c{12}"):
        opened.require_base(other)


def test_an_adapter_that_does_not_name_its_base_is_refused(tmp_path):
    save_file({"base_model.model.x.lora_A.weight": torch.zeros(1, 2)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(DeltaError, match="which weights"):
        open_change(tmp_path)


def _damaged(file, how: str) -> None:
    data = file.read_bytes()
    header = json.dumps({"__metadata__": {"format": "pt", "second_take": how}}).encode()
    file.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "noise": bytes(range(256))}.get(
        how, len(header).to_bytes(8, "little") + header
    ))


@pytest.mark.parametrize("how", ["cut", "empty", "noise", "{}", "[]", "no json"])
def test_damaged_files_are_refused_in_words(tiny, tmp_path, how):
    file = exported(tiny(), random_delta(tiny()), "peft", tmp_path / "p").path / "adapter_model.safetensors"
    _damaged(file, how)
    with pytest.raises(DeltaError, match="adapter_model.safetensors"):
        open_change(file)


def test_a_zip_or_folder_without_a_change_is_refused(tiny, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("README.md", "hello")
    for path in (tmp_path / "x.zip", tmp_path):
        with pytest.raises(DeltaError, match="delta.safetensors"):
            open_change(path)


# Replay


def seen_by(model, delta, strength=1.0) -> list[Reply]:
    return finish(answer(model, PROMPTS, delta=delta, strength=strength, max_new_tokens=8))


@pytest.mark.parametrize("kind", ["delta", "peft", "merged"])
def test_the_compared_prompts_are_asked_again_and_agree(tiny, tmp_path, kind):
    model = tiny("llama")
    delta = random_delta(model)
    seen = seen_by(model, delta, 0.7)
    result = exported(model, delta, kind, tmp_path / "x", strength=0.7, seen=seen)
    assert result.checked, result.check_words
    assert result.figures["replayed"] == result.figures["same_verdict"] == len(PROMPTS)
    assert result.figures["same_first_token_replayed"] == len(PROMPTS)
    card = (result.path / "README.md").read_text()
    assert "3 of the prompts that you compared were asked again" in card
    assert all(prompt not in card for prompt in PROMPTS)


def test_first_tokens_that_differ_are_counted(tiny, tmp_path):
    model = tiny()
    delta = random_delta(model)
    seen = seen_by(model, None)  # not what the exported change answers
    result = exported(model, delta, "peft", tmp_path / "x", strength=2.0, seen=seen)
    again = seen_by(model, delta, 2.0)
    same = sum(a.tokens[:1] == b.tokens[:1] for a, b in zip(seen, again, strict=True))
    assert result.figures["same_first_token_replayed"] == same < len(PROMPTS)


def reply(verdict: Verdict, token: int = 5) -> Reply:
    return Reply("p", "t", verdict, False, (token, 6))


@pytest.mark.parametrize(("same", "passed"), [(24, True), (21, True), (17, False), (0, False)])
def test_clearly_too_few_same_verdicts_fail_the_check(same, passed):
    seen = [reply(Verdict.ANSWERED)] * 24
    there = [reply(Verdict.ANSWERED)] * same + [reply(Verdict.REFUSED)] * (24 - same)
    checked = with_replay(Checked(True, "Loaded."), seen, there, "llama.cpp")
    assert checked.passed is passed
    assert f"{same} got the same verdict as you saw, and 24 begin" in checked.words
    assert ("too few to rely on it" in checked.words) is not passed


def test_a_failed_check_is_not_mended_by_a_good_replay():
    seen = [reply(Verdict.ANSWERED)] * 24
    assert with_replay(Checked(False, "No."), seen, seen, "PEFT").passed is False
    assert with_replay(Checked(None, "Read."), seen, seen, "PEFT").passed is None


