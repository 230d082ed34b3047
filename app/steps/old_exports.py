"""In step 5: a visitor's earlier exports, and what can be deleted of them where they take much of the disk."""

from __future__ import annotations

from html import escape

import gradio as gr

from actor_core.errors import ActorError
from app import render, words
from app.clearing import delete_export, delete_left_exports
from app.errors import Notice
from app.export_room import BYTES_OFFERED, EXPORTS_OFFERED, ExportRoom, own_exports, room_of, rule, too_many
from app.language import later, number, t, translated
from app.left_runs import DAYS_UNSEEN
from app.page import Page, View
from app.session import ExportRecord, Session
from app.shelf import LEFT
from app.steps import clearing
from app.studio import Studio

__all__ = ["build", "view", "wire"]

LISTED = 30
LEFT_QUESTION = later(
    "Delete these exports? A program that loads one of them from its folder will not find it any more."
)


def build(page: Page) -> None:
    with gr.Accordion(t("Earlier exports"), open=False, visible=False, elem_id="exports") as earlier:
        page.add("exports_said", gr.HTML("", elem_id="exports-said", elem_classes="st-slot"))
        clearing.build_one(page, "exports_oldest", t("Delete the oldest export"), t("Keep it"))
        page.add("exports_left_said", gr.HTML("", elem_id="exports-left-said", elem_classes="st-slot"))
        clearing.build_one(page, "exports_left", t("Delete exports of other browsers"), t("Keep them"))
        page.add("earlier_list", gr.HTML("", elem_id="earlier"))
        page.add("earlier_files", gr.File(label=t("Download"), file_count="multiple", interactive=False))
    page.add("earlier", earlier)


def wire(page: Page) -> None:
    studio = page.studio
    everybody = studio.exports_of_all

    def ask_for_oldest(session: Session) -> None:
        records = own_exports(session, everybody)
        room_of(session, everybody).asked = records[-1].path if records else ""

    def ask_for_left(session: Session) -> None:
        room_of(session, everybody).asked = LEFT

    def stay(session: Session) -> None:
        room_of(session, everybody).asked = ""

    def oldest_gone(session: Session) -> None:
        if page.busy(session):
            raise ActorError("Something is still running: wait for it, or press Stop in the step that shows it.")
        delete_export(everybody, session, room_of(session, everybody).asked)
        studio.sessions.keep(session)
        session.say("export", None)

    def left_gone(session: Session) -> None:
        delete_left_exports(everybody, session)
        session.say("export", None)

    for name, ask, gone in (("oldest", ask_for_oldest, oldest_gone), ("left", ask_for_left, left_gone)):
        page.on(page.parts[f"exports_{name}"].click, "export", ask)
        page.on(page.parts[f"exports_{name}_stay"].click, "export", stay)
        page.on(page.parts[f"exports_{name}_gone"].click, "export", gone)


def view(studio: Studio, session: Session, old: list[ExportRecord]) -> View:
    """``old``: the exports that have no card above."""
    room, own = room_of(session, studio.exports_of_all), own_exports(session, studio.exports_of_all)
    asked = next((record for record in own if record.path == room.asked), None)
    files = [str(path) for record in old[:LISTED] if (path := studio.download(session, record.path))]
    many = too_many(own)
    return {
        "earlier": gr.Accordion(visible=bool(old or many or room.left)),
        "exports_said": _rule(studio) + (_too_many(own) if many else ""),
        "exports_oldest": gr.Button(visible=many),
        "exports_oldest_asking": gr.Column(visible=asked is not None),
        "exports_oldest_asked": _question(asked) if asked else "",
        "exports_left_said": _left(room) if room.left else "",
        "exports_left": gr.Button(visible=bool(room.left)),
        "exports_left_asking": gr.Column(visible=bool(room.left) and room.asked == LEFT),
        "exports_left_asked": render.notice(Notice("warning", LEFT_QUESTION)) if room.left else "",
        "earlier_list": _listed(old[:LISTED]) if old else "",
        "earlier_files": gr.File(value=files or None, visible=bool(files)),
    }


def _rule(studio: Studio) -> str:
    if not studio.exports_of_all.open_to_others:
        return ""
    return f"<p class='st-hint'>{escape(translated(rule()))}</p>"


def _too_many(own: list[ExportRecord]) -> str:
    said = (
        f"Your exports take {words.written_size(sum(record.bytes for record in own))} here (in number {len(own)}). "
        f"Above {EXPORTS_OFFERED}, or {words.written_size(BYTES_OFFERED)}, please delete the oldest: at twice as many "
        "no new one is written."
    )
    return render.notice(Notice("info", said))


def _left(room: ExportRoom) -> str:
    count, bytes = sum(each.count for each in room.left), sum(each.bytes for each in room.left)
    said = (
        f"On this disk are also exports made in other browsers, or before a browser's data was cleared (in number "
        f"{count}, {words.written_size(bytes)}), by nobody who was here in the last {DAYS_UNSEEN} days."
    )
    return render.notice(Notice("info", said))


def _question(record: ExportRecord) -> str:
    kind = words.EXPORT_KINDS.get(record.kind, (record.kind, ""))[0]
    said = (
        f"Delete “{kind}” of {record.made} ({words.written_size(record.bytes)})? A program that loads it from its "
        "folder will not find it any more."
    )
    return render.notice(Notice("warning", said))


def _listed(records: list[ExportRecord]) -> str:
    rows = "".join(
        f"<tr><td>{escape(record.made)}</td>"
        f"<td>{escape(t(words.EXPORT_KINDS.get(record.kind, (record.kind, ''))[0]))}</td>"
        f"<td class='st-text'>{escape(record.model)}</td>"
        f"<td>{t('strength {strength}', strength=number(record.strength))}"
        f"{', ' + t('guard not passed') if record.guard_passed is False else ''}</td>"
        f"<td>{words.size(record.bytes)}</td></tr>"
        for record in records
    )
    return f"<table class='st-table'><tbody>{rows}</tbody></table>"
