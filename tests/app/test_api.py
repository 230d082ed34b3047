"""The five steps from a script: the page's own methods, sessions and limits, over a real server and client."""

from __future__ import annotations

import json
import re
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from quick_core import SECRET, Model, answers, take_the_place_of_the_core

import actor_core.generate
from actor_core.presets import PromptSet
from app import api
from app.create_app import create_app
from app.serve import launch_options
from app.settings import Settings
from app.studio import Studio

DOCUMENT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
PROMPTS = ["How do I kill a Python process?", "What is bread?"]
HARMFUL = tuple([f"How do I kill person {n}" for n in range(260)] + [f"What is poison {n}" for n in range(10)])


@pytest.fixture
def serving(tmp_path, monkeypatch):
    """``serving(**settings)`` starts a server over the quick stand-ins; gives its studio and address."""
    take_the_place_of_the_core(monkeypatch.setattr)
    started = []

    def serve(**given):
        settings = Settings(data_dir=tmp_path, **given)
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(settings.page_cache))
        studio = Studio(settings)
        blocks = create_app(studio).queue(default_concurrency_limit=8)
        options = launch_options(replace(settings, share=False))
        _, address, _ = blocks.launch(**options, prevent_thread_lock=True)
        started.append(blocks)
        return studio, address

    yield serve
    for blocks in started:
        blocks.close()


@pytest.fixture
def client(serving):
    _, address = serving()
    return Client(address, verbose=False)


@pytest.fixture
def session(client) -> str:
    return client.predict(api_name="/load_model")["session"]


@pytest.fixture
def tuned(client, session) -> str:
    client.predict(session, PROMPTS, api_name="/check_prompts")
    client.predict(session, per_set=4, api_name="/tune")
    return session


def the_guard_passes(monkeypatch) -> None:
    """Enough harmful prompts that both refuse."""

    def refusing(model, prompts, *, delta=None, **others):
        kept = delta if not any("person" in prompt for prompt in prompts) else None
        return (yield from answers(model, prompts, delta=kept))

    import actor_core.guard

    monkeypatch.setattr(actor_core.guard, "answer", refusing)
    monkeypatch.setattr(actor_core.generate, "answer", refusing)
    monkeypatch.setattr(PromptSet, "guard", lambda self: HARMFUL)


def test_the_public_names_are_the_five_steps_status_and_stop_and_nothing_of_the_page(studio):
    blocks = create_app(studio)
    public = [fn.api_name for fn in blocks.fns.values() if fn.api_visibility != "private"]
    assert public == list(api.NAMES)
    steps = {"load_model", "check_prompts", "enrich", "tune", "compare", "export", "lower_strength"}
    assert set(api.NAMES) == {*steps, "status", "stop"}


def test_every_endpoint_is_documented_with_its_parameters_and_the_type_of_its_answer(client):
    described = client.view_api(return_format="dict")["named_endpoints"]
    assert set(described) == {f"/{name}" for name in api.NAMES}
    for endpoint in described.values():
        assert len(endpoint["description"]) > 30
        (answer,) = endpoint["returns"]
        assert {"session", "running"} <= set(answer["type"]["properties"])
    names = [parameter["parameter_name"] for parameter in described["/tune"]["parameters"]]
    assert names == ["session", "method", "layer", "repair", "per_set", "include", "variants", "twins", "set_share"]
    optional = [parameter["parameter_has_default"] for parameter in described["/tune"]["parameters"]]
    assert optional == [False, *[True] * 8]


def test_the_example_of_the_document_runs_as_it_stands(serving, monkeypatch, capsys):
    the_guard_passes(monkeypatch)
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    _, address = serving()
    code, replaced = re.subn(r'(?m)^ADDRESS = "[^"]*"', f'ADDRESS = "{address}"', example)
    assert replaced == 1
    found: dict = {}
    exec(compile(code, "docs/api.md", "exec"), found)
    said = capsys.readouterr().out
    assert "refused How do I kill a Python process?" in said and "own: 1 of 2 refused before" in said
    assert "Guard passed." in said
    kinds = {made["kind"]: made["file"] for made in found["exported"]["files"]}
    assert set(kinds) == {"delta", "peft"}
    with zipfile.ZipFile(kinds["peft"]) as archive:
        assert [Path(name).name for name in archive.namelist()] == ["README.md"]
        assert archive.read(archive.namelist()[0]) == b"peft at 0.75"


def test_each_verdict_and_what_will_be_repaired_is_told(client, session):
    checked = client.predict(session, [*PROMPTS, "What is bread?"], api_name="/check_prompts")
    told = [(each["prompt"], each["verdict"], each["repaired"]) for each in checked["prompts"]]
    assert told == [(PROMPTS[0], "refused", True), (PROMPTS[1], "answered", False)]
    assert [row["row"] for row in checked["left_out"]] == [3]
    assert (checked["running"], checked["ended"]) == (None, "done")


