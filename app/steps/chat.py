"""A conversation with both models at once, in step 4: each message goes to the old and the tuned one.

Each goes on from its own replies. What the visitor writes may be harmful; here the models answer the one who asks.
"""

from __future__ import annotations

from html import escape
from itertools import zip_longest

import gradio as gr

from app import compared, pairs
from app.compared import pair_id
from app.differences import marked_up
from app.language import later, number, t, translated
from app.page import Page, View
from app.session import Session
from app.steps import marking
from app.steps.marking import TURN

__all__ = ["build", "conversation", "view", "wire"]

NOT_COUNTED = later(
    "A verdict that you correct here stays with the conversation. The figures above count the lists beside it alone."
)


def build(page: Page) -> None:
    page.add("turns", gr.HTML("", elem_id="turns", elem_classes="st-slot", js_on_load=pairs.MARK_JS))
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
        "turns": conversation(session, asking=asking),
        "trial_go": gr.Button(interactive=ready, variant="primary" if ready else "secondary"),
        "trial_new": gr.Button(visible=begun),
    }


def wire(page: Page) -> None:
    studio = page.studio
    page.growing["turns"] = ("try", lambda session: conversation(session, asking=True))

    def asked(session: Session, prompt: str) -> View:
        studio.try_prompt(session, prompt or "")
        return {"trial": ""}

    page.on(page.parts["trial_go"].click, "compare", asked, ["trial"])
    page.on(page.parts["trial"].submit, "compare", asked, ["trial"])
    page.on(page.parts["trial_new"].click, "compare", studio.new_conversation)
    page.on(page.parts["turns"].click, "compare", marking.clicked, with_data=True)


def conversation(session: Session, *, asking: bool) -> str:
    """Message by message, what each model replied; last the one that has no replies yet."""
    shown = []
    for at, (turn, marked) in enumerate(compared.turns(session)):
        differing = marked_up(turn.before.text, turn.after.text) or (None, None)
        shown.append(
            f"<article class='st-pair' data-id='{pair_id(turn.before.prompt)}' data-at='{TURN}{at}'><header>"
            f"<span class='st-prompt'>{escape(turn.before.prompt)}</span>"
            f"<span class='st-mark'>{t('strength {strength}', strength=number(turn.strength))}</span></header>"
            f"<div class='st-sides'>{pairs.side('before', turn.before, marked[0], differing[0])}"
            f"{pairs.side('after', turn.after, marked[1], differing[1])}</div></article>"
        )
    if session.pending:
        state = t("being asked …") if asking else t("not answered")
        shown.append(
            f"<article class='st-pair'><header><span class='st-prompt'>{escape(session.pending)}</span>"
            f"<span class='st-mark'>{state}</span></header>{_being_said(session)}</article>"
        )
    if session.trials:
        said = " ".join([t(NOT_COUNTED), translated(session.engine_words)]).rstrip()
        shown.append(f"<p class='st-hint'>{escape(said)}</p>")
    busy = " aria-busy='true'" if session.saying else ""  # a screen reader waits until it is said
    return f"<div class='st-pairs' aria-live='polite'{busy}>{''.join(shown)}</div>" if shown else ""


def _being_said(session: Session) -> str:
    """What there is of the replies to the message that is being asked."""
    saying = session.saying
    if not any(saying):
        return ""
    sides = []
    for title, text in zip_longest((t("Before"), t("After")), saying):
        shown = f"<p class='st-reply'>{escape(text)}</p>" if text else f"<p class='st-hint'>{t('not asked yet')}</p>"
        sides.append(f"<section><h3>{title}</h3>{shown}</section>")
    return f"<div class='st-sides'>{''.join(sides)}</div>"
