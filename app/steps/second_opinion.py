"""What step 4 offers of another judge: a classifier reads the same replies, and says where it would judge otherwise."""

from __future__ import annotations

from html import escape

import gradio as gr

from actor_core.fetch import models_dir
from actor_core.presets import JudgePreset
from app import opinion_table, second_opinion, words
from app.language import later, number, t, translated
from app.page import Page, View
from app.second_opinion import OTHER
from app.session import Session
from app.studio import Studio

__all__ = ["build", "restore", "view", "wire"]

ABOUT = later(
    "The verdicts of this page come from its own judge: rules whose weights were fitted to people's labels. A "
    "classifier that others trained can read the same replies, of both models and in all lists above, and give a "
    "second opinion. It is a second model in memory while it reads, and is freed after it. No figure of this page is "
    "made with it."
)
ABOUT_OTHER = later(
    "Any classifier in a folder of this machine, with .safetensors files and labels of which one means refusal. It "
    "reads the reply alone, up to 512 tokens."
)


def build(page: Page) -> None:
    studio = page.studio
    with gr.Accordion(t("Does another judge agree?"), open=False, elem_id="opinion"):
        gr.HTML(f"<p class='st-hint'>{t(ABOUT)}</p>", elem_classes="st-slot")
        judges = [(judge.title, judge.id) for judge in second_opinion.known(studio.settings).values()]
        with_paths = studio.settings.local_paths_allowed
        page.add(
            "opinion_judge",
            gr.Radio(
                [*judges, *([(t("Another one, from a folder"), OTHER)] if with_paths else [])],
                value=judges[0][1],
                label=t("The other judge"),
                elem_id="opinion-judge",
            ),
        )
        page.add("opinion_about", gr.HTML("", elem_id="opinion-about", elem_classes="st-slot"))
        page.add(
            "opinion_folder",
            gr.Textbox(
                label=t("Its folder on this machine"),
                info=t("Where you have it already: then nothing is downloaded."),
                elem_id="opinion-folder",
                max_length=500,
                visible=with_paths,
            ),
        )
        page.action("opinion", t("Ask the other judge"))
        page.add("opinion_found", gr.HTML("", elem_id="opinion-found", elem_classes="st-slot"))


def view(page: Page, session: Session) -> View:
    return page.acting(session, "opinion", ready=session.tuned is not None, done=True) | {
        "opinion_about": _about(page.studio, second_opinion.chosen(page.studio, session)),
        "opinion_found": opinion_table.second_opinion(session) or _nothing_yet(session),
    }


def restore(studio: Studio, session: Session) -> View:
    judge = second_opinion.chosen(studio, session)
    return {"opinion_judge": gr.Radio(value=judge.id if judge else OTHER)}


def wire(page: Page) -> None:
    studio = page.studio

    def chosen(session: Session, judge: str) -> View:
        session.second_judge = str(judge or "")
        return {"opinion_about": _about(studio, second_opinion.chosen(studio, session))}

    def pressed(session: Session, judge: str, folder: str) -> None:
        second_opinion.ask(studio, session, str(judge or ""), str(folder or ""))

    page.quiet(page.parts["opinion_judge"].change, chosen, ["opinion_judge"], ["opinion_about"])
    page.on(page.parts["opinion_go"].click, "opinion", pressed, ["opinion_judge", "opinion_folder"])
    page.on(page.parts["opinion_stop"].click, "opinion", studio.stop)


def _about(studio: Studio, judge: JudgePreset | None) -> str:
    if judge is None:
        return f"<p class='st-about'>{t(ABOUT_OTHER)}</p>"
    size, link = words.size(judge.download_bytes), escape(judge.licence_url)
    licence = f"<a href='{link}' target='_blank' rel='noopener noreferrer'>{escape(judge.licence)}</a>"
    facts = (
        t("on this machine already") if _is_here(studio, judge) else t("{size} to download, once", size=size),
        t("needs {size} of memory", size=size),
        t("licence: {licence}", licence=licence),
        t("not measured by this project"),
    )
    shown = "".join(f"<span>{fact}</span>" for fact in facts)
    return f"<p class='st-about'>{escape(translated(judge.summary))}</p><p class='st-facts'>{shown}</p>"


def _is_here(studio: Studio, judge: JudgePreset) -> bool:
    return (models_dir(studio.settings.data_dir) / f"judge--{judge.id}" / "weights.json").is_file()


def _nothing_yet(session: Session) -> str:
    """Where it was asked, when that was at another strength."""
    if not session.opinions:
        return ""
    others = ", ".join(number(strength) for strength in sorted(session.opinions))
    said = t("Not asked at this strength yet; it was at {others}.", others=others)
    return f"<p class='st-hint'>{said}</p>"