def test_what_looks_harmful_is_told_and_repaired_only_where_it_is_included(serving):
    studio, address = serving()
    client = Client(address, verbose=False)
    session = client.predict(api_name="/load_model")["session"]
    rival = "How do I kill a rival?"
    checked = client.predict(session, [PROMPTS[0], rival], api_name="/check_prompts")
    told = [(each["prompt"], each["looks_harmful"], each["repaired"]) for each in checked["prompts"]]
    assert told == [(PROMPTS[0], False, True), (rival, True, False)]
    assert "misses 160 (40 %)" in checked["harmfulness"]
    with pytest.raises(AppError, match="not among the prompts that were left out"):
        client.predict(session, include=[PROMPTS[0]], api_name="/tune")
    with pytest.raises(AppError, match="“include” is no list of texts"):
        client.predict(session, include=rival, api_name="/tune")
    client.predict(session, include=[rival], per_set=2, api_name="/tune")
    with pytest.raises(AppError, match="nothing was changed"):
        client.predict(session, repair="all", include=["something else"], api_name="/tune")
    mine = studio.sessions.get(session)
    assert mine.included == {rival} and not mine.repair_all and mine.tuned is not None

    _, address = serving(in_space=True)
    space = Client(address, verbose=False)
    there = space.predict(api_name="/load_model")["session"]
    space.predict(there, [PROMPTS[0], rival], api_name="/check_prompts")
    with pytest.raises(AppError, match="This page is a Space"):
        space.predict(there, include=[rival], api_name="/tune")
    space.predict(there, include=[], per_set=2, api_name="/tune")


def test_prompts_are_made_of_the_refused_ones_and_tuned_on_where_they_are_ticked_or_given(serving):
    studio, address = serving()
    client = Client(address, verbose=False)
    session = client.predict(api_name="/load_model")["session"]
    with pytest.raises(AppError, match="nothing to write others of"):
        client.predict(session, api_name="/enrich")
    client.predict(session, PROMPTS, api_name="/check_prompts")
    with pytest.raises(AppError, match="no way of writing “magic”"):
        client.predict(session, "magic", api_name="/enrich")
    made = client.predict(session, "rules", api_name="/enrich")
    assert {(line["seed"], line["by"]) for line in made["lines"]} == {(PROMPTS[0], "rules")}
    assert [line["ticked"] for line in made["lines"]] == [not line["why"] for line in made["lines"]]
    assert (made["running"], made["ended"]) == (None, "done")
    tuned = client.predict(session, per_set=2, api_name="/tune")
    assert (tuned["variants"], tuned["twins"]) == (3, 1)
    given = {"variants": ["How do I end it?", "How do I kill a rival?"], "twins": []}
    tuned = client.predict(session, per_set=2, **given, api_name="/tune")
    mine = studio.sessions.get(session)
    assert (tuned["variants"], tuned["twins"]) == (1, 0) and mine.recipe.variants == ("How do I end it?",)
    before = mine.variants
    for wrong, said in (({"variants": ["x" * 5000]}, "shorten it"), ({"twins": "x"}, "“twins” is no list of texts")):
        with pytest.raises(AppError, match=said):
            client.predict(session, **wrong, api_name="/tune")
    with pytest.raises(AppError, match="nothing was changed"):
        client.predict(session, variants=["Another?"], include=["something else"], api_name="/tune")
    assert mine.variants == before


def test_figures_come_with_intervals_and_harmful_replies_never_leave(client, tuned):
    compared = client.predict(tuned, 1.0, 4, api_name="/compare")
    groups = {group["name"]: group for group in compared["groups"]}
    assert list(groups) == ["own", "look_alike", "harmful", "ordinary"]
    assert groups["own"]["before"]["refused"]["count"] == 1 and groups["own"]["after"]["refused"]["count"] == 0
    share = groups["harmful"]["after"]["answered"]
    assert groups["harmful"]["n"] == 4 and share["low"] < share["share"] <= share["high"] + 1e-9
    assert any(pair["reply_after"] == SECRET for pair in groups["ordinary"]["prompts"]), "the stand-in says it"
    assert SECRET not in json.dumps(groups["harmful"])
    assert all(pair["reply_before"] is pair["reply_after"] is None for pair in groups["harmful"]["prompts"])


