"""Whole models with the change inside: a transformers folder, and the base's GGUF file with one tensor changed."""

from __future__ import annotations

import json
import struct

import gguf
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from tiny_gguf import base_gguf
from tiny_models import Source, random_delta
from transformers import AutoModelForCausalLM

from actor_core.errors import ExportError
from actor_core.events import finish
from actor_core.export import TENSOR_TYPES, check_merged, export, merged, merged_gguf
from actor_core.export.compare import last_logits
from actor_core.export.gguf_lora import permuted
from actor_core.weights.gguf_header import read_header

PROMPTS = ("alpha beta gamma", "delta epsilon", "zeta")
KEY = "model.layers.1.mlp.down_proj.weight"


def exported(model, delta, kind, target, **more):
    return finish(export(model, delta, kind, target, prompts=PROMPTS, **more))


# safetensors


@pytest.mark.parametrize("kind", ["llama", "gemma2"])  # the tiny Qwen2's folder has no tokenizer of its own
def test_the_merged_folder_loads_by_itself_and_does_what_the_delta_does(tiny, tmp_path, kind):
    model = tiny(kind)
    delta = random_delta(model, mlp__down_proj=2, self_attn__o_proj=None)
    result = exported(model, delta, "merged", tmp_path / "m", strength=0.7)
    assert result.checked, result.check_words
    alone = AutoModelForCausalLM.from_pretrained(result.path, dtype=torch.float32)
    with delta.applied(model, 0.7):
        wanted = last_logits(model, PROMPTS)
    assert (wanted - last_logits(model, PROMPTS)).abs().max() > 0.1
    assert torch.allclose(last_logits(model, PROMPTS, through=alone), wanted, atol=1e-3)


def test_only_the_changed_matrix_differs_and_it_is_stored_in_full(tiny, tmp_path):
    model = tiny("llama")
    delta = random_delta(model)
    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(model.source.folder, dtype=torch.float16).save_pretrained(half)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (half / name).write_bytes((model.source.folder / name).read_bytes())
    plain, model.source = model.source, Source(half)
    try:
        result = exported(model, delta, "merged", tmp_path / "m")
    finally:
        model.source = plain
    old, new = load_file(half / "model.safetensors"), load_file(result.path / "model.safetensors")
    assert old.keys() == new.keys()
    assert {key for key in old if not torch.equal(old[key], new[key])} == {KEY}
    assert new[KEY].dtype == torch.float32 and old[KEY].dtype == torch.float16
    assert torch.equal(new[KEY], old[KEY].float() + delta.changes["mlp.down_proj"].full())


def test_tokenizer_template_and_generation_config_go_with_it(tiny, tmp_path):
    model = tiny("llama")
    result = exported(model, random_delta(model), "merged", tmp_path / "m")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (result.path / name).read_bytes() == (model.source.folder / name).read_bytes()
    assert (result.path / "generation_config.json").is_file() and (result.path / "config.json").is_file()
    card = ModelCard((result.path / "README.md").read_text())
    assert card.data.to_dict()["base_model_relation"] == "finetune"
    assert card.data.to_dict()["library_name"] == "transformers"


