"""A second judge: what it takes replies for, and what is refused before anything of it is loaded."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hub_stand_in import COMMIT, Hub, hub_stand_in, no_hub
from safetensors.torch import load_file, save_file
from tiny_judges import LABELS, MINOS_FORM, taught_folder
from tiny_models import tiny_folder

from actor_core import second_judge
from actor_core.errors import FetchError, ModelError, OutOfMemory
from actor_core.events import Progress, finish
from actor_core.generate import Reply
from actor_core.judge import Verdict
from actor_core.memory import Machine
from actor_core.presets import JudgePreset, judge_presets
from actor_core.second_judge import fetch_judge, load_judge, opinions, refusal_label

# None of them was in the lessons.
REFUSED = ("I can't answer that, sorry.", "I'm sorry, but I cannot do this.", "I must decline.")
ANSWERED = ("Sure: open it and look.", "You can open the manager like this.", "Bread takes time.")
SAID = (*REFUSED, *ANSWERED, "Yes. " + "It takes flour and water. " * 40, "I'm sorry. " + "I can't help. " * 40, "")


def replies(*texts: str, prompt: str = "What is bread?") -> list[Reply]:
    return [Reply(prompt, text, Verdict.ANSWERED, False) for text in texts]


def loaded(folder: Path, tmp_path: Path, preset: JudgePreset | None = None):
    return finish(load_judge(finish(fetch_judge(str(folder), tmp_path / "data")), preset, device="cpu"))


@pytest.fixture(scope="module")
def taught(tmp_path_factory) -> Path:
    return taught_folder(tmp_path_factory.mktemp("judges") / "my judge")


@pytest.fixture(scope="module")
def minos(tmp_path_factory) -> Path:
    labels = {0: "Non-refusal", 1: "Refusal"}
    path = tmp_path_factory.mktemp("judges") / "minos"
    return taught_folder(path, "modernbert", labels=labels, form=MINOS_FORM, positions=130)


@pytest.fixture
def folder(taught, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(taught, tmp_path / "copy")


def with_config(folder: Path, **values: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


def test_a_classifier_of_replies_tells_refusals_that_it_has_never_read(taught, tmp_path):
    judge = loaded(taught, tmp_path)
    found = finish(opinions(judge, replies(*REFUSED, *ANSWERED)))
    assert [each.refused for each in found] == [True] * 3 + [False] * 3
    assert all(each.probability > 0.5 for each in found[:3]) and all(each.probability < 0.5 for each in found[3:])
    assert (judge.name, judge.form) == ("my judge", "{reply}")


def test_one_that_reads_the_prompt_too_is_given_both(minos, tmp_path):
    preset = judge_presets()["minos-v1"]
    judge = loaded(minos, tmp_path, preset)
    found = finish(opinions(judge, replies(*REFUSED, *ANSWERED)))
    assert [each.refused for each in found] == [True] * 3 + [False] * 3
    asked = Reply("What is {reply}?", "Bread, {prompt}.", Verdict.ANSWERED, False)
    assert (
        judge.tokenizer.decode(judge.token_ids(asked)) == "<|user|>\nWhat is {reply}?\n<|assistant|>\nBread, {prompt}."
    )
    assert judge.name == f"{preset.title}, from minos"
    alone = loaded(minos, tmp_path)  # a folder of which nothing is known
    assert alone.tokenizer.decode(alone.token_ids(asked)) == "Bread, {prompt}."


@pytest.mark.parametrize("tokens", [1, 70, 10_000])
def test_in_batches_it_says_what_it_says_of_each_alone(taught, minos, tmp_path, tokens):
    for folder in (taught, minos):
        judge = loaded(folder, tmp_path)
        alone = [finish(opinions(judge, [reply]))[0] for reply in replies(*SAID)]
        together = finish(opinions(judge, replies(*SAID), tokens_at_once=tokens))
        assert [each.refused for each in together] == [each.refused for each in alone]
        assert [each.probability for each in together] == pytest.approx([each.probability for each in alone], abs=1e-4)


def test_a_reply_that_is_too_long_is_read_from_its_beginning(taught, tmp_path):
    judge = loaded(taught, tmp_path)
    assert judge.max_tokens == 64, "RoBERTa's kind keeps two of its 66 positions for itself"
    long = replies("I'm sorry. I cannot assist. " * 300, "Sure, you can do it like this. " * 300)
    assert {len(judge.token_ids(reply)) for reply in long} == {64}
    assert [each.refused for each in finish(opinions(judge, long))] == [True, False]


def test_it_stops_between_two_batches(taught, tmp_path):
    judge, read = loaded(taught, tmp_path), []
    judge.model.register_forward_hook(lambda *_: read.append(1))
    work = opinions(judge, replies(*SAID), tokens_at_once=1)
    assert next(work) == Progress("opinion", 0, len(SAID)) and not read
    assert next(work) == Progress("opinion", 1, len(SAID)) and len(read) == 1
    work.close()
    assert len(read) == 1


def test_nothing_to_read_is_no_work(taught, tmp_path):
    assert finish(opinions(loaded(taught, tmp_path), [])) == []


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        (LABELS, 1),
        ({0: "Non-refusal", 1: "Refusal"}, 1),
        ({0: "refused", 1: "complied"}, 0),
        ({0: "NotRefused", 1: "Refused"}, 1),
        ({0: "compliance", 1: "full_refusal", 2: "no_refusal"}, 1),
        ({0: "NO_REJECTION", 1: "REJECTION"}, 1),
        ({0: "declined", 1: "answered"}, 0),
    ],
)
def test_the_label_that_means_refusal_is_known_by_its_name(labels, place):
    assert refusal_label(labels, "x") == place


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {0: "LABEL_0", 1: "LABEL_1"},
        {0: "full_refusal", 1: "partial_refusal", 2: "compliance"},
        {0: "Refusal"},
        {0: "chosen", 1: "rejected"},  # of a reward model
        {0: "Non-refusal", 1: "other"},
    ],
)
def test_labels_that_do_not_say_it_are_refused_with_what_is_wanted(labels):
    with pytest.raises(ModelError, match="one that means refusal, such as"):
        refusal_label(labels, "x")


def test_the_labels_are_read_from_the_configuration_before_the_weights(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(second_judge, "bytes_of_weights", lambda _: pytest.fail("the weights were looked at"))
    with pytest.raises(ModelError, match="copy has the labels A, B"):
        loaded(with_config(folder, id2label={"0": "A", "1": "B"}, label2id={"A": 0, "B": 1}), tmp_path)


@pytest.mark.parametrize("evil", [{"auto_map": {"AutoModelForSequenceClassification": "evil.Evil"}}, {"x_internal": 1}])
def test_a_folder_that_would_run_code_is_refused(folder, tmp_path, evil):
    (folder / "evil.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ModelError, match="code that came with the model"):
        loaded(with_config(folder, **evil), tmp_path)


def test_pickled_weights_are_refused(folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        loaded(folder, tmp_path)


def test_a_model_without_a_head_for_it_is_not_made_up(folder, tmp_path):
    weights = {name: each for name, each in load_file(folder / "model.safetensors").items() if "classifier" not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not whole: its files lack 4 of the weights"):
        loaded(folder, tmp_path)


def test_a_chat_model_is_no_judge(tmp_path):
    with pytest.raises(ModelError, match="has the labels LABEL_0, LABEL_1"):
        loaded(tiny_folder("llama", tmp_path / "chat"), tmp_path)


def test_weights_that_are_no_numbers_are_said_so(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    weights["classifier.out_proj.bias"] = torch.full_like(weights["classifier.out_proj.bias"], float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    judge = loaded(folder, tmp_path)
    with pytest.raises(ModelError, match="not finite"):
        finish(opinions(judge, replies("I'm sorry.")))


@pytest.mark.parametrize("typed", ["", "  ", "/no/such/folder", "someone/judge", "null\x00byte", __file__])
def test_what_is_no_folder_is_said_so(tmp_path, typed):
    with pytest.raises(ModelError, match="There is no folder"):
        finish(fetch_judge(typed, tmp_path))


def test_it_is_not_loaded_where_memory_is_short(taught, tmp_path, monkeypatch):
    source = finish(fetch_judge(str(taught), tmp_path / "data"))
    size = (taught / "model.safetensors").stat().st_size
    monkeypatch.setattr(Machine, "look", classmethod(lambda cls: cls(10**12, round(1.1 * size), "", 0, 0)))
    with pytest.raises(OutOfMemory, match="beside the model that is loaded"):
        finish(load_judge(source))
    assert finish(load_judge(source, precision="bf16")).model.dtype is torch.bfloat16  # half of it
    monkeypatch.setattr(Machine, "look", classmethod(lambda cls: cls(10**12, round(1.3 * size), "", 0, 0)))
    assert finish(load_judge(source)).device.type == "cpu"


def test_the_known_ones_are_free_to_use_and_the_smaller_is_first():
    presets = judge_presets()
    assert list(presets) == ["distilroberta-rejection-v1", "minos-v1"]
    assert {preset.licence for preset in presets.values()} == {"Apache-2.0"}
    assert presets["minos-v1"].form == MINOS_FORM and presets["minos-v1"].max_tokens == 8192
    assert presets["distilroberta-rejection-v1"].form == "{reply}"


@pytest.fixture
def hub(monkeypatch, taught):
    """It gives the taught folder as Minos, with what must not be fetched beside it."""
    no_hub(monkeypatch)
    files = {path.name: path.read_bytes() for path in taught.iterdir()}
    extra = {"modeling_evil.py": b"raise SystemExit", "pytorch_model.bin": b"pickle"}
    with hub_stand_in(Hub(repo="NousResearch/Minos-v1", files=files | extra)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


def test_a_known_one_comes_from_the_hub_once_and_keeps_its_commit(hub, tmp_path):
    preset = judge_presets()["minos-v1"]
    found = finish(fetch_judge(preset, tmp_path))
    assert (found.name, found.revision) == ("NousResearch/Minos-v1", COMMIT)
    assert not any("evil" in path or "pytorch" in path for _, path, _ in hub.asked)
    hub.commit, asked = "f" * 40, len(hub.asked)
    assert finish(fetch_judge(preset, tmp_path, offline=True)) == found and len(hub.asked) == asked
    judge = finish(load_judge(found, preset, device="cpu"))
    assert judge.name == preset.title
    assert [each.refused for each in finish(opinions(judge, replies(REFUSED[0])))] == [True]


def test_a_known_one_with_a_revision_is_asked_for_at_that_one(hub, tmp_path):
    wanted = "e" * 40
    preset = judge_presets()["minos-v1"].model_copy(update={"revision": wanted})
    with pytest.raises(FetchError, match=f"no revision {wanted}"):
        finish(fetch_judge(preset, tmp_path))


def test_without_the_hub_it_is_said_and_nothing_is_left_half_there(monkeypatch, tmp_path):
    no_hub(monkeypatch)
    for preset in judge_presets().values():
        with pytest.raises(FetchError, match="does not answer"):
            finish(fetch_judge(preset, tmp_path))
    assert not list(tmp_path.rglob("weights"))


def test_our_own_verdict_has_no_part_in_it(taught, tmp_path):
    judge = loaded(taught, tmp_path)
    (reply,) = replies(REFUSED[0])
    said = [finish(opinions(judge, [replace(reply, verdict=verdict)])) for verdict in Verdict]
    assert said[0] == said[1] == said[2]
