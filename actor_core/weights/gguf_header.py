"""Reads the header of a GGUF file (version 2 or 3): where its tensors lie, and whether it can hold what it promises.

A header of a few bytes can promise a list of 2⁶⁰ words or a matrix of a petabyte, and the libraries that read it
take its word for it. Here each length is held against the file's before anything is read. Of the metadata only the
keys are kept: the gguf package makes objects of every word of the vocabulary, which takes a processor 15 seconds.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path

from actor_core.errors import ModelError
from actor_core.weights.stated_size import StatedSize

__all__ = ["Header", "StoredTensor", "read_header"]

MAX_HEADER_BYTES = 200_000_000
MAX_ENTRIES = 4_000_000  # of all lists of words together: the largest known vocabularies and merges have 600,000
MAX_NAME = 1 << 16
MAX_DIMENSIONS = 4
STRING, ARRAY = 8, 9
# Bytes of a value by its type (GGUF specification, "gguf_metadata_value_type").
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
WHOLE_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 10: "<Q", 11: "<q"}


@dataclass(frozen=True)
class StoredTensor:
    """``size`` bytes at ``start`` of the file: numbers of type ``kind`` (gguf.GGMLQuantizationType), [d_out, d_in]
    for a matrix, whose ``dimensions`` stand in the file the last one first."""

    name: str
    dimensions: tuple[int, ...]
    kind: int
    start: int
    size: int


@dataclass(frozen=True)
class Header:
    """``keys`` of the metadata, which ends where the tensors are listed, at ``listed_at``; their bytes lie at
    multiples of ``alignment``."""

    keys: tuple[str, ...]
    listed_at: int
    alignment: int
    tensors: tuple[StoredTensor, ...]


def read_header(path: Path) -> Header:
    """The header of the file; raises ModelError, in words, where it promises what the file does not hold."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reading(data).whole()
    except (_Wrong, struct.error, UnicodeDecodeError, OverflowError) as fault:
        raise ModelError(f"{path.name} is damaged, or made to harm ({fault}): download it again.") from fault


class _Wrong(Exception):
    """What is wrong with the header."""


@dataclass
class _Reading:
    data: mmap.mmap
    place: int = 4
    words: int = 0
    numbers: dict[str, int] = field(default_factory=dict)  # the metadata's whole numbers by the key's last word

    def whole(self) -> Header:
        (_, tensors, entries) = self._take("<IQQ")
        if entries > MAX_ENTRIES or tensors > MAX_ENTRIES:
            raise _Wrong(f"it promises {tensors:,} tensors and {entries:,} entries")
        alignment, keys = 32, []
        for _ in range(entries):
            keys.append(key := self._name())
            (kind,) = self._take("<I")
            if key == "general.alignment":
                (alignment,) = struct.unpack_from("<I", self.data, self.place)
            self._value(key, kind)
        if not 0 < alignment <= 1 << 20:
            raise _Wrong(f"an alignment of {alignment:,} bytes")
        listed_at = self.place
        listed = [self._tensor() for _ in range(tensors)]
        start = -(-self.place // alignment) * alignment
        for tensor in listed:
            if tensor.start + tensor.size > len(self.data) - start:
                raise _Wrong(f"its tensor {tensor.name[:60]} ends behind the end of the file")
        said = self.numbers.get
        experts, heads = said("expert_count", 0), said("head_count", 0)
        stated = StatedSize(
            layers=said("block_count", 0),
            d_model=said("embedding_length", 0),
            widths=(
                said("feed_forward_length", 0),
                said("vocab_size", 0),
                experts * said("expert_feed_forward_length", 1),
                heads * said("key_length", 1),
            ),
        )
        if fault := stated.fault(tensors, len(self.data)):
            raise _Wrong(fault)
        return Header(tuple(keys), listed_at, alignment, tuple(replace(t, start=start + t.start) for t in listed))

    def _take(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(form, self.data, self.place)
        self._skip(struct.calcsize(form))
        return values

    def _skip(self, count: int) -> None:
        self.place += count
        if self.place > min(len(self.data), MAX_HEADER_BYTES):
            raise _Wrong("its header ends behind the end of the file, or is larger than any")

    def _name(self) -> str:
        (length,) = self._take("<Q")
        if length > MAX_NAME:
            raise _Wrong(f"a name of {length:,} letters")
        start = self.place
        self._skip(length)
        return self.data[start : self.place].decode()

    def _value(self, key: str, kind: int) -> None:
        if kind in SIZES:
            if kind in WHOLE_NUMBERS:
                (number,) = struct.unpack_from(WHOLE_NUMBERS[kind], self.data, self.place)
                self.numbers[key.rpartition(".")[2]] = abs(number)
            self._skip(SIZES[kind])
        elif kind == STRING:
            (length,) = self._take("<Q")
            self._skip(length)
        elif kind == ARRAY:
            self._array()
        else:
            raise _Wrong(f"a value of the unknown type {kind}")

    def _array(self) -> None:
        inner, count = self._take("<IQ")
        if count > MAX_ENTRIES:
            raise _Wrong(f"a list of {count:,} entries")
        if inner in SIZES:
            self._skip(SIZES[inner] * count)
        elif inner == STRING:
            self._words(count)
        else:
            raise _Wrong(f"a list of the type {inner}")

    def _words(self, count: int) -> None:
        self.words += count
        if self.words > MAX_ENTRIES:
            raise _Wrong(f"lists of {self.words:,} words")
        length_at, data, place = struct.Struct("<Q").unpack_from, self.data, self.place
        for _ in range(count):  # hundreds of thousands: nothing is called that need not be
            place += 8 + length_at(data, place)[0]
        self._skip(place - self.place)

    def _tensor(self) -> StoredTensor:
        """With ``start`` counted from the end of the header."""
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        name = self._name()
        (count,) = self._take("<I")
        if count > MAX_DIMENSIONS:
            raise _Wrong(f"a tensor of {count:,} dimensions")
        dimensions = tuple(self._take("<Q")[0] for _ in range(count))
        elements = math.prod(dimensions)
        kind, offset = self._take("<IQ")
        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            raise _Wrong(f"a tensor of the unknown type {kind}") from None
        return StoredTensor(name, dimensions, kind, offset, -(-elements // block) * size)
