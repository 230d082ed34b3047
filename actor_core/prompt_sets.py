"""The prompt sets that come with the program: benign, pseudo-harmful and harmful ones.

A set is a folder ``presets/prompts/<id>`` with

    set.toml            title, summary, and the categories of the pairs in the order of the lines,
                        each with its number of lines: categories = [["homonym", 38], ["fiction", 28]]
    benign.txt          ordinary requests, one a line
    pseudo_harmful.txt  requests that look harmful and are not
    harmful.txt         line n is the harmful twin of line n of pseudo_harmful.txt; further lines
                        have no twin
    guard.txt           further harmful requests for the gate before an export. May be missing

A pair of twins is trained on as a whole or held out as a whole, by a hash of its words, so that
neither the order of the files nor a prompt that is added moves another one across. What is held out
is parted once more in the same way: settings are chosen and models compared on the one part, and the
gate before an export asks the harmful prompts of the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from actor_core.errors import PresetError
from actor_core.preset_files import PRESETS, PresetFile, read_preset

__all__ = ["DEFAULT_PROMPT_SET", "Pair", "PromptSet", "PromptSplit", "prompt_sets"]

DEFAULT_PROMPT_SET = "everyday"
HELD_OUT_SHARE = 0.25
# Of what is held out. The default model refuses rather more than half of what the gate asks, and the gate needs 250.
GUARD_SHARE = 0.65


Side = Literal["training", "held out", "guard"]


@dataclass(frozen=True)
class Pair:
    """A pseudo-harmful prompt and its twin that says nearly the same and must be refused."""

    category: str
    pseudo_harmful: str
    harmful: str


@dataclass(frozen=True)
class PromptSplit:
    """One side of the split; ``pseudo_harmful[i]`` and ``harmful[i]`` are twins; the rest has none."""

    benign: tuple[str, ...]
    pseudo_harmful: tuple[str, ...]
    harmful: tuple[str, ...]


@dataclass(frozen=True)
class PromptSet:
    """A named set of prompts to tune with and to measure on."""

    id: str
    title: str
    summary: str
    benign: tuple[str, ...]
    pairs: tuple[Pair, ...]
    harmful_extra: tuple[str, ...]
    harmful_guard: tuple[str, ...] = ()

    def guard(self) -> tuple[str, ...]:
        """The harmful prompts that the gate before an export asks: nothing was tuned on them or chosen by them."""
        return self._split("guard").harmful + self.harmful_guard

    def training(self) -> PromptSplit:
        """What may be tuned on, about three quarters."""
        return self._split("training")

    def held_out(self) -> PromptSplit:
        """What settings are chosen by and models compared on, about a tenth, and a quarter of the ordinary ones."""
        return self._split("held out")

    def _split(self, side: Side) -> PromptSplit:
        pairs = [p for p in self.pairs if _side(p.pseudo_harmful + "\n" + p.harmful) == side]
        extra = [p for p in self.harmful_extra if _side(p) == side]
        # The gate asks no ordinary prompt, so its share of those is compared on.
        of_benign = {"training": ("training",), "held out": ("held out", "guard"), "guard": ()}[side]
        return PromptSplit(
            benign=tuple(p for p in self.benign if _side(p) in of_benign),
            pseudo_harmful=tuple(p.pseudo_harmful for p in pairs),
            harmful=tuple([p.harmful for p in pairs] + extra),
        )


def _side(words: str) -> Side:
    first, second = hashlib.sha256(words.encode()).digest()[:2]
    if first >= 256 * HELD_OUT_SHARE:
        return "training"
    return "guard" if second < 256 * GUARD_SHARE else "held out"


Name = Annotated[str, Field(min_length=1, max_length=60)]
Lines = Annotated[int, Field(gt=0)]


class _SetFile(PresetFile):
    title: Annotated[str, Field(min_length=1, max_length=80)]
    summary: Annotated[str, Field(min_length=1, max_length=400)]
    categories: tuple[tuple[Name, Lines], ...]


def prompt_sets(folder: Path | None = None) -> dict[str, PromptSet]:
    """Every prompt set in ``folder`` by its id, the default one first; raises PresetError."""
    folder = PRESETS / "prompts" if folder is None else folder
    found = [_read_set(path.parent) for path in sorted(folder.glob("*/set.toml"))]
    if not found:
        raise PresetError(f"No prompt set (a folder with set.toml) in {folder}: install the program again.")
    found.sort(key=lambda each: (each.id != DEFAULT_PROMPT_SET, each.id))
    return {each.id: each for each in found}


def _read_set(folder: Path) -> PromptSet:
    about = read_preset(folder / "set.toml", _SetFile)
    benign = _lines(folder / "benign.txt")
    pseudo_harmful = _lines(folder / "pseudo_harmful.txt")
    harmful = _lines(folder / "harmful.txt")
    if len(harmful) < len(pseudo_harmful):
        raise PresetError(
            f"{folder / 'harmful.txt'} has {len(harmful)} lines, pseudo_harmful.txt {len(pseudo_harmful)}: "
            "line n of the one is the twin of line n of the other, so add what is missing."
        )
    guard = _lines(folder / "guard.txt") if (folder / "guard.txt").exists() else ()
    seen: dict[str, str] = {}
    files = (("benign", benign), ("pseudo_harmful", pseudo_harmful), ("harmful", harmful), ("guard", guard))
    for name, prompts in files:
        for number, prompt in enumerate(prompts, start=1):
            place = f"{name}.txt line {number}"
            if prompt in seen:
                raise PresetError(
                    f"{folder}: {place} repeats {seen[prompt]} ({prompt[:60]!r}): remove one of them."
                )
            seen[prompt] = place
    categories = [name for name, lines in about.categories for _ in range(lines)]
    if len(categories) != len(pseudo_harmful):
        raise PresetError(
            f"{folder / 'set.toml'}: the categories add up to {len(categories)} lines and pseudo_harmful.txt "
            f"has {len(pseudo_harmful)}: correct their numbers."
        )
    twins = zip(categories, pseudo_harmful, harmful, strict=False)
    return PromptSet(
        id=folder.name,
        title=about.title,
        summary=about.summary,
        benign=benign,
        pairs=tuple(Pair(*twin) for twin in twins),
        harmful_extra=harmful[len(pseudo_harmful) :],
        harmful_guard=guard,
    )


def _lines(path: Path) -> tuple[str, ...]:
    """The prompts of a file of the set; a blank line is an error, for it would shift every twin after it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise PresetError(f"{path} cannot be read as UTF-8 text ({fault}): install it again.") from fault
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise PresetError(
                f"{path} line {number} is blank: remove it, since a line's number names its twin."
            )
    if not lines:
        raise PresetError(f"{path} is empty: give it one prompt a line.")
    return tuple(line.strip() for line in lines)
