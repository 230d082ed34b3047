"""Step 2: the visitor's prompts, and which of them the model refuses."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from actor_core.errors import ActorError, PromptError
from actor_core.prompts import MAX_PROMPTS, parse_prompts, read_prompts
from app import looks_harmful, pairs, render
from app.errors import Notice
from app.language import number, plural, t
from app.marks import UNTUNED
from app.page import Page, View
from app.session import Session
from app.steps import enriching, marking
from app.studio import Studio

__all__ = ["build", "restore", "wire"]

EXAMPLES = Path(__file__).parents[1] / "example_prompts.txt"
MAX_TEXT = 5_000_000


def build(page: Page) -> None:
    page.add(
        "prompts",
        gr.Textbox(
            label=t("Prompts that were wrongly refused"),
            info=t(
                "One a line. They stay on this machine. None at hand? Press “Example prompts”: harmless questions, "
                "most of which the default model refuses."
            ),
            placeholder=t("How do I kill a Python process?\nHow can I shoot a portrait in low light?"),
            lines=8,
            max_lines=16,
            elem_id="prompts",
        ),
    )
    with gr.Row(elem_classes="st-actions"):
        page.add("examples", gr.Button(t("Example prompts"), size="sm", elem_id="examples", scale=0, min_width=150))
        page.add(
            "upload",
            gr.UploadButton(
                t("From a file (.txt, .csv)"),
                file_types=[".txt", ".csv", ".tsv"],
                size="sm",
                elem_id="upload",
                scale=0,
                min_width=190,
            ),
        )
        page.add("prompt_count", gr.HTML("", elem_id="prompt-count", elem_classes="st-slot st-count"))
    page.action("prompts", t("Find out which are refused"))
    page.add("problems", gr.HTML("", elem_id="problems", elem_classes="st-slot"))
    page.add("refused_summary", gr.HTML("", elem_id="refused-summary", elem_classes="st-slot"))
    with gr.Group(visible=False) as which_group:
        which = [(t("Only those that are refused"), "refused"), (t("All of them"), "all")]
        page.add("which", gr.Radio(which, value="refused", label=t("Which are repaired"), elem_id="which"))
    page.add("which_group", which_group)
    page.next("prompts")
    enriching.build(page)
    slot = gr.HTML("", elem_id="checked", elem_classes="st-slot", js_on_load=pairs.MARK_JS)
    page.add("checked", slot)

    def view(studio: Studio, session: Session) -> View:
        hint = ""
        if studio.model is None:
            hint = t("Load a model in step 1 first. You can write your prompts meanwhile.")
        done = bool(session.chosen) and studio.has_model_of(session)
        frame = page.frame(session, "prompts", ready=studio.model is not None, done=done, hint=hint)
        return frame | enriching.view(page, session) | {
            "problems": render.problems_table(session.problems),
            "refused_summary": _summary(session, in_space=studio.settings.in_space),
            "which_group": gr.Group(visible=bool(session.checked)),
            "checked": pairs.checked_table(
                session.checked or session.arriving,
                session.chosen,
                session.marks,
                flagged=session.flagged,
                may_include=not studio.settings.in_space,
            ),
        }

    page.views["prompts"] = view


def wire(page: Page) -> None:
    studio = page.studio

    def typed(session: Session, text: str) -> View:
        session.prompts_text = (text or "")[:MAX_TEXT]
        studio.sessions.keep(session)
        return {"prompt_count": _count(session.prompts_text)}

    def examples(session: Session, text: str) -> View:
        return put(session, _joined(text, EXAMPLES.read_text(encoding="utf-8")))

    def uploaded(session: Session, text: str, path: str | None) -> View:
        if not path:
            raise PromptError("No file came through: choose it again.")
        try:
            read = read_prompts(Path(path))
        finally:
            Path(path).unlink(missing_ok=True)  # nobody's prompts lie about in the page's cache
        session.problems = read.problems
        session.say("prompts", Notice("info", f"{len(read.prompts)} prompts were read from {Path(path).name}."))
        return put(session, _joined(text, "\n".join(" ".join(prompt.split()) for prompt in read.prompts)))

    def put(session: Session, text: str) -> View:
        session.prompts_text = text
        studio.sessions.keep(session)
        return {"prompts": text, "prompt_count": _count(text)}

    def which(session: Session, value: str) -> None:
        session.repair_all = value == "all"
        session.say("prompts", looks_harmful.all_left_out(session, in_space=studio.settings.in_space))

    def clicked(session: Session, data: object) -> None:
        about = marking.included(session, data)
        if about is None:
            marking.clicked(session, data)
        else:
            studio.include(session, *about)
        session.say("prompts", looks_harmful.all_left_out(session, in_space=studio.settings.in_space))

    enriching.wire(page)
    page.on(page.parts["checked"].click, "prompts", clicked, with_data=True)
    page.quiet(page.parts["prompts"].change, typed, ["prompts"], ["prompt_count"], trigger_mode="always_last")
    page.on(page.parts["examples"].click, "prompts", examples, ["prompts"])
    page.on(page.parts["upload"].upload, "prompts", uploaded, ["prompts", "upload"], trigger_mode="multiple")
    page.on(page.parts["which"].input, "prompts", which, ["which"])
    page.on(
        page.parts["prompts_go"].click,
        "prompts",
        lambda session, text: studio.check(session, text or ""),
        ["prompts"],
    )


def restore(studio: Studio, session: Session) -> View:
    return {
        "prompts": session.prompts_text,
        "prompt_count": _count(session.prompts_text),
        "which": "all" if session.repair_all else "refused",
        **enriching.restore(studio, session),
    }


def _joined(text: str, more: str) -> str:
    """``more`` under what is there already, each line once."""
    return "\n".join(dict.fromkeys(line for line in f"{text or ''}\n{more}".splitlines() if line.strip()))


def _count(text: str) -> str:
    if not text.strip():
        return ""
    try:
        parsed = parse_prompts(text)
    except ActorError:
        return f"<span class='st-hint'>{t('no usable prompt yet')}</span>"
    said = plural("1 prompt", "{count} prompts", len(parsed.prompts))
    if len(parsed.prompts) == MAX_PROMPTS:
        said += f" ({t('the most that is taken')})"
    if parsed.problems:
        said += ", " + plural("1 row left out", "{count} rows left out", len(parsed.problems))
    return f"<span class='st-hint'>{said}</span>"


def _summary(session: Session, *, in_space: bool) -> str:
    if not session.checked:
        return ""
    judged = session.marks.all_of(session.checked, UNTUNED)
    refused = sum(reply.verdict.value == "refused" for reply in judged)
    said = plural(
        "{count} of your {asked} prompts is refused",
        "{count} of your {asked} prompts are refused",
        refused,
        asked=number(len(session.checked), ","),
    )
    return f"<h3 class='st-result'>{said}</h3>{looks_harmful.summary(session, in_space=in_space)}"
