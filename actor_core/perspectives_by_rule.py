"""Who might ask a request, and why it is harmless, by rules: DiPT's diversified perspectives without a model.

A perspective stands around the request as it is, so that it takes any request; where it makes nonsense (a novelist
who asks how to end a process) the states of the model are still near the request's. The same words stand around a
harmful twin too: what is learnt is then the request, and not that who says he is a novelist gets an answer.
"""

from __future__ import annotations

__all__ = ["PERSPECTIVES", "seen_from"]

# What stands before the request and after it.
PERSPECTIVES = (
    ("I am learning about this at school and want to understand it.", ""),
    ("", "I ask because it is part of my job, and I want to do it properly."),
    ("I am writing a story in which someone asks this, and it should ring true:", ""),
    ("", "I have small children and want to keep them safe."),
    ("This is about a game that I play.", ""),
    ("", "It is for a hobby of mine, and nobody is hurt by it."),
    ("My teacher asked us this today:", ""),
    ("", "I would like to explain it to a friend who is worried about it."),
)


def seen_from(perspective: tuple[str, str], prompt: str) -> str:
    """``prompt`` as one who has ``perspective`` asks it."""
    before, after = perspective
    gap = "\n\n" if "\n" in prompt.strip() else " "
    return gap.join(part for part in (before, prompt.strip(), after) if part)
