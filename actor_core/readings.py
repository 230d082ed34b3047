"""Keeps on the disk what was read of a prompt set, so that one model reads each of its prompts once.

Reading is most of the time of a tuning, and a set's prompts do not change: the second tuning of a model reads
little but the person's own prompts, which are never kept, as no reply to a harmful prompt is. A file belongs to one
model (the digest of its weights), precision, device, layers and list of prompts, and holds the states in the type they
were computed in, and means in fp32.
A file that is damaged, or that cannot be written, only costs the time of reading.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from actor_core.activations import LayerReading, read_activations, read_reply_tokens
from actor_core.events import Event, Progress
from actor_core.generate import Reply, first_asked, reply_of
from actor_core.instruction_states import read_instructions
from actor_core.model import LoadedModel
from actor_core.weights.whole_files import put_file

__all__ = ["NOTHING_KEPT", "ReadingStore"]

FORMAT = "second-take.reading.2"
# A tuning and what harmfulness is read from make six for each model; of the default model the largest has 123 MB. One
# that would take more than its share of all is not kept: those of other models would go for it.
KEPT_FILES, KEPT_BYTES = 24, 4_000_000_000
LARGEST_SHARE = 0.25
TENSORS = ("outputs", "inputs", "gains", "others")
NARROW = ("outputs", "inputs", "logits")


@dataclass(frozen=True)
class ReadingStore:
    """``folder`` is made when it is first needed; the files that were used last stay in it, at most `KEPT_FILES` and of
    `KEPT_BYTES` in all.

    Without a folder nothing is kept.
    """

    folder: Path | None

    @classmethod
    def of(cls, data_dir: Path) -> ReadingStore:
        """The store in the program's data folder."""
        return cls(data_dir / "readings")

    def read_rows(
        self,
        model: LoadedModel,
        prompts: Sequence[str],
        of_the_set: Sequence[str],
        layer: int,
        *,
        other_tokens: int,
        seed: int,
    ) -> Generator[Event, None, LayerReading]:
        """A `LayerReading` of ``prompts``, in their order: those ``of_the_set`` from the store, the others read now.

        ``other_tokens`` of the set are kept, and as large a share of the others' tokens. A prompt of the set that is
        not among ``prompts`` is read all the same, so that what is kept does not depend on the person's own ones.
        """
        place = {prompt: row for row, prompt in enumerate(of_the_set)}
        rest = [prompt for prompt in prompts if prompt not in place]
        kept = yield from self._of_the_set(model, of_the_set, layer, other_tokens, seed)
        place |= {prompt: len(of_the_set) + row for row, prompt in enumerate(rest)}
        rows = torch.tensor([place[prompt] for prompt in prompts])
        parts = [kept]
        if rest:
            share = round(other_tokens * len(rest) / len(of_the_set))
            readings = yield from read_activations(model, rest, [layer], other_tokens=share, seed=seed)
            parts.append(readings[layer])
        outputs, inputs, gains = (
            torch.cat([getattr(part, name) for part in parts])[rows] for name in ("outputs", "inputs", "gains")
        )
        return LayerReading(layer, outputs, inputs, gains, torch.cat([part.others for part in parts]))

    def has(self, model: LoadedModel, prompts: Sequence[str], layer: int, other_tokens: int, seed: int) -> bool:
        """Whether ``prompts`` of a set were read before, so that `read_rows` takes no time for them."""
        return self._is_kept(_key(model, prompts, layer, other_tokens, seed))

    def has_asked(self, model: LoadedModel, prompts: Sequence[str], tokens: int) -> bool:
        """Whether `ask` takes no time for ``prompts``."""
        return self._is_kept(_key(model, prompts, "replies", tokens))

    def has_outputs(self, model: LoadedModel, prompts: Sequence[str], layers: Sequence[int]) -> bool:
        """Whether `read_outputs` takes no time for ``prompts``."""
        return self._is_kept(_key(model, prompts, "outputs", *layers))

    def has_reply_tokens(self, model: LoadedModel, of_the_set: Sequence[Reply], layer: int) -> bool:
        """Whether `read_reply_tokens` takes no time for replies ``of_the_set``."""
        return self._is_kept(_key(model, _spoken(of_the_set), "reply tokens", layer))

    def _is_kept(self, key: str) -> bool:
        path = self._path(key)
        return path is not None and path.is_file()

    def _path(self, key: str) -> Path | None:
        return self.folder / f"{key}.safetensors" if self.folder else None

    def read_states(
        self,
        model: LoadedModel,
        prompts: Sequence[str],
        of_the_set: Sequence[str],
        layers: Sequence[int],
        *,
        stage: str,
    ) -> Generator[Event, None, tuple[Tensor, Tensor]]:
        """`read_instructions` of ``prompts``, read now, and those ``of_the_set``, from the store; each [n, d]."""
        key = _key(model, of_the_set, "instructions", *layers)

        def read() -> Generator[Event, None, dict[str, Tensor]]:
            return {"states": (yield from read_instructions(model, of_the_set, layers, stage=stage))}

        kept = yield from self._kept(key, ("states",), read, model.model.dtype, stage, len(of_the_set))
        own = yield from read_instructions(model, prompts, layers, stage=stage)
        return own, kept["states"]

    def ask(
        self, model: LoadedModel, prompts: Sequence[str], tokens: int, *, stage: str
    ) -> Generator[Event, None, tuple[list[Reply], Tensor]]:
        """`first_asked` of harmless ``prompts`` of a set: replies of up to ``tokens`` tokens, logits [n, vocabulary].

        Replies to harmful ones are for no disk.
        """

        def asked() -> Generator[Event, None, dict[str, Tensor]]:
            replies, logits = yield from first_asked(model, prompts, tokens, stage=stage)
            return {"tokens": _side_by_side([reply.tokens for reply in replies]), "logits": logits}

        key = _key(model, prompts, "replies", tokens)
        kept = yield from self._kept(key, ("tokens", "logits"), asked, model.model.dtype, stage, len(prompts))
        spoken = [[int(token) for token in row if token >= 0] for row in kept["tokens"].tolist()]
        return [reply_of(model, *each) for each in zip(prompts, spoken, strict=True)], kept["logits"]

    def read_outputs(
        self, model: LoadedModel, prompts: Sequence[str], layers: Sequence[int], *, stage: str
    ) -> Generator[Event, None, Tensor]:
        """a(q) of ``prompts`` of a set at each of ``layers``, [layers, n, d_model]."""

        def read() -> Generator[Event, None, dict[str, Tensor]]:
            readings = yield from read_activations(model, prompts, layers, other_tokens=0, stage=stage)
            return {"outputs": torch.stack([readings[layer].outputs for layer in layers])}

        key = _key(model, prompts, "outputs", *layers)
        return (yield from self._kept(key, ("outputs",), read, model.model.dtype, stage, len(prompts)))["outputs"]

    def read_reply_tokens(
        self, model: LoadedModel, asked_now: Sequence[Reply], of_the_set: Sequence[Reply], layer: int
    ) -> Generator[Event, None, Tensor]:
        """`activations.read_reply_tokens` of both; ``of_the_set`` are those that `ask` gave. Shape [m, d_in]."""

        def read() -> Generator[Event, None, dict[str, Tensor]]:
            return {"inputs": (yield from read_reply_tokens(model, of_the_set, layer))}

        key = _key(model, _spoken(of_the_set), "reply tokens", layer)
        kept = yield from self._kept(key, ("inputs",), read, model.model.dtype, "read", len(of_the_set))
        return torch.cat([kept["inputs"], (yield from read_reply_tokens(model, asked_now, layer))])

    def read_held_out(
        self,
        model: LoadedModel,
        prompts: Sequence[str],
        how: Sequence[object],
        names: Collection[str],
        read: Callable[[], Generator[Event, None, dict[str, Tensor]]],
        *,
        stage: str,
    ) -> Generator[Event, None, dict[str, Tensor]]:
        """The tensors ``names`` that ``read`` gives of a set's held-out ``prompts``, as they are; see `probe`."""
        return (yield from self._kept(_key(model, prompts, *how), names, read, None, stage, len(prompts)))

    def has_held_out(self, model: LoadedModel, prompts: Sequence[str], how: Sequence[object]) -> bool:
        """Whether `read_held_out` takes no time for ``prompts``."""
        return self._is_kept(_key(model, prompts, *how))

    def _of_the_set(
        self, model: LoadedModel, prompts: Sequence[str], layer: int, other_tokens: int, seed: int
    ) -> Generator[Event, None, LayerReading]:
        key = _key(model, prompts, layer, other_tokens, seed)

        def read() -> Generator[Event, None, dict[str, Tensor]]:
            readings = yield from read_activations(model, prompts, [layer], other_tokens=other_tokens, seed=seed)
            return {name: getattr(readings[layer], name) for name in TENSORS}

        kept = yield from self._kept(key, TENSORS, read, model.model.dtype, "read", len(prompts))
        return LayerReading(layer, *(kept[name] for name in TENSORS))

    def _kept(
        self,
        key: str,
        names: Collection[str],
        read: Callable[[], Generator[Event, None, dict[str, Tensor]]],
        dtype: torch.dtype | None,
        stage: str,
        count: int,
    ) -> Generator[Event, None, dict[str, Tensor]]:
        """The tensors ``names`` of ``count`` prompts under ``key``: kept ones, else what ``read`` gives.

        In fp32, having been computed in ``dtype``; without one as they are.
        """
        path = self._path(key)
        kept = _opened(path, names) if path else None
        if kept is not None:
            yield Progress(stage, count, count, "read before")
            return kept if dtype is None else {name: kept[name].float() for name in names}
        tensors = yield from read()
        if path:
            _write(path, tensors if dtype is None else _narrowed(tensors, dtype))
        return tensors


