"""Step 5: files that other programs load."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import figures, lowering, render, words
from app.errors import Notice
from app.exporting import NO_CHOICES, Choices
from app.language import ENGLISH, number, spoken, t, translated
from app.page import Page, View
from app.session import ExportRecord, Session
from app.steps import hub, old_exports
from app.studio import Studio

if TYPE_CHECKING:
    from actor_core.guard import Guard

__all__ = ["build", "command_of", "restore", "wire"]

AUTOMATIC = "auto"
RANKS = (1, 2, 4, 8, 16, 32, 64, 128)


def build(page: Page) -> None:
    offered = page.studio.kinds_offered()
    with spoken(ENGLISH):  # made of several texts each: `restore` gives them in the visitor's language
        choices = _kinds(page.studio)
    page.add(
        "kinds",
        gr.CheckboxGroup(
            choices,
            value=[kind for kind in offered if kind not in words.WHOLE_MODELS],
            label=t("Kinds of file"),
            elem_id="kinds",
            elem_classes="st-kinds",
        ),
    )
    _build_choices(page)
    page.add("export_plan", gr.HTML("", elem_classes="st-slot"))
    page.add("guard", gr.HTML("", elem_id="guard", elem_classes="st-slot"))
    with gr.Row(elem_classes="st-actions"):
        hidden: dict[str, Any] = {"visible": False, "scale": 0, "min_width": 285, "size": "md"}
        page.add("lower", gr.Button(t("Look for a strength that passes"), elem_id="lower", **hidden))
        page.add("lower_go", gr.Button("", elem_id="lower-go", variant="primary", **hidden))
    page.add(
        "export_anyway",
        gr.Textbox(
            label=t("Type “export anyway”"),
            max_lines=1,
            visible=False,
            elem_id="export-anyway",
        ),
    )
    page.action("export", t("Export"))
    for kind in words.EXPORT_KINDS:
        with gr.Column(visible=False) as group:
            page.add(f"card_{kind}", gr.HTML("", elem_id=f"card-{kind}", elem_classes="st-slot"))
            page.add(
                f"download_{kind}",
                gr.DownloadButton(t("Download (.zip)"), elem_id=f"download-{kind}", scale=0, min_width=170, size="md"),
            )
        page.add(f"group_{kind}", group)
    with gr.Accordion(t("Which program takes which file"), open=False, elem_id="programs"):
        page.add("programs", gr.HTML("", elem_id="programs-table", elem_classes="st-slot"))
    hub.build(page)
    old_exports.build(page)

    def view(studio: Studio, session: Session) -> View:
        ready = session.tuned is not None and studio.has_model_of(session)
        hint = "" if ready else studio.needs_model(session) or t("First tune a model in step 3.")
        latest = {kind: _latest(session, kind) for kind in words.EXPORT_KINDS}
        view = page.frame(session, "export", ready=ready, done=bool(session.exports), hint=hint)
        guard = session.guards.get(session.strength)
        free = ready and studio.job(session) is None
        plan = t("The change is written at strength {strength}, as set in step 4.", strength=number(session.strength))
        view["export_plan"] = f"<p class='st-hint'>{plan}{'' if guard else ' ' + t(words.GUARD_AHEAD)}</p>"
        view["guard"] = ""
        if guard is not None:
            view["guard"] = render.notice(_guard_notice(session, guard, in_space=studio.settings.in_space))
        asked = guard is not None and not guard.passed and not studio.settings.in_space
        view["export_anyway"] = gr.Textbox(visible=asked and free)
        reached = lowering.passing(session)
        view["lower"] = gr.Button(visible=free and reached is None and bool(lowering.smaller(session)))
        go = t("Go to strength {strength}", strength=number(reached)) if reached is not None else ""
        view["lower_go"] = gr.Button(value=go, visible=ready and reached is not None)
        if reached is not None:  # which is what to press first
            view["export_go"] = gr.Button(interactive=free, variant="secondary")
        for kind, record in latest.items():
            path = studio.download(session, record.path) if record else None
            view[f"group_{kind}"] = gr.Column(visible=record is not None)
            view[f"card_{kind}"] = _card(studio, record) if record else ""
            view[f"download_{kind}"] = gr.DownloadButton(value=str(path) if path else None, visible=path is not None)
        whole = session.tuned is not None and any(_is_full(c) for c in session.tuned.delta.changes.values())
        view["rank"] = gr.Dropdown(visible=whole)
        view["programs"] = render.programs_table(_programs(studio, session)) if ready else ""
        view |= hub.view(studio, session)
        old = [record for record in session.exports if record not in latest.values()]
        return view | old_exports.view(studio, session, old)

    page.views["export"] = view


def wire(page: Page) -> None:
    studio = page.studio
    hub.wire(page)
    old_exports.wire(page)

    def export(
        session: Session, kinds: list[str] | None, typed: str | None, replayed: float, tensor_type: str, rank: str
    ) -> View:
        choices = Choices(int(replayed), tensor_type, int(rank) if rank != AUTOMATIC else None)
        studio.export(session, list(kinds or []), figures.report(session), typed or "", choices)
        # What was typed stands for this one export: at another strength it is asked for anew.
        return {"export_anyway": gr.Textbox(value="", visible=False)}

    def go_lower(session: Session) -> View:
        reached = lowering.passing(session)
        if reached is None:
            return {}
        studio.set_strength(session, reached)
        session.say("export", None)
        return {"strength": gr.Slider(value=reached)}

    for trigger in (page.parts["export_go"].click, page.parts["export_anyway"].submit):
        page.on(trigger, "export", export, ["kinds", "export_anyway", "replayed", "tensor_type", "rank"])
    page.on(page.parts["lower"].click, "export", studio.lower_strength)
    page.on(page.parts["lower_go"].click, "export", go_lower)


def restore(studio: Studio, session: Session) -> View:
    return {"kinds": gr.CheckboxGroup(choices=_kinds(studio))}


def _kinds(studio: Studio) -> list[tuple[str, str]]:
    return [(": ".join(map(t, words.EXPORT_KINDS[kind])), kind) for kind in studio.kinds_offered()]


def _build_choices(page: Page) -> None:
    with gr.Accordion(t("How it is checked and stored"), open=False, elem_id="export-choices"):
        page.add(
            "replayed",
            gr.Slider(
                0,
                120,
                value=NO_CHOICES.replayed,
                step=8,
                label=t("Prompts asked again by each check"),
                info=t(
                    "Of those that you compared in step 4. Each file is loaded in its program, and must get the same "
                    "verdicts there. More take longer and say more."
                ),
            ),
        )
        page.add(
            "tensor_type",
            gr.Radio(
                [(t(label), value) for label, value in words.TENSOR_TYPES],
                value=NO_CHOICES.tensor_type,
                label=t("The changed matrix in a whole GGUF model"),
                info=t("It is stored finer than the others, so that the change is not rounded away."),
            ),
        )
        page.add(
            "rank",
            gr.Dropdown(
                [(t("Automatic: loses at most 2 %, or 64"), AUTOMATIC), *((str(rank), str(rank)) for rank in RANKS)],
                value=AUTOMATIC,
                label=t("Rank of the adapter"),
                info=t(
                    "A trained layer changes in more directions than an adapter holds; a higher rank keeps more. What "
                    "each rank loses stands on the adapter's card after an export."
                ),
                visible=False,
                filterable=False,
            ),
        )


def _programs(studio: Studio, session: Session) -> list[tuple[str, str, str, str, str]]:
    """A row for each program and file: program, kind of file, needs, command, why not."""
    from actor_core.export.programs import programs

    model = studio.model
    if model is None:
        return []
    local = studio.settings.local_paths_allowed
    gguf = model.source.gguf
    rows = []
    for program in programs(model.model_type, has_gguf=gguf is not None):
        record = _latest(session, program.kind) if local else None
        folder = Path(record.path) if record else Path("FOLDER")
        file = next(folder.glob("*.gguf"), folder / "FILE.gguf") if record else folder / "FILE.gguf"
        command = program.filled(
            base=str(model.source.folder) if local else "BASE",
            base_gguf=str(gguf) if gguf and local else "BASE.gguf",
            folder=shlex.quote(str(folder)),
            file=shlex.quote(str(file)),
        )
        kind, needs, why_not = words.EXPORT_KINDS[program.kind][0], program.needs, program.why_not
        rows.append((program.name, t(kind), translated(needs), command, translated(why_not)))
    return rows


def _is_full(change: object) -> bool:
    """Whether a change is a whole difference, and not of low rank already."""
    return not hasattr(change, "a")


def _guard_notice(session: Session, guard: Guard, *, in_space: bool) -> Notice:
    """The guard's verdict and, where it was not passed, what can be done about it."""
    if guard.passed:
        return Notice("success", guard.words())
    held_back = words.GUARD_IN_SPACE if in_space else words.GUARD_TYPE
    return Notice("warning", "\n".join([guard.words(), lowering.helps(session), held_back]))


def command_of(studio: Studio, record: ExportRecord) -> str:
    """How the file is used; for a visitor from elsewhere without the folders of this machine."""
    if studio.settings.local_paths_allowed:
        return record.command
    command = record.command
    for folder in (Path(record.path).parent, studio.settings.data_dir):
        command = command.replace(f"{folder}{os.sep}", "")
    return command


def _card(studio: Studio, record: ExportRecord) -> str:
    return render.export_card(record, command_of(studio, record), _folder(studio, record))


def _folder(studio: Studio, record: ExportRecord) -> str:
    """Where a whole model lies on this machine; empty for what is downloaded, and for visitors from elsewhere."""
    return record.path if record.kind in words.WHOLE_MODELS and studio.settings.local_paths_allowed else ""


def _latest(session: Session, kind: str) -> ExportRecord | None:
    return next((record for record in session.exports if record.kind == kind), None)
