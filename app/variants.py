"""The table of what was made of a visitor's few prompts: what each line says, and what they ticked and changed.

A line is used where it is ticked and the prompt that it was made of is still to be repaired, and not before *Tune* is
pressed. A text that was changed counts as the visitor's own: no filter has seen it, so `app.enriching` looks at it
before it is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from actor_core.errors import PromptError
from actor_core.prompts import MAX_CHARS
from actor_core.variant import Form

if TYPE_CHECKING:
    from actor_core.variant import Variant

__all__ = [
    "MAX_ROWS",
    "MAX_SEEDS",
    "NOTHING_MADE",
    "Enriched",
    "Row",
    "rows_of",
    "used",
    "with_flags",
    "with_text",
    "with_texts",
    "with_ticks",
]

# Who has more prompts than these needs no others made of them.
MAX_SEEDS = 40
MAX_ROWS = 500


@dataclass(frozen=True)
class Enriched:
    """What a tuning uses beside the own prompts: ``variants`` to be answered like them, ``twins`` to be refused."""

    variants: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.variants or self.twins)


NOTHING_MADE = Enriched()


@dataclass(frozen=True)
class Row:
    """One line. ``text`` is what it says now, ``made`` what it said when it was made, of the own prompt ``seed``
    ('' for one that a script gave). ``why`` says in words why the filters did not keep it. ``flagged``: it was about
    to be used, and looked like a request that should be refused."""

    text: str
    made: str
    seed: str
    form: Form
    by: Literal["rules", "model", "you"]
    kept: bool
    why: str
    ticked: bool
    flagged: bool = False

    @property
    def id(self) -> str:
        """Names the line on the page, whatever it says now."""
        return hashlib.sha256("\n".join((self.form, self.seed, self.made)).encode()).hexdigest()[:16]

    @property
    def changed(self) -> bool:
        """Whether it is the visitor's own text."""
        return self.by == "you" or self.text != self.made

    @property
    def unseen(self) -> bool:
        """Whether no filter let it through, and nobody insisted on it: it is looked at before it is answered."""
        return self.form != "twin" and not self.flagged and (self.changed or not self.kept)

    def of(self, chosen: Collection[str]) -> bool:
        """Whether what it was made of is among the ``chosen`` prompts."""
        return not self.seed or self.seed in chosen


def rows_of(found: Iterable[Variant], before: Sequence[Row]) -> tuple[Row, ...]:
    """A line for each of ``found``, ticked where it passed the filters; what the visitor did to lines of ``before``
    stays, and a text of theirs is not lost where its line was not made again."""
    known = {row.id: row for row in before}
    rows: dict[str, Row] = {}
    for each in found:
        row = Row(each.text, each.text, each.seed, each.form, each.by, each.kept, each.why, each.kept)
        old = known.get(row.id)
        if old is not None and (old.changed or old.kept == row.kept):
            row = replace(row, text=old.text, ticked=old.ticked, flagged=old.flagged)
        rows.setdefault(row.id, row)
    for row in before:
        if row.changed:
            rows.setdefault(row.id, row)
    # Where there are too many, the last of those that were left out go first.
    first = {row.id for row in sorted(rows.values(), key=lambda row: not (row.kept or row.changed))[:MAX_ROWS]}
    return tuple(row for row in rows.values() if row.id in first)


def used(rows: Sequence[Row], chosen: Collection[str]) -> Enriched:
    """The texts of the lines that a tuning for the ``chosen`` prompts uses, each once."""
    own = set(chosen)
    ticked = [row for row in rows if row.ticked and row.text and row.of(own)]
    twins = dict.fromkeys(row.text for row in ticked if row.form == "twin")
    variants = dict.fromkeys(row.text for row in ticked if row.form != "twin" and row.text not in own)
    return Enriched(tuple(text for text in variants if text not in twins), tuple(twins))


def with_ticks(rows: Sequence[Row], ids: Collection[str], ticked: bool, *, in_space: bool) -> tuple[Row, ...]:
    """The lines named by ``ids`` ticked, or not. Raises `PromptError` where that cannot be, and changes nothing."""
    picked = _named(rows, ids)
    if ticked and any(not row.text for row in picked):
        raise PromptError("This line is empty, so it cannot be used: write something into it first.")
    if ticked and in_space and any(row.flagged for row in picked):
        raise PromptError("This line looks like a request that should be refused: on a Space it cannot be used.")
    return tuple(replace(row, ticked=ticked) if row.id in ids else row for row in rows)


def with_text(rows: Sequence[Row], id: str, text: str) -> tuple[Row, ...]:
    """The line named by ``id`` with another ``text``, on one line; empty, it is not ticked any more. Raises
    `PromptError` for one that is too long, and changes nothing."""
    _named(rows, (id,))
    text = _one_line(text)
    return tuple(
        replace(row, text=text, ticked=row.ticked and bool(text), flagged=False) if row.id == id else row
        for row in rows
    )


def with_texts(rows: Sequence[Row], texts: Sequence[str], twins: bool) -> tuple[Row, ...]:
    """What a script wants used: the lines that say one of ``texts`` are ticked and no others, and those that are in no
    line become one. ``twins``: it is about those to be refused. Raises `PromptError` for what is too long."""
    wanted = {text for text in map(_one_line, texts) if text}
    about = [row for row in rows if (row.form == "twin") == twins]
    # What was named as harmful is looked at again: a script cannot insist on it.
    kept = [replace(row, ticked=row.text in wanted, flagged=False) if row in about else row for row in rows]
    form: Form = "twin" if twins else "wording"
    new = wanted.difference(row.text for row in about)
    kept += [Row(text, text, "", form, "you", False, "", True) for text in sorted(new)]
    if len(kept) > MAX_ROWS:
        raise PromptError(f"These would be {len(kept)} lines, and {MAX_ROWS} is the limit: give fewer.")
    return tuple(kept)


def with_flags(rows: Sequence[Row], flagged: Collection[str]) -> tuple[Row, ...]:
    """The lines that say what is ``flagged`` named as such, and not ticked any more."""
    return tuple(
        replace(row, flagged=True, ticked=False) if row.unseen and row.text in flagged else row for row in rows
    )


def _named(rows: Sequence[Row], ids: Collection[str]) -> list[Row]:
    found = [row for row in rows if row.id in ids]
    if not found or len(found) != len(set(ids)):
        raise PromptError("This line is no longer there, so nothing was changed: reload the page and try again.")
    return found


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    if len(text) > MAX_CHARS:
        raise PromptError(f"This line has {len(text):,} characters; at most {MAX_CHARS:,} can be used: shorten it.")
    return text