NOTHING_KEPT = ReadingStore(None)


def _narrowed(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """States have passed through ``dtype``, so keeping them in it loses nothing; means and weighted ones stay in
    fp32."""
    narrow = {name: tensor.to(dtype) for name, tensor in tensors.items() if name in NARROW}
    return tensors | {name: t for name, t in narrow.items() if torch.equal(t.float(), tensors[name])}


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > LARGEST_SHARE * KEPT_BYTES:
        return
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with contextlib.suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        put_file(path, lambda place: save_file(tensors, place, metadata={"format": FORMAT}), for_owner=True)
        _make_room(path.parent)


def _make_room(folder: Path) -> None:
    """Leaves those files of ``folder`` that were used last."""
    by_age = sorted(folder.glob("*.safetensors"), key=lambda file: file.stat().st_mtime, reverse=True)
    size = 0
    for number, file in enumerate(by_age):
        of_file = file.stat().st_size
        if number >= KEPT_FILES or size + of_file > KEPT_BYTES:
            file.unlink()
        else:
            size += of_file


def _opened(path: Path, names: Collection[str]) -> dict[str, Tensor] | None:
    try:
        tensors = load_file(path)
        os.utime(path)
    except (OSError, SafetensorError):
        return None
    return dict(tensors) if set(names) <= set(tensors) else None


def _spoken(replies: Sequence[Reply]) -> list[str]:
    """Each of ``replies`` with its prompt, as part of a key."""
    return [f"{reply.prompt} {reply.tokens}" for reply in replies]


def _side_by_side(rows: Sequence[Sequence[int]]) -> Tensor:
    """``rows`` of token ids as one tensor, [n, longest], with -1 after those that are shorter."""
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True, padding_value=-1)


def _key(model: LoadedModel, prompts: Sequence[str], *how: object) -> str:
    """Everything that a reading depends on, as a file name; ``how`` is what was read, and with which settings."""
    template = model.token_ids("")  # the same weights may come with another chat template
    said = [FORMAT, model.id.digest, model.precision, model.device.type, template, *how, *prompts]
    return hashlib.sha256("\n".join(map(str, said)).encode()).hexdigest()[:32]
