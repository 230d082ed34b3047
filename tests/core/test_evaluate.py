"""Figures over replies: verdicts that agree within a group, lengths in tokens."""

from __future__ import annotations

from actor_core.evaluate import mean_tokens, of_one_verdict
from actor_core.generate import Reply
from actor_core.judge import Verdict

ANSWERED, REFUSED, INCOHERENT = Verdict


def replies(*verdicts: Verdict) -> list[Reply]:
    return [Reply(f"prompt {n}", "", verdict, False, tuple(range(n))) for n, verdict in enumerate(verdicts)]


def test_a_group_agrees_where_every_wording_has_the_same_verdict_whichever_it_is():
    agreeing = [replies(ANSWERED, ANSWERED), replies(REFUSED, REFUSED, REFUSED), replies(INCOHERENT)]
    split = [replies(ANSWERED, REFUSED), replies(ANSWERED, ANSWERED, INCOHERENT)]
    assert of_one_verdict(agreeing + split) == 3
    assert of_one_verdict([]) == 0


def test_the_length_is_the_mean_of_tokens():
    assert mean_tokens(replies(ANSWERED, REFUSED, ANSWERED, ANSWERED)) == 1.5
    assert mean_tokens([]) == 0.0
