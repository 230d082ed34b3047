"""How far a job that asks prompts has come: its progress over several rounds of asking, and the work that is ahead."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from actor_core.events import Event, Part, Progress, Replied

if TYPE_CHECKING:
    from actor_core.generate import Reply

__all__ = ["TOKENS", "asking", "staged"]

TOKENS = 64  # of a reply that is read
PARTS = 100  # a progress bar moves within one prompt too


def staged(
    work: Generator[Event, None, list[Reply]], stage: str, before: int, count: int, total: int
) -> Generator[Event, None, list[Reply]]:
    """``work`` on ``count`` of ``total`` prompts as part of ``stage``, of which ``before`` are done."""
    answered, share = 0, 0.0
    yield Progress(stage, PARTS * before, PARTS * total, _counted(before, total))
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            yield Progress(stage, PARTS * (before + count), PARTS * total, _counted(before + count, total))
            return list(end.value)
        if isinstance(event, Replied):
            answered, share = event.done, event.done / max(1, event.total)
            yield event
        elif isinstance(event, Progress):
            share = max(share, event.done / max(1, event.total))
        done = int(PARTS * (before + count * share))
        yield Progress(stage, done, PARTS * total, _counted(before + answered, total))


def asking(stage: str, prompts: int, tokens: int = TOKENS) -> Part:
    """The work of asking so many prompts, as a part of a job that does nothing else."""
    return Part(stage, "generate", float(prompts * tokens))


def _counted(done: int, total: int) -> str:
    return f"{done} of {total}"
