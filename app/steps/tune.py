"""Step 3: tune one layer, and watch it."""

from __future__ import annotations

from html import escape
from typing import Literal

import gradio as gr

from actor_core.errors import ModelError
from actor_core.train import PublishedSettings
from actor_core.tune import TuneSettings
from app import figures, plots, render, scatter
from app.errors import Notice
from app.language import later, number, plural, t, translated
from app.page import Page, View
from app.session import Session
from app.studio import Studio
from app.words import size
from app.work import unit

__all__ = ["build", "plan", "restore", "wire"]

METHODS = [
    (later("Shift what causes refusing (fastest, the default)"), "causal"),
    (later("Shift along the refusal vector"), "refusal vector"),
    (later("The published training loop (slow)"), "published"),
]
SHARES = [
    (later("All of it (repairs best, the default)"), 1.0),
    (later("Half (about a third less time)"), 0.5),
    (later("A quarter (about half the time)"), 0.25),
]
PUBLISHED = PublishedSettings()
AUTOMATIC = "auto"
PER_SET = 16


def build(page: Page) -> None:
    page.add("tune_plan", gr.HTML("", elem_id="tune-plan", elem_classes="st-slot"))
    page.add("tune_memory", gr.HTML("", elem_id="tune-memory", elem_classes="st-slot"))
    with gr.Accordion(t("How it is tuned"), open=False):
        page.add(
            "method",
            gr.Radio(
                [(t(label), value) for label, value in METHODS],
                value="causal",
                label=t("Method"),
                info=t(
                    "All three move one layer's output for the prompts it judges wrongly. They differ in the "
                    "direction, and in whether the change is computed at once or trained step by step."
                ),
            ),
        )
        with gr.Row(visible=False) as published:
            page.add(
                "alpha",
                gr.Number(
                    PUBLISHED.alpha,
                    minimum=0,
                    maximum=10,
                    label=t("Size of a step (α)"),
                    info=t("How far each prompt is moved. In the paper it is 0.0004 to 0.003."),
                ),
            )
            page.add(
                "learning_rate",
                gr.Number(
                    PUBLISHED.learning_rate,
                    minimum=1e-8,
                    maximum=1,
                    label=t("Learning rate"),
                    info=t("How fast the layer follows. The paper's value is 0.00001."),
                ),
            )
            page.add(
                "epochs",
                gr.Number(
                    PUBLISHED.epochs,
                    minimum=1,
                    maximum=50,
                    precision=0,
                    label=t("Rounds (epochs)"),
                    info=t("How often it goes through all prompts. The paper's value is 3."),
                ),
            )
            page.add(
                "centred",
                gr.Checkbox(
                    PUBLISHED.centred,
                    label=t("Measure from the ordinary prompts"),
                    info=t("Off is exactly as published; on is steadier."),
                ),
            )
        page.add("published", published)
        page.add(
            "set_share",
            gr.Radio(
                [(t(label), value) for label, value in SHARES],
                value=1.0,
                label=t("How much of the program's own collection it learns from"),
                elem_id="set-share",
                info=t(
                    "The model reads the collection once, which is most of the time of the first tuning. From less of "
                    "it, it learns less well which prompts only look harmful."
                ),
            ),
        )
        with gr.Row():
            page.add(
                "layer",
                gr.Dropdown(
                    [(t("Automatic"), AUTOMATIC)],
                    value=AUTOMATIC,
                    label=t("Layer"),
                    info=t("A model is a stack of layers. Automatic takes the one where a small change does most."),
                ),
            )
            page.add(
                "per_set",
                gr.Slider(
                    8,
                    64,
                    value=PER_SET,
                    step=8,
                    label=t("Prompts to compare afterwards"),
                    elem_id="per-set",
                    info=t(
                        "Of each kind: harmless look-alikes, harmful ones, ordinary ones. More take longer and say "
                        "more."
                    ),
                ),
            )
    page.action("tune", t("Tune"))
    page.add("tune_words", gr.HTML("", elem_id="tune-words", elem_classes="st-slot"))
    page.next("tune")
    page.add("tune_plots", gr.HTML("", elem_id="tune-plots", elem_classes="st-slot"))

    def view(studio: Studio, session: Session) -> View:
        ready = bool(session.chosen) and studio.model is not None and studio.has_model_of(session)
        first = studio.needs_model(session) or t("First find out in step 2 which of your prompts are refused.")
        hint = "" if ready else first
        layers = studio.model.n_layers if studio.model is not None else 0
        return page.frame(session, "tune", ready=ready, done=session.tuned is not None, hint=hint) | {
            "tune_plan": plan(session),
            "tune_memory": _memory(studio, session) if ready and session.tuned is None else "",
            "layer": gr.Dropdown(choices=[(t("Automatic"), AUTOMATIC), *((str(i), str(i)) for i in range(layers - 1))]),
            "tune_words": _words(session),
            "tune_plots": _plots(session),
        }

    page.views["tune"] = view


