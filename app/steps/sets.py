"""The lists of step 4: the visitor's prompts and each held-out set, before and after, in a tab each.

A list is drawn whole. Searching, filtering, walking and copying happen in the browser (app/lists.js), so that they
answer at once and what is typed there outlives a list that is drawn anew.
"""

from __future__ import annotations

from html import escape

import gradio as gr

from app import compared, pairs, words
from app.language import later, number, t
from app.page import Page, View
from app.session import Session
from app.steps import marking
from app.work import SETS

__all__ = ["build", "restore", "view", "wire"]

TABS = later({"own": "Your prompts", "look_alike": "Look-alikes", "harmful": "Harmful", "ordinary": "Ordinary"})
ABOUT = later(
    {
        "look_alike": "Harmless questions that look harmful; none was used for tuning. They should be answered.",
        "harmful": "Harmful questions; none was used for tuning. They must still be refused. Replies to them "
        "are not shown.",
        "ordinary": "Everyday questions that were not used for tuning. They should be answered as before.",
    }
)
OUTCOMES = ("fixed", "still refused", "newly refused", "newly incoherent", "unchanged")
DIFFERENCES = later(
    "What only the reply before says is <del>struck through</del>, what only the one after says is "
    "<ins>underlined</ins>; replies with nearly nothing in common stay plain."
)
KEYS = later(
    "Keys, once the list has the focus: <kbd>j</kbd> or <kbd>↓</kbd> to the next prompt, "
    "<kbd>k</kbd> or <kbd>↑</kbd> to the one before, <kbd>c</kbd> copies it with both replies and verdicts."
)
HARMFUL_OUTCOMES = ("newly answered", "newly refused", "unchanged")


def build(page: Page) -> None:
    """A tab each, inside the tabs that are open."""
    for name, title in TABS.items():
        with gr.Tab(t(title), id=name) as tab:
            page.add(f"tab_{name}", tab)
            if name in ABOUT:
                gr.HTML(f"<p class='st-hint'>{t(ABOUT[name])}</p>", elem_classes="st-slot")
            page.add(f"tools_{name}", gr.HTML("", elem_classes="st-slot", elem_id=f"tools-{name}"))
            page.add(
                f"set_{name}",
                gr.HTML(
                    "", elem_id=f"set-{name}", elem_classes=["st-slot", f"st-set-{name}"], js_on_load=pairs.MARK_JS
                ),
            )


def view(session: Session, *, comparing: bool) -> View:
    """Of harmful prompts the verdicts alone are shown, never a reply."""
    tuned = session.tuned is not None
    own = compared.own(session) if tuned else []
    shown: View = {"set_own": pairs.cards(own, "" if tuned else t("Nothing was tuned yet."))}
    counts = {"own": len(own)}
    empty = t("Being asked …") if comparing else t("Not asked at this strength yet: see “Compare again” below.")
    for name in SETS:
        rows = compared.held_out(session, name)
        counts[name] = len(rows)
        shown[f"set_{name}"] = (pairs.verdict_table if name == "harmful" else pairs.cards)(rows, empty)
    for name, title in TABS.items():
        shown[f"tab_{name}"] = gr.Tab(label=f"{t(title)} ({number(counts[name], ',')})" if counts[name] else t(title))
    return shown


def restore() -> View:
    """What stays as it is: the browser translates no part that is made of several texts."""
    return {f"tools_{name}": _tools(name) for name in TABS}


def wire(page: Page) -> None:
    for name in TABS:
        page.on(page.parts[f"set_{name}"].click, "compare", marking.clicked, with_data=True)


def _tools(name: str) -> str:
    """The search field and the outcomes to choose from, for the list beside it."""
    outcomes = HARMFUL_OUTCOMES if name == "harmful" else OUTCOMES
    choices = (
        {"all": t("all")} | {each: t(words.OUTCOMES[each]) for each in outcomes} | {"by you": t("corrected by you")}
    )
    radios = "".join(
        f"<label><input type='radio' name='show-{name}' value='{escape(value)}'{' checked' * (value == 'all')}>"
        f"{escape(label)} <span data-count='{escape(value)}'></span></label>"
        for value, label in choices.items()
    )
    where = t("Search prompts") if name == "harmful" else t("Search prompts and replies")
    differences = (
        ""
        if name == "harmful"
        else f"<label class='st-switch'><input type='checkbox' data-differences>{t('Show differences')}</label>"
        f"<span class='st-hint'>{t(DIFFERENCES)}</span>"
    )
    return (
        f"<div class='st-tools' data-list='set-{name}'><label class='st-search'><span>{where}</span>"
        "<input type='search' autocomplete='off' spellcheck='false'></label>"
        f"<fieldset><legend>{t('Show')}</legend>{radios}</fieldset>{differences}"
        f"<p class='st-hint st-keys'>{t(KEYS)}</p><p class='st-hint' role='status' data-found></p></div>"
    )
