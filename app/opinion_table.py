"""HTML of what another judge says of the verdicts: how far it agrees, list by list, and where it differs.

Of harmful prompts the verdicts alone are shown, as everywhere on the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from app import second_opinion as opinions
from app import words
from app.language import later, number, plural, t
from app.pairs import reply_text
from app.render import badge
from app.second_opinion import Read
from app.session import Session

__all__ = ["second_opinion"]

SHOWN = 100  # replies on which the two differ; the rest is counted
NAMES = later({"own": "Your prompts", "look_alike": "Look-alikes", "harmful": "Harmful", "ordinary": "Ordinary"})
INCOHERENT = later(
    "It knows refusals alone: a reply that makes no sense counts as not refused here. Neither judge is always right: "
    "where they differ, look yourself."
)
PROBABILITY = later("The percentage is the probability of a refusal, as the other judge sees it.")


def second_opinion(session: Session, *, for_others: bool = False) -> str:
    """What was found at the strength that is set, beside the verdicts that count; '' where nothing was.

    ``for_others``: it is read by people whose prompts and corrections these are not.
    """
    lists = opinions.read(session)
    if not lists:
        return ""
    every = [each for rows in lists.values() for each in rows]
    said = t(
        "{name} agrees with {same} of {n} verdicts ({share} %).",
        name=escape(session.opinions[session.strength].judge),
        same=number(_agreeing(every), ","),
        n=number(len(every), ","),
        share=f"{100 * _agreeing(every) / len(every):.0f}",
    )
    return (
        f"<p class='st-result'>{said}</p><p class='st-hint'>{_hints(session, every, for_others)}</p>"
        f"{_counts(lists, for_others)}{_differing(lists, for_others)}"
    )


def _hints(session: Session, every: Sequence[Read], for_others: bool) -> str:
    said = [t(INCOHERENT)]
    marked = sum(each.marked for each in every)
    if marked:
        said.append(
            plural("1 verdict was corrected by a person.", "{count} verdicts were corrected by a person.", marked)
        )
    more = opinions.replies_shown(session) - len(every)
    if more > 0:
        said.append(plural("1 reply was not read.", "{count} replies were not read.", more))
    return " ".join(said)


def _counts(lists: dict[str, list[Read]], for_others: bool) -> str:
    heads = (t("List"), t("Same verdict"), t("Refused, by this page"), t("Refused, by the other judge"))
    rows = ""
    for name, every in lists.items():
        sides = [[each for each in every if each.side == side] for side in ("before", "after")]
        same = t("{done} of {total}", done=_agreeing(every), total=len(every))
        ours = _change(sum(each.refused for each in side) for side in sides)
        theirs = _change(sum(each.opinion.refused for each in side) for side in sides)
        n = f"<span class='st-mark'>{t('of {count}', count=len(sides[0]))}</span>"
        rows += (
            f"<tr><td class='st-text'>{_name(name, for_others)}</td><td data-label='{heads[1]}'>{same}</td>"
            f"<td data-label='{heads[2]}'>{ours} {n}</td><td data-label='{heads[3]}'>{theirs} {n}</td></tr>"
        )
    return _table(heads, rows, "st-counts")


def _differing(lists: dict[str, list[Read]], for_others: bool) -> str:
    """The replies on which the two differ, in a group that can be opened."""
    every = [(name, each) for name, rows in lists.items() for each in rows if not each.agrees]
    if not every:
        return f"<p class='st-hint'>{t('They differ on no reply.')}</p>"
    heads = (t("Prompt"), t("Model"), t("This page"), t("The other judge"))
    rows = "".join(_row(name, each, heads, for_others) for name, each in every[:SHOWN])
    more = len(every) - SHOWN
    rest = f"<p class='st-hint'>{t('… and {count} more.', count=number(more, ','))}</p>" if more > 0 else ""
    title = plural("They differ on 1 reply: see which", "They differ on {count} replies: see which", len(every))
    return (
        f"<details class='st-problems'><summary>{title}</summary><p class='st-hint'>{t(PROBABILITY)}</p>"
        f"{_table(heads, rows)}{rest}</details>"
    )


def _row(name: str, each: Read, heads: Sequence[str], for_others: bool) -> str:
    kind = each.reply.verdict.value
    by = t("{verdict}, by a person") if for_others else t("{verdict}, by you")
    ours = badge(kind, by.replace("{verdict}", t(words.VERDICTS[kind])) if each.marked else None)
    chance = f"{100 * each.opinion.probability:.0f} %"
    theirs = badge("refused") if each.opinion.refused else badge("answered", t("not refused"))
    text = "" if name == "harmful" else reply_text(each.reply)
    css = f" class='st-set-{name}'" if name == "harmful" else ""
    return (
        f"<tr{css}><td class='st-text'><span class='st-prompt'>{escape(each.reply.prompt)}</span> "
        f"<span class='st-mark'>{_name(name, for_others)}</span>{text}</td>"
        f"<td data-label='{heads[1]}'>{t('Before') if each.side == 'before' else t('After')}</td>"
        f"<td data-label='{heads[2]}'>{ours}</td>"
        f"<td data-label='{heads[3]}'>{theirs} <span class='st-mark'>{chance}</span></td></tr>"
    )


def _name(name: str, for_others: bool) -> str:
    return t("The prompts") if for_others and name == "own" else t(NAMES[name])


def _agreeing(every: Sequence[Read]) -> int:
    return sum(each.agrees for each in every)


def _change(counts: Iterable[int]) -> str:
    return " → ".join(map(str, counts))


def _table(heads: Sequence[str], rows: str, css: str = "") -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table class='st-table st-verdicts {css}'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
