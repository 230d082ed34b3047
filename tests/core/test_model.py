"""Loading and reading: what a batch holds, which precision is chosen, what is refused and with which words."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from tiny_models import PROMPTS, Source, logits, tiny_folder, tiny_tokenizer

from actor_core import in_turns
from actor_core import loading as module
from actor_core.errors import ModelError, OutOfMemory
from actor_core.events import finish
from actor_core.loading import load_model
from actor_core.memory import Machine
from actor_core.model import decoder_layers, linear_weight

GB = 10**9


def machine(free: float, gpu_free: float = 0.0) -> Machine:
    return Machine(int(64 * GB), int(free * GB), "a GPU" if gpu_free else "", int(gpu_free * GB), int(gpu_free * GB))


def test_padding_is_on_the_left_and_positions_count_real_tokens(tiny):
    batch = next(tiny().batches(["zeta", "alpha beta gamma"]))
    assert batch.rows == (1, 0)
    assert batch.input_ids.tolist() == [[2, 4, 5, 6, 3], [0, 0, 2, 9, 3]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2"])
def test_a_padded_row_gives_what_the_prompt_gives_alone(tiny, kind):
    model = tiny(kind)
    batch = next(model.batches(PROMPTS))
    with torch.no_grad():
        padded = model.model(**batch.inputs()).logits[:, -1]
    torch.testing.assert_close(padded, logits(model)[list(batch.rows)], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("max_tokens", "max_rows"), [(2048, 32), (30, 32), (2048, 3), (1, 32)])
def test_batches_hold_every_prompt_once_longest_first_within_the_limits(tiny, max_tokens, max_rows):
    prompts = [" ".join(["alpha"] * n) for n in (3, 1, 9, 4, 1, 5, 9, 2, 6)]
    batches = list(tiny().batches(prompts, max_tokens=max_tokens, max_rows=max_rows))
    assert sorted(row for batch in batches for row in batch.rows) == list(range(9))
    for batch in batches:
        assert len(batch.rows) <= max_rows
        assert batch.input_ids.numel() <= max_tokens or len(batch.rows) == 1
    lengths = [batch.input_ids.shape[1] for batch in batches]
    assert lengths == sorted(lengths, reverse=True)


HISTORY = (
    {"role": "user", "content": "kill a process"},
    {"role": "assistant", "content": "zeta"},
)
CHAT = "{% for m in messages %}{{ '<user> ' if m['role'] == 'user' else '<reply> ' }}{{ m['content'] }} {% endfor %}"


def test_turns_before_the_prompt_stand_where_the_chat_template_puts_them(tiny):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT + "{% if add_generation_prompt %}<reply>{% endif %}"
    model = replace(tiny(), tokenizer=tokenizer)
    said = tokenizer.decode(model.token_ids("alpha beta", HISTORY))
    assert said == "<user> kill a process <reply> zeta <user> alpha beta <reply>"
    assert model.token_ids("alpha beta", ()) == model.token_ids("alpha beta")
    batch = next(model.batches(["zeta", "alpha beta"], history=HISTORY))
    assert batch.rows == (1, 0)
    assert batch.input_ids.tolist() == [model.token_ids("alpha beta", HISTORY), [0, *model.token_ids("zeta", HISTORY)]]


def test_no_prompts_make_no_batch(tiny):
    assert list(tiny().batches([])) == []


@pytest.mark.parametrize("today", ["{{ date_string }}", "{{ strftime_now('%d %b %Y') }}"])
def test_a_template_that_prints_the_date_gives_the_same_tokens_every_day(tiny, today, monkeypatch):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = today + " {% for m in messages %}{{ m['content'] }}{% endfor %}"
    model = replace(tiny(), tokenizer=tokenizer)
    seen = []
    monkeypatch.setattr(type(tokenizer), "__call__", lambda _, text, **__: {"input_ids": seen.append(text) or []})
    model.token_ids("alpha")
    assert seen == ["01 Jan 2026 alpha"]


def test_a_base_model_without_a_chat_template_is_refused_with_what_to_choose(tmp_path):
    folder = tiny_folder("llama", tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template.*Choose the variant whose name ends in Instruct"):
        finish(load_model(Source(folder), precision="fp32", device="cpu"))


def test_a_folder_that_is_no_model_is_refused_by_name(tmp_path):
    with pytest.raises(ModelError, match="someone/Tiny-Chat cannot be loaded: "):
        finish(load_model(Source(tmp_path), precision="fp32", device="cpu"))


def test_weights_cut_short_are_refused_in_words(tmp_path):
    folder = tiny_folder("llama", tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        finish(load_model(Source(folder), precision="fp32", device="cpu"))


def test_an_architecture_without_layers_that_can_be_tuned_is_refused(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2)
    model = GPT2LMHeadModel(config)
    assert len(decoder_layers(model)) == 2  # GPT-2 keeps `h`, each with an `mlp`
    for block in model.transformer.h:
        del block.mlp
    with pytest.raises(ModelError, match="no list of 2 decoder layers with an MLP"):
        decoder_layers(model)


def test_memory_that_runs_out_while_loading_says_what_to_choose(tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(OutOfMemory, match="does not fit into memory.*Choose 4 bits"):
        finish(load_model(Source(tiny_folder("llama", tmp_path)), precision="fp32", device="cpu"))


@pytest.mark.parametrize(
    ("fast", "free", "wanted"),
    [
        *((True, 10, "bf16"), (True, 1.3, "bf16"), (True, 1.2, "nf4")),
        *((False, 10, "fp32"), (False, 2.6, "fp32"), (False, 2.4, "nf4")),
    ],
)
def test_on_a_processor_speed_picks_the_precision_and_memory_may_overrule_it(monkeypatch, fast, free, wanted):
    monkeypatch.setattr(module, "_bf16_is_fast", lambda: fast)
    chosen, why = module._precision("auto", "cpu", machine(free), GB)
    assert chosen == wanted
    assert why.startswith("4 bits (nf4)" if wanted == "nf4" else f"{wanted} on cpu, because this processor")


@pytest.mark.parametrize(("share", "fast"), [(0.2, True), (0.9, False), (1.8, False)])
def test_bf16_counts_as_fast_where_it_leads_clearly_and_a_busy_moment_decides_nothing(monkeypatch, share, fast):
    clock, busy = [0.0], random.Random(0)

    def linear(inputs, _weight):
        least = share if inputs.dtype == torch.bfloat16 else 1.0
        clock[0] += least * busy.choice((1, 1.05, 3))

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    monkeypatch.setattr(in_turns.time, "perf_counter", lambda: clock[0])
    assert module._bf16_is_fast() is fast


@pytest.mark.parametrize(
    ("bf16", "free", "wanted"), [(True, 8, "bf16"), (False, 8, "fp16"), (True, 1.2, "nf4")]
)
def test_on_a_gpu_its_own_memory_counts(monkeypatch, bf16, free, wanted):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    chosen, _ = module._precision("auto", "cuda", machine(1000, free), GB)
    assert chosen == wanted


def test_a_precision_that_was_asked_for_is_taken_whatever_fits():
    assert module._precision("fp16", "cpu", machine(0.1), GB) == ("fp16", "fp16 on cpu, as asked")


def test_a_gpu_that_is_not_there_is_an_error_and_auto_takes_one_that_is(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ModelError, match="No CUDA GPU was found. Choose 'cpu' or 'auto'"):
        module._device("cuda", machine(8))
    assert module._device("auto", machine(8)) == "cpu"
    assert module._device("auto", machine(8, gpu_free=8)) == "cuda"


@pytest.mark.parametrize(("precision", "error"), [("nf4", 0.13), ("int8", 0.02), ("bf16", 0.005)])
def test_linear_weight_is_the_weight_written_out_in_fp32(tiny, precision, error):
    exact, model = tiny("llama"), tiny("llama", precision)
    assert model.precision == precision
    for name in ("mlp.down_proj", "self_attn.q_proj", "self_attn.k_proj"):
        wanted = exact.layers[1].get_submodule(name).weight
        for _ in ("before a forward pass", "after it"):
            found = linear_weight(model.layers[1].get_submodule(name))
            assert found.dtype == torch.float32 and found.shape == wanted.shape
            assert 0 < float((found - wanted).norm() / wanted.norm()) < error
            logits(model)


@pytest.mark.parametrize("precision", ["nf4", "int8"])
def test_a_quantised_model_computes_with_the_weights_that_linear_weight_gives(tiny, precision):
    model, written_out = tiny("llama", precision), deepcopy(tiny("llama").model)
    assert type(model.model.lm_head) is torch.nn.Linear
    for layer, quantised in zip(written_out.model.layers, model.layers, strict=True):
        for name, module_ in layer.named_modules():
            if isinstance(module_, torch.nn.Linear):
                module_.weight.data = linear_weight(quantised.get_submodule(name))
    wanted = logits(replace(tiny("llama"), model=written_out))
    near = torch.nn.functional.cosine_similarity(logits(model).float(), wanted, dim=1)
    assert near.min() > 0.98
    assert (logits(tiny("llama")) - wanted).norm() > 2 * (logits(model).float() - wanted).norm() or precision == "int8"


def test_linear_weight_of_anything_else_is_none(tiny):
    assert linear_weight(tiny().layers[0].input_layernorm) is None
    assert linear_weight(tiny().layers[0]) is None


def test_the_loaded_model_learns_nothing_and_knows_its_shape(tiny):
    model = tiny("gemma2")
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert not model.model.training
    assert (model.n_layers, model.d_model) == (3, 64)
    assert (model.id.name, model.id.digest, model.id.precision) == ("someone/Tiny-Chat", "b" * 64, "fp32")


def test_a_tokenizer_without_padding_pads_with_its_end(tmp_path):
    folder = tiny_folder("llama", tmp_path)
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / file
        if path.exists():
            told = json.loads(path.read_text())
            told.pop("pad_token", None)
            path.write_text(json.dumps(told))
    model = finish(load_model(Source(folder), precision="fp32", device="cpu"))
    assert model.tokenizer.pad_token == "<end>"
