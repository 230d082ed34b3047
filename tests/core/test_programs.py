"""The panel of what takes what: a row for each program people ask for, and words where there is no file."""

from __future__ import annotations

import pytest

from actor_core.export import KINDS
from actor_core.export.programs import programs

ASKED_FOR = {"llama.cpp", "Ollama", "vLLM", "Transformers + PEFT", "LM Studio", "text-generation-webui"}


@pytest.mark.parametrize("model_type", ["qwen2", "llama", "unheard_of"])
def test_every_program_has_a_row_whatever_the_architecture(model_type):
    rows = programs(model_type, has_gguf=True)
    assert {row.name for row in rows} == ASKED_FOR
    assert {row.kind for row in rows} <= set(KINDS)
    assert all(row.needs and row.command for row in rows)


def test_commands_are_filled_with_the_names_that_are_given():
    names = {"base": "BASE", "base_gguf": "B.gguf", "folder": "OUT", "file": "OUT/x.gguf"}
    filled = [row.filled(**names) for row in programs("qwen2", has_gguf=True)]
    assert "llama-server -m B.gguf --lora OUT/x.gguf" in filled
    assert "vllm serve BASE --enable-lora --lora-modules second-take=OUT" in filled
    assert not any("{" in command for command in filled)


@pytest.mark.parametrize(("rank", "option"), [(16, ""), (17, " --max-lora-rank 32"), (64, " --max-lora-rank 64")])
def test_vllm_is_told_a_rank_above_its_own_limit(rank, option):
    row = next(row for row in programs("llama", has_gguf=False, rank=rank) if row.name == "vLLM")
    assert f"--enable-lora{option} --lora-modules" in row.command


def test_what_cannot_be_made_of_this_model_says_why():
    unknown = {(row.name, row.kind): row.why_not for row in programs("unheard_of", has_gguf=True)}
    assert "architecture" in unknown["Ollama", "gguf-lora"] and unknown["vLLM", "peft"] == ""
    no_file = {(row.name, row.kind): row.why_not for row in programs("qwen2", has_gguf=False)}
    assert "not loaded from a GGUF" in no_file["LM Studio", "merged-gguf"]
    assert no_file["llama.cpp", "gguf-lora"] == ""
