"""Differing words are marked, the texts stay as they are, and nothing written becomes markup."""

from __future__ import annotations

import html
import re
import time

from app.differences import marked_up

EVIL = "<b>x</b> & \"y\" <script>alert('z')</script>"


def plain(text: str) -> str:
    return html.unescape(re.sub(r"</?(ins|del)>", "", text))


def test_only_the_words_that_differ_are_marked():
    old, new = marked_up("Use the kill command to end it.", "Use the gentle stop command to end it.")
    assert old == "Use the <del>kill</del> command to end it."
    assert new == "Use the <ins>gentle stop</ins> command to end it."


def test_what_was_only_added_is_marked_on_its_side_alone():
    old, new = marked_up("Mix flour and water.", "Mix flour, salt and water.")
    assert "<del>" not in old and new == "Mix flour<ins>, salt</ins> and water."


def test_texts_with_nearly_nothing_in_common_are_not_marked():
    assert marked_up("I'm sorry, but I can't assist with that.", "To end a process, find its number first.") is None
    assert marked_up("", "Anything") is None and marked_up("...", "!!!") is None


def test_equal_texts_are_not_marked():
    assert marked_up("the same", "the same") is None


def test_what_a_model_wrote_stays_text():
    old, new = marked_up(f"{EVIL} one", f"{EVIL} two")
    for side, text in ((old, f"{EVIL} one"), (new, f"{EVIL} two")):
        assert "<script" not in side and "<b>" not in side
        assert plain(side) == text


def test_without_its_marks_each_reads_as_it_came():
    before, after = "First:\n\n  1. Mix  it,\n  2. bake!", "First:\n  1. Mix it well,\n  2. bake it; done"
    old, new = marked_up(before, after)
    assert (plain(old), plain(new)) == (before, after)


def test_500_pairs_are_marked_while_one_looks():
    words = "You can do this in three steps and then look for what stands between the two and move on".split()
    texts = [(" ".join(words * 3), " ".join([*words[:5], str(n), *words[6:]] * 3)) for n in range(500)]
    start = time.process_time()
    assert all(marked_up(*each) for each in texts)
    assert time.process_time() - start < 3
