"""Work on a lent GPU, with the real package `spaces` and without its hardware: then it is done where it stands."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = Path(__file__).parents[2]
if str(ROOT / "tests" / "core") not in sys.path:
    sys.path.append(str(ROOT / "tests" / "core"))

from tiny_models import (  # noqa: E402
    DANGEROUS,
    HARMLESS,
    HARMLESS_THINGS,
    THINGS,
    VICTIMS,
    Source,
    asked,
    loaded,
    refusing_folder,
    tiny_tokenizer,
)

from actor_core import generate  # noqa: E402
from actor_core import tune as core  # noqa: E402
from actor_core.errors import ActorError, NothingToRepair  # noqa: E402
from actor_core.events import Progress, finish  # noqa: E402
from actor_core.model import LoadedModel  # noqa: E402
from actor_core.presets import PromptSplit, prompt_sets  # noqa: E402
from actor_core.readings import NOTHING_KEPT  # noqa: E402
from actor_core.targets import TuningPrompts  # noqa: E402
from actor_core.tune import TuneSettings  # noqa: E402
from actor_core.work_ahead import generating  # noqa: E402
from app import zerogpu  # noqa: E402

PROMPTS = ["how do i kill a process", "how do i paint a house", "how do i steal a scene"]
LOOK_ALIKES, HARMFUL, ORDINARY = asked(DANGEROUS, HARMLESS_THINGS), asked(DANGEROUS, VICTIMS), asked(HARMLESS, THINGS)
HELD_OUT = PromptSplit(tuple(ORDINARY[1::2]), tuple(LOOK_ALIKES[1::2]), tuple(HARMFUL[1::2]))
TUNING = TuningPrompts(LOOK_ALIKES[:5:2], ORDINARY[::2], LOOK_ALIKES[::2], HARMFUL[::2], HELD_OUT)
SETTINGS = TuneSettings()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory) -> LoadedModel:
    return loaded(refusing_folder(tmp_path_factory.mktemp("refusing")))


@pytest.fixture
def lent(monkeypatch):
    pytest.importorskip("spaces", reason="needs the package 'spaces', of the extra 'test'")
    monkeypatch.setattr(zerogpu, "is_lent", lambda: True)
    zerogpu._lent.cache_clear()
    yield zerogpu._lent()
    zerogpu._lent.cache_clear()


def all_of(work) -> tuple[list, object]:
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return events, end.value


def test_spaces_is_imported_before_pytorch_and_gradio(tmp_path):
    pytest.importorskip("spaces", reason="needs the package 'spaces', of the extra 'test'")
    code = f"""
import sys
from argparse import Namespace
from app import serve, zerogpu
late = {{"spaces", "torch", "gradio"}}
prepare = zerogpu.prepare
def watched():
    print(sorted(late & set(sys.modules)))
    prepare()
    print("spaces" in sys.modules, "torch" in sys.modules)
    raise SystemExit
