"""Step 2, once it is known what is refused: other prompts like those, to be looked through before any is used."""

from __future__ import annotations

import gradio as gr

from actor_core.errors import ActorError, PromptError
from app import variant_table
from app.errors import explain
from app.language import t
from app.page import SCROLL_UP, Page, View
from app.render import notice
from app.session import STEPS, Session
from app.steps import tune
from app.studio import Studio

__all__ = ["build", "restore", "view", "wire"]

BY_MODEL, BY_RULES = "model", "rules"


def build(page: Page) -> None:
    title = t("Only a few prompts? Have more like them written (optional)")
    with gr.Accordion(title, open=False, visible=False, elem_id="variants-step") as group:
        about = t(
            "A repair made of a few prompts may hold for their very words alone. The program can write more that mean "
            "the same: in other words, as other people would ask them, in other forms and languages. It also writes "
            "what comes close and should still be refused, so that the model learns the difference. You see every line "
            "first. None is used before you press Tune in step 3, and then only those that are ticked."
        )
        gr.HTML(f"<p class='st-hint'>{about}</p>", elem_classes="st-slot")
        ways = [
            (t("By rules alone (quick)"), BY_RULES),
            (t("By the model, and by rules (can take minutes)"), BY_MODEL),
        ]
        page.add("variants_by", gr.Radio(ways, value=BY_RULES, label=t("How they are written"), elem_id="variants-by"))
        page.action("variants", t("Write more like these"))
        page.add("variant_count", gr.HTML("", elem_id="variant-count", elem_classes="st-slot"))
        page.add(
            "variants",
            gr.HTML("", elem_id="variants", elem_classes="st-slot", js_on_load=variant_table.edit_js()),
        )
        page.next("variants")
    page.add("variants_step", group)


def view(page: Page, session: Session) -> View:
    studio, chosen = page.studio, session.chosen
    rows = session.variants
    ready = bool(chosen) and studio.model is not None and studio.has_model_of(session)
    hint = "" if ready or not chosen else studio.needs_model(session)
    return page.acting(session, "variants", ready=ready, done=True, hint=hint) | {
        "variants_step": gr.Accordion(visible=_shown(session)),
        "variant_count": variant_table.count(rows, chosen),
        "variants": variant_table.table(rows, chosen),
        "variants_next": gr.Button(visible=bool(rows), interactive=bool(chosen)),
    }


def restore(studio: Studio, session: Session) -> View:
    job = studio.job(session)
    there = bool(session.variants) or (job is not None and job.kind == "enrich")
    return {"variants_step": gr.Accordion(visible=_shown(session), open=there)}


def wire(page: Page) -> None:
    studio = page.studio

    def pressed(session: Session, by: str) -> None:
        studio.enrich(session, by_model=by == BY_MODEL)

    def on_to_tuning(session: Session) -> View:
        session.step = STEPS.index("tune") + 1
        return {"steps": gr.Tabs(selected=session.step)}

    def changed(session: Session, data: object) -> View:
        try:
            _change(studio, session, data)
            session.say("variants", None)
        except ActorError as fault:
            session.say("variants", explain(fault))
        studio.keep_results(session)
        return {
            "variants_notice": notice(session.notices.get("variants")),
            "variant_count": variant_table.count(session.variants, session.chosen),
            "tune_plan": tune.plan(session),
        }

    page.on(page.parts["variants_go"].click, "variants", pressed, ["variants_by"])
    page.on(page.parts["variants_stop"].click, "variants", lambda session: studio.stop(session))
    page.on(page.parts["variants_next"].click, "variants", on_to_tuning, js=SCROLL_UP)
    # One after the other and none left out, so that the last text that was typed is the one that stays.
    page.quiet(
        page.parts["variants"].input,
        changed,
        [],
        ["variants_notice", "variant_count", "tune_plan"],
        with_data=True,
        trigger_mode="multiple",
        concurrency_limit=1,
    )


def _shown(session: Session) -> bool:
    return bool(session.checked and session.chosen) or bool(session.variants)


def _change(studio: Studio, session: Session, data: object) -> None:
    """Does what app/variant_table.js sent: a tick for some lines, or a text for one."""
    told = data if isinstance(data, dict) else {}
    ids, ticked, text = told.get("ids"), told.get("ticked"), told.get("text")
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids) or not ids:
        raise PromptError("This line is no longer there, so nothing was changed: reload the page and try again.")
    if isinstance(ticked, bool):
        studio.tick_variants(session, ids, ticked)
    elif isinstance(text, str):
        studio.write_variant(session, ids[0], text)

