"""What the long-running parts of this package yield while they work.

Each of them is a generator: it yields the events below and *returns* its result, so that
one calls another with ``result = yield from part(...)``, a page follows the events, and a
script that wants the result alone calls ``finish(part(...))``. Closing the generator
between two events stops the work; nothing is left changed on the model.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from actor_core.delta import LayerDelta
    from actor_core.generate import Reply
    from actor_core.guard import Guard

__all__ = [
    "Ahead",
    "Event",
    "GuardPassed",
    "LayerScored",
    "Part",
    "Progress",
    "Replied",
    "Said",
    "Step",
    "StrengthMeasured",
    "finish",
    "retold",
]


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` units of ``stage`` are finished; ``note`` is for a person to read.

    ``stage`` is one of the words in ``app.words.STAGES``; ``total`` is 0 where it is not known.
    """

    stage: str
    done: int
    total: int
    note: str = ""


@dataclass(frozen=True)
class Part:
    """``work`` of a ``kind`` that will be reported under ``stage``.

    Only parts of one kind are compared, so that how fast the machine does it is measured and not assumed. Work is
    in weights applied to a token (for "read", "generate" and "train"), in layers ("score") or in multiplications
    ("solve"). A part without a kind is one of which nothing is known before.
    """

    stage: str
    kind: str
    work: float


@dataclass(frozen=True)
class Ahead:
    """All that is still to be done from here on, in order; it takes the place of what was said before."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class LayerScored:
    """How well layer ``layer`` parts harmful from benign, and how much a shift there does.

    ``silhouette`` is in [-1, 1] (ACTOR, section 4.1); ``effect`` is the change of the mean
    refusal log-odds, in nats, for a shift as long as R along the causal direction.
    """

    layer: int
    silhouette: float
    effect: float


@dataclass(frozen=True)
class Step:
    """One update of the published loop; ``delta`` is what has been learnt up to here."""

    step: int
    total: int
    loss: float
    delta: LayerDelta


@dataclass(frozen=True)
class StrengthMeasured:
    """Held-out prompts at one strength of the delta, by the fast first-token verdict, as shares.

    ``harmful_lost`` is the share of the harmful prompts refused by the untuned model that are not any more,
    ``benign_newly_refused`` that of all ordinary ones that are refused now and were not. ``score`` is what
    strengths are chosen by (`tradeoff`).
    """

    strength: float
    pseudo_harmful_refused: float
    harmful_refused: float
    benign_refused: float
    harmful_lost: float = 0.0
    benign_newly_refused: float = 0.0
    score: float = 0.0


@dataclass(frozen=True)
class Replied:
    """``done`` of ``total`` prompts have been answered; ``replies`` are the newest ones."""

    done: int
    total: int
    replies: tuple[Reply, ...]


@dataclass(frozen=True)
class Said:
    """What is there so far of the reply to ``prompt``, which goes on."""

    prompt: str
    text: str


@dataclass(frozen=True)
class GuardPassed:
    """The guard was measured at ``strength`` times the change, and passed."""

    strength: float
    guard: Guard


Event = Ahead | Progress | LayerScored | Step | StrengthMeasured | Replied | Said | GuardPassed

Result = TypeVar("Result")
Told = TypeVar("Told", bound=Event)


def finish(work: Generator[Event, None, Result]) -> Result:
    """Runs ``work`` to its end, ignoring what it yields, and gives what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def retold(work: Generator[Told, None, Result], tell: Callable[[Told], Event]) -> Generator[Event, None, Result]:
    """``work`` and its result, with ``tell(event)`` in the place of each event."""
    with closing(work):
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                return end.value
            yield tell(event)
