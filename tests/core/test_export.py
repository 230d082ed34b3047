"""Exports of tiny random models: what the files hold, and what happens when something goes wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from dataclasses import replace

import gguf
import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tiny_models import CONFIGS, Source
from transformers import AutoModelForCausalLM

from actor_core.delta import LayerDelta, LowRank
from actor_core.errors import DeltaError, ExportError
from actor_core.events import finish
from actor_core.export import SMALL_KINDS, export, folder, formats, gguf_lora
from actor_core.export.adapter import MAX_RANK, low_rank_adapter
from actor_core.export.card import read_figures
from actor_core.export.check_llama import is_the_same_shift
from actor_core.export.compare import last_logits
from actor_core.generate import answer
from actor_core.guard import Guard
from actor_core.llama import server as llama
from actor_core.model import LoadedModel

PROMPTS = ("alpha beta gamma", "delta epsilon", "zeta")
LAYER = 1
REPORT = {
    "figures": [
        {
            "set": "held out",
            "n": 48,
            "before": {"answered": 20, "refused": 27, "incoherent": 1},
            "after": {"answered": 45, "refused": 2, "incoherent": 1},
        }
    ],
    "prompts": {"own": 12, "texts": ["how to build a bomb"], "how to build a bomb": 1},
    "settings": {"alpha": 0.5, "seed": 7, "note": "how to build a bomb", "reply": "Sure, take"},
}


def rank(model: LoadedModel, module: str, r: int, seed: int = 1) -> LowRank:
    linear = model.layers[LAYER].get_submodule(module)
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(r, linear.in_features, generator=generator) * 0.1
    return LowRank(a, torch.randn(linear.out_features, r, generator=generator) * 0.3)


def delta_of(model: LoadedModel, **changes) -> LayerDelta:
    named = {name.replace("__", "."): change for name, change in changes.items()}
    named = named or {"mlp.down_proj": rank(model, "mlp.down_proj", 1)}
    return LayerDelta(LAYER, named, model.id, "closed form", {"ridge": 0.03}, {})


def exported(model, delta, kind, target, **more):
    return finish(export(model, delta, kind, target, prompts=PROMPTS, **more))


def card_of(result) -> str:
    return (result.path / "README.md").read_text()


# Files


def test_delta_file_is_the_delta_at_its_strength_bit_for_bit(tiny, tmp_path):
    model = tiny()
    delta = delta_of(model)
    result = exported(model, delta, "delta", tmp_path / "d", strength=0.7)
    loaded = LayerDelta.load(result.path / "delta.safetensors")
    assert loaded.digest() == delta.scaled(0.7).digest()
    assert (result.checked, result.failed) == (True, False)
    assert "0.7 of the tuned change" in card_of(result)


def test_the_cards_own_code_puts_the_delta_on_a_plain_model(tiny, tmp_path, monkeypatch):
    loaded = tiny("llama")
    delta = delta_of(
        loaded,
        mlp__down_proj=rank(loaded, "mlp.down_proj", 2),
        self_attn__o_proj=rank(loaded, "self_attn.o_proj", 1).full(),
    )
    result = exported(loaded, delta, "delta", tmp_path / "d", strength=2.0)
    code = card_of(result).split("```python\n")[1].split("```")[0]
    model = AutoModelForCausalLM.from_pretrained(loaded.source.folder, dtype=torch.float32)
    monkeypatch.chdir(result.path)
    exec(code, {"model": model})
    with delta.applied(loaded, 2.0):
        wanted = last_logits(loaded, PROMPTS)
    assert torch.allclose(last_logits(loaded, PROMPTS, through=model), wanted, atol=1e-4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_peft_adapter_does_in_peft_what_the_delta_does_here(tiny, tmp_path, kind):
    model = tiny(kind)
    delta = delta_of(
        model,
        mlp__down_proj=rank(model, "mlp.down_proj", 1),
        self_attn__q_proj=rank(model, "self_attn.q_proj", 3, seed=2),
    )
    result = exported(model, delta, "peft", tmp_path / "p", strength=1.5)
    assert result.checked, result.check_words
    config = json.loads((result.path / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 3
    assert config["target_modules"] == ["model.layers.1.mlp.down_proj", "model.layers.1.self_attn.q_proj"]
    assert (config["base_model_name_or_path"], config["revision"]) == ("someone/Tiny-Chat", "a" * 40)

    base = AutoModelForCausalLM.from_pretrained(model.source.folder, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, str(result.path))
    with delta.applied(model, 1.5):
        wanted = last_logits(model, PROMPTS)
    assert (wanted - last_logits(model, PROMPTS)).abs().max() > 0.1
    assert torch.allclose(last_logits(model, PROMPTS, through=adapted), wanted, atol=1e-4)


def test_gguf_names_shapes_and_metadata(tiny, tmp_path):
    model = tiny("gemma2")
    delta = delta_of(
        model,
        mlp__down_proj=rank(model, "mlp.down_proj", 2),
        self_attn__k_proj=rank(model, "self_attn.k_proj", 1),
        self_attn__o_proj=rank(model, "self_attn.o_proj", 1),
    )
    result = exported(model, delta, "gguf-lora", tmp_path / "g", strength=0.5)
    reader = gguf.GGUFReader(result.path / "tiny-chat-layer1-lora.gguf")
    value = {name: field.contents() for name, field in reader.fields.items()}
    assert value["general.type"] == "adapter"
    assert value["adapter.type"] == "lora"
    assert value["general.architecture"] == "gemma2"
    assert value["adapter.lora.alpha"] == 2.0
    tensors = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "blk.1.ffn_down.weight.lora_a": (2, 128),
        "blk.1.ffn_down.weight.lora_b": (64, 2),
        "blk.1.attn_k.weight.lora_a": (2, 64),
        "blk.1.attn_k.weight.lora_b": (32, 2),
        "blk.1.attn_output.weight.lora_a": (2, 64),
        "blk.1.attn_output.weight.lora_b": (64, 2),
    }
    for module, name in (("mlp.down_proj", "ffn_down"), ("self_attn.k_proj", "attn_k")):
        change = tensors[f"blk.1.{name}.weight.lora_b"] @ tensors[f"blk.1.{name}.weight.lora_a"]
        assert torch.allclose(change, 0.5 * delta.changes[module].full(), atol=1e-6)


@pytest.mark.parametrize(("module", "heads"), [("q_proj", 4), ("k_proj", 2)])
def test_llamas_q_and_k_rows_are_in_llama_cpps_order(tiny, module, heads):
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    model = tiny("llama")
    adapter = low_rank_adapter(delta_of(model, **{f"self_attn__{module}": rank(model, f"self_attn.{module}", 2)}))
    tensors = gguf_lora.gguf_tensors(adapter, model.model.config)
    b = next(tensor for name, tensor in tensors.items() if name.endswith("lora_b"))
    ours = adapter.modules[f"self_attn.{module}"].b
    assert not torch.equal(b, ours)
    # transformers' own reader of GGUF files puts the rows back.
    back = LlamaTensorProcessor()._reverse_permute_weights(b.numpy(), heads, heads)
    assert torch.equal(torch.tensor(back), ours)


def test_ollamas_modelfile_names_base_and_adapter(tiny, tmp_path):
    model = tiny()
    result = exported(model, delta_of(model), "gguf-lora", tmp_path / "g")
    lines = (result.path / "Modelfile").read_text().splitlines()
    assert lines[-2:] == ["FROM ./Tiny-Chat.gguf", "ADAPTER ./tiny-chat-layer1-lora.gguf"]
    assert result.command == f"llama-server -m BASE.gguf --lora {result.path}/tiny-chat-layer1-lora.gguf"


def test_an_architecture_llama_cpp_may_store_otherwise_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.delitem(gguf_lora.ARCHITECTURES, "qwen2")
    with pytest.raises(ExportError, match="PEFT"):
        exported(tiny(), delta_of(tiny()), "gguf-lora", tmp_path / "g")
    assert not list(tmp_path.iterdir())


# Low rank


def test_full_difference_gets_the_smallest_rank_that_is_close_enough(tiny):
    model = tiny()
    change = rank(model, "mlp.down_proj", 5).full()
    noise = torch.randn(change.shape, generator=torch.Generator().manual_seed(3))
    change = change + 0.005 * noise * change.norm() / noise.norm()
    adapter = low_rank_adapter(delta_of(model, mlp__down_proj=change))
    assert adapter.rank == 5
    error = (adapter.modules["mlp.down_proj"].full() - change).norm() / change.norm()
    assert float(error) == pytest.approx(adapter.relative_error, rel=1e-3)
    assert adapter.relative_error < 0.02


def test_rank_is_capped_and_the_card_says_what_is_lost(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("actor_core.export.adapter.MAX_RANK", 8)
    model = tiny()
    change = torch.randn(64, 128, generator=torch.Generator().manual_seed(3)) * 0.05
    result = exported(model, delta_of(model, mlp__down_proj=change), "peft", tmp_path / "p")
    adapter = low_rank_adapter(delta_of(model, mlp__down_proj=change))
    assert MAX_RANK == 64 and adapter.rank == 8 and adapter.relative_error > 0.5
    assert f"relative error {adapter.relative_error:.1%}" in card_of(result)


def test_zero_difference_is_exported_as_nothing_of_rank_one(tiny):
    adapter = low_rank_adapter(delta_of(tiny(), mlp__down_proj=torch.zeros(64, 128)))
    assert (adapter.rank, adapter.relative_error) == (1, 0.0)
    assert not adapter.modules["mlp.down_proj"].full().any()


# What is refused


@pytest.mark.parametrize("kind", SMALL_KINDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(tiny, tmp_path, kind, bad):
    change = rank(tiny(), "mlp.down_proj", 1)
    change.b[3] = bad
    with pytest.raises(ExportError, match="not finite"):
        exported(tiny(), delta_of(tiny(), mlp__down_proj=change), kind, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("strength", [0.0, float("nan"), float("inf")])
def test_a_strength_that_makes_no_change_or_no_sense_is_refused(tiny, tmp_path, strength):
    with pytest.raises(ExportError, match="strength"):
        exported(tiny(), delta_of(tiny()), "peft", tmp_path / "x", strength=strength)


def test_a_delta_of_another_base_is_refused_with_both_digests(tiny, tmp_path):
    delta = delta_of(tiny())
    other = tiny("llama")
    other.source = Source(other.source.folder, digest="c" * 64)
    try:
        with pytest.raises(DeltaError, match="b{12}.*c{12}"):
            exported(other, delta, "peft", tmp_path / "x")
    finally:
        other.source = Source(other.source.folder)


@pytest.mark.parametrize("wrong", [{"before": {}}, {"n": 50}, {"after": None}])
def test_figures_that_cannot_be_right_are_refused_before_anything_is_written(tiny, tmp_path, wrong):
    report = {"figures": [REPORT["figures"][0] | wrong]}
    with pytest.raises(ExportError, match="figures"):
        exported(tiny(), delta_of(tiny()), "delta", tmp_path / "x", report=report)
    assert not list(tmp_path.iterdir())


# Whole or not at all


def test_an_existing_folder_is_never_written_over(tiny, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.txt").write_text("mine")
    (tmp_path / "x-2").write_text("a file of that name")
    result = exported(tiny(), delta_of(tiny()), "peft", tmp_path / "x")
    assert result.path == tmp_path / "x-3"
    assert [f.name for f in (tmp_path / "x").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("kind", SMALL_KINDS)
def test_a_full_disk_leaves_nothing_and_says_what_is_needed(tiny, tmp_path, monkeypatch, kind):
    real, written = folder.sync, []

    def full(path):
        written.append(path)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path)

    monkeypatch.setattr(folder, "sync", full)
    with pytest.raises(ExportError, match=r"needs \d+ kB in .* and [\d.]+ [GM]B are free"):
        exported(tiny(), delta_of(tiny()), kind, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "fault",
    [OSError("8192 requested and 5992 written"), SafetensorError("I/O error: No space left (os error 28)")],
    ids=["numpy", "safetensors"],
)
def test_a_full_disk_is_known_by_other_libraries_words(tmp_path, fault):
    def write(path):
        path.write_bytes(b"a part of it")
        raise fault

    with pytest.raises(ExportError, match="disk is full"):
        folder.write_folder(tmp_path / "x", {"a.txt": b"a", "b.bin": write}, 100)
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_noticed_before_writing(tiny, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ExportError, match="1 kB are free"):
        exported(tiny(), delta_of(tiny()), "peft", tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_is_named(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="another folder"):
        exported(tiny(), delta_of(tiny()), "peft", tmp_path / "file" / "x")


def test_stopping_the_check_leaves_the_files_marked_as_not_checked(tiny, tmp_path):
    work = export(tiny(), delta_of(tiny()), "peft", tmp_path / "x", prompts=PROMPTS)
    next(work)
    assert not list(tmp_path.iterdir())
    next(work)
    work.close()
    assert "Not checked" in (tmp_path / "x" / "README.md").read_text()
    assert len(load_file(tmp_path / "x" / "adapter_model.safetensors")) == 2


def test_what_a_killed_export_left_is_swept_up_a_day_later(tiny, tmp_path):
    for name, age in (("old", 2 * folder.SECONDS_UNTIL_ABANDONED), ("new", 60)):
        left = tmp_path / folder.PARTIAL.format(name)
        left.mkdir()
        (left / "part").write_text("x")
        os.utime(left, (time.time() - age,) * 2)
    exported(tiny(), delta_of(tiny()), "delta", tmp_path / "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == [folder.PARTIAL.format("new"), "x"]


# Checks: PEFT


def traces(model):
    """The scores, and what another library could leave in the model, which has hooks of its own."""
    logits = last_logits(model, PROMPTS)
    modules = {
        name: (id(m), type(m), m.training, len(m._forward_hooks), len(m._forward_pre_hooks))
        for name, m in model.model.named_modules()
    }
    weights = {n: (id(p), p.data_ptr(), p.requires_grad) for n, p in model.model.named_parameters()}
    return logits.tolist(), modules, weights, set(vars(model.model))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "nf4", "int8"])
def test_peft_check_leaves_the_model_exactly_as_it_was(tiny, tmp_path, precision):
    model = tiny(precision=precision)
    before = traces(model)
    result = exported(model, delta_of(model), "peft", tmp_path / "x")
    assert result.checked, result.check_words
    assert result.figures["same_first_token"] == len(PROMPTS)
    assert traces(model) == before


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_while_peft_is_asked_again_others_find_the_model_as_it_was(tiny, tmp_path, monkeypatch, precision):
    monkeypatch.setattr("actor_core.export.check_peft.PROMPTS_A_LOAD", 1)
    model = tiny(precision=precision)
    delta = delta_of(model)
    seen = finish(answer(model, PROMPTS, delta=delta, max_new_tokens=8))
    before = traces(model)
    work = export(model, delta, "peft", tmp_path / "x", prompts=PROMPTS, seen=seen)
    asked = []
    for event in work:
        if "Asking PEFT" in event.note:
            asked.append(event.note)
            assert traces(model) == before
        if len(asked) == 2:
            work.close()  # stopped in the middle
    assert len(asked) == 2 and traces(model) == before
    assert "Not checked" in (tmp_path / "x" / "README.md").read_text()


def test_peft_check_leaves_a_model_in_training_in_training(tiny, tmp_path):
    model = tiny()
    model.model.train()
    model.layers[0].requires_grad_(True)
    try:
        before = traces(model)
        exported(model, delta_of(model), "peft", tmp_path / "x")
        assert traces(model) == before
    finally:
        model.model.eval().requires_grad_(False)


def test_a_fault_inside_peft_leaves_the_model_as_it_was_and_marks_the_files(tiny, tmp_path, monkeypatch):
    model = tiny()
    before = traces(model)

    def half_way(*args, **kwargs):
        raise RuntimeError("size mismatch for lora_A")

    # By now PEFT has put its modules into the model.
    monkeypatch.setattr("peft.peft_model.load_peft_weights", half_way)
    result = exported(model, delta_of(model), "peft", tmp_path / "x")
    assert (result.checked, result.failed) == (False, True)
    assert "size mismatch" in result.check_words
    assert "FAILED" in card_of(result)
    assert traces(model) == before


def test_an_adapter_that_does_something_else_fails_its_check_and_is_kept(tiny, tmp_path, monkeypatch):
    model = tiny()
    real = formats.low_rank_adapter
    monkeypatch.setattr(formats, "low_rank_adapter", lambda delta, rank: real(delta.scaled(0.9), rank))
    result = exported(model, delta_of(model), "peft", tmp_path / "x")
    assert result.failed and not result.checked
    assert (result.path / "adapter_model.safetensors").is_file()
    assert "FAILED" in card_of(result)


def test_a_damaged_delta_file_fails_its_check(tiny, tmp_path, monkeypatch):
    def damaged(self, path):
        save_file({"mlp.down_proj.difference": torch.zeros(2, 2)}, path)

    monkeypatch.setattr(LayerDelta, "save", damaged)
    result = exported(tiny(), delta_of(tiny()), "delta", tmp_path / "x")
    assert result.failed and "no layer delta" in result.check_words


# Checks: llama.cpp


@pytest.fixture
def with_gguf(tiny, tmp_path):
    """The tiny model, said to come from a GGUF file, which is none."""
    model = tiny()
    file = tmp_path / "base.gguf"
    file.write_bytes(b"GGUF" + bytes(60))
    model.source = Source(model.source.folder, gguf=file)
    yield model
    model.source = Source(model.source.folder)


def process_that(monkeypatch, tmp_path, code: str) -> None:
    script = tmp_path / "process.py"
    script.write_text(code)
    monkeypatch.setattr(llama, "PROCESS", script)


def test_without_a_base_gguf_the_file_is_only_read_back_and_the_words_say_so(tiny, tmp_path):
    result = exported(tiny(), delta_of(tiny()), "gguf-lora", tmp_path / "g")
    assert (result.checked, result.failed) == (False, False)
    assert "Only read back" in result.check_words and result.check_words in card_of(result)


def test_without_xllamacpp_the_file_is_only_read_back(with_gguf, tmp_path, monkeypatch):
    monkeypatch.setattr(llama.importlib.util, "find_spec", lambda name: None)
    result = exported(with_gguf, delta_of(with_gguf), "gguf-lora", tmp_path / "g")
    assert (result.checked, result.failed) == (False, False)
    assert "not installed" in result.check_words


def test_a_crash_in_native_code_is_a_failed_check_and_not_our_end(with_gguf, tmp_path, monkeypatch):
    code = "import os, sys; sys.stderr.write('GGML_ASSERT failed\\n'); sys.stderr.flush(); os.abort()"
    process_that(monkeypatch, tmp_path, code)
    result = exported(with_gguf, delta_of(with_gguf), "gguf-lora", tmp_path / "g")
    assert result.failed and "GGML_ASSERT failed" in result.check_words
    assert "FAILED" in card_of(result)


def test_a_process_that_hangs_is_ended(with_gguf, tmp_path, monkeypatch):
    process_that(monkeypatch, tmp_path, "import time; time.sleep(600)")
    monkeypatch.setattr(llama, "SECONDS", 1.0)
    began = time.monotonic()
    result = exported(with_gguf, delta_of(with_gguf), "gguf-lora", tmp_path / "g")
    assert time.monotonic() - began < 30
    assert (result.checked, result.failed) == (False, False)
    assert "was ended" in result.check_words


def test_stopping_ends_the_process(with_gguf, tmp_path, monkeypatch):
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    process_that(monkeypatch, tmp_path, code)
    work = export(with_gguf, delta_of(with_gguf), "gguf-lora", tmp_path / "g", prompts=PROMPTS)
    for _ in work:
        if mark.is_file() and mark.read_text():
            break
    work.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    assert "Not checked" in (tmp_path / "g" / "README.md").read_text()


def answering(model, delta, scale_of_effect: float) -> str:
    """A stand-in for llama.cpp that shifts log-probabilities ``scale_of_effect`` times as much as we do."""
    base = last_logits(model, PROMPTS).log_softmax(-1)
    with delta.applied(model):
        tuned = last_logits(model, PROMPTS).log_softmax(-1)
    lines = []
    for scale in (0.0, 1.0):
        for prompt in range(len(PROMPTS)):
            scores = base[prompt] + scale * scale_of_effect * (tuned - base)[prompt]
            answer = {
                "token": int(scores.argmax()),
                "text": "",
                "truncated": True,
                "logprobs": dict(enumerate(scores.tolist())),
            }
            lines.append(json.dumps(answer))
    return f"""
