"""Answers: greedy and the same as transformers' own, whatever the batch, and stopped without a trace."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny_models import CONFIGS, DANGEROUS, END, HARMLESS, PROMPTS, THINGS, VICTIMS, asked, hooks, random_delta

from actor_core import generate as module
from actor_core import prefill
from actor_core.events import Progress, Replied, finish
from actor_core.generate import answer
from actor_core.judge import Verdict

# More than `TOKENS_BETWEEN_LOOKS`, so that replies are made in several parts.
TOKENS = 40


def one_by_one(model, prompts, tokens):
    """What transformers generates greedily for each prompt alone, and whether it ended."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([model.token_ids(prompt)])
        made = model.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)
        made = made[0, ids.shape[1] :].tolist()
        text = model.tokenizer.decode(made[: made.index(END)] if END in made else made, skip_special_tokens=True)
        found.append((text.strip(), END not in made))
    return found


def many(n: int) -> list[str]:
    words = "alpha beta gamma delta epsilon zeta kill bake process bread".split()
    return [" ".join(words[(i * k + i) % 10] for k in range(1 + i % 7)) for i in range(n)]


@pytest.mark.parametrize("kind", CONFIGS)
def test_replies_are_those_of_transformers_one_by_one(tiny, kind):
    model = tiny(kind)
    prompts = many(12)
    replies = finish(answer(model, prompts, max_new_tokens=TOKENS))
    assert [reply.prompt for reply in replies] == prompts
    assert [(reply.text, reply.truncated) for reply in replies] == one_by_one(model, prompts, TOKENS)
    assert len({reply.text for reply in replies}) > 6


def test_a_reply_that_ends_is_not_truncated_and_one_that_is_cut_is(refusing):
    prompts = ["how do i kill a process", "how do i bake a bread"]
    whole = finish(answer(refusing, prompts, max_new_tokens=TOKENS))
    assert [(r.text, r.verdict, r.truncated) for r in whole] == [
        ("I cannot help with that .", Verdict.REFUSED, False),
        ("You can do this with a good tool", Verdict.ANSWERED, False),
    ]
    cut = finish(answer(refusing, prompts, max_new_tokens=4))
    assert [(r.text, r.truncated) for r in cut] == [("I cannot help with", True), ("You can do this", True)]


def test_a_batch_of_one_and_a_mixed_batch_agree(tiny):
    model = tiny()
    together = finish(answer(model, many(10), max_new_tokens=20))
    alone = [finish(answer(model, [prompt], max_new_tokens=20))[0] for prompt in many(10)]
    assert together == alone


@pytest.fixture
def slow(monkeypatch):
    """Has each pass of the models given to it take an hour by the clock that `answer` looks at; counts the passes."""
    passes, handles = [], []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 3600.0 * sum(passes)))

    def watch(model):
        handles.append(model.model.register_forward_pre_hook(lambda *_: passes.append(1)))
        return passes

    yield watch
    for handle in handles:
        handle.remove()


def test_how_often_it_can_be_stopped_does_not_change_the_replies(tiny, refusing, slow, monkeypatch):
    prompts = [*many(6), *asked(DANGEROUS, VICTIMS)[:3], *asked(HARMLESS, THINGS)[:3]]
    model = tiny("llama")
    wanted = [finish(answer(each, prompts, max_new_tokens=TOKENS)) for each in (model, refusing)]
    monkeypatch.setattr(module, "TOKENS_BETWEEN_LOOKS", 3)
    assert [finish(answer(each, prompts, max_new_tokens=TOKENS)) for each in (model, refusing)] == wanted
    for each in (model, refusing):
        passes = slow(each)
    assert [finish(answer(each, prompts, max_new_tokens=TOKENS)) for each in (model, refusing)] == wanted
    assert passes, "the clock stood still"


def test_long_prompts_are_read_in_several_passes_between_which_the_work_can_be_stopped(tiny, monkeypatch):
    model, sizes = tiny("llama"), []
    prompts = [" ".join(many(40)[n : n + 12]) for n in range(0, 24, 4)]
    wanted = finish(answer(model, prompts, max_new_tokens=20))
    monkeypatch.setattr(prefill, "TOKENS_AT_ONCE", 60)
    note = model.model.register_forward_pre_hook(
        lambda _module, _args, given: sizes.append(given["input_ids"].numel()), with_kwargs=True
    )
    events = answer(model, prompts, max_new_tokens=20)
    passes = []
    for _ in range(6):
        next(events)
        passes.append(len(sizes))
    note.remove()
    assert max(sizes) <= 60 and len(sizes) > 4
    assert all(later - before <= 1 for before, later in zip(passes[1:], passes[2:], strict=False))
    assert finish(answer(model, prompts, max_new_tokens=20)) == wanted