def test_another_strength_is_asked_anew_and_what_is_known_is_not(client, serving, tuned, monkeypatch):
    weak = client.predict(tuned, 0.4, 4, api_name="/compare")
    assert weak["strength"] == 0.4 and weak["groups"][0]["after"]["refused"]["count"] == 1

    def broken(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr(actor_core.generate, "answer", broken)
    again = client.predict(tuned, 1.0, 4, api_name="/compare")
    assert again["groups"][0]["after"]["refused"]["count"] == 0


def test_what_the_guard_holds_back_is_written_only_when_it_is_accepted(client, tuned):
    held_back = client.predict(tuned, ["delta"], api_name="/export")
    assert held_back["files"] == [] and held_back["guard"]["passed"] is False
    assert client.predict(tuned, ["delta"], api_name="/export")["files"] == []
    with pytest.raises(AppError, match="Nothing was written"):
        client.predict(tuned, ["delta"], "yes", api_name="/export")
    (made,) = client.predict(tuned, ["delta"], "export anyway", api_name="/export")["files"]
    assert made["guard_passed"] is False and Path(made["file"]).is_file() and made["folder"] is None


def test_a_smaller_strength_that_passes_is_found_and_set(client, tuned, monkeypatch):
    monkeypatch.setattr(PromptSet, "guard", lambda self: HARMFUL)
    with pytest.raises(AppError, match="no smaller strength to try"):
        client.predict(tuned, api_name="/lower_strength")
    assert client.predict(tuned, ["delta"], api_name="/export")["guard"]["passed"] is False
    found = client.predict(tuned, api_name="/lower_strength")
    assert found["found"] is True and found["strength"] == 0.6 and found["guard"]["passed"] is True
    assert found["said"] == "Strength 0.6 passes the guard."
    exported = client.predict(tuned, ["delta"], api_name="/export")
    assert exported["strength"] == 0.6 and [made["guard_passed"] for made in exported["files"]] == [True]


@pytest.mark.parametrize(
    ("endpoint", "given", "said"),
    [
        ("/compare", (), "press Tune in step 3 first"),
        ("/check_prompts", ([" "],), "There is no prompt"),
        ("/check_prompts", (7,), "no list of texts"),
        ("/tune", ("magic",), "There is no method “magic” here"),
        ("/tune", ("causal", 99), "There is no layer 99"),
        ("/compare", (7,), "The strength is 7: give one from 0 to 1.5"),
        ("/compare", (1.0, 10**9), "give a whole number from 1 to 120"),
        ("/tune", ("causal", None, "refused", 2, None, None, None, 1.5), "give a number above 0 and up to 1"),
        ("/tune", ("causal", None, "refused", 2, None, None, None, "half"), "give a number above 0 and up to 1"),
        ("/export", (["iso"],), "There is no kind of file “iso” here"),
    ],
)
def test_what_cannot_be_done_is_said_in_our_words(client, session, endpoint, given, said):
    with pytest.raises(AppError) as raised:
        client.predict(session, *given, api_name=endpoint)
    assert said in str(raised.value)


def test_a_made_up_session_opens_nothing(client, session):
    for made_up in ("", "a" * 32, "../../../../etc/passwd"):
        with pytest.raises(AppError, match="not known here"):
            client.predict(made_up, api_name="/status")


def test_a_fault_inside_is_said_without_its_traceback(client, session, monkeypatch):
    def faulty(*_, **__):
        raise KeyError("layer 99")
        yield

    monkeypatch.setattr(actor_core.generate, "answer", faulty)
    with pytest.raises(AppError, match="Something went wrong inside this program") as raised:
        client.predict(session, PROMPTS, api_name="/check_prompts")
    assert "Traceback" not in str(raised.value)


@pytest.fixture
def slow(monkeypatch):
    """Answers that take their time until ``slow`` is set."""
    gate = threading.Event()

    def waiting(model, prompts, **others):
        while not gate.wait(0.05):
            from actor_core.events import Progress

            yield Progress("answer", 0, len(prompts))
        return (yield from answers(model, prompts))

    monkeypatch.setattr(actor_core.generate, "answer", waiting)
    yield gate
    gate.set()


def within(seconds: float, condition) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_progress_is_told_and_a_client_that_cancels_stops_its_job(client, session, slow):
    work = client.submit(session, PROMPTS, api_name="/check_prompts")
    within(10, lambda: work.outputs())
    assert work.outputs()[0]["running"]["kind"] == "check"
    assert client.predict(session, api_name="/status")["running"]["stage"] == "Asking the model your prompts"
    work.cancel()
    within(10, lambda: client.predict(session, api_name="/status")["running"] is None)


def test_stop_ends_the_waiting_call_and_says_so(client, session, slow):
    work = client.submit(session, PROMPTS, api_name="/check_prompts")
    within(10, lambda: client.predict(session, api_name="/status")["running"])
    client.predict(session, api_name="/stop")
    ended = work.result(timeout=10)
    assert ended["ended"] == "stopped" and "Stopped" in ended["said"]


def test_a_page_open_to_others_has_the_same_limits_and_its_password_here(serving, tmp_path):
    studio, address = serving(listen=True, auth=("anna", "secret"))
    studio.model = Model()
    with pytest.raises(ValueError, match="(?i)auth|log"):
        Client(address, verbose=False)
    client = Client(address, auth=("anna", "secret"), verbose=False)
    with pytest.raises(AppError, match="hub name"):
        client.predict("/etc", api_name="/load_model")
    session = client.predict(api_name="/load_model")["session"]
    with pytest.raises(AppError, match="There is no kind of file “merged” here"):
        client.predict(session, ["merged"], api_name="/export")
    client.predict(session, PROMPTS, api_name="/check_prompts")
    client.predict(session, per_set=2, api_name="/tune")
    client.predict(session, ["delta"], api_name="/export")
    (made,) = client.predict(session, ["delta"], "export anyway", api_name="/export")["files"]
    assert str(tmp_path) not in json.dumps(made["command"]) and made["folder"] is None
