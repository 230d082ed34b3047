"""A conversation with both models at once, in step 4: each message goes to the old and the tuned one.

Each goes on from its own replies. What the visitor writes may be harmful; here the models answer the one who asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import gradio as gr

from app import pairs
from app.differences import marked_up
from app.language import number, t
from app.page import Page, View
from app.render import badge
from app.session import Session

if TYPE_CHECKING:
    from actor_core.generate import Reply
    from app.session import Trial

__all__ = ["build", "conversation", "view", "wire"]


def build(page: Page) -> None:
    page.add("turns", gr.HTML("", elem_id="turns", elem_classes="st-slot"))
    page.add(
        "trial",
        gr.Textbox(
            label=t("Prompt"),
            info=t(
                "Asked of the old model and of the tuned one, at the strength that is set. Each goes on from its own "
                "replies."
            ),
            lines=2,
            elem_id="trial",
        ),
    )
    with gr.Row(elem_classes="st-actions"):
        page.add("trial_go", gr.Button(t("Ask both"), elem_id="trial-go", scale=0, min_width=150, size="md"))
        page.add("trial_new", gr.Button(t("New conversation"), elem_id="trial-new", scale=0, min_width=170, size="md"))


def view(session: Session, *, asking: bool, ready: bool) -> View:
    begun = bool(session.trials or session.pending)
    return {
        "turns": conversation(session.trials, session.pending, asking=asking),
        "trial_go": gr.Button(interactive=ready, variant="primary" if ready else "secondary"),
        "trial_new": gr.Button(visible=begun),
    }


def wire(page: Page) -> None:
    studio = page.studio

    def asked(session: Session, prompt: str) -> View:
        studio.try_prompt(session, prompt or "")
        return {"trial": ""}

    page.on(page.parts["trial_go"].click, "compare", asked, ["trial"])
    page.on(page.parts["trial"].submit, "compare", asked, ["trial"])
    page.on(page.parts["trial_new"].click, "compare", studio.new_conversation)


def conversation(turns: Sequence[Trial], pending: str, *, asking: bool) -> str:
    """Message by message, what each model replied; last the one that has no replies yet."""
    shown = []
    for turn in turns:
        differing = marked_up(turn.before.text, turn.after.text) or (None, None)
        shown.append(
            f"<article class='st-pair'><header><span class='st-prompt'>{escape(turn.before.prompt)}</span>"
            f"<span class='st-mark'>{t('strength {strength}', strength=number(turn.strength))}</span></header>"
            f"<div class='st-sides'>{_side(t('Before'), turn.before, differing[0])}"
            f"{_side(t('After'), turn.after, differing[1])}</div></article>"
        )
    if pending:
        state = t("being asked …") if asking else t("not answered")
        shown.append(
            f"<article class='st-pair'><header><span class='st-prompt'>{escape(pending)}</span>"
            f"<span class='st-mark'>{state}</span></header></article>"
        )
    return f"<div class='st-pairs' aria-live='polite'>{''.join(shown)}</div>" if shown else ""


def _side(title: str, reply: Reply, differing: str | None) -> str:
    return f"<section><h4>{title} {badge(reply.verdict.value)}</h4>{pairs.reply_text(reply, differing)}</section>"
