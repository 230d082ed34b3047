"""HTML of prompts with replies and verdicts: what step 2 lists, and the pairs of step 4.

Each pair carries what lists.js needs to filter, copy and walk through the list: its `pair_id`, its outcome and the
strength of its second reply. Everything that a person or a model wrote goes through `escape`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from app import words
from app.compared import Pair, pair_id
from app.differences import marked_up
from app.language import number, t
from app.marks import UNTUNED, Marks
from app.render import badge, outcome_badge

if TYPE_CHECKING:
    from actor_core.generate import Reply

__all__ = ["MARK_JS", "cards", "checked_table", "reply_text", "side", "verdict_table"]

CHECKED_SHOWN = 200  # more make step 2 slow; the rest is counted


# Runs once a list is on the page: a click on one of its correcting or including buttons becomes an event of the list,
# with what the button and the pair around it say. The listener stands on the list's frame, which stays when its HTML is
# new.
MARK_JS = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-mark], [data-include]");
  if (!button) return;
  const pair = button.closest("[data-id]");
  trigger("click", {
    id: pair.dataset.id, at: pair.dataset.at, side: button.dataset.side, verdict: button.dataset.mark,
    include: button.dataset.include,
  });
});
"""


def checked_table(
    replies: Sequence[Reply],
    chosen: Iterable[str],
    marks: Marks,
    waiting: int = 0,
    *,
    flagged: Iterable[str] = (),
    may_include: bool = True,
) -> str:
    """What the model said to each of the visitor's prompts, and which are to be repaired.

    ``flagged`` are those of them that look harmful, and come first; ``may_include``: whether the visitor may have
    one repaired all the same.
    """
    if not replies:
        return ""
    picked, harmful = set(chosen), set(flagged)
    rows = []
    for heard in sorted(replies, key=lambda r: (r.prompt not in harmful, r.verdict.value != "refused"))[:CHECKED_SHOWN]:
        reply = marks.of(heard, UNTUNED)
        repaired = f"<span class='st-mark'>{t('will be repaired')}</span>" if reply.prompt in picked else ""
        marked = marks.has(reply.prompt, UNTUNED)
        rows.append(
            f"<li class='st-row' data-id='{pair_id(reply.prompt)}'><div class='st-row-head'>"
            f"{_verdict(reply, 'before', marked)}"
            f"<span class='st-prompt'>{escape(reply.prompt)}</span>{repaired}</div>"
            f"{_looks_harmful(reply.prompt in picked, may_include) if reply.prompt in harmful else ''}"
            f"{reply_text(reply)}</li>"
        )
    rest = f"<p class='st-hint'>{t('{count} more are being asked …', count=waiting)}</p>" if waiting else ""
    more = len(replies) - CHECKED_SHOWN
    cut = f"<p class='st-hint'>{t('… and {count} more.', count=number(more, ','))}</p>" if more > 0 else ""
    return f"<ul class='st-rows'>{''.join(rows)}</ul>{cut}{rest}"


def cards(pairs: Sequence[Pair], empty: str) -> str:
    """Before and after, side by side."""
    if not pairs:
        return f"<p class='st-hint'>{escape(empty)}</p>"
    shown = []
    for pair in pairs:
        outcome = pair.outcome
        differing = (pair.after and marked_up(pair.before.text, pair.after.text)) or (None, None)
        shown.append(
            f"<article class='st-pair' {_facts(pair, outcome)}><header>"
            f"<span class='st-prompt'>{escape(pair.prompt)}</span>{outcome_badge(outcome)}{_copy()}</header>"
            f"<div class='st-sides'>{side('before', pair.before, pair.marked[0], differing[0])}"
            f"{side('after', pair.after, pair.marked[1], differing[1])}</div></article>"
        )
    return f"<div class='st-pairs st-list' {_list()}>{''.join(shown)}</div>"


