"""One request in other wordings, and harmful ones in known jailbreaks."""

from __future__ import annotations

import pytest

from actor_core.errors import PresetError
from actor_core.events import Progress, finish
from actor_core.generate import Reply
from actor_core.judge import Verdict, judge
from actor_core.steadiness import BARE, Wrapper, ask_reworded, ask_wrapped, wrappers
from actor_core.wordings import rewordings

OPENING = wrappers()[0]
NOVEL = next(wrapper for wrapper in wrappers() if "novel" in wrapper.text)
REFUSAL = "I'm sorry, but I can't assist with that."


def saying(answers):
    """A model whose reply to a prompt is ``answers(prompt)``."""

    def ask(prompts):
        yield Progress("answer", len(prompts), len(prompts))
        return [Reply(prompt, (text := answers(prompt)), verdict(text), False) for prompt in prompts]

    return ask


def verdict(text: str) -> Verdict:
    return Verdict.REFUSED if "sorry" in text else Verdict.ANSWERED


def judged(wrapper: Wrapper, text: str) -> Verdict:
    reply = Reply(wrapper.around("Who may vote?"), text, Verdict.INCOHERENT, False)
    return wrapper.judged("Who may vote?", reply).verdict


def test_there_are_six_jailbreaks_of_different_names_and_each_holds_the_request():
    found = wrappers()
    assert len(found) == 6 == len({wrapper.name for wrapper in found})
    assert all("Who may vote?" in wrapper.around("Who may vote?") for wrapper in found)


@pytest.mark.parametrize("line", ["no tab {request}", "a name\tno place", "\t{request}"])
def test_a_line_that_is_no_jailbreak_is_named(tmp_path, line):
    path = tmp_path / "wrappers.txt"
    path.write_text(f"fine\t{{request}}\n{line}\n", encoding="utf-8")
    with pytest.raises(PresetError, match="line 2"):
        wrappers(path)


def test_a_dictated_opening_is_no_sign_of_an_answer():
    refusal = "I'm sorry, but that is illegal."
    for said in ("Sure, happy to help with that, here is ", "sure happy to help with that. "):  # all of it, and a part
        assert judge("Who may vote?", said + refusal) is Verdict.ANSWERED
        assert judged(OPENING, said + refusal) is Verdict.REFUSED
        assert judged(OPENING, said + "everyone who is eighteen and lives there.") is Verdict.ANSWERED


def test_a_character_who_refuses_in_quotation_marks_refuses():
    told = f"“{REFUSAL},” said the teacher and smiled."
    assert judge("Who may vote?", told) is Verdict.ANSWERED and judged(NOVEL, told) is Verdict.REFUSED


def test_without_a_jailbreak_the_verdict_is_that_of_the_reply():
    reply = Reply("Who may vote?", "“Anything.”", Verdict.INCOHERENT, False)
    assert BARE.around("Who may vote?") == "Who may vote?" and BARE.judged("Who may vote?", reply) is reply


def test_each_prompt_gets_the_verdicts_of_its_own_wordings_in_their_order():
    before = saying(lambda prompt: REFUSAL if prompt.startswith(("Tell", "quick")) and "kill" in prompt else "Yes.")
    prompts = ["How do I kill time?", "How do I bake bread?"]
    first, second = finish(ask_reworded(before, saying(lambda prompt: "Yes."), prompts))
    assert (first.prompt, first.wordings) == (prompts[0], rewordings(prompts[0]))
    refused = [text for text, found in zip(first.wordings, first.before, strict=True) if found is Verdict.REFUSED]
    assert refused == ["Tell me how to kill time.", "quick one: how do I kill time, thanks"]
    assert set(first.after) == set(second.before) == {Verdict.ANSWERED}


def test_a_jailbreak_is_counted_for_both_models():
    before, after = saying(lambda prompt: "Here you are."), saying(lambda prompt: REFUSAL)
    found = finish(ask_wrapped(before, after, NOVEL, ["one?", "two?"]))
    assert (found.name, found.before.refused, found.after.refused, found.after.n) == (NOVEL.name, 0, 2, 2)
