"""The layout of the page and the wiring of its events; `app.serve` launches it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import api, words
from app.language import in_the_browser, t
from app.page import SCROLL_UP, Page, View
from app.session import STEPS, Session
from app.steps import compare, export, history, model, prompts, tune
from app.studio import Studio

__all__ = ["create_app"]

BUILDERS = {"model": model, "prompts": prompts, "tune": tune, "compare": compare, "export": export}


def create_app(studio: Studio) -> gr.Blocks:
    """The page over ``studio``, not yet launched."""
    with in_the_browser(), gr.Blocks(title=words.TITLE, analytics_enabled=False, fill_width=True) as blocks:
        page = Page(studio)
        gr.HTML(
            f"<header class='st-top'><h1>{words.TITLE}</h1><p>{t(words.TAGLINE)}</p></header>",
            elem_classes="st-slot",
        )
        if studio.settings.in_space:
            gr.HTML(f"<p class='st-hint'>{t(words.PUBLIC)}</p>", elem_id="public", elem_classes="st-slot")
        if studio.history is not None:
            history.build_notice(page)
        page.add("now", gr.HTML("", elem_id="now", elem_classes="st-slot"))
        with gr.Tabs(selected=1, elem_id="steps", overflow_behavior="wrap") as steps:
            page.add("steps", steps)
            for name in STEPS:
                with page.step(name):
                    BUILDERS[name].build(page)
        if studio.history is not None:
            history.build(page)
            history.wire(page)
        for name in STEPS:
            BUILDERS[name].wire(page)
            if f"{name}_next" in page.parts:
                page.on(page.parts[f"{name}_next"].click, name, _going_to(STEPS.index(name) + 2), js=SCROLL_UP)
            if f"{name}_stop" in page.parts:
                page.on(page.parts[f"{name}_stop"].click, name, lambda session: studio.stop(session))
        page.timer.tick(
            page.look,
            inputs=[page.visitor, page.seen],
            outputs=page.outputs,
            **page.unseen,
            api_visibility="private",
            queue=False,
        )
        page.on(blocks.load, "model", _restored(page))
        api.offer(studio)
    return blocks


def _going_to(number: int) -> Any:  # noqa: ANN401
    def go(session: Session) -> View:
        session.step = number
        return {"steps": gr.Tabs(selected=number)}

    return go


def _restored(page: Page) -> Any:  # noqa: ANN401
    def restore(session: Session) -> View:
        page.studio.note_interrupted(session)
        view: View = {"steps": gr.Tabs(selected=session.step)}
        for name in STEPS:
            view |= BUILDERS[name].restore(page.studio, session)
        return view

    return restore