def wire(page: Page) -> None:
    studio = page.studio

    def pressed(
        session: Session,
        method: Literal["causal", "refusal vector", "published"],
        layer: str,
        per_set: float,
        share: float,
        alpha: float | None,
        learning_rate: float | None,
        epochs: float | None,
        centred: bool,
    ) -> View:
        offered = method in dict(METHODS).values() and share in dict(SHARES).values()
        if not offered or not (layer == AUTOMATIC or layer.isdecimal()):
            raise ModelError("This choice is not offered any more: reload the page and choose again.")
        if not alpha or not learning_rate or not epochs:
            raise ModelError("The step, the learning rate and the rounds need a number above 0 each.")
        published = PublishedSettings(
            alpha=alpha, learning_rate=learning_rate, epochs=int(epochs), centred=bool(centred)
        )
        chosen = None if layer == AUTOMATIC else int(layer)
        settings = TuneSettings(method=method, layer=chosen, published=published, set_share=share)
        studio.tune(session, settings, int(per_set))
        return {"strength": gr.Slider(value=1.0, interactive=False)}

    page.quiet(
        page.parts["method"].change,
        lambda session, method: {"published": gr.Row(visible=method == "published")},
        ["method"],
        ["published"],
    )
    inputs = ["method", "layer", "per_set", "set_share", "alpha", "learning_rate", "epochs", "centred"]
    page.on(page.parts["tune_go"].click, "tune", pressed, inputs)


def restore(studio: Studio, session: Session) -> View:
    return {}


def plan(session: Session) -> str:
    """HTML: what will be tuned on; '' where nothing is."""
    count = len(session.chosen)
    if not count:
        return ""
    yours = plural("1 prompt of yours", "{count} prompts of yours", count)
    said = t(
        "Uses {yours} and the program's own collection of ordinary, harmless-looking and harmful questions, so that "
        "the model learns where the line is. Without a GPU it takes a few minutes with a small model; the time left is "
        "shown, and “How it is tuned” has a quicker way. The comparison then starts by itself.",
        yours=yours,
    )
    made = session.ticked
    if made:
        said += " " + t(
            "Of the prompts that were made of yours, those that are ticked in step 2 are used too: {variants} to be "
            "answered, {twins} to be refused.",
            variants=number(len(made.variants)),
            twins=number(len(made.twins)),
        )
    return f"<p class='st-hint'>{said}</p>"


def _memory(studio: Studio, session: Session) -> str:
    """HTML: what tuning takes of this machine's memory; '' in a Space, where nobody can change it."""
    from actor_core.memory import before_tuning

    if studio.model is None or studio.settings.in_space:
        return ""
    made = session.ticked
    demand = before_tuning(studio.model, len(session.chosen) + len(made.variants) + len(made.twins))
    needed, missing = size(demand.needed), size(demand.missing)
    if not demand.missing:
        said = t("Tuning takes up to {needed} of memory with the model in it, and it fits.", needed=needed)
        return f"<p class='st-hint'>{said}</p>"
    text = t(
        "Tuning takes up to {needed} of memory with the model in it, {missing} more than is free. Close other "
        "programs, or load the model in fewer bits in step 1 under “How to load it”.",
        needed=needed,
        missing=missing,
    )
    return render.notice(Notice("warning", text))


def _words(session: Session) -> str:
    if session.tuned is None:
        return ""
    said = "".join(f"<p>{escape(translated(line))}</p>" for line in session.tuned.words)
    layer = session.tuned.delta.layer
    made = figures.enriched(session)
    if made and any(made.values()):
        used = t("Beside your prompts it used {variants} that were made of them, and {twins} to be refused.", **made)
        said += f"<p>{used}</p>"
    if session.tuned.strength:
        said += f"<p>{t('This strength is called 1 from here on; in step 4 it can be moved.')}</p>"
    head = f"<strong>{t('The model is tuned')}</strong> ({t('layer {layer}', layer=layer)})."
    return f"<div class='st-notice st-success' role='status'><p>{head}</p>{said}</div>"


def _plots(session: Session) -> str:
    tuned = session.tuned
    layer = tuned.delta.layer if tuned else None
    strength = tuned.strength if tuned else None
    picture = scatter.scatter(tuned, 1.0, unit(tuned)) if tuned else ""
    return (
        picture
        + plots.strength_chart(session.curve, strength)
        + plots.loss_chart(session.losses)
        + plots.layers_chart(session.layer_scores, layer)
    )
