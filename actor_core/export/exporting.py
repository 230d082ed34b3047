"""Exports a delta: files, a card, and a check that loads them again in the program they are for."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from actor_core.delta import LayerDelta
from actor_core.errors import DeltaError, ExportError
from actor_core.events import Event, Progress
from actor_core.export import words
from actor_core.export.adapter import Adapter, at_strength, bytes_of, low_rank_adapter
from actor_core.export.base import Base, describe_base
from actor_core.export.card import Card, read_figures
from actor_core.export.check_llama import check_llama
from actor_core.export.check_peft import check_peft
from actor_core.export.compare import CHECK_PROMPTS, Checked
from actor_core.export.folder import File, folder_bytes, replace_file, write_folder
from actor_core.export.gguf_lora import gguf_tensors, modelfile, write_gguf_lora
from actor_core.export.peft_adapter import peft_files
from actor_core.guard import Guard
from actor_core.model import LoadedModel

__all__ = ["KINDS", "Exported", "export"]

KINDS = ("delta", "peft", "gguf-lora")
CARD = "README.md"
DELTA_FILE = "delta.safetensors"
# The card, the configuration and what the file formats add to the numbers.
OVERHEAD_BYTES = 64_000


@dataclass(frozen=True)
class Exported:
    """A finished export: the folder ``path`` with its size in bytes.

    ``checked`` says that the program it is for loaded it and did what it does here, ``failed``
    that it did not; neither, where that program cannot be run on this machine. ``check_words``
    tells a person which and why, ``figures`` holds the numbers. ``command`` is what takes it.
    """

    kind: str
    path: Path
    bytes: int
    checked: bool
    failed: bool
    check_words: str
    figures: dict[str, Any]
    command: str


@dataclass(frozen=True)
class _Plan:
    """What one kind of export writes: its files, their size, and what the card says of it."""

    files: dict[str, File]
    bytes: int
    library: str
    tags: tuple[str, ...]
    described: dict[str, str]
    load: str
    undo: str
    relative_error: float = 0.0
    tensors: dict[str, Tensor] | None = None


def export(
    model: LoadedModel,
    delta: LayerDelta,
    kind: str,
    folder: Path,
    *,
    strength: float = 1.0,
    report: Mapping[str, Any] | None = None,
    guard: Guard | None = None,
    prompts: Sequence[str] = CHECK_PROMPTS,
) -> Generator[Event, None, Exported]:
    """Writes ``delta`` at ``strength`` as the new folder ``folder``, and checks it by loading it again.

    ``kind`` is one of `KINDS`. Where ``folder`` exists the new one is called ``folder-2``, ``-3``...
    ``report`` is what the card's tables show: ``figures`` (a list of ``set``, ``n``, ``before`` and
    ``after`` with their counts), ``prompts`` and ``settings``, of which numbers and short names are
    shown. ``guard`` is what was measured at this very strength: its figures go into the card and the files'
    metadata, and where it was not passed, or not measured, they say GUARD NOT PASSED; to keep such files
    back is up to the caller. ``prompts`` are replayed by the check. A check that fails keeps the files and marks them;
    stopping it leaves them marked as not checked.

    Raises `ExportError` where nothing could be written, `DeltaError` for a delta of another base.
    """
    delta.require_base(model.id)
    figures = read_figures(report)
    scaled = at_strength(delta, strength)
    scaled = replace(scaled, measured=scaled.measured | {"guard": guard.figures() if guard else None})
    base = describe_base(delta.base)
    yield Progress("export", 0, 4, f"Writing the {kind} files")
    plan = _plan(model, scaled, kind, base, words.guard_line(guard))
    card = Card(
        base=base,
        delta=delta,
        strength=strength,
        relative_error=plan.relative_error,
        library=plan.library,
        tags=plan.tags,
        files=plan.described,
        load=plan.load,
        undo=plan.undo,
        figures=figures,
        guard=guard,
        prompts=(report or {}).get("prompts", {}),
        settings=(report or {}).get("settings", {}),
    )
    files: dict[str, File] = {**plan.files, CARD: card.text(None).encode()}
    path = write_folder(folder, files, plan.bytes + OVERHEAD_BYTES)
    yield Progress("export", 1, 4, "Checking the files by loading them again")
    checked = yield from _check(model, delta, strength, scaled, kind, plan, path, prompts)
    try:
        replace_file(path / CARD, card.text(checked).encode())
    except OSError as error:
        checked = replace(checked, words=f"{checked.words} (The card could not be updated: {error}.)")
    yield Progress("export", 4, 4, checked.words)
    return Exported(
        kind=kind,
        path=path,
        bytes=folder_bytes(path),
        checked=checked.passed is True,
        failed=checked.passed is False,
        check_words=checked.words,
        figures=checked.figures,
        command=_command(kind, path, plan, model),
    )


def _plan(model: LoadedModel, scaled: LayerDelta, kind: str, base: Base, guard: str) -> _Plan:
    if kind == "delta":
        return _Plan(
            files={DELTA_FILE: scaled.save},
            bytes=bytes_of(scaled.changes),
            library="second-take",
            tags=("layer-delta",),
            described={DELTA_FILE: "the change of the layer's matrices in fp32, and a JSON header"},
            load=words.load_delta(DELTA_FILE, layers_name(model)),
            undo=words.UNDO_DELTA,
        )
    adapter = low_rank_adapter(scaled)
    if kind == "peft":
        return _Plan(
            files=peft_files(adapter, layers_name(model), base, guard),
            bytes=bytes_of(adapter.modules),
            library="peft",
            tags=("lora", "peft"),
            described={
                "adapter_config.json": f"PEFT's configuration: LoRA of rank {adapter.rank} on one layer",
                "adapter_model.safetensors": "the matrices in fp32",
            },
            load=words.load_peft(base.hub_id or f"path/to/{base.title}", ".", adapter.rank),
            undo=words.UNDO_PEFT,
            relative_error=adapter.relative_error,
        )
    if kind == "gguf-lora":
        return _gguf_plan(model, adapter, base, guard)
    raise ExportError(f"There is no export of the kind {kind!r}: choose one of {', '.join(KINDS)}.")


def _gguf_plan(model: LoadedModel, adapter: Adapter, base: Base, guard: str) -> _Plan:
    config = model.model.config.get_text_config()
    tensors = gguf_tensors(adapter, config)
    name = f"{base.slug}-layer{adapter.layer}-lora.gguf"
    gguf = model.source.gguf

    def write(path: Path) -> None:
        title = f"{base.title}, layer {adapter.layer} tuned by Second Take"
        write_gguf_lora(path, adapter, config, base, title, guard)

    return _Plan(
        files={name: write, "Modelfile": modelfile(name, gguf, base.title).encode()},
        bytes=bytes_of(adapter.modules),
        library="llama.cpp",
        tags=("lora", "gguf"),
        described={
            name: f"a GGUF LoRA of rank {adapter.rank} in fp32, for llama.cpp and what is built on it",
            "Modelfile": "for Ollama: the base and this adapter",
        },
        load=words.load_gguf(gguf.name if gguf else f"{base.title}.gguf", name),
        undo=words.UNDO_GGUF,
        relative_error=adapter.relative_error,
        tensors=tensors,
    )


def layers_name(model: LoadedModel) -> str:
    """Where the decoder layers are in the model, such as ``model.layers``."""
    layers = model.layers
    return next(name for name, module in model.model.named_modules() if module is layers)


def _check(
    model: LoadedModel,
    delta: LayerDelta,
    strength: float,
    scaled: LayerDelta,
    kind: str,
    plan: _Plan,
    path: Path,
    prompts: Sequence[str],
) -> Generator[Event, None, Checked]:
    try:
        if kind == "delta":
            return _check_delta(scaled, path / DELTA_FILE)
        if kind == "peft":
            return check_peft(model, delta, strength, path, prompts, plan.relative_error)
        assert plan.tensors is not None
        file = path / next(iter(plan.files))
        return (yield from check_llama(model, delta, strength, file, plan.tensors, prompts))
    except Exception as error:  # whatever another program's code raises is a check that failed
        reason = str(error).strip().splitlines()[0][:400] if str(error).strip() else type(error).__name__
        return Checked(False, f"Loading it again ended in a fault: {reason}")


def _check_delta(scaled: LayerDelta, file: Path) -> Checked:
    try:
        loaded = LayerDelta.load(file)
    except DeltaError as error:
        return Checked(False, str(error))
    if loaded.digest() != scaled.digest() or (loaded.layer, loaded.base) != (scaled.layer, scaled.base):
        return Checked(False, "What was read back is not what was written: export again.")
    return Checked(True, "Read back, and every number is the same bit for bit.")


def _command(kind: str, path: Path, plan: _Plan, model: LoadedModel) -> str:
    """What a person runs on this machine, with the paths as they are here."""
    if kind == "delta":
        return words.delta_snippet(str(path / DELTA_FILE), layers_name(model))
    if kind == "peft":
        return words.peft_snippet(str(model.source.folder), str(path))
    base = str(model.source.gguf) if model.source.gguf else "BASE.gguf"
    return f"llama-server -m {shlex.quote(base)} --lora {shlex.quote(str(path / next(iter(plan.files))))}"
