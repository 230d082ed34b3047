"""Reads the prompts that a person types, pastes or gives as a file.

What cannot be used is left out and named by its row, so that one bad line does not cost the rest;
only when nothing usable remains is that a `PromptError`. This file knows nothing of models.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from actor_core.errors import PromptError

__all__ = [
    "MAX_CHARS",
    "MAX_FILE_BYTES",
    "MAX_PROMPTS",
    "Problem",
    "Prompts",
    "parse_prompts",
    "read_prompts",
]

MAX_PROMPTS = 1000
MAX_CHARS = 4000
MAX_FILE_BYTES = 20_000_000
SHOWN_CHARS = 60
SHOWN_OF_A_KIND = 20
COLUMNS = ("prompt", "question", "instruction", "text", "goal")
TEXT_ENDINGS = {".txt", ".text", ".md", ""}
TABLE_ENDINGS = {".csv", ".tsv"}
# The first bytes of files that are sometimes renamed to .txt.
MAGIC = (
    b"PK\x03\x04",
    b"%PDF",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"GGUF",
    b"\x1f\x8b",
    b"\xd0\xcf\x11\xe0",
)


@dataclass(frozen=True)
class Problem:
    """Why row ``row`` (from 1; a table's header is row 1) is left out; ``text`` is its beginning."""

    row: int
    text: str
    why: str


@dataclass(frozen=True)
class Prompts:
    """The usable ``prompts`` in their order, each once, and what was left out."""

    prompts: tuple[str, ...]
    problems: tuple[Problem, ...] = ()


def parse_prompts(text: str) -> Prompts:
    """Prompts from typed or pasted text, one a line; raises PromptError when none is usable."""
    rows = enumerate(re.split(r"\r\n|\r|\n", text), start=1)
    return _usable(
        rows, nothing="There is no prompt: write at least one that was wrongly refused, one a line."
    )


def read_prompts(path: Path) -> Prompts:
    """Prompts from a text file (one a line) or a CSV or TSV file with a column of prompts.

    The text may be UTF-8, UTF-16 or, failing both, Western European (Windows-1252). Raises
    PromptError for a file that is binary, too large, of another kind, has no column of
    prompts or no usable one.
    """
    ending = path.suffix.lower()
    if ending not in TEXT_ENDINGS | TABLE_ENDINGS:
        raise PromptError(
            f"{path.name} ends in {ending}: prompts are read from .txt (one a line) and .csv; "
            "save them as one of those."
        )
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise PromptError(
                f"{path.name} has {size / 1e6:.0f} MB and the limit is {MAX_FILE_BYTES // 10**6} MB: "
                f"give a part of it; {MAX_PROMPTS} prompts are used at most."
            )
        data = path.read_bytes()
    except OSError as fault:
        raise PromptError(
            f"{path.name} cannot be read ({fault.strerror or fault}): choose it again."
        ) from fault
    text = _decoded(data, path.name)
    nothing = f"{path.name} has no prompt in it: put one on each line."
    if ending in TABLE_ENDINGS:
        return _usable(_column(text, path.name), nothing=nothing)
    return _usable(enumerate(re.split(r"\r\n|\r|\n", text), start=1), nothing=nothing)


def _decoded(data: bytes, name: str) -> str:
    """The file's text; raises PromptError for what is no text."""
    binary = PromptError(
        f"{name} is not text (it looks like a picture, an archive or a program): "
        "give a plain text file with one prompt a line, or a CSV."
    )
    if data.startswith(MAGIC):
        raise binary
    encoding = "utf-8-sig"
    if data.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        encoding = "utf-32"
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\x00" in data:
        # UTF-16 without its mark: Western text has a zero in every second byte.
        even, odd = data[0:2000:2].count(0), data[1:2000:2].count(0)
        enough = 0.3 * len(data[:2000]) / 2
        if max(even, odd) < enough or min(even, odd) > enough / 4:
            raise binary
        encoding = "utf-16-be" if even > odd else "utf-16-le"
    for candidate in (encoding, "cp1252", "latin-1"):
        try:
            text = data.decode(candidate)
            break
        except UnicodeDecodeError:
            if encoding != "utf-8-sig":
                raise binary from None
    controls = sum(1 for character in text[:20_000] if _is_control(character))
    if controls > max(2, len(text[:20_000]) // 100):
        raise binary
    return text


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character not in "\t\n\r\f\v"


def _column(text: str, name: str) -> list[tuple[int, str]]:
    """The cells of the column of prompts with their rows; a cell may hold line breaks."""
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as fault:
        raise PromptError(
            f"{name} cannot be read as a table ({fault}): a quotation mark is probably not closed; "
            "correct it, or save the prompts as a text file, one a line."
        ) from fault
    names = [cell.strip().lower() for cell in rows[0]] if rows else []
    for column in COLUMNS:
        if column in names:
            place = names.index(column)
            cells = [row[place] if place < len(row) else "" for row in rows[1:]]
            return list(enumerate(cells, start=2))
    found = ", ".join(repr(_short(cell)) for cell in names[:8]) or "none"
    raise PromptError(
        f"{name} has no column of prompts (its first row has {found}): "
        f"call the column 'prompt' (or {', '.join(COLUMNS[1:])}), or give a text file with one prompt a line."
    )


def _usable(rows: Iterable[tuple[int, str]], nothing: str) -> Prompts:
    """Sorts rows into prompts and problems; raises PromptError(``nothing``) where all are blank.

    Blank rows at the end are no problem: a text box and most editors put them there.
    """
    prompts: list[str] = []
    first_row: dict[str, int] = {}
    left_out: dict[str, list[Problem]] = {"blank": [], "long": [], "wordless": [], "repeated": [], "many": []}
    cleaned = [(row, _clean(raw)) for row, raw in rows]
    while cleaned and not cleaned[-1][1]:
        cleaned.pop()
    for row, text in cleaned:
        words = unicodedata.normalize("NFC", " ".join(text.split()))
        if not words:
            left_out["blank"].append(Problem(row, "", "The row is blank."))
        elif len(text) > MAX_CHARS:
            why = f"It has {len(text):,} characters and {MAX_CHARS:,} is the limit: shorten it."
            left_out["long"].append(Problem(row, _short(text), why))
        elif not any(unicodedata.category(c)[0] in "LN" or unicodedata.category(c) == "So" for c in words):
            left_out["wordless"].append(Problem(row, _short(text), "It has no word in it."))
        elif words in first_row:
            left_out["repeated"].append(Problem(row, _short(text), f"It repeats row {first_row[words]}."))
        elif len(prompts) == MAX_PROMPTS:
            why = f"{MAX_PROMPTS:,} prompts are used at most."
            left_out["many"].append(Problem(row, _short(text), why))
        else:
            first_row[words] = row
            prompts.append(text)
    problems = _summed_up(left_out)
    if not prompts:
        bad = [problem for problem in problems if problem.text]
        if not bad:
            raise PromptError(nothing)
        raise PromptError(f"None of the rows can be used. Row {bad[0].row} ({bad[0].text!r}): {bad[0].why}")
    return Prompts(tuple(prompts), problems)


def _clean(raw: str) -> str:
    """``raw`` without what no tokenizer should see: byte-order marks, control and half characters."""
    kept = raw.replace("\ufeff", "").encode("utf-8", "ignore").decode()
    return "".join(" " if _is_control(character) else character for character in kept).strip()


def _summed_up(left_out: dict[str, list[Problem]]) -> tuple[Problem, ...]:
    """The first problems of each kind by row, and one line for the rest of it."""
    shown: list[Problem] = []
    for kind, problems in left_out.items():
        limit = 0 if kind in ("blank", "many") else SHOWN_OF_A_KIND
        shown += problems[:limit]
        rest = problems[limit:]
        if len(rest) == 1:
            shown += rest
        elif rest:
            also = "more rows like the ones above" if limit else "rows from here on"
            why = f"{rest[0].why} {len(rest):,} {also} are left out."
            shown.append(Problem(rest[0].row, rest[0].text, why))
    return tuple(sorted(shown, key=lambda problem: problem.row))


def _short(text: str) -> str:
    line = " ".join(text[: 4 * SHOWN_CHARS].split())
    return line if len(line) <= SHOWN_CHARS else line[: SHOWN_CHARS - 1] + "…"
