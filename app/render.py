"""HTML of what the page shows. Everything that a person or a model wrote goes through `escape`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from app import words
from app.errors import Notice
from app.language import number, plural, t, translated

if TYPE_CHECKING:
    from actor_core.prompts import Problem
    from actor_core.two_changes import Likeness
    from app.jobs import Job
    from app.session import ExportRecord, Two

__all__ = ["badge", "copy_button", "job_panel", "notice", "problems_table", "tiles"]

SHOWN_ROWS = 200  # more make a page slow; the rest is counted


def badge(kind: str, text: str | None = None) -> str:
    """A verdict or an outcome: told by its word, and by its colour."""
    css = kind.replace(" ", "-")
    return f'<span class="st-badge st-{escape(css)}">{escape(text or t(words.VERDICTS.get(kind, kind)))}</span>'


def outcome_badge(outcome: str) -> str:
    """What became of a prompt; '' while that is not known."""
    return badge(outcome, t(words.OUTCOMES.get(outcome, outcome))) if outcome else ""


def copy_button(text: str) -> str:
    return f'<button type="button" class="st-copy" data-copy="{escape(text)}">{t("Copy")}</button>'


def notice(message: Notice | None) -> str:
    """A message in its one form: heading, what happened and why, what to do, and what to copy into a report."""
    if message is None:
        return ""
    role = "alert" if message.kind in ("error", "warning") else "status"
    copy = copy_button(message.whole()) if message.kind == "error" else ""
    head = f"<strong class='st-notice-what'>{escape(translated(message.heading))}</strong>" if message.heading else ""
    top = f"<div class='st-notice-head'>{head}{copy}</div>" if head or copy else ""
    text = "".join(f"<p>{escape(translated(part))}</p>" for part in message.text.split("\n") if part.strip())
    todo = ""
    if message.todo:
        todo = f"<p><strong>{t('What to do:')}</strong> {escape(translated(message.todo))}</p>"
    details = ""
    if message.details:
        details = f"<details><summary>{t('Details')}</summary><pre>{escape(message.details)}</pre></details>"
    return f'<div class="st-notice st-{escape(message.kind)}" role="{role}">{top}{text}{todo}{details}</div>'


def job_panel(job: Job, ahead: int) -> str:
    """Stage, bar, figures and time left of a job."""
    title, line, share = words.job_line(job, ahead)
    percent = 0 if share is None else round(100 * min(1.0, share))
    bar = (
        f'<div class="st-bar" role="progressbar" aria-label="{escape(title)}" aria-valuemin="0" '
        'aria-valuemax="100" '
        f'aria-valuenow="{percent}"><div style="width:{percent}%"></div></div>'
        if share is not None
        else '<div class="st-bar st-unknown"><div></div></div>'
    )
    shown = f"{percent} %" if share is not None else ""
    return (
        f'<div class="st-job" aria-live="polite"><div class="st-job-head"><strong>{escape(title)}</strong>'
        f"<span>{shown}</span></div>{bar}<div class='st-job-line'>{escape(line) or '&nbsp;'}</div></div>"
    )


def now(job: Job, ahead: int) -> str:
    """What the tab's title says of a job; it is read by page.js and not seen."""
    doing, _, share = words.job_line(job, ahead)
    percent = "" if share is None else str(round(100 * min(1.0, share)))
    return f'<span data-doing="{escape(doing)}" data-percent="{percent}"></span>'


def problems_table(problems: Sequence[Problem]) -> str:
    """Which rows of what was typed were left out, and why."""
    if not problems:
        return ""
    rows = "".join(
        f"<tr><td>{p.row}</td><td class='st-text'>{escape(p.text)}</td><td>{escape(translated(p.why))}</td></tr>"
        for p in problems[:SHOWN_ROWS]
    )
    head = plural(
        "1 row was left out or changed: see which",
        "{count} rows were left out or changed: see which",
        len(problems),
    )
    return (
        f"<details class='st-problems'><summary>{head}</summary>"
        f"<table class='st-table'><thead><tr><th>{t('Row')}</th><th>{t('Text')}</th><th>{t('Why')}</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{_more(len(problems))}</details>"
    )


def tiles(items: Sequence[tuple[str, str, str, str]]) -> str:
    """Summary figures: (tone, what, figure, explanation) each."""
    return (
        "<div class='st-tiles'>"
        + "".join(
            f"<div class='st-tile st-{escape(tone)}'><div class='st-what'>{escape(what)}</div>"
            f"<div class='st-figure'>{escape(figure)}</div><div class='st-detail'>{escape(detail)}</div>"
            "</div>"
            for tone, what, figure, detail in items
        )
        + "</div>"
    )


