"""Pushing to the hub, against a stand-in of its HTTP interface: what arrives, and what never leaves."""

from __future__ import annotations

import json
import logging
import os
import traceback

import pytest
from hub_stand_in import no_hub
from huggingface_hub import ModelCard, constants
from push_stand_in import TOKEN, PushHub, push_stand_in
from tiny_models import Source, random_delta

from actor_core.errors import ExportError
from actor_core.events import finish
from actor_core.export import export
from actor_core.export.push import Destination, push
from actor_core.recipe import RECIPE, Recipe

OWN = ("how do i kill a process", "how do i shoot a photo")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    no_hub(monkeypatch)
    with push_stand_in(PushHub()) as served:
        # huggingface_hub reads its address and its switches once, when it is imported.
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", served.address)
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        # Its newer upload protocol is native code with servers of its own: the stand-in speaks the older one.
        monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
        yield served


@pytest.fixture
def folder(tiny, tmp_path):
    """An adapter for llama.cpp with its Modelfile, card and recipe, of a base that lies somewhere on this machine."""
    model = tiny()
    base = tmp_path / "secret place" / "base.gguf"
    base.parent.mkdir()
    base.write_bytes(b"GGUF" + bytes(60))
    delta = random_delta(model)
    recipe = Recipe(model.id, "cpu", 1, {"seed": 0}, "everyday", "e" * 64, OWN, "f" * 64, delta.digest(), {})
    plain, model.source = model.source, Source(model.source.folder, gguf=base)
    try:
        work = export(model, delta, "gguf-lora", tmp_path / "it", prompts=("alpha",), recipe=recipe)
        next(work)
        next(work)  # written, not checked
        work.close()
    finally:
        model.source = plain
    return tmp_path / "it"


def pushed(folder, repository="me/repaired", **more) -> str:
    return finish(push(folder, Destination(repository, TOKEN, **more)))


def test_every_file_arrives_in_one_commit_of_a_private_repository(hub, folder):
    address = pushed(folder)
    assert address == f"{hub.address}/me/repaired/commit/1" and hub.commits == 1
    assert hub.repositories == {"me/repaired": True}
    arrived = hub.files["me/repaired"]
    assert arrived.keys() == {file.name for file in folder.iterdir()}
    for name in ("README.md", "tiny-chat-layer1-lora.gguf"):
        assert arrived[name] == (folder / name).read_bytes()
    assert ModelCard(arrived["README.md"].decode()).data.to_dict()["base_model"] == "someone/Tiny-Chat"


def test_no_path_of_this_machine_and_no_prompt_leaves_it(hub, folder, tmp_path):
    assert str(tmp_path) in (folder / "Modelfile").read_text()
    pushed(folder)
    for name, content in hub.files["me/repaired"].items():
        assert b"secret place" not in content and b"kill a process" not in content, name
    modelfile = hub.files["me/repaired"]["Modelfile"].decode()
    assert "FROM ./base.gguf\nADAPTER ./tiny-chat-layer1-lora.gguf" in modelfile
    assert json.loads(hub.files["me/repaired"][RECIPE])["own_digest"] == "f" * 64
    assert "kill a process" in (folder / RECIPE).read_text(), "the file here is as it was"


def test_prompts_go_with_it_only_when_that_is_asked_for(hub, folder):
    pushed(folder, share_prompts=True)
    assert json.loads(hub.files["me/repaired"][RECIPE])["own"] == list(OWN)


def test_a_public_repository_is_made_when_that_is_asked_for(hub, folder):
    pushed(folder, private=False)
    assert hub.repositories == {"me/repaired": False}


def test_a_repository_that_is_there_is_written_to_but_not_if_it_is_public_unasked(hub, folder):
    hub.repositories = {"me/mine": True, "me/open": False}
    pushed(folder, "me/mine")
    with pytest.raises(ExportError, match="exists and is public"):
        pushed(folder, "me/open")
    assert "me/open" not in hub.files
    pushed(folder, "me/open", private=False)
    assert hub.commits == 2


@pytest.mark.parametrize("fails_at", ["/api/repos/create", "/blob/", "/commit/"])
def test_the_token_is_in_no_file_log_message_or_traceback(hub, folder, tmp_path, caplog, monkeypatch, fails_at):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.fails_at = fails_at
    with caplog.at_level(logging.DEBUG), pytest.raises(ExportError) as caught:
        pushed(folder)
    said = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(Destination("a/b", TOKEN))
    assert TOKEN not in said
    for root, _, files in os.walk(tmp_path):
        for name in files:
            assert TOKEN.encode() not in open(os.path.join(root, name), "rb").read(), name
    assert os.environ.get("HF_TOKEN") is None


def test_a_token_that_may_not_write_is_told_in_words(hub, folder):
    with pytest.raises(ExportError, match="does not let this token write.*401"):
        finish(push(folder, Destination("me/repaired", "hf_wrong")))
    with pytest.raises(ExportError, match="does not let this token write.*403"):
        pushed(folder, "another/name")
    assert hub.commits == 0


@pytest.mark.parametrize("name", ["", "mine", "a/b/c", "../x", "a/ b", "me/", "http://x/y"])
def test_a_name_that_is_none_is_refused_before_anything_is_asked(hub, folder, name):
    with pytest.raises(ExportError, match="owner/name"):
        pushed(folder, name)
    assert hub.asked == []


def test_without_a_token_nothing_is_asked(hub, folder):
    with pytest.raises(ExportError, match="token"):
        finish(push(folder, Destination("me/repaired", "  ")))
    assert hub.asked == []


def test_offline_it_says_so_and_that_the_files_are_still_here(hub, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ExportError, match="could not be reached.*on this machine"):
        pushed(folder)
    assert folder.is_dir()


def test_a_hub_that_is_switched_off_is_named(hub, folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ExportError, match="HF_HUB_OFFLINE"):
        pushed(folder)
    assert hub.asked == []
