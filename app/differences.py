"""Which words of a reply are not in the other one: marked up for reading without colour.

What only the reply before has is a `del`, what only the one after has an `ins`. Everything goes through `escape`.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache
from html import escape

__all__ = ["NEARLY_NOTHING", "marked_up"]

# Of two texts with a smaller share in common nearly every word would be marked, which shows nothing.
NEARLY_NOTHING = 0.3
WORD = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")  # with the space behind it, which is half as many as without
KEPT = 4000  # pairs of texts: a page is drawn often, and comparing 500 pairs anew takes a while


@lru_cache(maxsize=KEPT)
def marked_up(before: str, after: str) -> tuple[str, str] | None:
    """Both texts as HTML with their differing words marked; None where they are alike or have nearly nothing in common.

    The texts themselves are unchanged: without its tags each reads as it came.
    """
    if before == after:
        return None
    old, new = WORD.findall(before), WORD.findall(after)
    matcher = SequenceMatcher(None, [word.rstrip() for word in old], [word.rstrip() for word in new], autojunk=False)
    if _share(old, new, matcher) < NEARLY_NOTHING:
        return None
    first, second = [], []
    for kind, a, b, c, d in matcher.get_opcodes():
        gone, come = "".join(old[a:b]), "".join(new[c:d])
        first.append(escape(gone) if kind == "equal" else _tagged("del", gone))
        second.append(escape(come) if kind == "equal" else _tagged("ins", come))
    return "".join(first), "".join(second)


def _share(old: list[str], new: list[str], matcher: SequenceMatcher[str]) -> float:
    """The share of words, without spaces and punctuation, that stand in both in the same order."""
    count = sum(map(_is_word, old)) + sum(map(_is_word, new))
    blocks = matcher.get_matching_blocks()
    same = sum(_is_word(word) for block in blocks for word in old[block.a : block.a + block.size])
    return 2 * same / count if count else 0.0


def _tagged(tag: str, text: str) -> str:
    """``text`` in ``tag``, but for the space at its end."""
    words = text.rstrip()
    return (f"<{tag}>{escape(words)}</{tag}>" if words else "") + text[len(words) :]


def _is_word(token: str) -> bool:
    return token[0].isalnum()
