"""The panel below the steps: a visitor's earlier runs, to open, repeat, export again, compare, rename and delete."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape

import gradio as gr

from actor_core.errors import ActorError
from app import render, words
from app.errors import Notice
from app.language import ENGLISH, language, later, number, t, translated
from app.page import SCROLL_UP, Page, View
from app.runs import MAX_NAME
from app.session import STEPS, Session
from app.shelf import BYTES_OFFERED, RUNS_OFFERED, Line, Shelf
from app.steps import clearing, compare, prompts
from app.steps.tune import PER_SET
from app.studio import Studio
from app.two_runs import beside, drawn

__all__ = ["build", "build_notice", "wire"]

# What the groups of prompts are called in the midst of a line.
IN_A_LINE = later(
    {
        "own": "your prompts",
        "look_alike": "look-alikes",
        "harmful": "harmful prompts",
        "ordinary": "ordinary prompts",
    }
)
CHOSEN = ("history_open", "history_repeat", "history_export", "history_delete")


def build_notice(page: Page) -> None:
    """Above the steps: what could not be kept, or not be found again."""
    page.add("kept_notice", gr.HTML("", elem_id="kept-notice", elem_classes="st-slot"))


def build(page: Page) -> None:
    page.add("history_notice", gr.HTML("", elem_id="history-notice", elem_classes="st-slot"))
    with gr.Accordion(t("Earlier runs"), open=False, visible=False, elem_id="history") as panel:
        page.add("history_faults", gr.HTML("", elem_id="history-faults", elem_classes="st-slot"))
        clearing.build(page)
        page.add(
            "history_oldest",
            gr.Button(
                t("Delete the oldest"), elem_id="history-oldest", scale=0, min_width=170, size="md", visible=False
            ),
        )
        page.add("runs", gr.Radio([], label=t("Choose a run"), elem_id="runs"))
        with gr.Column(visible=False) as chosen:
            _build_chosen(page)
        page.add("history_chosen", chosen)
    page.add("history", panel)
    page.views["history"] = lambda studio, session: _view(studio, session)


def _build_chosen(page: Page) -> None:
    with gr.Row(elem_classes="st-actions"):
        buttons = {"open": t("Open"), "repeat": t("Repeat"), "export": t("Export again"), "delete": t("Delete")}
        for name, label in buttons.items():
            part = gr.Button(
                label,
                variant="primary" if name == "open" else "secondary",
                elem_id=f"history-{name}",
                scale=0,
                min_width=130,
                size="md",
            )
            page.add(f"history_{name}", part)
    page.add("history_no_repeat", gr.HTML("", elem_id="history-no-repeat", elem_classes="st-slot"))
    with gr.Column(visible=False) as asked:
        clearing.build_question(page, "history_run", t("Keep it"))
    page.add("history_asking", asked)
    with gr.Row(elem_classes="st-fields"):
        page.add("history_name", gr.Textbox(label=t("Name"), max_lines=1, max_length=MAX_NAME, elem_id="history-name"))
        page.add("history_rename", gr.Button(t("Rename"), elem_id="history-rename", scale=0, min_width=130, size="md"))
    with gr.Row(elem_classes="st-fields", visible=False) as other:
        page.add(
            "history_other", gr.Dropdown([], label=t("Compare it with"), elem_id="history-other", filterable=False)
        )
        page.add("history_beside", gr.Button(t("Compare"), elem_id="history-beside", scale=0, min_width=130, size="md"))
    page.add("history_others", other)
    page.add("history_two", gr.HTML("", elem_id="history-two", elem_classes="st-slot"))


def wire(page: Page) -> None:
    studio = page.studio
    history = studio.history
    assert history is not None, "a page that keeps nothing has no panel"

    def on(name: str, handle: Callable[..., View | None], inputs: tuple[str, ...] = ()) -> None:
        page.on(page.parts[name].click, "history", handle, inputs)

    def leading_up(name: str, handle: Callable[..., View | None]) -> None:
        """To the steps: the page goes to its top, and what is wrong is said there."""
        page.on(page.parts[name].click, "kept", handle, ["runs"], js=SCROLL_UP)

    def picked(session: Session, id: str | None) -> View:
        shelf = history.shelf(session)
        shelf.picked, shelf.asked, shelf.two = str(id or ""), "", None
        session.say("history", None)
        line = _picked(shelf)
        return {"history_name": line.name if line else "", "history_other": None}

    def opened(session: Session, id: str | None, step: str) -> View:
        _require_free(studio, session)
        history.open(session, str(id or ""))
        session.step = STEPS.index(step) + 1
        name = session.run.name if session.run else ""
        first = studio.needs_model(session)
        said = f"“{name}” is open in steps 2 to 5. {first or 'Your model is loaded: everything can go on from here.'}"
        for place, notice in (("kept", None), ("history", None), (step, Notice("success", said))):
            session.say(place, notice)
        if not session.prompts_text.strip():
            session.prompts_text = "\n".join(reply.prompt for reply in session.checked)
        studio.sessions.keep(session)
        return _restored(studio, session)

    def repeated(session: Session, id: str | None) -> View:
        studio.repeat(session, str(id or ""), PER_SET)
        session.say("kept", None)
        session.step = STEPS.index("tune") + 1
        return _restored(studio, session)

    def deleted(session: Session) -> View:
        _require_free(studio, session)
        history.delete(session, history.shelf(session).asked)
        studio.sessions.keep(session)
        session.say("history", None)
        return {"history_name": ""}

    def asked(session: Session, id: str | None) -> None:
        shelf = history.shelf(session)
        shelf.asked = str(id or "")

    def oldest(session: Session) -> View:
        shelf = history.shelf(session)
        if shelf.lines:
            shelf.picked = shelf.asked = shelf.lines[-1].id
            return {"history_name": shelf.lines[-1].name}
        return {}

    def compared(session: Session, id: str | None, other: str | None) -> None:
        if not other or other == id:
            raise ActorError("Choose another run to compare with.")
        found = beside(history.read(session, str(id or "")), history.read(session, other))
        history.shelf(session).two = found

    def renamed(session: Session, id: str | None, name: str | None) -> None:
        history.rename(session, str(id or ""), name or "")
        session.say("history", None)

    page.on(page.parts["runs"].input, "history", picked, ["runs"])
    leading_up("history_open", lambda session, id: opened(session, id, "compare"))
    leading_up("history_export", lambda session, id: opened(session, id, "export"))
    leading_up("history_repeat", repeated)
    on("history_delete", asked, ("runs",))
    on("history_run_stay", lambda session: asked(session, ""))
    on("history_run_gone", deleted)
    clearing.wire(page)
    on("history_oldest", oldest)
    on("history_beside", compared, ("runs", "history_other"))
    on("history_rename", renamed, ("runs", "history_name"))
    page.on(page.parts["history_name"].submit, "history", renamed, ["runs", "history_name"])


def _view(studio: Studio, session: Session) -> View:
    assert studio.history is not None
    shelf = studio.history.shelf(session)
    line, free = _picked(shelf), not any(studio.job(session, quick=quick) for quick in (False, True))
    others = [(f"{other.name} · {_when(other)}", other.id) for other in shelf.lines if other is not line]
    count = len(shelf.lines)
    return {
        "kept_notice": render.notice(session.notices.get("kept")),
        "history_notice": render.notice(session.notices.get("history")),
        "history": gr.Accordion(
            label=f"{t('Earlier runs')} ({count})", visible=bool(shelf.lines or shelf.damaged or shelf.left)
        ),
        "history_faults": clearing.rule_of(studio) + _too_many(shelf) + clearing.faults(shelf),
        **clearing.view(shelf),
        "history_oldest": gr.Button(visible=shelf.too_many),
        "runs": gr.Radio(
            choices=[(_label(each, session), each.id) for each in shelf.lines],
            value=line.id if line else None,
            visible=bool(shelf.lines),
        ),
        "history_chosen": gr.Column(visible=line is not None),
        **{name: gr.Button(interactive=free) for name in CHOSEN},
        "history_repeat": gr.Button(interactive=free and line is not None and not line.why_not_repeated),
        "history_no_repeat": _no_repeat(line),
        "history_asking": gr.Column(visible=line is not None and shelf.asked == line.id),
        "history_run_asked": _question(line) if line else "",
        "history_run_gone": gr.Button(interactive=free),
        "history_others": gr.Row(visible=bool(others)),
        "history_other": gr.Dropdown(choices=others),
        "history_two": drawn(shelf.two),
    }


def _restored(studio: Studio, session: Session) -> View:
    """What is chosen in the steps, as the run that was opened has it."""
    view: View = {"steps": gr.Tabs(selected=session.step)}
    for step in (prompts, compare):
        view |= step.restore(studio, session)
    return view


def _require_free(studio: Studio, session: Session) -> None:
    if any(studio.job(session, quick=quick) for quick in (False, True)):
        raise ActorError("Something is still running: wait for it, or press Stop in the step that shows it.")


def _picked(shelf: Shelf) -> Line | None:
    return next((line for line in shelf.lines if line.id == shelf.picked), None)


def _when(line: Line) -> str:
    made = time.localtime(line.made)
    return time.strftime("%d %b %Y, %H:%M" if language() == ENGLISH else "%d.%m.%Y, %H:%M", made)


def _label(line: Line, session: Session) -> str:
    """Three lines of plain text: name, what it is, what it did. The page shows them as text, not as HTML."""
    now = f" ({t('open now')})" if session.run is not None and session.run.id == line.id else ""
    what = [_when(line), f"{line.base.name} ({line.base.precision})", t("layer {layer}", layer=line.layer)]
    what.append(t("strength {strength}", strength=number(line.strength)))
    if line.source:
        what.append(t("opened from {file}", file=line.source))
    if line.early:
        what.append(t("stopped early"))
    return f"{line.name}{now}\n{' · '.join(what)}\n{_did(line)}"


def _did(line: Line) -> str:
    said = []
    for name, title in IN_A_LINE.items():
        if name in line.figures:
            before, after = line.figures[name]
            said.append(
                t("{group} {old} → {new} of {n}", group=t(title), old=before.refused, new=after.refused, n=after.n)
            )
    if line.guard_passed is not None:
        said.append(t("guard passed") if line.guard_passed else t("guard not passed"))
    return f"{t('Refused')}: {', '.join(said)}" if said else t("Nothing was asked at this strength yet")


def _no_repeat(line: Line | None) -> str:
    if line is None or not line.why_not_repeated:
        return ""
    said = t("It cannot be repeated: {why}.", why=translated(line.why_not_repeated))
    return f"<p class='st-hint'>{escape(said)}</p>"


def _too_many(shelf: Shelf) -> str:
    if not shelf.too_many:
        return ""
    said = (
        f"You have {len(shelf.lines)} earlier runs ({words.written_size(shelf.bytes)}). Above {RUNS_OFFERED}, or "
        f"{words.written_size(BYTES_OFFERED)}, please delete the oldest: at twice as many no new one is kept."
    )
    return render.notice(Notice("info", said))


def _question(line: Line) -> str:
    said = f"Delete “{line.name}” with its prompts, answers and its change? Files that you exported stay."
    return render.notice(Notice("warning", said))
