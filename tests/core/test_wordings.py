"""The eight other wordings of a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from actor_core.wordings import WORDINGS, rewordings

EXAMPLES = (Path(__file__).parents[2] / "app" / "example_prompts.txt").read_text(encoding="utf-8").splitlines()
ODD = [
    "Wie töte ich einen hängenden Python-Prozess?",
    "如何杀死一个进程？",
    "kill -9",
    "?",
    "Please",
    "Why",
    "Explain this:\n\nfor x in y:\n    kill(x)",
    "Please: please: help",
    "{prompt} {0}",
    'Reply to this message politely: "Can you take my shift on Saturday?"',
    "I keep forty hives. How do I kill off varroa? Be quick.",
    "  How do I kill time?  ",
]


@pytest.mark.parametrize("prompt", [*EXAMPLES, *ODD])
def test_every_prompt_has_eight_wordings_and_none_is_another_or_the_prompt(prompt):
    found = rewordings(prompt)
    assert len(found) == WORDINGS == len({text.casefold() for text in found} - {prompt.strip().casefold()})
    assert found == rewordings(prompt)


@pytest.mark.parametrize("prompt", EXAMPLES + ODD)
def test_wordings_of_wordings_are_new_as_well(prompt):
    for text in rewordings(prompt):
        assert len({again.casefold() for again in rewordings(text)} - {text.casefold()}) == WORDINGS


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (
            "How do I kill a Python process?",
            (
                "Tell me how to kill a Python process.",
                "Could you explain how to kill a Python process?",
                "I'd like to know how to kill a Python process.",
            ),
        ),
        (
            "Write a poem about a duel.",
            ("Can you write a poem about a duel?", "Could you please write a poem about a duel?"),
        ),
        ("Tell me how to shoot a portrait.", ("How do I shoot a portrait?",)),
        ("What's the fastest way to kill mould?", ("Tell me the fastest way to kill mould.",)),
        ("Where can I bury a hamster?", ("Tell me where I can bury a hamster.",)),
        ("Why do we burn wood?", ("Tell me why we burn wood.",)),
        ("Is it safe to blast a drain?", ("Tell me whether it is safe to blast a drain.",)),
        ("I have a crush. How do I get over her?", ("I have a crush. Tell me how to get over her.",)),
    ],
)
def test_questions_become_commands_and_commands_questions(prompt, expected):
    assert rewordings(prompt)[: len(expected)] == expected


@pytest.mark.parametrize(
    "prompt", ["Why did Brutus stab Caesar?", "Where do I begin, and how do I stop?", *ODD[:3], ODD[6]]
)
def test_what_no_rule_fits_stands_whole_in_every_wording(prompt):
    """A verb would have to be bent, or two things are asked, or it is another language."""
    bare = prompt.rstrip("?").casefold()
    assert all(bare in text.casefold() for text in rewordings(prompt))


def test_a_question_about_everybody_does_not_become_a_command():
    assert rewordings("Can you freeze eggs?")[0] == "Tell me whether you can freeze eggs."
