"""HTML of what asking otherwise showed: three ways of asking in a table, and verdicts over wordings as strips.

A strip has a small cell for each wording, told by its sign and by its colour; what was asked and what came of it is
the cell's name, shown when it is pointed at or has the focus. lists.js walks along a strip with the arrow keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from app import compared, words
from app.language import later, number, plural, t, translated
from app.pairs import reply_text
from app.render import badge, between

if TYPE_CHECKING:
    from actor_core.evaluate import Rates
    from actor_core.generate import Reply
    from actor_core.judge import Verdict
    from actor_core.perspectives import Perspectives
    from actor_core.steadiness import Reworded, Wrapped
    from app.session import Session

__all__ = ["perspectives", "steadiness"]

SIGNS = {"answered": "✓", "refused": "✕", "incoherent": "~"}
WAYS = later(("The old model as it is", "The old model, asked to weigh perspectives", "The tuned model"))
TOGETHER = later("Replies are computed several at once: a single one takes longer than these seconds.")


def perspectives(session: Session, *, for_others: bool = False) -> str:
    """What was found at the strength that is set, with the verdicts that count; '' where nothing was.

    ``for_others``: it is read by people whose prompts these are not.
    """
    found, own = session.perspectives.get(session.strength), compared.in_three_ways(session)
    if found is None:
        return ""
    rows = "".join(
        f"<tr><td class='st-text'>{t(way)}</td>"
        + "".join(f"<td data-label='{head}'>{column[place]}</td>" for head, column in _columns(found, own, for_others))
        + "</tr>"
        for place, way in enumerate(WAYS)
    )
    heads = (t("Way of asking"), *(head for head, _ in _columns(found, own, for_others)))
    return _table(heads, rows) + (f"<p class='st-hint'>{t(TOGETHER)}</p>{_weighed(own)}" if own else "")


def steadiness(session: Session) -> str:
    """As `perspectives`, of the wordings and the jailbreaks."""
    found = session.steadiness.get(session.strength)
    if found is None:
        return ""
    return (_reworded(found.reworded) if found.reworded else "") + (_wrapped(found.wrapped) if found.wrapped else "")


def _columns(
    found: Perspectives, own: Sequence[Sequence[Reply]] | None, for_others: bool
) -> list[tuple[str, list[str]]]:
    """Each column's head, and its cell for each of `WAYS`."""
    columns = []
    if own is not None and found.own is not None:
        arms = (found.own.untuned, found.own.weighed, found.own.tuned)
        title = t("The prompts refused") if for_others else t("Your prompts refused")
        columns.append((title, [_of(sum(map(_refused, replies)), len(replies)) for replies in own]))
    if found.harmful is not None:
        columns.append((t("Harmful prompts refused"), [_of(rates.refused, rates.n) for rates in found.harmful]))
    if own is not None and found.own is not None:
        columns.append((t("Tokens a reply"), [number(arm.tokens, ".0f") for arm in arms]))
        columns.append((t("Seconds a reply"), [number(arm.seconds, ".2f") for arm in arms]))
    return columns


def _weighed(own: Sequence[Sequence[Reply]]) -> str:
    """What the old model said when it was asked to weigh perspectives."""
    rows = "".join(
        f"<li class='st-row'><div class='st-row-head'>{badge(reply.verdict.value)}"
        f"<span class='st-prompt'>{escape(reply.prompt)}</span></div>{reply_text(reply)}</li>"
        for reply in own[1]
    )
    title = t("What the old model says when it is asked to weigh perspectives")
    return f"<details class='st-problems'><summary>{title}</summary><ul class='st-rows'>{rows}</ul></details>"


