"""The kinds of export: for each what is written, how it is loaded and undone, and how it is checked."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator
from pathlib import Path

from actor_core.errors import ExportError
from actor_core.events import Event
from actor_core.export import words
from actor_core.export.adapter import Adapter, bytes_of, low_rank_adapter
from actor_core.export.check_delta import check_delta
from actor_core.export.check_llama import check_gguf_lora, check_merged_gguf
from actor_core.export.check_merged import check_merged
from actor_core.export.check_peft import check_peft
from actor_core.export.compare import Checked
from actor_core.export.gguf_lora import gguf_tensors, modelfile, write_gguf_lora
from actor_core.export.merged import merged_bytes, require_mergeable, write_merged
from actor_core.export.merged_gguf import TENSOR_TYPES, gguf_changes, merged_note, write_merged_gguf
from actor_core.export.peft_adapter import peft_files
from actor_core.export.provenance import DELTA_FILE
from actor_core.export.request import Plan, Request, layers_name

__all__ = ["KINDS", "SMALL_KINDS", "plan_of"]

# An adapter changes what a base gives; a merged file is a model of its own.
SMALL_KINDS = ("delta", "peft", "gguf-lora")
KINDS = (*SMALL_KINDS, "merged", "merged-gguf")


def plan_of(request: Request, kind: str) -> Plan:
    """What an export of ``kind`` writes. Raises `ExportError` where that kind cannot be made of this model."""
    if kind not in KINDS:
        raise ExportError(f"There is no export of the kind {kind!r}: choose one of {', '.join(KINDS)}.")
    makers: dict[str, Callable[[Request], Plan]] = {
        "delta": _delta,
        "peft": _peft,
        "gguf-lora": _gguf_lora,
        "merged": _merged,
        "merged-gguf": _merged_gguf,
    }
    return makers[kind](request)


def _delta(request: Request) -> Plan:
    layers = layers_name(request.model)
    return Plan(
        files={DELTA_FILE: request.scaled.save},
        bytes=bytes_of(request.scaled.changes),
        library="second-take",
        tags=("layer-delta",),
        described={DELTA_FILE: "the change of the layer's matrices in fp32, and a JSON header"},
        load=words.load_delta(DELTA_FILE, layers),
        undo=words.UNDO_DELTA,
        check=lambda path: check_delta(request, path / DELTA_FILE),
        command=lambda path: words.delta_snippet(str(path / DELTA_FILE), layers),
    )


def _peft(request: Request) -> Plan:
    model, base = request.model, request.base
    adapter = low_rank_adapter(request.scaled, request.rank)
    return Plan(
        files=peft_files(adapter, request.scaled, layers_name(model), base, request.guard),
        bytes=bytes_of(adapter.modules),
        library="peft",
        tags=("lora", "peft"),
        described={
            "adapter_config.json": f"PEFT's configuration: LoRA of rank {adapter.rank} on one layer",
            "adapter_model.safetensors": "the matrices in fp32",
        },
        load=words.load_peft(base.hub_id or f"path/to/{base.title}", ".", adapter.rank),
        undo=words.UNDO_PEFT,
        check=lambda path: check_peft(request, path, adapter.relative_error),
        command=lambda path: words.peft_snippet(str(model.source.folder), str(path)),
        relative_error=adapter.relative_error,
        error_by_rank=adapter.error_by_rank,
    )


def _gguf_lora(request: Request) -> Plan:
    base, gguf = request.base, request.model.source.gguf
    config = request.model.model.config.get_text_config()
    adapter: Adapter = low_rank_adapter(request.scaled, request.rank)
    tensors = gguf_tensors(adapter, config)
    name = f"{base.slug}-layer{adapter.layer}-lora.gguf"

    def write(path: Path) -> None:
        title = f"{base.title}, layer {adapter.layer} tuned by Second Take"
        write_gguf_lora(path, adapter, config, base, title, request.guard)

    def command(path: Path) -> str:
        file = str(gguf) if gguf else "BASE.gguf"
        return f"llama-server -m {shlex.quote(file)} --lora {shlex.quote(str(path / name))}"

    return Plan(
        files={name: write, "Modelfile": modelfile(gguf or Path(f"{base.title}.gguf"), name).encode()},
        bytes=bytes_of(adapter.modules),
        library="llama.cpp",
        tags=("lora", "gguf"),
        described={
            name: f"a GGUF LoRA of rank {adapter.rank} in fp32, for llama.cpp and what is built on it",
            "Modelfile": "for Ollama: the base and this adapter",
        },
        load=words.load_gguf(gguf.name if gguf else f"{base.title}.gguf", name),
        undo=words.UNDO_GGUF,
        check=lambda path: check_gguf_lora(request, path / name, tensors),
        command=command,
        relative_error=adapter.relative_error,
        error_by_rank=adapter.error_by_rank,
    )


def _merged(request: Request) -> Plan:
    require_mergeable(request)
    return Plan(
        files={},
        fill=lambda folder: write_merged(request, folder),
        bytes=merged_bytes(request),
        library="transformers",
        tags=("merged",),
        described={
            "model*.safetensors": "all weights as the base stores them, the changed matrices in fp32",
            "tokenizer*, chat_template*, generation_config.json": "the base's own",
        },
        load=words.load_merged("."),
        undo=words.UNDO_MERGED,
        check=lambda path: check_merged(request, path),
        command=lambda path: words.merged_snippet(str(path)),
        relation="finetune",
    )


def _merged_gguf(request: Request) -> Plan:
    base = request.model.source.gguf
    if base is None:
        raise ExportError(
            "A merged GGUF is made from the GGUF file that the model was loaded from, and this one was loaded from "
            "safetensors. Load a .gguf file in step 1 and open the Second Take file on it, or export the GGUF adapter."
        )
    tensor_type = request.tensor_type or TENSOR_TYPES[0]
    if tensor_type not in TENSOR_TYPES:
        raise ExportError(f"A changed matrix cannot be stored as {tensor_type}: choose {', '.join(TENSOR_TYPES)}.")
    changes = gguf_changes(request)
    name = f"{request.base.slug}-layer{request.scaled.layer}-tuned.gguf"

    def write(path: Path) -> None:
        write_merged_gguf(base, path, changes, tensor_type, merged_note(request))

    def check(path: Path) -> Generator[Event, None, Checked]:
        return check_merged_gguf(request, path / name, tuple(changes))

    return Plan(
        files={name: write, "Modelfile": modelfile(Path(name)).encode()},
        bytes=base.stat().st_size + 4 * sum(change.numel() for change in changes.values()),
        library="llama.cpp",
        tags=("gguf", "merged"),
        described={
            name: f"{base.name} with {', '.join(changes)} changed and stored as {tensor_type}, all else byte for byte",
            "Modelfile": "for Ollama",
        },
        load=words.load_merged_gguf(name),
        undo=words.UNDO_MERGED,
        check=check,
        command=lambda path: f"llama-server -m {shlex.quote(str(path / name))}",
        relation="finetune",
    )