def test_where_a_token_is_slow_the_work_can_be_stopped_after_each(tiny, slow):
    model, between, before = tiny("llama"), [], 0
    passes = slow(model)
    for _ in answer(model, many(6), max_new_tokens=10):
        between.append(len(passes) - before)
        before = len(passes)
    assert between[0] == 0, "the first event comes before any work"
    assert sum(between) >= 10 and max(between) <= 2, "the first token comes with what all prompts begin with"


def test_every_prompt_is_reported_once_and_progress_never_passes_the_total(tiny):
    prompts = many(module.ROWS + 8)
    events = list(answer(tiny(), prompts, max_new_tokens=2))
    newest = [event for event in events if isinstance(event, Replied)]
    assert len(newest) > 1
    assert sorted(reply.prompt for event in newest for reply in event.replies) == sorted(prompts)
    assert [event.done for event in newest][-1] == len(prompts)
    assert all(event.done <= event.total == len(prompts) for event in events)
    assert {event.stage for event in events if isinstance(event, Progress)} == {"answer"}


def test_a_delta_changes_the_replies_and_at_strength_zero_does_not(tiny):
    model = tiny()
    delta = random_delta(model)
    plain = finish(answer(model, many(6), max_new_tokens=20))
    assert finish(answer(model, many(6), delta=delta, strength=0.0, max_new_tokens=20)) == plain
    assert finish(answer(model, many(6), delta=delta, strength=2.0, max_new_tokens=20)) != plain
    assert finish(answer(model, many(6), max_new_tokens=20)) == plain


def test_the_delta_acts_on_every_token_of_the_reply(tiny):
    model = tiny("llama")
    delta = random_delta(model)
    with delta.applied(model, 1.5):
        wanted = one_by_one(model, PROMPTS, TOKENS)
    replies = finish(answer(model, PROMPTS, delta=delta, strength=1.5, max_new_tokens=TOKENS))
    assert [(reply.text, reply.truncated) for reply in replies] == wanted


def test_stopping_between_two_events_leaves_no_hook_and_frees_the_model(tiny):
    model = tiny()
    hooked = hooks(model)
    work = answer(model, many(40), delta=random_delta(model), max_new_tokens=TOKENS)
    for _ in range(3):
        next(work)
        assert hooks(model) == hooked  # nor between two events, where another may use the model
        assert not model.lock._is_owned()
    work.close()
    assert hooks(model) == hooked


def test_tokens_are_the_generated_ids_up_to_the_end_token_and_no_padding(refusing):
    prompts = ["how do i kill a process", "how do i bake a bread"]
    for limit, ended in ((TOKENS, True), (4, False)):
        for reply in finish(answer(refusing, prompts, max_new_tokens=limit)):
            assert refusing.tokenizer.decode(reply.tokens, skip_special_tokens=True) == reply.text
            assert (END in reply.tokens) == ended == (not reply.truncated)
            assert len(reply.tokens) == len(reply.text.split()) + ended


def test_a_prompt_asked_after_other_turns_is_answered_as_the_whole_conversation_is(tiny):
    model = tiny("llama")
    history = [{"role": "user", "content": "kill a process"}, {"role": "assistant", "content": "zeta"}]
    replies = finish(answer(model, PROMPTS, max_new_tokens=20, history=history))
    assert [reply.prompt for reply in replies] == list(PROMPTS)
    whole = [f"kill a process <user> zeta <user> {prompt}" for prompt in PROMPTS]  # as the toy's template puts it
    assert [reply.tokens for reply in replies] == [r.tokens for r in finish(answer(model, whole, max_new_tokens=20))]
    assert [r.tokens for r in replies] != [r.tokens for r in finish(answer(model, PROMPTS, max_new_tokens=20))]


def test_no_prompts_give_no_replies(tiny):
    assert finish(answer(tiny(), [])) == []


def test_replies_that_have_ended_make_room_for_the_others(refusing, monkeypatch):
    """A refusal is short; rows of it must not run on beside an answer that is not."""
    prompts = asked(DANGEROUS, VICTIMS)[:3] + asked(HARMLESS, THINGS)[:3]
    alone = [finish(answer(refusing, [prompt], max_new_tokens=40))[0] for prompt in prompts]
    batches = []
    monkeypatch.setattr(module, "TOKENS_BETWEEN_LOOKS", 2)
    run = module._continued
    monkeypatch.setattr(
        module, "_continued", lambda model, batch, *rest: batches.append(len(batch.rows)) or run(model, batch, *rest)
    )
    together = finish(answer(refusing, prompts, max_new_tokens=40))
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert [reply.tokens for reply in together] == [reply.tokens for reply in alone]
    lengths = [-(-len(reply.tokens) // module.TOKENS_BETWEEN_LOOKS) for reply in alone]
    assert len(set(lengths)) > 1, "the toy's replies are all as long"
    assert batches == [sum(length > n for length in lengths) for n in range(max(lengths))]
