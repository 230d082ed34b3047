"""Step 4: before and after, side by side."""

from __future__ import annotations

from html import escape

import gradio as gr

from app import figures, plots, render, scatter
from app.language import later, number, t, translated
from app.page import Page, View, step_label, tell_me
from app.session import Session
from app.steps import asked_otherwise, chat, saved, second_opinion, sets
from app.steps.tune import PER_SET
from app.studio import Studio
from app.work import unit

__all__ = ["build", "restore", "wire"]

DOWNLOAD = "() => { setTimeout(() => document.querySelector('#share-file').click()); }"

SHARED = later(
    "Everything at this strength in one HTML file that opens in any browser and can be sent to others. Replies to the "
    "harmful prompts of the list are not in it; your own prompts, their replies and the conversation are."
)


def build(page: Page) -> None:
    page.add("tiles", gr.HTML("", elem_id="tiles", elem_classes="st-slot"))
    page.add("compare_job", gr.HTML("", elem_id="compare-job", elem_classes="st-slot"))
    with gr.Row(elem_classes="st-actions"):
        stop = gr.Button(
            t("Stop"), variant="stop", elem_id="compare-stop", scale=0, min_width=90, visible=False, size="md"
        )
        page.add("compare_stop", stop)
        tell_me()
    page.add("compare_notice", gr.HTML("", elem_id="compare-notice", elem_classes="st-slot"))
    page.add(
        "strength",
        gr.Slider(
            0,
            1.5,
            value=1.0,
            step=0.05,  # the guard may let a small one through
            label=t("Strength"),
            info=t(
                "0 is the old model, 1 the tuned one. More repairs more, and may answer what it should not. Your "
                "prompts are asked again at each."
            ),
            elem_id="strength",
        ),
    )
    page.add("strength_now", gr.HTML("", elem_id="strength-now", elem_classes="st-slot"))
    with gr.Accordion(t("What more or less strength gains and costs"), open=False):
        page.add("tradeoff", gr.HTML("", elem_id="tradeoff", elem_classes="st-slot"))
        page.add("why", gr.HTML("", elem_id="why", elem_classes="st-slot"))
    page.add("quick_job", gr.HTML("", elem_id="quick-job", elem_classes="st-slot"))
    with gr.Tabs(elem_id="sets", overflow_behavior="wrap"):
        sets.build(page)
        with gr.Tab(t("Try any prompt"), id="try"):
            chat.build(page)
    asked_otherwise.build(page)
    second_opinion.build(page)
    with gr.Accordion(t("Compare again, or on more prompts"), open=False):
        page.add(
            "more",
            gr.Slider(
                8,
                120,
                value=PER_SET,
                step=8,
                label=t("Prompts of each kind"),
                info=t("Harmless look-alikes, harmful and ordinary ones. More take longer and say more."),
            ),
        )
        page.add("again", gr.Button(t("Compare again"), elem_id="compare-again", scale=0, min_width=150, size="md"))
    saved.build_compare(page)
    with gr.Accordion(t("Save what this step shows"), open=False, elem_id="sharing"):
        gr.HTML(
            f"<p class='st-hint'>{t(SHARED)}</p>",
            elem_classes="st-slot",
        )
        page.add("share", gr.Button(t("Download as HTML"), elem_id="share", scale=0, min_width=190, size="md"))
    page.add("share_file", gr.DownloadButton(t("Download"), elem_id="share-file"))
    page.next("compare")
    page.views["compare"] = lambda studio, session: _view(page, studio, session)


def _view(page: Page, studio: Studio, session: Session) -> View:
    usable = session.tuned is not None and studio.has_model_of(session)
    job, quick = studio.job(session), studio.job(session, quick=True)
    comparing = _comparing(studio, session)
    shown = job is not None and (comparing or job.kind == "try")
    view = page.frame(session, "compare", ready=usable, done=session.tuned is not None)
    there = session.tuned is not None  # shown without its model too; what asks it anew waits for that
    view["compare_step"] = gr.Tab(label=step_label("compare", done=bool(session.sets)), interactive=there)
    stopping = any(j is not None and j.state == "stopping" for j in (job, quick))
    view |= {
        "compare_job": page.panel(job) if shown and job is not None else "",
        "compare_stop": gr.Button(visible=shown or quick is not None, interactive=not stopping),
        "quick_job": page.panel(quick) if quick is not None else "",
        "strength": gr.Slider(interactive=there),
        "share": gr.Button(interactive=there),
        "again": gr.Button(interactive=usable and job is None),
    }
    view |= _at_strength(studio, session)
    view |= sets.view(session, comparing=comparing)
    view |= chat.view(session, asking=job is not None and job.kind == "try", ready=usable and job is None)
    view |= asked_otherwise.view(page, studio, session)
    view |= second_opinion.view(page, session)
    view |= saved.view(page, studio, session)
    return view


def _at_strength(studio: Studio, session: Session) -> View:
    """What a strength shows without any text: it follows the slider at once, however many prompts there are."""
    there = session.tuned is not None
    return {
        "tiles": render.tiles(figures.tiles(session, comparing=_comparing(studio, session))),
        "strength_now": _strength_now(studio, session) if there else "",
        "tradeoff": _tradeoff(session) if there else "",
        "why": scatter.scatter(session.tuned, session.strength, unit(session.tuned)) if session.tuned else "",
    }


def _comparing(studio: Studio, session: Session) -> bool:
    job = studio.job(session)
    return session.tuned is not None and job is not None and job.kind in ("tune", "compare", "two")


def wire(page: Page) -> None:
    studio = page.studio
    sets.wire(page)
    chat.wire(page)
    asked_otherwise.wire(page)
    second_opinion.wire(page)
    saved.wire(page)

    def moved(session: Session, value: float) -> View:
        strength = round(float(value), 2)
        with session.lock:
            if strength in session.after or studio.has_model_of(session):
                session.strength = strength
                session.changed()
            return _at_strength(studio, session)

    # First the figures, which are small; then the answers and the lists, which take longer with many prompts.
    shown = ["tiles", "strength_now", "tradeoff", "why"]
    first = page.quiet(page.parts["strength"].input, moved, ["strength"], shown, trigger_mode="always_last")
    page.on(first.then, "compare", lambda session, value: studio.set_strength(session, float(value)), ["strength"])
    page.on(page.parts["share"].click, "compare", lambda session: {"share_file": str(studio.share(session))})
    # The file is made when it is asked for; once the unseen button has it, its click is the download.
    page.parts["share_file"].change(None, js=DOWNLOAD)
    page.on(page.parts["again"].click, "compare", lambda session, n: studio.compare(session, int(n)), ["more"])


def restore(studio: Studio, session: Session) -> View:
    shown = sets.restore() | second_opinion.restore(studio, session)
    return shown | {"strength": gr.Slider(value=session.strength, interactive=session.tuned is not None)}


def _strength_now(studio: Studio, session: Session) -> str:
    said = t("Shown at strength {strength}.", strength=number(session.strength))
    said = f"{said} {translated(studio.needs_model(session))}".rstrip()
    return f"<p class='st-hint'>{escape(said)}</p>"


def _tradeoff(session: Session) -> str:
    """The held-out prompts at every strength, and where the slider stands among them."""
    from actor_core.tradeoff import Limits

    assert session.tuned is not None
    tuned = session.tuned
    return plots.tradeoff_chart(tuned.curve, tuned.strength or None, session.strength * unit(tuned), Limits().lost)
