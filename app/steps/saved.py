"""Changes that were saved before: opened again in step 1, or set beside the tuned one in step 4."""

from __future__ import annotations

import gradio as gr

from app import render
from app.language import later, t
from app.page import Page, View
from app.session import STEPS, Session
from app.steps.tune import PER_SET
from app.studio import Studio

__all__ = ["build_compare", "build_open", "view", "wire"]

FILES = [".zip", ".safetensors"]
FILE_LABEL = later("A Second Take file or PEFT adapter (.zip or .safetensors, up to 20 MB)")

SAME_PROMPTS = later("Both changes are asked the same prompts: yours, and held-out ones of each kind.")
TAKES_PLACE = later(
    "It takes the place of step 3: compare it, change its strength, and export it again. It must have been made on the "
    "model that is loaded."
)


def build_open(page: Page) -> None:
    with gr.Accordion(t("Open a change that was saved before"), open=False, elem_id="open-saved"):
        page.add("saved_files", gr.File(label=t(FILE_LABEL), file_types=FILES, file_count="multiple", height=120))
        gr.HTML(
            f"<p class='st-hint'>{t(TAKES_PLACE)}</p>",
            elem_classes="st-slot",
        )
        page.add("saved_go", gr.Button(t("Open it"), elem_id="saved-go", scale=0, min_width=150, size="md"))


def build_compare(page: Page) -> None:
    with gr.Accordion(t("Compare with another saved change"), open=False, elem_id="compare-saved"):
        page.add("other_files", gr.File(label=t(FILE_LABEL), file_types=FILES, file_count="multiple", height=120))
        gr.HTML(
            f"<p class='st-hint'>{t(SAME_PROMPTS)}</p>",
            elem_classes="st-slot",
        )
        page.add("other_go", gr.Button(t("Compare both"), elem_id="other-go", scale=0, min_width=150, size="md"))
        page.add("two", gr.HTML("", elem_id="two", elem_classes="st-slot"))


def view(page: Page, studio: Studio, session: Session) -> View:
    free = studio.job(session) is None
    tuned = session.tuned is not None and studio.has_model_of(session)
    return {
        "saved_go": gr.Button(interactive=free and studio.model is not None),
        "other_go": gr.Button(interactive=free and tuned),
        "two": render.two_changes(session.two),
    }


def wire(page: Page) -> None:
    studio = page.studio

    def opened(session: Session, files: list[str] | None) -> View:
        studio.open_saved(session, files, PER_SET)
        session.step = STEPS.index("compare") + 1
        return {
            "saved_files": None,
            "strength": gr.Slider(value=session.strength, interactive=True),
            "steps": gr.Tabs(selected=session.step),
        }

    def compared(session: Session, files: list[str] | None) -> View:
        studio.compare_with(session, files, PER_SET)
        return {}

    page.on(page.parts["saved_go"].click, "model", opened, ["saved_files"])
    page.on(page.parts["other_go"].click, "compare", compared, ["other_files"])