def test_a_large_model_is_sharded_and_still_checked(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(merged, "SHARD", "150KB")
    result = exported(tiny("llama"), random_delta(tiny("llama")), "merged", tmp_path / "m")
    shards = list(result.path.glob("model-*-of-*.safetensors"))
    assert len(shards) > 1 and (result.path / "model.safetensors.index.json").is_file()
    assert result.checked, result.check_words


def test_a_merged_4_bit_model_says_which_base_the_figures_belong_to(tiny, tmp_path):
    model = tiny("llama", "nf4")
    result = exported(model, random_delta(model), "merged", tmp_path / "m")
    assert result.checked, result.check_words
    assert "in nf4: the figures above belong to that one" in result.check_words
    weights = load_file(result.path / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}, "the base's own files, not the 4 bits"


def test_a_base_whose_files_are_quantised_is_not_merged(tiny, tmp_path):
    model = tiny("llama")
    config = json.loads((model.source.folder / "config.json").read_text())
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    plain, model.source = model.source, Source(tmp_path / "q")
    try:
        with pytest.raises(ExportError, match="16-bit model"):
            exported(model, random_delta(model), "merged", tmp_path / "m")
    finally:
        model.source = plain
    assert not (tmp_path / "m").exists()


def test_too_little_memory_is_said_before_anything_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(merged.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10}))
    with pytest.raises(ExportError, match="free"):
        exported(tiny("llama"), random_delta(tiny("llama")), "merged", tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_merged_file_with_another_change_fails_its_check(tiny, tmp_path, monkeypatch):
    model, real = tiny("llama"), merged.merged_matrices
    monkeypatch.setattr(merged, "merged_matrices", lambda request: {k: 0.9 * m for k, m in real(request).items()})
    result = exported(model, random_delta(model), "merged", tmp_path / "m")
    assert result.failed and "not written as it should be" in result.check_words
    monkeypatch.setattr(check_merged, "merged_matrices", merged.merged_matrices)
    result = exported(model, random_delta(model), "merged", tmp_path / "n")
    assert result.failed and "does not do what the change does" in result.check_words


# GGUF


def tensors_of(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("tensor_type", TENSOR_TYPES)
def test_one_tensor_is_stored_anew_and_all_else_is_the_same_byte_for_byte(from_gguf, tmp_path, tensor_type):
    model = from_gguf()
    delta = random_delta(model)
    result = exported(model, delta, "merged-gguf", tmp_path / "g", strength=0.5, tensor_type=tensor_type)
    assert not result.failed, result.check_words
    (file,) = result.path.glob("*.gguf")
    old, new = tensors_of(model.source.gguf), tensors_of(file)
    assert list(old) == list(new)
    name = "blk.1.ffn_down.weight"
    for other in old.keys() - {name}:
        assert old[other].tensor_type == new[other].tensor_type
        assert old[other].data.tobytes() == new[other].data.tobytes()
    assert new[name].tensor_type.name == tensor_type
    unpacked = gguf.quants.dequantize(old[name].data, old[name].tensor_type)
    wanted = unpacked + 0.5 * delta.changes["mlp.down_proj"].full().numpy()
    found = gguf.quants.dequantize(new[name].data, new[name].tensor_type)
    step = {"F32": 1e-6, "F16": 1e-3, "Q8_0": 5e-3}[tensor_type] * np.abs(wanted).max()
    assert np.abs(found - wanted).max() < step

    # The header is the base's own, with one more entry at its end.
    before, after = gguf.GGUFReader(model.source.gguf), gguf.GGUFReader(file)
    start, end = 24, min(t.field.offset for t in before.tensors)
    assert model.source.gguf.read_bytes()[start:end] == file.read_bytes()[start:end]
    assert set(after.fields) - set(before.fields) == {merged_gguf.NOTE_KEY}
    note = json.loads(after.fields[merged_gguf.NOTE_KEY].contents())
    assert note["base_sha256"] == "b" * 64 and note["delta_sha256"] == delta.scaled(0.5).digest()
    assert note["guard"].startswith("GUARD NOT PASSED")
    assert struct.unpack_from("<Q", file.read_bytes(), 16)[0] == struct.unpack_from(
        "<Q", model.source.gguf.read_bytes(), 16
    )[0] + 1


def test_llamas_q_rows_are_changed_in_llama_cpps_order(from_gguf, tmp_path):
    model = from_gguf("llama", gguf.GGMLQuantizationType.F32)
    delta = random_delta(model, self_attn__q_proj=2)
    result = exported(model, delta, "merged-gguf", tmp_path / "g", tensor_type="F32")
    (file,) = result.path.glob("*.gguf")
    full = model.layers[1].self_attn.q_proj.weight.detach().float() + delta.changes["self_attn.q_proj"].full()
    found = torch.tensor(tensors_of(file)["blk.1.attn_q.weight"].data)
    assert torch.allclose(found, permuted(full, 4), atol=1e-6)


def test_without_a_gguf_base_there_is_none_to_merge_into(tiny, tmp_path):
    with pytest.raises(ExportError, match="loaded from\\s+safetensors"):
        exported(tiny(), random_delta(tiny()), "merged-gguf", tmp_path / "g")


def test_a_base_of_another_shape_or_without_the_tensor_is_refused_and_leaves_nothing(from_gguf, tiny, tmp_path):
    model = from_gguf()
    with pytest.raises(ExportError, match="attn_k"):
        exported(model, random_delta(model, self_attn__k_proj=1), "merged-gguf", tmp_path / "g" / "x")
    assert not list((tmp_path / "g").iterdir())
    model.source = Source(model.source.folder, gguf=base_gguf(tiny("llama"), tmp_path / "o.gguf", "llama", 0))
    changed = {"output_norm.weight": torch.zeros(2, 2)}
    with pytest.raises(ExportError, match="another model"):
        merged_gguf.write_merged_gguf(model.source.gguf, tmp_path / "t.gguf", changed, "F16", "")


def test_a_merged_base_is_not_merged_again(from_gguf, tmp_path):
    model = from_gguf()
    result = exported(model, random_delta(model), "merged-gguf", tmp_path / "g")
    (file,) = result.path.glob("*.gguf")
    model.source = Source(model.source.folder, gguf=file)
    with pytest.raises(ExportError, match="merged with a change before"):
        exported(model, random_delta(model), "merged-gguf", tmp_path / "h")


def test_a_difference_elsewhere_fails_the_check(from_gguf, tmp_path, monkeypatch):
    model, real = from_gguf(), merged_gguf._copy

    def spoiled(source, target, start, count):
        real(source, target, start, count - 1)
        target.write(b"\xff")

    monkeypatch.setattr(merged_gguf, "_copy", spoiled)
    result = exported(model, random_delta(model), "merged-gguf", tmp_path / "g")
    assert result.failed and "differs from the base elsewhere" in result.check_words


def test_ollamas_modelfile_names_the_merged_file_alone(from_gguf, tmp_path):
    result = exported(from_gguf(), random_delta(from_gguf()), "merged-gguf", tmp_path / "g")
    (file,) = result.path.glob("*.gguf")
    assert (result.path / "Modelfile").read_text() == f"FROM ./{file.name}\n"


def test_a_type_that_gguf_cannot_store_here_is_refused(from_gguf, tmp_path):
    with pytest.raises(ExportError, match="choose F16, Q8_0, F32"):
        exported(from_gguf(), random_delta(from_gguf()), "merged-gguf", tmp_path / "g", tensor_type="Q4_K")


@pytest.mark.parametrize("stored", [gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32])
def test_tensors_lie_where_the_gguf_package_finds_them(from_gguf, stored):
    file = from_gguf("qwen2", stored).source.gguf
    header, wanted = read_header(file), gguf.GGUFReader(file)
    assert [(t.name, t.kind, t.start, t.size) for t in header.tensors] == [
        (t.name, int(t.tensor_type), t.data_offset, t.n_bytes) for t in wanted.tensors
    ]
    assert [t.dimensions for t in header.tensors] == [tuple(map(int, t.shape)) for t in wanted.tensors]
    assert {*header.keys} == {key for key in wanted.fields if not key.startswith("GGUF.")}
    assert (header.listed_at, header.alignment) == (min(t.field.offset for t in wanted.tensors), wanted.alignment)
