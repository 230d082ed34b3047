"""The comparison as one HTML file that opens anywhere: no script, no other file, nothing but what step 4 shows.

It names the model, the layer and the strength, and says which verdicts a person gave. Of the held-out harmful
prompts it holds the verdicts and no reply; no path, no id and no address of this machine is in it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from secrets import token_urlsafe

from actor_core.errors import ExportError
from actor_core.export.base import describe_base
from actor_core.weights.whole_files import put_file
from app import compared, figures, opinion_table, render, strips, words
from app.compared import Pair
from app.differences import marked_up
from app.language import language, later, number, plural, t
from app.pairs import reply_text
from app.render import badge, outcome_badge
from app.session import Session, Trial
from app.steps.sets import DIFFERENCES
from app.work import tuned_of

__all__ = ["shared_page", "write_shared"]

SETS = later(
    {
        "look_alike": (
            "Harmless look-alikes",
            "Harmless questions that look harmful; none was used for tuning. They should be answered.",
        ),
        "ordinary": (
            "Ordinary prompts",
            "Everyday questions that were not used for tuning. They should be answered as before.",
        ),
        "harmful": (
            "Harmful prompts",
            "None was used for tuning. They must still be refused. Replies to them are not in this file.",
        ),
    }
)
CONVERSATION = later(
    (
        "A conversation with both models",
        "Each goes on from what it said itself. The figures above do not count it.",
    )
)
OTHERWISE = later(
    {
        "perspectives": "Asked to weigh perspectives first",
        "steadiness": "In other words, and with tricks",
        "opinion": "What another judge says of the verdicts",
    }
)
STYLE = """
:root { color-scheme: light dark; --back: #f6f7fa; --card: #fff; --text: #1c2434; --soft: #55617a; --line: #d9dfe9;
  --good: #15703f; --good-bg: #e4f5ea; --bad: #a92a1f; --bad-bg: #fdeae8; --odd: #7a5200; --odd-bg: #fdf1d8; }
@media (prefers-color-scheme: dark) { :root { --back: #0f1523; --card: #172033; --text: #e6eaf2; --soft: #a9b4c7;
  --line: #36415a; --good: #7ddca2; --good-bg: #12351f; --bad: #ff9d92; --bad-bg: #45191a; --odd: #f2c877;
  --odd-bg: #3c2d0e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px clamp(14px, 4vw, 40px); max-width: 1100px; background: var(--back);
  color: var(--text); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; } h2 { margin: 32px 0 2px; font-size: 1.2rem; }
p { margin: 4px 0; max-width: 90ch; } .st-hint, .st-mark { color: var(--soft); font-size: 0.9rem; }
.st-tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 10px; margin-top: 16px; }
.st-tile, .st-pair { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; background: var(--card); }
.st-tile { border-top: 3px solid var(--line); } .st-tile.st-good { border-top-color: var(--good); }
.st-tile.st-bad { border-top-color: var(--bad); } .st-what, .st-detail { color: var(--soft); font-size: 0.87rem; }
.st-figure { font-size: 1.5rem; font-weight: 650; } .st-pair { margin-top: 10px; break-inside: avoid; }
.st-pair header { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: baseline; }
.st-prompt { font-weight: 600; flex: 1 1 16rem; min-width: 0; overflow-wrap: anywhere; }
.st-sides { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; margin-top: 8px; }
.st-sides section { min-width: 0; } h3 { margin: 0; font-size: 0.87rem; color: var(--soft); }
.st-reply { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 0.94rem; margin-top: 4px; }
.st-badge { display: inline-block; padding: 0 9px; border-radius: 999px; font-size: 0.8rem; font-weight: 600;
  background: var(--line); } .st-answered, .st-fixed { background: var(--good-bg); color: var(--good); }
.st-refused, .st-still-refused, .st-newly-refused { background: var(--bad-bg); color: var(--bad); }
.st-incoherent, .st-newly-incoherent, .st-newly-answered { background: var(--odd-bg); color: var(--odd); }
.harmful .st-refused, .harmful .st-newly-refused { background: var(--good-bg); color: var(--good); }
.harmful .st-answered, .harmful .st-newly-answered { background: var(--bad-bg); color: var(--bad); }
ins { text-decoration: underline 2px var(--good); text-underline-offset: 3px; background: var(--good-bg); }
del { text-decoration: line-through 2px var(--bad); background: var(--bad-bg); }
table { width: 100%; border-collapse: collapse; margin-top: 8px; font-size: 0.94rem; }
th, td { text-align: left; padding: 6px 8px; border-bottom: 1px solid var(--line); vertical-align: top; }
td { overflow-wrap: anywhere; }
.st-strip { display: flex; flex-wrap: wrap; gap: 3px; align-items: center; position: relative; }
.st-cell { width: 1.5em; height: 1.5em; border-radius: 4px; display: inline-grid; place-items: center;
  font-weight: 700; }
.st-cell:is(:hover, :focus)::after { content: attr(aria-label); position: absolute; left: 0; top: 100%; z-index: 1;
  width: max-content; max-width: min(26rem, 76vw); padding: 4px 8px; border: 1px solid var(--line);
  border-radius: 6px; background: var(--card); color: var(--text); font-weight: 400; }
.st-strip .st-mark { margin-left: 4px; } .st-result { margin-top: 16px; font-size: 1.05rem; }
.st-rows { list-style: none; margin: 0; padding: 0; } .st-row { padding: 8px 0; border-bottom: 1px solid var(--line); }
@media (max-width: 640px) {
  .st-verdicts thead { display: none; } .st-verdicts td { border: 0; padding: 2px 0; }
  .st-verdicts tr { display: flex; flex-wrap: wrap; gap: 2px 14px; padding: 8px 0;
    border-bottom: 1px solid var(--line); }
  .st-verdicts td.st-text { flex: 1 0 100%; }
  .st-verdicts td[data-label]::before { content: attr(data-label) " "; color: var(--soft); font-size: 0.82rem; } }
@media (max-width: 640px) { .st-sides { grid-template-columns: 1fr; gap: 8px; } th, td { padding: 5px 4px; } }
"""


def write_shared(session: Session, folder: Path) -> Path:
    """`shared_page` as a file in a new place under ``folder`` that nobody guesses. Raises `ExportError`
    where nothing is compared.
    """
    with session.lock:
        text = shared_page(session)
        base = describe_base(tuned_of(session).delta.base)
    place = folder / token_urlsafe(18)
    place.mkdir(parents=True)
    path = place / f"second-take-{base.slug}.html"
    put_file(path, text.encode())
    return path


def shared_page(session: Session) -> str:
    """The whole file: what is compared at the strength that is set. Raises `ExportError` where nothing is."""
    delta = tuned_of(session).delta
    own = compared.own(session)
    sets = {name: compared.held_out(session, name) for name in SETS}
    turns = compared.turns(session)
    if not (any(pair.after for pair in own) or any(sets.values()) or turns):
        raise ExportError("Nothing is compared at this strength yet: wait for the answers, or press “Compare again”.")
    base = describe_base(delta.base)
    title = f"{words.TITLE}: {t('{model} before and after', model=base.title)}"
    count = sum(figures.corrected(pairs) for pairs in (own, *sets.values()))
    count += sum(sum(marked) for _, marked in turns)
    facts = t(
        "Model {model} ({precision}), layer {layer}, strength {strength} on the slider of {program}; saved on {day}.",
        model=base.measured_on,
        precision=delta.base.precision,
        layer=delta.layer,
        strength=number(session.strength),
        program=words.TITLE,
        day=time.strftime("%Y-%m-%d"),
    )
    parts = [_section(t("Prompts that were to be repaired"), "", _cards(own))] if own else []
    for name, texts in SETS.items():
        heading, about = map(t, texts)
        if sets[name]:
            body = _table(sets[name]) if name == "harmful" else _cards(sets[name])
            parts.append(_section(heading, about, body, css=name))
    if ways := strips.perspectives(session, for_others=True):
        parts.append(_section(t(OTHERWISE["perspectives"]), "", ways, css="ways"))
    if steady := strips.steadiness(session):
        parts.append(_section(t(OTHERWISE["steadiness"]), "", steady, css="steady"))
    if second := opinion_table.second_opinion(session, for_others=True):
        parts.append(_section(t(OTHERWISE["opinion"]), "", second, css="opinion"))
    if turns:
        heading, about = map(t, CONVERSATION)
        parts.append(_section(heading, about, "".join(map(_turn, turns)), css="turns"))
    tiles = render.tiles(figures.tiles(session, comparing=False, for_others=True))
    how = [t("Replies are as the model gave them, greedy and cut after some sentences (…).")]
    how.append(t("The verdicts come from a program."))
    if count:
        how.append(
            plural(
                "One of them was corrected by a person, marked “by a person”.",
                "{count} of them were corrected by a person, marked “by a person”.",
                count,
            )
        )
    how.append(t(DIFFERENCES))
    return (
        f"<!doctype html>\n<html lang='{language()}'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<p>{escape(facts)}</p><p class='st-hint'>{' '.join(how)}</p>{tiles}{''.join(parts)}</body></html>\n"
    )


def _section(heading: str, about: str, body: str, css: str = "own") -> str:
    hint = f"<p class='st-hint'>{escape(about)}</p>" if about else ""
    return f"<section class='{css}'><h2>{escape(heading)}</h2>{hint}{body}</section>"


def _cards(pairs: Sequence[Pair]) -> str:
    shown = []
    for pair in pairs:
        old, new = (pair.after and marked_up(pair.before.text, pair.after.text)) or (None, None)
        after = (
            f"<h3>{t('After')} {_verdict(pair.after.verdict.value, pair.marked[1])}</h3>{reply_text(pair.after, new)}"
            if pair.after
            else f"<h3>{t('After')}</h3><p class='st-hint'>{t('not asked yet')}</p>"
        )
        shown.append(
            f"<article class='st-pair'><header><span class='st-prompt'>{escape(pair.prompt)}</span>"
            f"{_outcome(pair.outcome)}</header><div class='st-sides'><section>"
            f"<h3>{t('Before')} {_verdict(pair.before.verdict.value, pair.marked[0])}</h3>"
            f"{reply_text(pair.before, old)}"
            f"</section><section>{after}</section></div></article>"
        )
    return "".join(shown)


def _turn(told: tuple[Trial, tuple[bool, bool]]) -> str:
    turn, marked = told
    differing = marked_up(turn.before.text, turn.after.text) or (None, None)
    sides = ((t("Before"), turn.before), (t("After"), turn.after))
    shown = "".join(
        f"<section><h3>{title} {_verdict(reply.verdict.value, by)}</h3>{reply_text(reply, text)}</section>"
        for (title, reply), by, text in zip(sides, marked, differing, strict=True)
    )
    return (
        f"<article class='st-pair'><header><span class='st-prompt'>{escape(turn.before.prompt)}</span>"
        f"<span class='st-mark'>{t('strength {strength}', strength=number(turn.strength))}</span></header>"
        f"<div class='st-sides'>{shown}</div></article>"
    )


def _table(pairs: Sequence[Pair]) -> str:
    """Harmful prompts: the verdicts, and no reply."""
    rows = "".join(
        f"<tr><td>{escape(pair.prompt)}</td><td>{_verdict(pair.before.verdict.value, pair.marked[0])}</td>"
        f"<td>{_verdict(pair.after.verdict.value, pair.marked[1]) if pair.after else ''}</td>"
        f"<td>{_outcome(pair.harmful_outcome)}</td></tr>"
        for pair in pairs
    )
    head = "".join(f"<th>{name}</th>" for name in (t("Prompt"), t("Before"), t("After"), t("Change")))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _verdict(verdict: str, marked: bool) -> str:
    return badge(verdict, t("{verdict}, by a person", verdict=t(words.VERDICTS[verdict])) if marked else None)


def _outcome(outcome: str) -> str:
    return outcome_badge(outcome) if outcome != "unchanged" else ""
