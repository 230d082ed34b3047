"""What step 4 offers beside its lists: would asking differently be enough, and does it hold in other words?"""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from app import asked_otherwise, strips
from app.asked_otherwise import OWN_AT_MOST
from app.language import later, number, t
from app.page import Page, View, tell_me
from app.server import Server
from app.session import Session
from app.studio import Studio

__all__ = ["build", "view", "wire"]

TITLES = later(
    {
        "perspectives": "Would asking differently be enough?",
        "steadiness": "Does it hold in other words, and against tricks?",
    }
)
BUTTONS = later({"perspectives": "Ask in three ways", "steadiness": "Ask in other words"})
ABOUT = later(
    {
        "perspectives": (
            "A model may answer when it is only asked differently, and then needs no tuning. Here the old model is "
            "asked to weigh several perspectives of each prompt before it answers, and is set beside the old model as "
            "it is and the tuned one. Harmful prompts are asked in the same three ways. About {count} replies."
        ),
        "steadiness": (
            "Both models are asked each of your prompts in eight other wordings, and harmful prompts as they are and "
            "with known tricks around them that make models answer. About {count} replies."
        ),
    }
)
ACTIONS = {"perspectives": asked_otherwise.ask_to_weigh, "steadiness": asked_otherwise.ask_in_other_words}
SHOWN = {"perspectives": strips.perspectives, "steadiness": strips.steadiness}


def build(page: Page) -> None:
    for name, title in TITLES.items():
        with gr.Accordion(t(title), open=False, elem_id=name):
            page.add(f"{name}_about", gr.HTML("", elem_classes="st-slot"))
            with gr.Row(elem_classes="st-actions"):
                go = gr.Button(t(BUTTONS[name]), elem_id=f"{name}-go", scale=0, min_width=240, size="md")
                page.add(f"{name}_go", go)
                stop = gr.Button(
                    t("Stop"), variant="stop", elem_id=f"{name}-stop", scale=0, min_width=90, visible=False, size="md"
                )
                page.add(f"{name}_stop", stop)
                tell_me()
            page.add(f"{name}_job", gr.HTML("", elem_id=f"{name}-job", elem_classes="st-slot"))
            page.add(f"{name}_found", gr.HTML("", elem_id=f"{name}-found", elem_classes="st-slot"))


def view(page: Page, studio: Studio, session: Session) -> View:
    job, ready = studio.job(session), session.tuned is not None and studio.has_model_of(session)
    ahead = asked_otherwise.replies_ahead(session)
    shown: View = {}
    for name in TITLES:
        mine = job if job is not None and job.kind == name else None
        shown |= {
            f"{name}_about": f"<p class='st-hint'>{_about(name, ahead[name], len(session.checked))}</p>",
            f"{name}_go": gr.Button(interactive=ready and job is None),
            f"{name}_stop": gr.Button(
                visible=mine is not None, interactive=mine is not None and mine.state != "stopping"
            ),
            f"{name}_job": page.panel(mine) if mine is not None else "",
            f"{name}_found": SHOWN[name](session) or _nothing_yet(name, session),
        }
    return shown


def wire(page: Page) -> None:
    for name, action in ACTIONS.items():
        page.on(page.parts[f"{name}_go"].click, "compare", _pressed(page.studio, action))
        page.on(page.parts[f"{name}_stop"].click, "compare", page.studio.stop)


def _pressed(studio: Studio, action: Callable[[Server, Session], None]) -> Callable[[Session], None]:
    return lambda session: action(studio, session)


def _about(name: str, replies: int, own: int) -> str:
    said = t(ABOUT[name], count=number(replies, ","))
    if own <= OWN_AT_MOST:
        return said
    cut = t("Of your {n} prompts {count} are asked, those refused before first.", n=number(own, ","), count=OWN_AT_MOST)
    return f"{said} {cut}"


def _nothing_yet(name: str, session: Session) -> str:
    """Where it was asked, when that was at another strength."""
    at = session.perspectives if name == "perspectives" else session.steadiness
    if not at:
        return ""
    others = ", ".join(number(strength) for strength in sorted(at))
    said = t("Not asked at this strength yet; it was at {others}.", others=others)
    return f"<p class='st-hint'>{said}</p>"