def _reworded(rows: Sequence[Reworded]) -> str:
    sides = [[row.before for row in rows], [row.after for row in rows]]
    refused = [sum(verdict.value == "refused" for row in side for verdict in row) for side in sides]
    alike = [sum(len(set(row)) == 1 for row in side) for side in sides]
    said = t(
        "Refused: {before} of {n} wordings before, {after} after.",
        before=refused[0],
        after=refused[1],
        n=sum(len(row.wordings) for row in rows),
    )
    said += " " + plural(
        "One verdict whatever the wording: {before} of 1 prompt before, {after} after.",
        "One verdict whatever the wording: {before} of {count} prompts before, {after} after.",
        len(rows),
        before=alike[0],
        after=alike[1],
    )
    signs = " ".join(
        f"<span class='st-cell st-{verdict}' aria-hidden='true'>{sign}</span> {t(words.VERDICTS[verdict])}"
        for verdict, sign in SIGNS.items()
    )
    heads = (t("Prompt"), t("Refused before"), t("Refused after"))
    shown = "".join(
        f"<tr><td class='st-text st-prompt'>{escape(row.prompt)}</td>"
        f"<td data-label='{heads[1]}'>{_strip(row.wordings, row.before)}</td>"
        f"<td data-label='{heads[2]}'>{_strip(row.wordings, row.after)}</td></tr>"
        for row in rows
    )
    return f"<p class='st-result'>{said}</p><p class='st-hint'>{signs}</p>{_table(heads, shown, 'st-strips')}"


def _strip(wordings: Sequence[str], verdicts: Sequence[Verdict]) -> str:
    """One cell can be reached with the tab key, the others from there."""
    count = sum(verdict.value == "refused" for verdict in verdicts)
    said = t("{done} of {total}", done=count, total=len(verdicts))
    cells = "".join(
        f"<span class='st-cell st-{verdict.value}' role='img' tabindex='{-1 if place else 0}' "
        f"aria-label='{escape(f'“{wording}”: {t(words.VERDICTS[verdict.value])}')}'>{SIGNS[verdict.value]}</span>"
        for place, (wording, verdict) in enumerate(zip(wordings, verdicts, strict=False))
    )
    name = t("Refused in {done} of {total} wordings", done=count, total=len(verdicts))
    return (
        f"<div class='st-strip' role='group' aria-label='{name}'>{cells}"
        f"<span class='st-mark' aria-hidden='true'>{said}</span></div>"
    )


def _wrapped(rows: Sequence[Wrapped]) -> str:
    """Harmful prompts: the counts alone."""
    shown = "".join(_trick(translated(row.name), row.before, row.after) for row in rows)
    tricks = rows[1:]  # the first is without one
    if len(tricks) > 1:
        before, after = ([getattr(row, side) for row in tricks] for side in ("before", "after"))
        shown += _trick(t("All tricks together"), _sum(before), _sum(after), interval=True)
    title = t("Harmful prompts, as they are and with tricks around them")
    heads = (t("Trick"), t("Refused before"), t("Refused after"))
    return f"<p class='st-result'>{title}</p>{_table(heads, shown)}"


def _trick(name: str, before: Rates, after: Rates, *, interval: bool = False) -> str:
    cells = []
    for title, rates in ((t("Refused before"), before), (t("Refused after"), after)):
        share, low, high = rates.share("refused")
        within = f" <span class='st-mark'>({100 * share:.0f} %; {between(low, high)})</span>" if interval else ""
        cells.append(f"<td data-label='{title}'>{_of(rates.refused, rates.n)}{within}</td>")
    return f"<tr><td class='st-text'>{escape(name)}</td>{''.join(cells)}</tr>"


def _table(heads: Sequence[str], rows: str, css: str = "st-counts") -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table class='st-table st-verdicts {css}'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _sum(parts: Sequence[Rates]) -> Rates:
    verdicts = ("answered", "refused", "incoherent")
    return type(parts[0])(*(sum(getattr(part, verdict) for part in parts) for verdict in verdicts))


def _refused(reply: Reply) -> bool:
    return reply.verdict.value == "refused"


def _of(count: int, n: int) -> str:
    return t("{done} of {total}", done=count, total=n)
