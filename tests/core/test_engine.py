"""What answers a conversation: llama.cpp where that is quicker, the loaded model elsewhere, in one form."""

from __future__ import annotations

import json
import time

import pytest
import torch
from tiny_models import random_delta

from actor_core.engine import ResidentEngine, engine_for
from actor_core.errors import ModelError
from actor_core.events import Progress, Said, finish
from actor_core.generate import answer
from actor_core.judge import Verdict
from actor_core.llama import conversation, server
from actor_core.llama.conversation import LlamaEngine, why_not_llama
from actor_core.llama.server import Ask, LlamaServer

# Speaks as `actor_core/llama/process.py` does, without llama.cpp: each reply tells what was asked, and of which start.
STAND_IN = """
import json, os, sys, time
start = json.loads(sys.stdin.readline())
for number, line in enumerate(sys.stdin, 1):
    ask = json.loads(line)
    if ask["ids"] == [13]:
        sys.exit("no such quantisation")
    if ask["ids"] == [14]:
        time.sleep(60)
    print("a line of llama.cpp's own")
    facts = [os.getpid(), number, bool(start["adapter"]), ask["scale"], ask["slot"], ask["reads_on"], start["context"]]
    text = "I'm sorry, but I can't. " + json.dumps(facts)
    for piece in (text[:8], text[8:]):
        print(json.dumps({"piece": piece}), flush=True)
    print(json.dumps({"token": 5, "text": text, "truncated": ask["tokens"] < 9, "logprobs": {}}), flush=True)
"""


@pytest.fixture
def llama(tmp_path, monkeypatch):
    """llama.cpp's place is taken by the stand-in, for the file that is given."""
    script, gguf = tmp_path / "stand_in.py", tmp_path / "base.gguf"
    script.write_text(STAND_IN)
    gguf.write_bytes(b"GGUF")
    monkeypatch.setattr(server, "PROCESS", script)
    return gguf


@pytest.fixture
def llama_model(from_gguf, llama, monkeypatch):
    """A tiny model that llama.cpp's stand-in could answer for."""
    model = from_gguf()
    monkeypatch.setattr(conversation, "obstacle", lambda base: "")
    return model


@pytest.fixture
def engine(llama_model):
    made = engine_for(llama_model)
    assert isinstance(made, LlamaEngine)
    yield made
    made.close()


def followed(work):
    """What ``work`` yields, and what it returns."""
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return events, end.value


def facts(reply) -> list[object]:
    return list(json.loads(reply.text.partition("I can't. ")[2]))


def test_a_reply_comes_in_pieces_and_then_whole(llama):
    with LlamaServer(llama, None, 64) as running:
        pieces, reply = followed(running.reply(Ask([1, 2], 0.0, 20)))
        assert [piece for piece in pieces if piece] == [reply["text"][:8], reply["text"][8:]]
        assert reply["truncated"] is False and running.alive
    assert not running.alive


def test_a_process_that_fails_says_what_it_said_last(llama):
    with LlamaServer(llama, None, 64) as running, pytest.raises(ModelError, match="exit code 1.*no such quantisation"):
        list(running.reply(Ask([13], 0.0, 1)))


def test_one_that_hangs_is_given_up(llama, monkeypatch):
    monkeypatch.setattr(server, "SECONDS", 0.6)
    begun = time.monotonic()
    with LlamaServer(llama, None, 64) as running, pytest.raises(TimeoutError):
        list(running.reply(Ask([14], 0.0, 1)))
    assert time.monotonic() - begun < 15


def test_one_process_serves_both_models_and_every_strength(engine):
    delta = random_delta(engine.model)
    tuned = facts(finish(engine.answer("alpha", delta=delta, strength=0.75)))
    other = facts(finish(engine.answer("alpha", delta=delta, strength=1.5)))
    old = facts(finish(engine.answer("alpha")))
    assert {tuned[0], other[0], old[0]} == {tuned[0]}, "one process"
    assert [tuned[2:5], other[2:5], old[2:5]] == [[True, 0.75, 1], [True, 1.5, 1], [True, 0.0, 0]]


def test_another_change_starts_it_anew_with_its_adapter(engine):
    first = facts(finish(engine.answer("alpha")))
    second = facts(finish(engine.answer("alpha", delta=random_delta(engine.model))))
    third = facts(finish(engine.answer("alpha", delta=random_delta(engine.model))))
    assert (first[2], second[2], third[2]) == (False, True, True)
    assert len({first[0], second[0], third[0]}) == 3


def test_what_was_read_is_read_on_only_within_a_conversation(engine):
    assert facts(finish(engine.answer("alpha")))[5] is False
    history = ({"role": "user", "content": "alpha"}, {"role": "assistant", "content": "beta"})
    assert facts(finish(engine.answer("gamma", history=history)))[5] is True


def test_a_conversation_that_outgrows_its_room_gets_more(engine, monkeypatch):
    monkeypatch.setattr(conversation, "CONTEXT", 16)
    engine._context = 16
    small, large = (facts(finish(engine.answer("alpha " * n, max_new_tokens=8)))[6] for n in (1, 60))
    assert small == 16 and large % 16 == 0 and large >= 68


def test_a_reply_has_its_verdict_and_is_told_as_it_grows(engine):
    events, reply = followed(engine.answer("alpha", max_new_tokens=8))
    assert reply.verdict is Verdict.REFUSED and reply.truncated
    said = [event.text for event in events if isinstance(event, Said)]
    assert said[-1] == reply.text and said[0] == reply.text[:8]
    assert max(event.done for event in events if isinstance(event, Progress)) <= 8


def test_stopped_half_way_the_process_ends_and_the_next_message_has_a_new_one(engine):
    first = facts(finish(engine.answer("alpha")))
    work = engine.answer("beta")
    while not isinstance(next(work), Said):
        pass
    work.close()
    assert engine._server is None
    assert facts(finish(engine.answer("beta")))[0] != first[0]


def test_a_process_that_died_meanwhile_is_started_again(engine):
    first = facts(finish(engine.answer("alpha")))
    engine._server.close()
    assert facts(finish(engine.answer("alpha")))[0] != first[0]


def test_without_a_message_for_a_while_the_memory_goes_back(engine, monkeypatch):
    monkeypatch.setattr(conversation, "IDLE_SECONDS", 0.2)
    finish(engine.answer("alpha"))
    running = engine._server
    deadline = time.monotonic() + 10
    while engine._server is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not running.alive


def test_a_model_that_is_no_gguf_or_is_loaded_otherwise_answers_itself(llama_model, tiny, monkeypatch):
    assert why_not_llama(llama_model) == ""
    for name, value, why in (("precision", "nf4", "nf4"), ("device", torch.device("meta"), "GPU")):
        with monkeypatch.context() as patch:
            patch.setattr(llama_model, name, value)
            assert why in why_not_llama(llama_model) and isinstance(engine_for(llama_model), ResidentEngine)
    monkeypatch.undo()
    assert "not loaded from a GGUF file" in why_not_llama(tiny("llama"))


def test_the_loaded_model_answers_in_the_same_form(refusing):
    engine = ResidentEngine(refusing)
    events, reply = followed(engine.answer("how do i kill a process"))
    said = [event.text for event in events if isinstance(event, Said)]
    assert reply == finish(answer(refusing, ["how do i kill a process"]))[0]
    assert said and said[-1] == reply.text
