"""Replays prompts that the user compared in the program a file is for, and counts what came out as they saw it.

Replies of another program need not be the same word for word: it rounds otherwise, and one token that differs
changes all after it. What must hold is the verdict; the first token says how close the two are before that.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from actor_core.delta import LayerDelta
from actor_core.evaluate import Rates, wilson
from actor_core.events import Event, Progress
from actor_core.export.compare import Checked
from actor_core.generate import Reply, answer
from actor_core.model import LoadedModel

__all__ = ["asked_again", "seen_length", "with_replay"]

# Fewer same verdicts than this, beyond doubt (the interval's upper end), is another model than the one compared.
LEAST_AGREEMENT = 0.9
# In tokens: what a reply that ended by itself could have had at most.
LONGEST = 64


def asked_again(
    model: LoadedModel, seen: Sequence[Reply], program: str, delta: LayerDelta | None = None
) -> Generator[Event, None, list[Reply]]:
    """The replies of ``model`` (with ``delta``) to the prompts of ``seen``, each of the length that was seen."""
    lengths = {seen_length(reply) for reply in seen}
    replies: dict[int, Reply] = {}
    for length in sorted(lengths):
        rows = [row for row, reply in enumerate(seen) if seen_length(reply) == length]
        work = answer(model, [seen[row].prompt for row in rows], delta=delta, max_new_tokens=length)
        while True:
            try:
                next(work)
            except StopIteration as end:
                replies.update(zip(rows, end.value, strict=True))
                break
            yield Progress("export", 2, 4, f"Asking {program} again: {len(replies)} of {len(seen)} prompts")
    return [replies[row] for row in range(len(seen))]


def seen_length(reply: Reply) -> int:
    """In how many tokens the user saw ``reply``: a verdict on more of it could be another."""
    return len(reply.tokens) if reply.truncated and reply.tokens else LONGEST


def with_replay(checked: Checked, seen: Sequence[Reply], there: Sequence[Reply], program: str) -> Checked:
    """``checked`` with how far ``there``, the replies of ``program``, agree with ``seen``, prompt by prompt."""
    if not seen:
        return checked
    n = len(seen)
    verdicts = sum(a.verdict is b.verdict for a, b in zip(seen, there, strict=True))
    tokens = sum(a.tokens[:1] == b.tokens[:1] for a, b in zip(seen, there, strict=True))
    refused = Rates.of(there).refused
    figures = {
        "replayed": n,
        "same_verdict": verdicts,
        "same_first_token_replayed": tokens,
        "seen": Rates.of(seen).counts(),
        "there": Rates.of(there).counts(),
    }
    words = (
        f"{n} of the prompts that you compared were asked again in {program}: {verdicts} got the same verdict as you "
        f"saw, and {tokens} begin with the same token (refused: {Rates.of(seen).refused} here, {refused} there)."
    )
    same_model = wilson(verdicts, n)[1] >= LEAST_AGREEMENT
    return replace(
        checked,
        passed=checked.passed if same_model else False,
        words=f"{checked.words} {words}" if same_model else f"{words} That is too few to rely on it. {checked.words}",
        figures={**checked.figures, **figures},
    )