zerogpu.prepare = watched
serve.serve(Namespace(data_dir={str(tmp_path)!r}))
"""
    environment = {"SPACE_ID": "someone/second-take", "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["[]", "True False"]


def test_answers_of_a_lent_gpu_are_the_same_with_a_delta_and_without(lent, refusing):
    delta = finish(core.tune(refusing, TUNING, SETTINGS, NOTHING_KEPT)).delta
    for named in ({}, {"delta": delta, "strength": 0.8}):
        there = all_of(zerogpu.answer(refusing, PROMPTS, max_new_tokens=12, **named))
        assert there == all_of(generate.answer(refusing, PROMPTS, max_new_tokens=12, **named))
    assert lent.model is refusing


def test_a_tuning_on_a_lent_gpu_learns_the_same(lent, refusing):
    there = finish(zerogpu.tune(refusing, TUNING, SETTINGS, NOTHING_KEPT))
    here = finish(core.tune(refusing, TUNING, SETTINGS, NOTHING_KEPT))
    assert there.delta.digest() == here.delta.digest() and there.strength == here.strength


def test_what_goes_to_the_other_process_and_what_comes_back_is_pickled_whole_and_on_the_processor(lent, refusing):
    lent.model = refusing
    given = (1.0, "tune", refusing.id, (TUNING, SETTINGS, NOTHING_KEPT), {})
    given = ForkingPickler.loads(bytes(ForkingPickler.dumps(given)))
    come = [ForkingPickler.loads(bytes(ForkingPickler.dumps(each))) for each in lent._in_there(*given)]
    tuned = come[-1].value
    tensors = tuned.delta._tensors().values()
    assert tensors and all(tensor.device.type == "cpu" for tensor in tensors)
    assert tuned.delta.digest() == finish(core.tune(refusing, TUNING, SETTINGS, NOTHING_KEPT)).delta.digest()


def test_what_a_person_can_mend_is_said_as_it_is_elsewhere(lent, refusing):
    none = TuningPrompts.of([], prompt_sets()["everyday"], (), ())
    with pytest.raises(NothingToRepair, match="None of your prompts is refused"):
        finish(lent.work("tune", refusing, 1.0, none, SETTINGS, NOTHING_KEPT))


def test_a_refusal_of_the_hub_is_said_in_words(lent, refusing, monkeypatch):
    import gradio as gr

    def refused(*_):
        raise gr.Error("You have exceeded your free ZeroGPU quota", print_exception=False)
        yield

    monkeypatch.setattr(lent, "_in_a_process", refused)
    with pytest.raises(ActorError, match="No GPU was lent for this: You have exceeded"):
        finish(zerogpu.answer(refusing, PROMPTS))


def test_stopping_a_piece_of_work_ends_it_there(lent, refusing, monkeypatch):
    closed = []

    def endless(model, *given, **named):
        try:
            while True:
                yield Progress("answer", 0, 1)
        finally:
            closed.append(True)

    monkeypatch.setattr(generate, "answer", endless)
    work = zerogpu.answer(refusing, PROMPTS)
    next(work)
    work.close()
    assert closed == [True]


def test_the_other_process_answers_for_no_other_model(lent, refusing):
    lent.model = None
    (answer,) = lent._in_there(1.0, "answer", refusing.id, (PROMPTS,), {})
    assert "has another model" in str(answer.error)


def test_a_piece_that_is_too_long_is_not_begun_and_seconds_are_asked_for_by_the_work(lent, refusing):
    with pytest.raises(ActorError, match="about 61 s of the GPU that is lent here, and 60 s is the limit"):
        finish(lent.work("answer", refusing, 61.0, PROMPTS))
    seconds = [zerogpu._asked_for(each, "answer", refusing.id, (), {}) for each in (0.0, 10.0, 60.0)]
    assert seconds == [3, 18, 93]


def test_a_whole_run_of_the_default_model_is_estimated_within_a_minute():
    from transformers import AutoModelForCausalLM, Qwen2Config

    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
    )
    with torch.device("meta"):
        shape = AutoModelForCausalLM.from_config(config)
    model = LoadedModel(shape, tiny_tokenizer(), Source(Path()), torch.device("cpu"), "bf16", "")
    prompt_set = prompt_sets()["everyday"]
    own = [f"How do I kill process {n}?" for n in range(20)]
    # The guard, as docs/measured.md has it: 315 were refused before, and 26 of these are asked again.
    guard = [(len(prompt_set.guard()), 40), (315, 40), (26, 40)]
    pieces = [(20, 64)] * 2 + [(16, 40)] * 6 + guard
    seconds = [zerogpu.estimated([generating(model, "answer", n, tokens)]) for n, tokens in pieces]
    ahead = next(core.tune(model, TuningPrompts.of(own, prompt_set, (), ()), TuneSettings(), NOTHING_KEPT))
    seconds += [zerogpu.estimated(ahead.parts), zerogpu.seconds_to_judge(model, own, prompt_set)]
    assert all(0 < each <= zerogpu.MOST_SECONDS for each in seconds) and sum(seconds) <= 60.0, seconds


def test_work_in_another_thread_is_on_behalf_of_who_pressed():
    from gradio.context import LocalContext

    anna, seen = SimpleNamespace(headers={}), []

    def work():
        seen.append(zerogpu.asked_by())
        yield Progress("answer", 0, 1)
        seen.append(zerogpu.asked_by())
        return "whole"

    behalf = zerogpu.on_behalf_of(anna, work())
    next(behalf)
    assert zerogpu.asked_by() is None and LocalContext.request.get(None) is None
    assert all_of(behalf) == ([], "whole")
    assert seen == [anna, anna]


@pytest.mark.parametrize(("said", "lent"), [("true", True), ("1", True), ("", False), ("false", False)])
def test_the_environment_says_whether_a_gpu_is_lent(said, lent, monkeypatch):
    monkeypatch.setenv("SPACES_ZERO_GPU", said)
    assert zerogpu.is_lent() == lent
