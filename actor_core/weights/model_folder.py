"""Looks at a model's folder before anything loads it: is it whole, and can loading it run a program?

transformers is told never to trust remote code, and that has been got round through fields of the
configuration; pickled weights are programs. Both are refused here, and a download that was cut is
named as such instead of failing deep inside a loader.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actor_core.errors import ModelError
from actor_core.weights.hub import SMALL_FILES
from actor_core.weights.stated_size import StatedSize
from actor_core.weights.template_trial import try_template

__all__ = ["check_folder", "folder_files"]

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
CONFIGURATIONS = (
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
INDEX = "model.safetensors.index.json"
MAX_JSON_BYTES = 50_000_000
MAX_HEADER_BYTES = 100_000_000


def folder_files(folder: Path) -> list[str]:
    """Names of the files that make up the model, sorted."""
    names = {path.name for pattern in SMALL_FILES for path in folder.glob(pattern) if path.is_file()}
    return sorted(names | {path.name for path in _weights(folder)})


def check_folder(folder: Path) -> None:
    """Raises ModelError, in words, for a folder that is no whole and harmless transformers model."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is no model folder: {_instead_of_config(folder)}")
    for name in CONFIGURATIONS:
        if (folder / name).is_file():
            _check_configuration(folder / name)
    if not _weights(folder):
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            raise ModelError(
                f"{folder} holds its weights as {pickles[0]}, a pickle file, which can run any program when "
                "it is read: take a copy of the model with .safetensors files."
            )
        raise ModelError(
            f"{folder} has no weights (model*.safetensors): download the model again, all of it."
        )
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(
            f"{folder} has no tokenizer (tokenizer.json): copy it there from where the model is from."
        )
    if not (folder / "model.safetensors").is_file() and not (folder / INDEX).is_file():
        raise ModelError(f"{folder} is not whole: {INDEX} is missing. Download the model again.")
    for name in _shards(folder):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is not whole: {name} is missing. Download the model again.")
    tensors = sum(_check_safetensors(path) for path in _weights(folder))
    stated = StatedSize.of_config(_read_json(folder / "config.json"))
    if fault := stated.fault(tensors, sum(path.stat().st_size for path in _weights(folder))):
        raise ModelError(
            f"{folder / 'config.json'} does not belong to these weights ({fault}): download the model again."
        )
    for template in _templates(folder):
        try_template(template, str(folder))


def _instead_of_config(folder: Path) -> str:
    if (folder / "adapter_config.json").exists():
        return "it is an adapter. Give the folder of the model that it was made for."
    ggufs = sorted(folder.glob("*.gguf"))
    if ggufs:
        return f"it has no config.json. For the GGUF file in it, give the file itself: {ggufs[0]}"
    return "it has no config.json. Give the folder that holds config.json and the .safetensors files."


def _weights(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("model*.safetensors") if path.is_file())


def _read_json(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelError(
                f"{path} has {path.stat().st_size:,} bytes, too many for such a file: it is damaged."
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as fault:
        raise ModelError(f"{path} cannot be read ({fault}): download the model again.") from fault


def _check_configuration(path: Path) -> None:
    values = _read_json(path)
    if not isinstance(values, dict):
        raise ModelError(f"{path} is no configuration of a model: download the model again.")
    for key, value in _pairs(values):
        if (key == "auto_map" and value) or key.endswith("_internal"):
            raise ModelError(
                f"{path} has the field '{key}', which makes loading run code that came with the model: "
                "this program loads only models that transformers itself knows. Choose another one."
            )
        if key.endswith("_implementation") and "/" in json.dumps(value):
            raise ModelError(
                f"{path} asks for code from elsewhere ('{key}' is {json.dumps(value)[:80]}): "
                "remove that field if you trust the model, or choose another one."
            )


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON
    """Every key with its value, at any depth."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield from each.items()
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _shards(folder: Path) -> set[str]:
    """The weight files that the index names; raises ModelError for one outside the folder."""
    index = folder / INDEX
    if not index.is_file():
        return set()
    values = _read_json(index)
    named = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise ModelError(f"{index} names no weights: download the model again.")
    shards = set(named.values())
    for name in shards:
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise ModelError(
                f"{index} names {name[:80]!r}, which is no .safetensors file of this folder: do not use it."
            )
    return shards


def _templates(folder: Path) -> list[str]:
    """Every chat template of the folder: transformers takes the first it finds, and knows several places."""
    found: list[object] = []
    for path in [*folder.glob("*.jinja"), *folder.glob("additional_chat_templates/*.jinja")]:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelError(f"{path} has {path.stat().st_size:,} bytes: it is no chat template.")
        found.append(path.read_text(encoding="utf-8", errors="replace"))
    for name in ("tokenizer_config.json", "chat_template.json", "processor_config.json"):
        values = _read_json(folder / name) if (folder / name).is_file() else {}
        said = values.get("chat_template") if isinstance(values, dict) else None
        named = said if isinstance(said, list) else [said]
        found += [each.get("template") if isinstance(each, dict) else each for each in named]
    return list(dict.fromkeys(each for each in found if isinstance(each, str)))


def _check_safetensors(path: Path) -> int:
    """Compares the length that the header promises with the file's (safetensors format, version 0.4); gives how many
    tensors it names."""
    size = path.stat().st_size
    cut = ModelError(f"{path} is cut short or damaged ({size:,} bytes): download it again.")
    with path.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            raise cut
        (length,) = struct.unpack("<Q", head)
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise cut
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            promised = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            raise cut from None
    if promised != size:
        raise ModelError(f"{path} has {size:,} bytes and should have {promised:,}: download it again.")
    return len(ends)
