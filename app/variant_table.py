"""HTML of the prompts that were made of the visitor's: a table for each of these, with a tick and a field a line.

The browser tells the server each tick and each text; the table itself is drawn anew only when the server has something
new. Everything that a person or a model wrote goes through `escape`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil
from pathlib import Path

from app import words
from app.language import number, plural, t, translated
from app.variants import Row, used

__all__ = ["count", "edit_js", "table"]

SCRIPT = Path(__file__).with_suffix(".js")
CHARACTERS_A_LINE = 60  # of a field, where the browser does not size it by what it holds


def edit_js() -> str:
    """What the browser runs once the table is on the page."""
    return SCRIPT.read_text(encoding="utf-8")


def count(rows: Sequence[Row], chosen: Sequence[str]) -> str:
    """How many lines there are, and what of them would be used; '' while there are none."""
    mine = [row for row in rows if row.of(set(chosen))]
    if not mine:
        return ""
    now = used(rows, chosen)
    said = t(
        "{ticked} of {lines} lines are ticked: {variants} to be answered, {twins} to be refused.",
        ticked=number(len(now.variants) + len(now.twins)),
        lines=number(len(mine)),
        variants=number(len(now.variants)),
        twins=number(len(now.twins)),
    )
    return f"<p class='st-result' role='status'><strong>{escape(said)}</strong></p>"


def table(rows: Sequence[Row], chosen: Sequence[str]) -> str:
    """All lines below the prompts they were made of, first of those that are ``chosen``; what belongs to others can no
    more be used, and is said to be so. '' while there are none."""
    if not rows:
        return ""
    seeds = list(dict.fromkeys([*chosen, *(row.seed for row in rows)]))
    own = set(chosen)
    shown = []
    for seed in seeds:
        mine = [row for row in rows if row.seed == seed]
        if mine:
            shown.append(_group(seed, mine, stale=bool(seed) and seed not in own))
    without = [seed for seed in chosen if not any(row.seed == seed for row in rows)]
    new = plural(
        "1 prompt to repair has no lines yet: press the button again to have some written.",
        "{count} prompts to repair have no lines yet: press the button again to have some written.",
        len(without),
    )
    about = t(
        "Untick what does not fit, and change any line: what you change counts as your own prompt, and is used as you "
        "wrote it unless it looks harmful. “To be refused” marks requests that the model is taught to go on refusing."
    )
    return (
        f"<p class='st-hint'>{about}</p>{f'<p class=st-harmful>{escape(new)}</p>' if without else ''}"
        f"{_ticks(t('Tick all lines'), t('Tick none at all')) if len(shown) > 1 else ''}{''.join(shown)}"
    )


def _group(seed: str, rows: Sequence[Row], *, stale: bool) -> str:
    """The lines made of one prompt; those that the filters left out are folded."""
    kept, others = [row for row in rows if row.kept or not row.why], [row for row in rows if not row.kept and row.why]
    id = rows[0].id
    head = escape(seed) if seed else t("Given by a script")
    tools = ""
    if kept and not stale:
        tools = _ticks(t("Tick all"), t("Tick none"))
    said = (
        f"<p class='st-harmful'>{t('This prompt is not to be repaired any more: its lines are not used.')}</p>"
        if stale
        else ""
    )
    left_out = ""
    if others:
        what = plural("1 line was left out: see why", "{count} lines were left out: see why", len(others))
        left_out = (
            f"<details class='st-problems' data-seed='{id}'><summary>{what}</summary>"
            f"{_lines(others, stale)}</details>"
        )
    return (
        f"<section class='st-row st-variants' data-seed='{id}'><div class='st-row-head'>"
        f"<span class='st-prompt'>{head}</span>{tools}</div>{said}{_lines(kept, stale)}{left_out}</section>"
    )


def _ticks(all: str, none: str) -> str:
    """The buttons for all lines of a prompt, or of the table, but for those that were left out."""
    return (
        f"<span class='st-ticks'><button type='button' class='st-copy' data-tick='all'>{all}</button>"
        f"<button type='button' class='st-copy' data-tick='none'>{none}</button></span>"
    )


def _lines(rows: Sequence[Row], stale: bool) -> str:
    if not rows:
        return ""
    names = (t("Use"), t("Prompt"), t("What it is"), t("Written by"))
    head = "".join(f"<th scope='col'>{name}</th>" for name in names)
    return (
        f"<table class='st-table'><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(_line(row, stale) for row in rows)}</tbody></table>"
    )


def _line(row: Row, stale: bool) -> str:
    form, disabled = t(words.FORMS[row.form]), " disabled" if stale else ""
    badge = f"<span class='st-badge{' st-refused' if row.form == 'twin' else ''}'>{escape(form)}</span>"
    why = t("Left out: {why}.", why=translated(row.why)) if row.why else ""
    why = t(words.LINE_LOOKS_HARMFUL) if row.flagged else why
    said = f"<p class='st-hint'>{escape(why)}</p>" if why else ""
    rows = ceil(len(row.text) / CHARACTERS_A_LINE) or 1
    return (
        f"<tr data-id='{row.id}'{' data-kept' * (row.kept or not row.why)}>"
        f"<td><input type='checkbox' aria-label='{escape(t('Use this line'))}' aria-describedby='line-{row.id}'"
        f"{' checked' * row.ticked}{disabled}></td>"
        f"<td><textarea id='line-{row.id}' rows='{rows}' dir='auto' spellcheck='false' autocomplete='off' "
        f"aria-label='{escape(form)}'{disabled}>{escape(row.text)}</textarea>{said}</td>"
        f"<td>{badge}</td>"
        f"<td class='st-mark'>{escape(t(words.WRITTEN_BY['you' if row.changed else row.by]))}</td></tr>"
    )