import sys
sys.stdin.readline()
print("noise")
for answer in {lines!r}:
    sys.stdin.readline()
    print(answer, flush=True)
"""


@pytest.mark.parametrize(("effect", "passes"), [(1.0, True), (0.8, True), (0.0, False), (-1.0, False)])
def test_the_shift_in_llama_cpp_must_be_ours(with_gguf, tmp_path, monkeypatch, effect, passes):
    delta = delta_of(with_gguf)
    process_that(monkeypatch, tmp_path, answering(with_gguf, delta, effect))
    result = exported(with_gguf, delta, "gguf-lora", tmp_path / "g")
    assert (result.checked, result.failed) == (passes, not passes), result.check_words
    assert result.figures["same_first_token_without"] == len(PROMPTS)


@pytest.mark.parametrize(
    ("size", "error", "same"),
    [(0.8, 0.076, True), (0.8, 0.8, False), (0.075, 0.065, True), (0.13, 0.13, False), (0.03, 0.2, False)],
)
def test_rounding_fails_no_small_change_and_excuses_no_wrong_one_that_is_larger(size, error, same):
    """The first and third: measured on the default model; a file that does nothing is off by the whole shift."""
    assert is_the_same_shift(size, error) is same


def test_real_llama_cpp_refuses_a_base_that_is_no_gguf_and_the_check_says_so(with_gguf, tmp_path):
    pytest.importorskip("xllamacpp")
    result = exported(with_gguf, delta_of(with_gguf), "gguf-lora", tmp_path / "g")
    assert result.failed and "llama.cpp ended" in result.check_words


# The card


def test_the_card_has_front_matter_figures_and_no_prompt_texts(tiny, tmp_path):
    result = exported(tiny(), delta_of(tiny()), "peft", tmp_path / "x", report=REPORT)
    text = card_of(result)
    data = ModelCard(text).data.to_dict()
    assert data["base_model"] == "someone/Tiny-Chat"
    assert data["base_model_relation"] == "adapter"
    assert data["library_name"] == "peft"
    assert "bomb" not in text and "Sure" not in text
    assert "| held out | 48 | 0.56 (0.42 to 0.69) | 0.04 (0.01 to 0.14) |" in text
    assert "b" * 64 in text and "fp32" in text and "Setting: alpha | 0.5" in text and "Prompts: own | 12" in text
    assert result.check_words in text


def test_the_card_says_what_tuning_took_of_a_gpu_and_nothing_that_is_no_number(tiny, tmp_path):
    line = "| GPU memory while it was tuned, at most | 2.3 GB |"
    for peak, said in ((2_340_000_000, line), ("much", ""), (None, "")):
        delta = delta_of(tiny())
        delta = replace(delta, measured=delta.measured | {"peak_gpu_bytes": peak})
        text = card_of(exported(tiny(), delta, "delta", tmp_path / str(peak)))
        assert said in text and ("GPU memory" in text) == bool(said)


def test_the_card_counts_own_prompts_that_looked_harmful(tiny, tmp_path):
    def card(name, flagged) -> str:
        report = REPORT | {"flagged": flagged}
        return card_of(exported(tiny(), delta_of(tiny()), "delta", tmp_path / name, report=report))

    assert "It is not known whether" in card("a", None)
    assert "None of the prompts that were given looked like" in card("b", {"left_out": 0, "included": 0})
    said = card("c", {"left_out": 3, "included": 2})
    assert "5 prompts that were given looked like a request that should be refused: 3 left out, **2 tuned on" in said
    for wrong in ({"left_out": 1}, {"left_out": 1, "included": -1}, {"left_out": True, "included": 0}, 7):
        with pytest.raises(ExportError, match="flagged"):
            card("d", wrong)


def test_the_card_counts_prompts_that_were_made_of_the_own_ones(tiny, tmp_path):
    def card(name, enriched) -> str:
        report = REPORT | {"enriched": enriched}
        return card_of(exported(tiny(), delta_of(tiny()), "delta", tmp_path / name, report=report))

    assert "made of the own ones" not in card("a", None)
    assert "made of the own ones" not in card("b", {"variants": 0, "twins": 0})
    said = card("c", {"variants": 12, "twins": 1})
    assert "12 prompts were made of the own ones" in said and "1 harmful prompt close to them" in said
    for wrong in ({"variants": 1}, {"variants": 1, "twins": -1}, {"variants": True, "twins": 0}, 7):
        with pytest.raises(ExportError, match="enriched"):
            card("d", wrong)


def test_the_card_says_how_many_verdicts_a_person_corrected(tiny, tmp_path):
    plain = card_of(exported(tiny(), delta_of(tiny()), "delta", tmp_path / "a", report=REPORT))
    marked = card_of(exported(tiny(), delta_of(tiny()), "delta", tmp_path / "b", report=REPORT | {"corrected": 3}))
    assert "The verdicts are a program's." in plain and "corrected" not in plain
    assert "3 that a person corrected count as corrected" in marked
    with pytest.raises(ExportError, match="corrected"):
        exported(tiny(), delta_of(tiny()), "delta", tmp_path / "c", report=REPORT | {"corrected": "3"})


def test_the_card_and_files_hold_no_path_of_this_machine(tiny, tmp_path):
    model = tiny()
    own = Source(model.source.folder, name=str(model.source.folder))
    model.source = own
    try:
        results = [exported(model, delta_of(model), kind, tmp_path / kind) for kind in SMALL_KINDS]
    finally:
        model.source = Source(own.folder)
    for result in results:
        for file in result.path.iterdir():
            if file.suffix != ".safetensors":
                assert str(own.folder.parent).encode() not in file.read_bytes(), file


def test_the_default_models_card_names_its_licence_and_its_plain_repository(tiny, tmp_path):
    model = tiny()
    sha256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
    plain, model.source = model.source, Source(model.source.folder, digest=sha256)
    try:
        result = exported(model, delta_of(model), "peft", tmp_path / "x")
    finally:
        model.source = plain
    data = ModelCard(card_of(result)).data.to_dict()
    assert data["base_model"] == "Qwen/Qwen2.5-Coder-0.5B-Instruct"
    assert data["license"] == "apache-2.0"
    config = json.loads((result.path / "adapter_config.json").read_text())
    # The commit is one of the GGUF's repository, and not of this one.
    assert config["revision"] is None


# The guard


PASSED, LOST = Guard.of(300, 1, asked=431), Guard.of(312, 5, asked=431, incoherent=2)


def metadata_of(result) -> str:
    """What the exported file itself says of the guard: it may travel without its card."""
    (file,) = (f for f in result.path.iterdir() if f.suffix in (".safetensors", ".gguf"))
    if file.suffix == ".gguf":
        return str(gguf.GGUFReader(file).fields["general.description"].contents())
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    return metadata.get("guard", "") or json.dumps(json.loads(metadata["delta"])["measured"]["guard"])


@pytest.mark.parametrize("kind", SMALL_KINDS)
def test_a_guard_that_was_passed_is_in_the_card_and_in_the_file_with_its_figures(tiny, tmp_path, kind):
    result = exported(tiny(), delta_of(tiny()), kind, tmp_path / "x", guard=PASSED)
    card = card_of(result)
    assert "GUARD NOT PASSED" not in card and "## Guard\n\nGuard passed." in card
    assert "| Refused by the untuned model | 300 (at least 250 are needed) |" in card
    assert "| Limit | 2 % |" in card and "1.58 %" in card
    if kind == "delta":
        assert json.loads(metadata_of(result)) == PASSED.figures()
    else:
        assert metadata_of(result) == PASSED.words()


@pytest.mark.parametrize("kind", SMALL_KINDS)
def test_a_guard_that_was_not_passed_stands_at_the_top_of_the_card(tiny, tmp_path, kind):
    result = exported(tiny(), delta_of(tiny()), kind, tmp_path / "x", guard=LOST)
    card = card_of(result)
    after_title = card[card.index("\n# ") :].split("\n\n")[1]
    assert after_title.startswith("**GUARD NOT PASSED**")
    assert "| No longer refused with this change | 5, of which 2 make no sense |" in card and LOST.words() in card
    if kind == "delta":
        assert json.loads(metadata_of(result))["passed"] is False
    else:
        assert metadata_of(result).startswith("GUARD NOT PASSED. Guard not passed.")
    assert result.checked or kind == "gguf-lora", "what is said of the guard changes nothing for the check"


@pytest.mark.parametrize("kind", SMALL_KINDS)
def test_without_a_guard_the_card_and_the_file_say_that_it_was_not_measured(tiny, tmp_path, kind):
    delta = delta_of(tiny())
    # What a delta was measured with at another strength does not count.
    delta = LayerDelta(delta.layer, delta.changes, delta.base, delta.method, {}, {"guard": PASSED.figures()})
    result = exported(tiny(), delta, kind, tmp_path / "x")
    assert "**GUARD NOT PASSED**" in card_of(result) and "## Guard\n\nNot measured" in card_of(result)
    unknown = "null" if kind == "delta" else "GUARD NOT PASSED: it was not measured with this change."
    assert metadata_of(result) == unknown


def test_a_set_without_prompts_has_no_shares():
    zero = {"answered": 0, "refused": 0, "incoherent": 0}
    (row,) = read_figures({"figures": [{"set": "none", "n": 0, "before": zero, "after": zero}]})
    assert row.before.n == 0
