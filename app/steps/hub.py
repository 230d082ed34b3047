"""Putting an export on the model hub, in step 5: for those who sit at the machine that runs this page, with a token;
on a Space for those who sign in, to their own account."""

from __future__ import annotations

import gradio as gr

from actor_core.errors import ExportError
from app import words
from app.language import t
from app.page import Page, View
from app.session import Session
from app.sign_in import Account, is_offered
from app.studio import Studio

__all__ = ["build", "view", "wire"]


def build(page: Page) -> None:
    with gr.Accordion(t("Put it on the model hub"), open=False, visible=False, elem_id="hub") as part:
        page.add("hub_kind", gr.Radio([], label=t("Which of the files above"), elem_id="hub-kind"))
        with gr.Row():
            page.add(
                "hub_repository",
                gr.Textbox(
                    label=t("Repository"),
                    info=t("Yours, as owner/name. It is made if it is not there."),
                    placeholder="someone/my-model-repaired",
                    max_length=200,
                    max_lines=1,
                    elem_id="hub-repository",
                ),
            )
            if is_offered(page.studio.settings):
                gr.LoginButton(elem_id="hub-sign-in", size="md", scale=0, min_width=260)
            else:
                page.add(
                    "hub_token",
                    gr.Textbox(
                        label=t("Token"),
                        info=t("With the right to write. It is used once and kept nowhere."),
                        type="password",
                        max_length=500,
                        elem_id="hub-token",
                    ),
                )
        page.add("hub_private", gr.Checkbox(True, label=t("Private: only you can see it"), elem_id="hub-private"))
        page.add(
            "hub_prompts",
            gr.Checkbox(
                False,
                label=t("Send my prompts, too"),
                info=t(
                    "With them others can make the change again (reproduce.json); without, only their digest is sent."
                ),
                elem_id="hub-prompts",
            ),
        )
        page.add("hub_go", gr.Button(t("Send to the hub"), elem_id="hub-go", scale=0, min_width=170, size="md"))
    page.add("hub", part)


def view(studio: Studio, session: Session) -> View:
    kinds = [kind for kind in words.EXPORT_KINDS if any(record.kind == kind for record in session.exports)]
    return {
        "hub": gr.Accordion(
            visible=bool(kinds) and (studio.settings.local_paths_allowed or is_offered(studio.settings))
        ),
        "hub_kind": gr.Radio(choices=[(t(words.EXPORT_KINDS[kind][0]), kind) for kind in kinds]),
        "hub_go": gr.Button(interactive=studio.job(session) is None),
    }


def wire(page: Page) -> None:
    studio = page.studio

    def sent(session: Session, kind: str | None, repository: str, token: str, private: bool, prompts: bool) -> View:
        from actor_core.export.push import Destination

        to = Destination((repository or "").strip(), token or "", private=private, share_prompts=prompts)
        studio.push(session, kind or "", to)
        return {"hub_token": ""}

    def sent_to_own(
        session: Session, kind: str | None, repository: str, private: bool, prompts: bool, account: Account | None
    ) -> View:
        if account is None:
            raise ExportError("Nobody is signed in: press “Sign in with Hugging Face” first.")
        to = account.destination(repository or "", private=private, share_prompts=prompts)
        studio.push(session, kind or "", to, signed_in=True)
        return {}

    names = ["hub_kind", "hub_repository", "hub_token", "hub_private", "hub_prompts"]
    press = page.parts["hub_go"].click
    if is_offered(studio.settings):
        page.on(press, "export", sent_to_own, [n for n in names if n != "hub_token"], with_account=True)
    else:
        page.on(press, "export", sent, names)
