"""Step 1: choose the model and load it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import gradio as gr

from actor_core.fetch import models_dir
from app import words
from app.language import ENGLISH, later, plural, spoken, t, translated
from app.page import Page, View
from app.render import badge
from app.session import Session
from app.steps import saved
from app.studio import Studio

if TYPE_CHECKING:
    from actor_core.memory import Fit
    from actor_core.presets import ModelPreset

__all__ = ["build", "restore", "wire"]

LINE = 50e6  # bits a second, of a common line
PATH = later(
    (
        "press the button above. Under a minute, after the download.",
        "paste what was wrongly refused, or take the examples. A minute or two.",
        "press one button. A few minutes.",
        "old and new answers side by side. This starts by itself; a few minutes.",
        "save the change, if you like it, as a small file or a whole model.",
    )
)


def build(page: Page) -> None:
    studio = page.studio
    with spoken(ENGLISH):  # made of several texts each: `restore` gives them in the visitor's language
        choices = _choices(studio)
        about = _about(studio, studio.presets[studio.first_preset], studio.fits()[studio.first_preset])
    page.add(
        "preset",
        gr.Dropdown(choices, value=studio.first_preset, label=t("Model"), elem_id="preset", filterable=False),
    )
    page.add("about", gr.HTML(about))
    with gr.Accordion(
        t("How to load it, and other models"), open=False, visible=studio.settings.ways_to_load_allowed
    ):
        page.add(
            "typed",
            gr.Textbox(
                label=t("Another model"),
                info=_typed_info(studio),
                placeholder="Qwen/Qwen2.5-1.5B-Instruct",
                visible=studio.settings.hub_ids_allowed,
                elem_id="typed-model",
                max_length=500,
            ),
        )
        with gr.Row():
            page.add(
                "precision",
                gr.Dropdown(
                    [(t(label), value) for label, value in words.PRECISIONS],
                    value="auto",
                    label=t("Precision"),
                    info=t(
                        "How many bits hold each number of the model. Fewer need less memory and lose a little quality."
                    ),
                ),
            )
            page.add(
                "device",
                gr.Dropdown(
                    [(t(label), value) for label, value in words.DEVICES],
                    value=studio.settings.device,
                    label=t("Runs on"),
                    info=t("Automatic takes the GPU if there is one."),
                ),
            )
    page.action("model", t("Load model"))
    page.add("model_state", gr.HTML("", elem_id="model-state", elem_classes="st-slot"))
    saved.build_open(page)
    page.next("model")

    def view(studio: Studio, session: Session) -> View:
        loaded = studio.model is not None
        hint = _still_here(studio, session)
        return page.frame(session, "model", ready=True, done=loaded, hint=hint) | {"model_state": _state(studio)}

    page.views["model"] = view


def wire(page: Page) -> None:
    studio = page.studio

    def chosen(session: Session, preset: str) -> View:
        session.preset = preset if preset in studio.presets else studio.first_preset
        return {"about": _about(studio, studio.presets[session.preset], studio.fits()[session.preset])}

    page.quiet(page.parts["preset"].change, chosen, ["preset"], ["about"])
    page.on(
        page.parts["model_go"].click,
        "model",
        lambda session, *values: studio.load(session, *(str(value or "") for value in values)),
        ["preset", "typed", "precision", "device"],
    )


def restore(studio: Studio, session: Session) -> View:
    preset = session.preset if session.preset in studio.presets else studio.first_preset
    shown = gr.Dropdown(choices=_choices(studio), value=preset)
    return {"preset": shown, "about": _about(studio, studio.presets[preset], studio.fits()[preset])}


def _choices(studio: Studio) -> list[tuple[str, str]]:
    return [
        (f"{studio.presets[id].title} · {t(words.FIT_MARKS.get(fit.verdict, fit.verdict))}", id)
        for id, fit in studio.fits().items()
    ]


def _about(studio: Studio, preset: ModelPreset, fit: Fit) -> str:
    kind = {"fits": "answered", "fits with offload": "incoherent"}.get(fit.verdict, "refused")
    licence = escape(preset.licence)
    if preset.licence_url:
        licence = f"<a href='{escape(preset.licence_url)}' target='_blank' rel='noopener noreferrer'>{licence}</a>"
    facts = [
        badge(kind, t(words.FIT_MARKS.get(fit.verdict, fit.verdict))),
        f"<span>{t('needs {size} of memory', size=words.size(fit.bytes_needed))}</span>",
        f"<span>{_download(studio, preset)}</span>",
        f"<span>{t('licence: {licence}', licence=licence)}</span>",
    ]
    if preset.gated:
        facts.append(f"<span>{t('you must accept its licence on the model hub first')}</span>")
    if not preset.tested:
        facts.append(f"<span>{t('not measured by this project')}</span>")
    return f"<p class='st-about'>{escape(translated(preset.summary))}</p><p class='st-facts'>{''.join(facts)}</p>"


def _download(studio: Studio, preset: ModelPreset) -> str:
    if (models_dir(studio.settings.data_dir) / preset.id / "weights.json").is_file():
        return t("on this machine already")
    minutes = 8 * preset.download_bytes / LINE / 60
    return plural(
        "{size} to download, once: about a minute at 50 Mbit/s",
        "{size} to download, once: about {count} minutes at 50 Mbit/s",
        max(1, round(minutes)),
        size=words.size(preset.download_bytes),
    )


def _state(studio: Studio) -> str:
    model = studio.model
    if model is None:
        head = t("What happens, with the model already chosen and without a GPU:")
        steps = "".join(
            f"<li><strong>{t(name)}</strong>: {t(what)}</li>" for name, what in zip(words.STEP_NAMES, PATH, strict=True)
        )
        return f"<p class='st-hint'>{head}</p><ol class='st-path'>{steps}</ol>"
    reason = translated(model.reason)
    said = t(
        "{model} is loaded. {reason}.",
        model=f"<strong>{escape(model.source.name)}</strong>",
        reason=escape(reason[:1].upper() + reason[1:]),
    )
    return f"<div class='st-notice st-success' role='status'><p>{said}</p></div>"


def _still_here(studio: Studio, session: Session) -> str:
    """What to load to go on with results that are shown."""
    if session.base is None or not session.checked + session.arriving or not studio.needs_model(session):
        return ""
    name = f"{session.base.name} ({session.base.precision})"
    return f"What you found out with {name} is still here, in the steps after this one. Load that model to go on."


def _typed_info(studio: Studio) -> str:
    if studio.settings.local_paths_allowed:
        return t("Instead of the list: a name on the Hugging Face hub, or a folder or .gguf file on this machine.")
    return t("Instead of the list: a name on the Hugging Face hub.")
