"""Changes that were saved before: opened again, set beside another, and put on the hub."""

from __future__ import annotations

import dataclasses
import zipfile

import gradio as gr
import pytest
import torch
from quick_core import BASE, Model, answers, delta, done

import actor_core.export.push
import actor_core.two_changes
from actor_core.delta import LowRank
from actor_core.errors import ActorError, DeltaError, ExportError
from actor_core.events import Progress
from actor_core.export.push import Destination
from app import figures, render
from app.page import Page
from app.session import ExportRecord
from app.steps import export, hub

TOKEN = "hf_" + "Secret" * 5


@pytest.fixture
def saved(tmp_path):
    """A change of the studio's model, saved as its zip."""
    numbers = torch.arange(2.0)
    change = dataclasses.replace(delta(), changes={"mlp.down_proj": LowRank(numbers[None], numbers[:, None] + 1)})
    file = tmp_path / "delta.safetensors"
    change.save(file)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.write(file, "delta/delta.safetensors")
    return change, str(tmp_path / "mine.zip")


def of_another_base(tmp_path) -> str:
    change = dataclasses.replace(delta(), base=dataclasses.replace(BASE, name="another", digest="e" * 64))
    change.save(tmp_path / "delta.safetensors")
    return str(tmp_path / "delta.safetensors")


def test_a_saved_change_takes_the_place_of_a_tuning_and_is_compared(studio, saved):
    change, file = saved
    session = studio.sessions.new()
    studio.open_saved(session, [file], 4)
    done(studio, session)
    assert session.tuned.delta.digest() == change.digest() and session.strength == 1.0
    assert session.base == studio.model.id and session.recipe is None
    assert {name: len(rows) for name, rows in session.sets[1.0].items()} == dict.fromkeys(session.sets[1.0], 4)
    assert "was made on a model (fp32)" in session.tuned.words[0]
    assert session.notices["model"].text == session.tuned.words[0]
    assert figures.tiles(session, comparing=False)[0][2:] == ("–", "none was asked")


def test_prompts_asked_of_the_same_model_stay(studio, checked, saved):
    studio.open_saved(checked, [saved[1]], 4)
    done(studio, checked)
    assert len(checked.checked) == 2 and len(checked.after[1.0]) == 2


def test_another_precision_of_the_same_weights_is_opened_and_said(studio, saved):
    studio.model = Model(precision="nf4")
    session = studio.sessions.new()
    studio.open_saved(session, [saved[1]], 4)
    done(studio, session)
    assert "loaded in nf4 now" in session.tuned.words[0]


def test_a_change_of_another_base_is_refused_with_both_digests_and_nothing_is_lost(studio, repaired, tmp_path):
    before = repaired.tuned
    file = of_another_base(tmp_path)
    for press in (studio.open_saved, studio.compare_with):
        with pytest.raises(DeltaError, match="e{12}.*d{12}"):
            press(repaired, [file], 4)
    assert repaired.tuned is before and repaired.sets


@pytest.mark.parametrize("files", [None, [], ["README.md"]])
def test_without_a_file_it_says_which_are_taken(studio, repaired, files):
    with pytest.raises(DeltaError, match="Choose a file first"):
        studio.open_saved(repaired, files, 4)


def test_nothing_is_opened_under_a_job_that_runs(studio, repaired, saved, monkeypatch):
    monkeypatch.setattr(studio, "job", lambda session, quick=False: object())
    with pytest.raises(ActorError, match="still running"):
        studio.open_saved(repaired, [saved[1]], 4)


def test_another_change_is_set_beside_this_one(studio, repaired, saved, monkeypatch):
    monkeypatch.setattr(actor_core.two_changes, "answer", answers)
    studio.compare_with(repaired, [saved[1]], 4)
    done(studio, repaired)
    two = repaired.two
    assert (two.name, two.strength) == ("mine", 1.0)
    assert [(row.name, row.first.n) for row in two.sets] == [
        ("your prompts", 2), ("look-alikes", 4), ("harmful", 4), ("ordinary", 4)
    ]  # fmt: skip
    assert two.likeness[0].cosine == 0.0 and two.likeness[0].norms[1] > 0
    shown = render.two_changes(two)
    assert "cosine 0.00" in shown and shown.count("<tr>") == 5
    repaired.forget_tuning()
    assert repaired.two is None


def test_names_of_files_are_escaped(repaired):
    from app.session import Two

    assert "<b>" not in render.two_changes(Two("<b>", 1.0, [], []))


# The hub


@pytest.fixture
def with_export(studio, repaired, tmp_path):
    repaired.exports = [ExportRecord("peft", "now", "a model", 1.0, str(tmp_path), 10, True, "same", "python x")]
    return repaired


@pytest.fixture
def sent(monkeypatch):
    sent = []

    def push(folder, to):
        sent.append((folder, to))
        yield Progress("push", 1, 2, "Sending")
        return "http://hub/me/it/commit/1"

    monkeypatch.setattr(actor_core.export.push, "push", push)
    return sent


def test_the_files_are_sent_and_their_address_is_kept(studio, with_export, sent, tmp_path):
    studio.push(with_export, "peft", Destination("me/it", TOKEN))
    done(studio, with_export)
    assert sent == [(tmp_path, Destination("me/it", TOKEN))] and sent[0][1].private
    assert with_export.exports[0].address == "http://hub/me/it/commit/1"
    assert "On the hub: <a href='http://hub/me/it/commit/1'" in render.export_card(with_export.exports[0], "")
    for file in studio.settings.data_dir.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), f"{file} holds the token"


def test_on_a_page_that_is_open_to_others_nothing_is_sent(studio, with_export, sent):
    studio.settings = dataclasses.replace(studio.settings, share=True)
    with pytest.raises(ExportError, match="open to others"):
        studio.push(with_export, "peft", Destination("me/it", TOKEN))
    assert hub.view(studio, with_export)["hub"].visible is False and sent == []


def test_what_is_not_there_is_not_sent(studio, with_export, sent):
    with pytest.raises(ExportError, match="no export of this kind"):
        studio.push(with_export, "delta", Destination("me/it", TOKEN))


# The panel


@pytest.fixture
def panel(studio, repaired):
    with gr.Blocks():
        page = Page(studio)
        export.build(page)
    return lambda: page.views["export"](studio, repaired)


def test_the_panel_has_commands_with_the_files_that_were_exported(studio, with_export, panel, tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"")
    shown = panel()["programs"]
    for name in ("llama.cpp", "Ollama", "vLLM", "LM Studio", "text-generation-webui", "Transformers + PEFT"):
        assert f"<strong>{name}</strong>" in shown
    assert f"--lora-modules second-take={tmp_path}" in shown, "the exported adapter"
    assert "--lora FOLDER/FILE.gguf" in shown, "no GGUF adapter was exported"
    assert "Not for this model: the model was not loaded from a GGUF file." in shown
    studio.settings = dataclasses.replace(studio.settings, listen=True)
    assert str(tmp_path) not in panel()["programs"]


def test_the_rank_can_be_chosen_only_for_a_trained_layer(repaired, panel):
    assert panel()["rank"].visible is False
    full = dataclasses.replace(repaired.tuned.delta, changes={"mlp.down_proj": torch.zeros(2, 2)})
    repaired.tuned = dataclasses.replace(repaired.tuned, delta=full)
    assert panel()["rank"].visible is True
