"""In the panel of earlier runs: what can be cleared at once, damaged runs and those that nobody comes back for."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import gradio as gr

from app import render, words
from app.clearing import delete_damaged, delete_left
from app.errors import Notice
from app.history import History
from app.language import later, t, translated
from app.left_runs import DAYS_UNSEEN, rule
from app.page import Page, View
from app.session import Session
from app.shelf import DAMAGED, LEFT, Shelf
from app.studio import Studio

__all__ = ["build", "build_one", "build_question", "faults", "rule_of", "view", "wire"]

QUESTIONS = {
    DAMAGED: later("Delete the damaged runs? Nothing of them can be opened here. Exported files stay."),
    LEFT: later("Delete these runs? Whoever made them cannot open them again. Exported files stay."),
}


def build(page: Page) -> None:
    build_one(page, f"history_{DAMAGED}", t("Delete damaged runs"), t("Keep them"))
    page.add("history_left_said", gr.HTML("", elem_id="history-left-said", elem_classes="st-slot"))
    build_one(page, f"history_{LEFT}", t("Delete runs of other browsers"), t("Keep them"))


def build_question(page: Page, name: str, stay: str) -> None:
    """Whether what ``name`` says is to be deleted for good, with the buttons to answer it."""
    id = name.replace("_", "-")
    page.add(f"{name}_asked", gr.HTML("", elem_id=f"{id}-asked", elem_classes="st-slot"))
    with gr.Row(elem_classes="st-actions"):
        gone = gr.Button(t("Delete for good"), variant="stop", elem_id=f"{id}-gone", scale=0, min_width=160, size="md")
        page.add(f"{name}_gone", gone)
        page.add(f"{name}_stay", gr.Button(stay, elem_id=f"{id}-stay", scale=0, min_width=130, size="md"))


def build_one(page: Page, name: str, label: str, stay: str) -> None:
    """The button that asks, and below it the question, both hidden."""
    id = name.replace("_", "-")
    page.add(name, gr.Button(label, elem_id=id, scale=0, min_width=230, size="md", visible=False))
    with gr.Column(visible=False) as asking:
        build_question(page, name, stay)
    page.add(f"{name}_asking", asking)


def wire(page: Page) -> None:
    history = page.studio.history
    assert history is not None, "a page that keeps nothing has no panel"

    def ask(name: str) -> Callable[[Session], None]:
        def handle(session: Session) -> None:
            history.shelf(session).asked = name

        return handle

    def cleared(delete: Callable[[History, Session], None]) -> Callable[[Session], None]:
        def handle(session: Session) -> None:
            delete(history, session)
            session.say("history", None)

        return handle

    for name, delete in ((DAMAGED, delete_damaged), (LEFT, delete_left)):
        page.on(page.parts[f"history_{name}"].click, "history", ask(name))
        page.on(page.parts[f"history_{name}_stay"].click, "history", ask(""))
        page.on(page.parts[f"history_{name}_gone"].click, "history", cleared(delete))


def view(shelf: Shelf) -> View:
    """The buttons where there is something to clear, and the question once one was pressed."""
    shown: View = {"history_left_said": _left(shelf)}
    for name, there in ((DAMAGED, bool(shelf.damaged)), (LEFT, bool(shelf.left))):
        shown[f"history_{name}"] = gr.Button(visible=there)
        shown[f"history_{name}_asking"] = gr.Column(visible=there and shelf.asked == name)
        shown[f"history_{name}_asked"] = render.notice(Notice("warning", QUESTIONS[name])) if there else ""
    return shown


def faults(shelf: Shelf) -> str:
    """Which runs are damaged."""
    said = [f"The run {id} could not be read and is left out: {why}." for id, why in shelf.damaged.items()]
    return render.notice(Notice("warning", "\n".join(said[:20]))) if said else ""


def rule_of(studio: Studio) -> str:
    """How long runs are kept, on a page that is open to others."""
    everybody = studio.history.everybody if studio.history else None
    return f"<p class='st-hint'>{escape(translated(rule()))}</p>" if everybody and everybody.open_to_others else ""


def _left(shelf: Shelf) -> str:
    if not shelf.left:
        return ""
    runs, bytes = sum(each.count for each in shelf.left), sum(each.bytes for each in shelf.left)
    said = (
        "On this disk are also runs made in other browsers, or before a browser's data was cleared (in number "
        f"{runs}, {words.written_size(bytes)}), by nobody who was here in the last {DAYS_UNSEEN} days. They cannot be "
        "opened from here."
    )
    return render.notice(Notice("info", said))
