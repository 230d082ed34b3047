"""On a Space an export is sent to the account that is signed in, and to no other."""

from __future__ import annotations

import gradio as gr
import pytest
from gradio.helpers import special_args
from quick_core import done

import actor_core.export.push
from actor_core.errors import ExportError
from actor_core.events import Progress
from app import sign_in
from app.create_app import create_app
from app.session import ExportRecord
from app.settings import Settings
from app.sign_in import Account
from app.studio import Studio

TOKEN = "hf_oauth_abc"


@pytest.fixture
def space(tmp_path) -> Studio:
    return Studio(Settings(data_dir=tmp_path / "space", in_space=True))


@pytest.fixture
def offering(space, monkeypatch) -> Studio:
    """A studio of a Space where visitors can sign in, in the environment that the hub makes for it."""
    for package in sign_in.NEEDED:
        pytest.importorskip(package, reason="needs gradio[oauth], which a Space installs by itself")
    from gradio import oauth

    made = {"OAUTH_CLIENT_ID": "id", "OAUTH_CLIENT_SECRET": "s", "OAUTH_SCOPES": "openid profile contribute-repos"}
    for name, value in (made | {"OPENID_PROVIDER_URL": "https://huggingface.co"}).items():
        monkeypatch.setenv(name, value)
        monkeypatch.setattr(oauth, name, value)
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "someone/second-take")
    return space


@pytest.fixture
def with_export(space, tmp_path):
    session = space.sessions.new()
    folder = tmp_path / "export"
    folder.mkdir()
    session.exports = [ExportRecord("peft", "now", "a model", 1.0, str(folder), 1, True, "", "")]
    return session


def buttons(blocks: gr.Blocks) -> int:
    return sum(isinstance(part, gr.LoginButton) for part in blocks.blocks.values())


def pressing(blocks: gr.Blocks, id: str):
    """The function that a press of the button with this id calls."""
    (part,) = [part for part in blocks.blocks.values() if getattr(part, "elem_id", None) == id]
    (found,) = [fn for fn in blocks.fns.values() if (part._id, "click") in fn.targets]
    return found


def test_it_is_offered_only_on_a_space_whose_front_matter_asks_for_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sign_in, "find_spec", lambda name: object())
    space, own = Settings(data_dir=tmp_path, in_space=True), Settings(data_dir=tmp_path)
    monkeypatch.delenv("OAUTH_CLIENT_ID", raising=False)
    assert not sign_in.is_offered(space)
    monkeypatch.setenv("OAUTH_CLIENT_ID", "id")
    assert sign_in.is_offered(space) and not sign_in.is_offered(own)
    monkeypatch.setattr(sign_in, "find_spec", lambda name: None)
    assert not sign_in.is_offered(space), "without what Gradio needs for it the page could not start"


def test_the_button_takes_the_place_of_the_field_for_a_token(offering, studio):
    there, here = create_app(offering), create_app(studio)
    assert (buttons(there), buttons(here)) == (1, 0)
    ids = [part["props"].get("elem_id") for part in there.config["components"]]
    assert "hub-token" not in ids and "hub-sign-in" in ids


def test_what_is_sent_goes_to_the_account_that_is_signed_in(space, with_export, monkeypatch):
    sent = []

    def push(folder, to):
        yield Progress("push", 1, 2, "Sending")
        sent.append(to)
        return "https://huggingface.co/anna/it/commit/1"

    monkeypatch.setattr(actor_core.export.push, "push", push)
    to = Account("anna", TOKEN).destination(" it ", private=True, share_prompts=False)
    space.push(with_export, "peft", to, signed_in=True)
    done(space, with_export)
    assert [(each.repository, each.token, each.private) for each in sent] == [("anna/it", TOKEN, True)]
    assert TOKEN not in repr(with_export) and TOKEN not in repr(Account("anna", TOKEN))


def test_without_signing_in_nothing_is_sent_from_a_space(space, with_export):
    to = actor_core.export.push.Destination("anna/it", TOKEN)
    with pytest.raises(ExportError, match="open to others"):
        space.push(with_export, "peft", to)


def test_another_accounts_repository_is_refused():
    anna = Account("anna", TOKEN)
    assert anna.destination("anna/it", private=False, share_prompts=True).repository == "anna/it"
    with pytest.raises(ExportError, match="name it anna/it"):
        anna.destination("bert/it", private=True, share_prompts=False)


def test_the_page_gets_who_is_signed_in_from_gradio_and_from_nothing_that_is_sent(offering, with_export, monkeypatch):
    """The press has no input for a token; without a signed session Gradio gives none."""
    press = pressing(create_app(offering), "hub-go")
    request = gr.Request(headers={})
    given, *_ = special_args(press.fn, [with_export.id, "peft", "it", True, False], request)
    assert given[:2] == [None, None] and given[2] is request
    press.fn(*given)
    assert "Nobody is signed in" in with_export.notices["export"].text
    sent = []
    monkeypatch.setattr(offering, "push", lambda session, kind, to, **how: sent.append((kind, to, how)))
    profile = gr.OAuthProfile({"name": "Anna", "preferred_username": "anna", "profile": "", "picture": ""})
    press.fn(profile, gr.OAuthToken(TOKEN, "contribute-repos", 0), *given[2:])
    ((kind, to, how),) = sent
    assert (kind, to.repository, to.token, how) == ("peft", "anna/it", TOKEN, {"signed_in": True})
