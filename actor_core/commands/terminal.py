"""What is said on a terminal: results go to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TypeVar

from actor_core.events import Ahead, Event, GuardPassed, LayerScored, Progress, Replied, Said, Step, StrengthMeasured

__all__ = ["followed", "tell"]

Result = TypeVar("Result")


def tell(words: str) -> None:
    print(words, file=sys.stderr)


def followed(work: Generator[Event, None, Result]) -> Result:
    """The result of ``work``; what it yields goes to stderr, one line that is written over."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            if sys.stderr.isatty():
                print("\r\033[K", end="", file=sys.stderr)
            return end.value
        line = _line(event)
        if line and sys.stderr.isatty():
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def _line(event: Event) -> str:
    match event:
        case Ahead() | Said():
            return ""
        case Progress():
            return event.note or f"{event.stage} {event.done}/{event.total}"
        case Replied():
            return f"answer {event.done}/{event.total}"
        case LayerScored():
            return f"layer {event.layer}: silhouette {event.silhouette:.2f}, effect {event.effect:.2f}"
        case Step():
            return f"update {event.step}/{event.total}: loss {event.loss:.2e}"
        case GuardPassed():
            return f"strength {event.strength:.3g}: {event.guard.lost} of {event.guard.refused_before} lost"
        case StrengthMeasured():
            return f"strength {event.strength:g}: look-alikes refused {event.pseudo_harmful_refused:.0%}"
