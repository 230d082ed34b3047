"""What a model is said to need, and that freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys

import pytest
import torch
from tiny_models import Source, tiny_folder
from transformers import Gemma2Config, LlamaConfig, Qwen2Config

from actor_core import freed_memory
from actor_core.events import finish
from actor_core.loading import load_model
from actor_core.memory import Machine, before_tuning, fits
from actor_core.model_shape import Shape
from actor_core.presets import DEFAULT_MODEL, model_presets

GB = 10**9

# Of the models' own config.json files; the default one's as it is made of its GGUF file.
CONFIGS = {
    "qwen2.5-coder-0.5b": (Qwen2Config, 151936, 896, 4864, 24, 14, 2, 64, False),
    "smollm2-135m": (LlamaConfig, 49152, 576, 1536, 30, 9, 3, 64, True),
    "qwen2.5-1.5b": (Qwen2Config, 151936, 1536, 8960, 28, 12, 2, 128, True),
    "qwen2.5-3b": (Qwen2Config, 151936, 2048, 11008, 36, 16, 2, 128, True),
    "llama-3.2-3b": (LlamaConfig, 128256, 3072, 8192, 28, 24, 8, 128, True),
    "gemma-2-2b": (Gemma2Config, 256000, 2304, 9216, 26, 8, 4, 256, True),
    "llama-2-7b": (LlamaConfig, 32000, 4096, 11008, 32, 32, 32, 128, False),
}
IN_FP16 = ("qwen2.5-coder-0.5b", "smollm2-135m", "llama-2-7b")
NAMES = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim"


def machine(free: float, gpu_free: float = 0.0) -> Machine:
    return Machine(int(64 * GB), int(free * GB), "a GPU" if gpu_free else "", int(gpu_free * GB), int(gpu_free * GB))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_preset_has_the_shape_of_its_model(name):
    kind, *sizes, tied = CONFIGS[name]
    stored = torch.float16 if name in IN_FP16 else torch.bfloat16
    config = kind(**dict(zip(NAMES.split(), sizes, strict=True)), tie_word_embeddings=tied, dtype=stored)
    assert Shape.of_preset(model_presets()[name]) == Shape.of_config(config)


def test_every_preset_is_among_them():
    assert set(CONFIGS) == set(model_presets())


def test_the_weights_are_what_loading_them_was_measured_to_hold():
    assert Shape.of_preset(model_presets()[DEFAULT_MODEL]).weights("fp32") == pytest.approx(2_520_669_696, rel=1e-5)


def test_on_a_gpu_what_is_solved_lies_elsewhere_and_on_a_processor_each_prompt_counts():
    shape = Shape.of_preset(model_presets()["qwen2.5-1.5b"])
    few, many = (shape.needs("fp32", "cpu", n).tuning for n in (25, 4000))
    assert few < many
    assert shape.needs("bf16", "cuda", 25) == shape.needs("bf16", "cuda", 4000)


def test_before_tuning_it_is_said_what_that_takes_and_what_would_help(tiny, monkeypatch):
    fits_here = r"Tuning takes up to \d\.\d GB of memory, of which \d\.\d GB are in use already: it fits\."
    assert re.fullmatch(fits_here, before_tuning(tiny(), 5).words())
    monkeypatch.setattr(Machine, "look", lambda: machine(-8))
    demand = before_tuning(tiny(), 5)
    assert demand.missing > 0
    assert demand.needed < before_tuning(tiny(), 5000).needed
    assert "it does not fit. Close other programs until " in demand.words()


def test_what_is_too_large_as_a_whole_fits_layer_by_layer():
    large = model_presets()["llama-2-7b"]
    fit = fits(large, machine(12))
    assert fit.verdict == "fits with offload" and fit.bytes_needed < 12 * GB
    assert re.search(r"with --memory \d+\.\dGB its layers are read from the disk", fit.words)
    assert fits(large, machine(6)).verdict == "does not fit"


@pytest.mark.parametrize(
    ("here", "verdict", "words"),
    [
        (machine(16), "fits", "fits in 32 bits: tuning takes "),
        (machine(3), "fits", "fits in 16 bits: tuning takes "),
        (machine(1), "does not fit", "even in 4 bits, and 1.0 GB of memory are free. Close other programs until "),
        (machine(64, gpu_free=4), "fits", " of 4.0 GB free GPU"),
        (machine(64, gpu_free=0.5), "does not fit", "0.5 GB of GPU are free"),
    ],
)
def test_whether_it_fits_is_said_with_the_figures(here, verdict, words):
    fit = fits(model_presets()[DEFAULT_MODEL], here)
    assert fit.verdict == verdict and words in fit.words
    assert (fit.bytes_needed < here.free_bytes("cuda" if here.gpu_bytes else "cpu")) == (verdict == "fits")

# What lies above the freed blocks keeps glibc from shrinking its heap by itself.
FREES = """
import psutil, torch
from actor_core.freed_memory import give_back

blocks = [torch.ones(25_000) for _ in range(2_000)]  # 200 MB in pieces that come from the heap
kept = blocks[-1]
del blocks
process = psutil.Process()
held = process.memory_info().rss
give_back()
print(held - process.memory_info().rss)
"""


def is_glibc() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")


@pytest.mark.skipif(not is_glibc(), reason="only glibc keeps what is freed")
def test_what_was_freed_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", FREES], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150_000_000


def test_where_the_allocator_cannot_be_told_nothing_happens(monkeypatch):
    monkeypatch.setattr(freed_memory.sys, "platform", "darwin")
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda _: pytest.fail("macOS was asked for glibc"))
    freed_memory.give_back()


@pytest.mark.parametrize("precision", ["bf16", "nf4"])
def test_a_loaded_models_shape_is_the_same_however_its_weights_are_packed(tmp_path, precision):
    folder = tiny_folder("qwen2", tmp_path)
    whole, packed = (finish(load_model(Source(folder), precision=each, device="cpu")) for each in ("fp32", precision))
    shutil.rmtree(folder)  # nobody looks for it again
    assert packed.shape == whole.shape