def export_card(record: ExportRecord, command: str, folder: str = "") -> str:
    """One exported file: what it is, its size, what its check showed, how it is used, and where it lies."""
    name, audience = words.EXPORT_KINDS.get(record.kind, (record.kind, ""))
    if record.failed:
        marks = badge("refused", t("check failed"))
    else:
        marks = badge("answered", t("checked")) if record.checked else badge("incoherent", t("not checked"))
    if record.guard_passed is False:
        marks += " " + badge("refused", t("guard not passed"))
    audience = t(audience)
    return (
        f"<article class='st-export'><header><strong>{escape(t(name))}</strong> {marks}"
        f"<span class='st-mark'>{escape(words.size(record.bytes))} · {escape(record.made)}</span></header>"
        f"<p>{escape(audience[:1].upper() + audience[1:])}</p>"
        f"<p class='st-check'>{escape(translated(record.check_words))}</p>"
        f"{_rank_errors(record)}{_address(record)}"
        f"{_place(folder)}"
        f"{_command(command)}"
        "</article>"
    )


def programs_table(rows: Sequence[tuple[str, str, str, str, str]]) -> str:
    """What takes what: (program, kind of file, what it needs, command, why there is no such file)."""
    shown = []
    for name, kind, needs, command, why_not in rows:
        below = (
            f"<p class='st-hint'>{t('Not for this model: {why}.', why=escape(why_not))}</p>"
            if why_not
            else f"<p>{escape(needs)}</p>{_command(command)}"
        )
        shown.append(
            f"<article class='st-export'><header><strong>{escape(name)}</strong>"
            f"<span class='st-mark'>{escape(kind)}</span></header>{below}</article>"
        )
    return f"<div class='st-pairs'>{''.join(shown)}</div>"


def two_changes(two: Two | None) -> str:
    """Two changes of one model: how alike their matrices are, and what the model refuses with each."""
    if two is None:
        return ""
    if two.likeness:
        alike = "; ".join(how_alike(each, (1.0, 1.0)) for each in two.likeness)
    else:
        alike = t("they change different layers, so that their matrices cannot be compared")
    rows = ""
    for row in two.sets:
        cells = []
        for rates in (row.first, row.second):
            share, low, high = rates.share("refused")
            cells.append(f"{100 * share:.0f} % <span class='st-mark'>({between(low, high)})</span>")
        rows += (
            f"<tr><td class='st-text'>{escape(translated(row.name))}</td><td>{row.first.n}</td><td>{cells[0]}</td>"
            f"<td>{cells[1]}</td><td>{row.same_verdict}</td></tr>"
        )
    said = t(
        "This change at strength {strength} and “{name}”: {alike}. A cosine of 1 is the same direction, 0 has nothing "
        "in common.",
        strength=number(two.strength),
        name=two.name,
        alike=alike,
    )
    heads = (t("Refused (95 %)"), "n", t("This one"), t("The other"), t("Same verdict"))
    head = "".join(f"<th>{name}</th>" for name in heads)
    return (
        f"<p class='st-hint'>{escape(said)}</p>"
        f"<table class='st-table'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def between(low: float, high: float) -> str:
    """The bounds of an interval, in percent without the sign."""
    return t("{low} to {high}", low=f"{100 * low:.0f}", high=f"{100 * high:.0f}")


def how_alike(likeness: Likeness, times: tuple[float, float]) -> str:
    """One module of two changes, each as large as its strength in ``times`` makes it."""
    sizes = [number(norm * strength, ".3g") for norm, strength in zip(likeness.norms, times, strict=True)]
    return t(
        "{module}: cosine {cosine}, sizes {first} and {second}",
        module=likeness.module,
        cosine=number(likeness.cosine, ".2f"),
        first=sizes[0],
        second=sizes[1],
    )


def _command(command: str) -> str:
    return f"<div class='st-command'><pre>{escape(command)}</pre>{copy_button(command)}</div>"


def _place(folder: str) -> str:
    return f"<p class='st-check'>{t('It lies in {folder}', folder=escape(folder))}</p>" if folder else ""


def _rank_errors(record: ExportRecord) -> str:
    if not record.rank_errors:
        return ""
    said = t(
        "The trained layer was approximated by an adapter of low rank. What each rank loses: {ranks}.",
        ranks=record.rank_errors,
    )
    return f"<p class='st-check'>{escape(said)}</p>"


def _address(record: ExportRecord) -> str:
    if not record.address:
        return ""
    link = escape(record.address)
    shown = f"<a href='{link}' target='_blank' rel='noopener noreferrer'>{link}</a>"
    return f"<p class='st-check'>{t('On the hub:')} {shown}</p>"


def _more(count: int) -> str:
    return f"<p class='st-hint'>{t('… and {count} more.', count=count - SHOWN_ROWS)}</p>" if count > SHOWN_ROWS else ""