def verdict_table(pairs: Sequence[Pair], empty: str) -> str:
    """Harmful prompts with their verdicts, and without any reply."""
    if not pairs:
        return f"<p class='st-hint'>{escape(empty)}</p>"
    rows = []
    for pair in pairs:
        outcome = pair.harmful_outcome
        after = _verdict(pair.after, "after", pair.marked[1]) if pair.after else ""
        rows.append(
            f"<tr {_facts(pair, outcome)}><td class='st-text st-prompt'>{escape(pair.prompt)}</td>"
            f"<td data-label='{t('Before')}'>{_verdict(pair.before, 'before', pair.marked[0])}</td>"
            f"<td data-label='{t('After')}'>{after}</td>"
            f"<td>{outcome_badge(outcome) if outcome != 'unchanged' else ''}"
            f"{_copy()}</td></tr>"
        )
    head = "".join(f"<th>{name}</th>" for name in (t("Prompt"), t("Before"), t("After"), t("Change")))
    return (
        f"<table class='st-table st-verdicts'><thead><tr>{head}</tr></thead>"
        f"<tbody class='st-list' {_list()}>{''.join(rows)}</tbody></table>"
    )


def reply_text(reply: Reply, marked: str | None = None) -> str:
    """``marked``: its text as `marked_up` gave it, in place of the plain one."""
    text = marked or escape(reply.text) or f"<em>({t('empty')})</em>"
    return f"<div class='st-reply'>{text}{' …' if reply.truncated else ''}</div>"


def side(place: str, reply: Reply | None, marked: bool, differing: str | None) -> str:
    """One model's reply, with its verdict; ``place`` is before or after. ``differing``: its text as `marked_up` gave
    it."""
    title = t("Before") if place == "before" else t("After")
    if reply is None:
        return f"<section><h3>{title}</h3><p class='st-hint'>{t('not asked yet')}</p></section>"
    return f"<section><h3>{title} {_verdict(reply, place, marked)}</h3>{reply_text(reply, differing)}</section>"


def _facts(pair: Pair, outcome: str) -> str:
    marked = " data-marked" if any(pair.marked) else ""
    return f"tabindex='-1' data-id='{pair.id}' data-at='{pair.at:g}' data-outcome='{escape(outcome)}'{marked}"


def _copy() -> str:
    """A button that copies what the pair around it shows: lists.js puts that together."""
    return f"<button type='button' class='st-copy' data-copy-pair>{t('Copy')}</button>"


def _list() -> str:
    return f"tabindex='0' aria-label='{t('Prompts with their replies before and after')}'"


def _verdict(reply: Reply, side: str, marked: bool) -> str:
    """The verdict that counts, with the buttons to correct it or to take the correction back."""
    kind = reply.verdict.value
    shown = badge(kind, t("{verdict}, by you", verdict=t(words.VERDICTS[kind])) if marked else None)
    if marked:
        buttons = _correcting(side, "", t("Undo"))
    else:
        others = (other for other in ("answered", "refused") if other != reply.verdict.value)
        buttons = "".join(_correcting(side, other, t(words.CORRECTED[other])) for other in others)
    return f"<span class='st-verdict'>{shown}{buttons}</span>"


def _looks_harmful(included: bool, may_include: bool) -> str:
    """Names a prompt as one that should be refused, with the button to repair it all the same, or to undo that."""
    button = ""
    if may_include:
        include, label = ("", words.LEAVE_OUT) if included else ("yes", words.INCLUDE)
        button = f"<button type='button' class='st-correct' data-include='{include}'>{escape(t(label))}</button>"
    said = words.LOOKS_HARMFUL_INCLUDED if included else words.LOOKS_HARMFUL
    return f"<p class='st-harmful'><span>{escape(t(said))}</span> {button}</p>"


def _correcting(side: str, verdict: str, label: str) -> str:
    return f"<button type='button' class='st-correct' data-side='{side}' data-mark='{verdict}'>{escape(label)}</button>"
