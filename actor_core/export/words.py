"""How each exported file is loaded and undone, and what it says of the guard, as a card and the page say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actor_core.guard import Guard

if TYPE_CHECKING:
    from actor_core.export.card import Enriched, Flagged

__all__ = [
    "GUARD_NOT_PASSED",
    "UNDO_DELTA",
    "RECIPE_FILE",
    "UNDO_GGUF",
    "UNDO_MERGED",
    "UNDO_PEFT",
    "delta_snippet",
    "enriched_line",
    "flagged_line",
    "guard_line",
    "load_delta",
    "load_gguf",
    "load_merged",
    "load_merged_gguf",
    "load_peft",
    "merged_snippet",
    "peft_snippet",
    "vllm_rank",
]

# vLLM's default for --max-lora-rank.
VLLM_RANK = 16

UNDO_DELTA = "Load the base again: nothing else holds the change. Adding the same matrices times -1 undoes it, too."
UNDO_MERGED = "Load the base again: the change is inside these weights, and the base's own files are as they were."
RECIPE_FILE = (
    "what the change was made with, the repaired prompts too; `python -m actor_core reproduce reproduce.json` makes "
    "it again"
)
UNDO_PEFT = (
    "`model.unload()` gives the base back, and `with model.disable_adapter():` runs it without the adapter. "
    "Do not merge into a 4-bit base: that rounds the whole layer."
)
UNDO_GGUF = (
    'Leave out `--lora`, or send `"lora": [{"id": 0, "scale": 0}]` with a request. '
    "Any other scale gives a weaker or stronger change."
)

GUARD_NOT_PASSED = "GUARD NOT PASSED"


def guard_line(guard: Guard | None) -> str:
    """One line for the header of a file that may travel without its card."""
    if guard is None:
        return f"{GUARD_NOT_PASSED}: it was not measured with this change."
    return guard.words() if guard.passed else f"{GUARD_NOT_PASSED}. {guard.words()}"


def enriched_line(enriched: Enriched | None) -> str:
    """How many prompts were made of the user's and tuned on; '' where there were none, or that is not known."""
    if enriched is None or not (enriched.variants or enriched.twins):
        return ""
    variants = "1 prompt was" if enriched.variants == 1 else f"{enriched.variants} prompts were"
    twins = "1 harmful prompt" if enriched.twins == 1 else f"{enriched.twins} harmful prompts"
    return (
        f"{variants} made of the own ones, by rules or by the model, and tuned on like them, and {twins} close to them "
        "as what has to be refused."
    )


def flagged_line(flagged: Flagged | None) -> str:
    """How many own prompts looked like requests that should be refused, and what became of them."""
    if flagged is None:
        return (
            "It is not known whether some of the repaired prompts should be refused: nobody looked, or the model "
            "cannot tell."
        )
    count = flagged.left_out + flagged.included
    if not count:
        return "None of the prompts that were given looked like a request that should be refused."
    looked = "1 prompt that was given looked" if count == 1 else f"{count} prompts that were given looked"
    included = f"**{flagged.included} tuned on all the same**" if flagged.included else "none was tuned on"
    return (
        f"{looked} like a request that should be refused: {flagged.left_out} left out, {included}. A program guessed "
        "this from the base's own states; it misses many, and names some that are harmless."
    )


def delta_snippet(file: str, layers_name: str) -> str:
    """Adds the change to a transformers model called ``model`` that is not quantised."""
    return f"""import json
from safetensors import safe_open

with safe_open({file!r}, framework="pt") as delta:
    layer = json.loads(delta.metadata()["delta"])["layer"]
    for key in delta.keys():
        name, part = key.rsplit(".", 1)
        if part == "b":
            continue
        change = delta.get_tensor(key)
        if part == "a":
            change = delta.get_tensor(name + ".b") @ change
        weight = model.get_submodule(f"{layers_name}.{{layer}}.{{name}}").weight
        weight.data += change.to(weight)"""


def load_delta(file: str, layers_name: str) -> str:
    return (
        f"In Second Take: `LayerDelta.load` reads `{file}`, and `with delta.applied(model):` lays it over "
        "the model, a quantised one too. With torch alone, the base in 16 or 32 bits being `model`:\n\n"
        f"```python\n{delta_snippet(file, layers_name)}\n```"
    )


def peft_snippet(base: str, folder: str) -> str:
    return f"""from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({base!r})
base = AutoModelForCausalLM.from_pretrained({base!r}, dtype="auto")
model = PeftModel.from_pretrained(base, {folder!r})"""


def vllm_rank(rank: int) -> str:
    """The option that vLLM wants for an adapter of more than its usual rank, with the space before it."""
    return f" --max-lora-rank {1 << (rank - 1).bit_length()}" if rank > VLLM_RANK else ""


def load_peft(base: str, folder: str, rank: int) -> str:
    return (
        f"In this folder:\n\n```python\n{peft_snippet(base, folder)}\n```\n\n"
        f"vLLM: `vllm serve {base} --enable-lora{vllm_rank(rank)} --lora-modules second-take={folder}`, and ask for "
        "the model `second-take`. text-generation-webui: put this folder into its `loras` folder, and choose it."
    )


def load_gguf(base_file: str, adapter_file: str) -> str:
    return (
        f"llama.cpp: `llama-server -m {base_file} --lora {adapter_file}`. Its strength can be set per "
        'request: `"lora": [{"id": 0, "scale": 0.5}]`.\n\n'
        "Ollama: in this folder, `ollama create second-take -f Modelfile` and `ollama run second-take`.\n\n"
        "LM Studio takes no adapters: export the merged GGUF for it."
    )


def merged_snippet(folder: str) -> str:
    return f"""from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModelForCausalLM.from_pretrained({folder!r}, dtype="auto")"""


def load_merged(folder: str) -> str:
    return (
        f"In this folder:\n\n```python\n{merged_snippet(folder)}\n```\n\n"
        f"vLLM: `vllm serve {folder}`. text-generation-webui: put this folder into its `models` folder, and choose it."
    )


def load_merged_gguf(file: str) -> str:
    return (
        f"llama.cpp: `llama-server -m {file}`. LM Studio: `lms import {file}`, or put it into its models folder.\n\n"
        "Ollama: in this folder, `ollama create second-take -f Modelfile` and `ollama run second-take`."
    )
