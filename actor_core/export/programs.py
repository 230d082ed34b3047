"""Which program takes which file of this architecture, with the command to copy and what it needs.

The commands follow each program's documentation. llama.cpp, PEFT and transformers are run by the checks; of the
others only the file's format is.
"""

from __future__ import annotations

from dataclasses import dataclass

from actor_core.export.gguf_lora import ARCHITECTURES
from actor_core.export.words import vllm_rank

__all__ = ["Program", "programs"]

NO_GGUF = "this program does not know how llama.cpp stores this architecture"


@dataclass(frozen=True)
class Program:
    """``kind`` is the export that ``name`` takes; ``command`` holds {base}, {base_gguf}, {folder} and {file}.

    ``why_not`` says why there is no such file for this model; empty where there is.
    """

    name: str
    kind: str
    command: str
    needs: str
    why_not: str = ""

    def filled(self, *, base: str, base_gguf: str, folder: str, file: str) -> str:
        """The command for these names: of the base for transformers and for llama.cpp, of the export's folder, and
        of the GGUF file in it."""
        names = {"{base}": base, "{base_gguf}": base_gguf, "{folder}": folder, "{file}": file}
        command = self.command
        for place, name in names.items():
            command = command.replace(place, name)
        return command


def programs(model_type: str, *, has_gguf: bool, rank: int = 1) -> list[Program]:
    """The table for an architecture (transformers' ``model_type``), in the order people ask for.

    ``has_gguf``: the model was loaded from a GGUF file; ``rank`` that of the adapter.
    """
    known = model_type in ARCHITECTURES
    adapter = "" if known else NO_GGUF
    merged = adapter or ("" if has_gguf else "the model was not loaded from a GGUF file")
    return [
        Program(
            "llama.cpp",
            "gguf-lora",
            "llama-server -m {base_gguf} --lora {file}",
            "The base as a GGUF file, of any quantisation. The strength can be set with each request.",
            adapter,
        ),
        Program(
            "llama.cpp",
            "merged-gguf",
            "llama-server -m {file}",
            "Nothing beside it.",
            merged,
        ),
        Program(
            "Ollama",
            "merged-gguf",
            "cd {folder} && ollama create second-take -f Modelfile && ollama run second-take",
            "Nothing beside it.",
            merged,
        ),
        Program(
            "Ollama",
            "gguf-lora",
            "cd {folder} && ollama create second-take -f Modelfile && ollama run second-take",
            "The base as a GGUF file where the Modelfile says. (Its safetensors adapters are for few architectures.)",
            adapter,
        ),
        Program(
            "LM Studio",
            "merged-gguf",
            "lms import {file}",
            "Nothing beside it. It takes no adapters, so it needs the whole model.",
            merged,
        ),
        Program(
            "vLLM",
            "peft",
            f"vllm serve {{base}} --enable-lora{vllm_rank(rank)} --lora-modules second-take={{folder}}",
            "The base as transformers' files. Ask for the model “second-take”, not for the base.",
        ),
        Program("vLLM", "merged", "vllm serve {folder}", "Nothing beside it. It rounds the changed matrix to 16 bits."),
        Program(
            "Transformers + PEFT",
            "peft",
            "model = PeftModel.from_pretrained(base, '{folder}')",
            "The base, loaded with transformers; its whole code is in the card.",
        ),
        Program(
            "text-generation-webui",
            "peft",
            "cp -r {folder} text-generation-webui/user_data/loras/second-take",
            "The base with the Transformers loader; then choose the LoRA “second-take” beside it.",
        ),
        Program(
            "text-generation-webui",
            "merged-gguf",
            "cp {file} text-generation-webui/user_data/models/",
            "The llama.cpp loader.",
            merged,
        ),
    ]
