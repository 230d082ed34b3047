"""What is kept of a tuning run, as a value with a strict form in JSON; the change itself lies beside it.

It is taken from a session and put back into one. Replies to held-out harmful prompts are let go before
anything is written: their verdicts alone are kept, without text and without tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from actor_core.delta import BaseModelId, LayerDelta
from actor_core.evaluate import Comparison
from actor_core.events import LayerScored, StrengthMeasured
from actor_core.generate import Reply
from actor_core.guard import Guard
from actor_core.harmfulness import Harmfulness
from actor_core.judge import Verdict
from actor_core.perspectives import Perspectives
from actor_core.projection import Projection
from actor_core.prompts import Problem
from actor_core.recipe import Recipe
from actor_core.second_judge import SecondOpinion
from actor_core.steadiness import Steadiness
from actor_core.tune import Tuned
from actor_core.two_changes import Likeness, SetOfTwo
from app.marks import At, Turn
from app.session import OpenRun, Trial, Two
from app.variants import MAX_ROWS, Row

if TYPE_CHECKING:
    from app.session import Session

__all__ = ["MAX_NAME", "AtStrength", "Mark", "Run", "TriedPrompt", "TunedFacts"]

FORMAT: Literal["second-take.run.1"] = "second-take.run.1"
MAX_NAME = 80
SetName = Literal["look_alike", "harmful", "ordinary"]


@dataclass(frozen=True)
class GuardCounts:
    """What a guard was computed from: its verdict is computed anew, and never believed from a file."""

    refused_before: Annotated[int, Field(ge=0)]
    lost: Annotated[int, Field(ge=0)]
    asked: int
    incoherent: int


@dataclass(frozen=True)
class AtStrength:
    """What was asked at one ``strength`` of the slider; ``own`` is None where the visitor's prompts were not."""

    strength: float
    own: tuple[Reply, ...] | None = None
    sets: dict[SetName, tuple[Comparison, ...]] = field(default_factory=dict)
    guard: GuardCounts | None = None
    perspectives: Perspectives | None = None
    steadiness: Steadiness | None = None
    opinion: SecondOpinion | None = None


@dataclass(frozen=True)
class TunedFacts:
    """All of a `Tuned` but its change, which has ``digest``. ``early``: it was stopped before its end."""

    layer: Annotated[int, Field(ge=0)]
    digest: str
    strength: float
    words: tuple[str, ...]
    early: bool = False
    projection: Projection | None = None


@dataclass(frozen=True)
class TriedPrompt:
    before: Reply
    after: Reply
    strength: float


@dataclass(frozen=True)
class OtherChange:
    """A saved change that was set beside this one."""

    name: str
    strength: float
    likeness: tuple[Likeness, ...]
    sets: tuple[SetOfTwo, ...]


@dataclass(frozen=True)
class Mark:
    """A verdict that the visitor corrected: ``strength`` is None for the untuned model's reply.

    ``turn`` and ``side`` are of a reply in the conversation, None and '' of any other.
    """

    prompt: str
    strength: float | None
    verdict: Verdict
    turn: Annotated[int, Field(ge=0)] | None = None
    side: Literal["", "before", "after"] = ""

    @classmethod
    def given(cls, prompt: str, at: At, verdict: Verdict) -> Mark:
        if isinstance(at, Turn):
            return cls(prompt, None, verdict, at.number, at.side)
        return cls(prompt, at, verdict)

    @property
    def at(self) -> At:
        if self.turn is None:
            return self.strength
        return Turn(self.turn, "before" if self.side == "before" else "after")


class Run(BaseModel):
    """Frozen, and strict: a file with another key, another type or a number that is none is not a run.

    ``tuned`` is None for prompts that were asked and not yet tuned on. ``source`` names the file that a change
    was opened from, '' where it was tuned here; ``made`` is in seconds since 1970.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    format: Literal["second-take.run.1"]
    name: Annotated[str, Field(max_length=MAX_NAME)]
    made: Annotated[float, Field(ge=0, le=1e11)]
    source: str = ""
    base: BaseModelId
    checked: tuple[Reply, ...]
    repair_all: bool = False
    problems: tuple[Problem, ...] = ()
    marks: tuple[Mark, ...] = ()
    harmfulness: Harmfulness | None = None
    included: tuple[str, ...] = ()
    variants: Annotated[tuple[Row, ...], Field(max_length=MAX_ROWS)] = ()
    layer_scores: tuple[LayerScored, ...] = ()
    curve: tuple[StrengthMeasured, ...] = ()
    losses: tuple[tuple[int, float], ...] = ()
    tuned: TunedFacts | None = None
    recipe: Recipe | None = None
    strength: float = 1.0
    at: tuple[AtStrength, ...] = ()
    trials: tuple[TriedPrompt, ...] = ()
    two: OtherChange | None = None

    @classmethod
    def of(cls, session: Session) -> Run:
        """What ``session`` shows now. Its lock is held meanwhile."""
        assert session.base is not None
        tuned, about = session.tuned, session.run or OpenRun()
        asked = (session.after, session.sets, session.guards)
        asked_further = (session.perspectives, session.steadiness, session.opinions)
        strengths = sorted({strength for each in (*asked, *asked_further) for strength in each})
        return cls(
            format=FORMAT,
            name=about.name,
            made=about.made,
            source=session.source,
            base=session.base,
            checked=tuple(session.checked),
            repair_all=session.repair_all,
            problems=tuple(session.problems),
            marks=tuple(Mark.given(prompt, at, verdict) for (prompt, at), verdict in session.marks.given.items()),
            harmfulness=session.harmfulness,
            included=tuple(sorted(session.included)),
            variants=session.variants,
            layer_scores=tuple(session.layer_scores) or (tuned.layer_scores if tuned else ()),
            curve=tuple(session.curve) or (tuned.curve if tuned else ()),
            losses=tuple((step, loss) for step, loss in session.losses if isfinite(loss)),
            tuned=_facts(tuned, session.tuned_early) if tuned else None,
            recipe=session.recipe,
            strength=session.strength,
            at=tuple(_at(session, strength) for strength in strengths),
            trials=tuple(TriedPrompt(t.before, t.after, t.strength) for t in session.trials),
            two=_other(session.two),
        )

    def put_into(self, session: Session, delta: LayerDelta | None, id: str) -> None:
        """Shows this run in ``session``, in the place of what it showed."""
        with session.lock:
            session.forget_tuning()
            session.marks.put({(mark.prompt, mark.at): mark.verdict for mark in self.marks})
            session.base, session.checked, session.arriving = self.base, list(self.checked), []
            session.repair_all, session.problems = self.repair_all, self.problems
            session.harmfulness, session.included = self.harmfulness, frozenset(self.included)
            session.variants = self.variants
            session.layer_scores, session.curve = list(self.layer_scores), list(self.curve)
            session.losses = list(self.losses)
            if self.tuned is not None and delta is not None:
                facts = self.tuned
                session.tuned = Tuned(
                    delta, facts.strength, self.layer_scores, self.curve, facts.words, facts.projection
                )
                session.tuned_early, session.recipe, session.source = facts.early, self.recipe, self.source
                session.run = OpenRun(id, self.name, self.made)
            session.strength = self.strength
            session.after = {at.strength: list(at.own) for at in self.at if at.own is not None}
            asked = [at for at in self.at if at.sets]
            session.sets = {at.strength: {name: list(rows) for name, rows in at.sets.items()} for at in asked}
            session.guards = {at.strength: _guard(at.guard) for at in self.at if at.guard is not None}
            session.perspectives = {at.strength: at.perspectives for at in self.at if at.perspectives is not None}
            session.steadiness = {at.strength: at.steadiness for at in self.at if at.steadiness is not None}
            session.opinions = {at.strength: at.opinion for at in self.at if at.opinion is not None}
            session.trials = [Trial(t.before, t.after, t.strength) for t in self.trials]
            if self.two is not None:
                two = self.two
                session.two = Two(two.name, two.strength, list(two.likeness), list(two.sets))
            session.changed()

    def why_not_repeated(self) -> str:
        """What is not known of how it was made, in words; '' where everything is."""
        if self.recipe is None and self.source:
            return (
                "it was opened from a file that does not say what it was made with. A zip downloaded here does, where "
                "its prompts were not left out"
            )
        if self.recipe is None and self.tuned is not None and self.tuned.early:
            return "it was stopped by an earlier version of this program, which did not note its settings"
        if self.recipe is None:
            return "its settings were not noted"
        return "its file leaves out the prompts that were repaired" if self.recipe.own is None else ""

    def shown(self) -> AtStrength:
        """What was asked at the strength that is set."""
        return next((at for at in self.at if at.strength == self.strength), AtStrength(self.strength))

    def guard(self) -> Guard | None:
        counts = self.shown().guard
        return _guard(counts) if counts is not None else None

    def groups(self) -> dict[str, tuple[list[Reply], list[Reply]]]:
        """Replies before and after at the strength that is set: the visitor's own, and each held-out set.

        Their verdicts are those that count: the visitor's, where they corrected one.
        """
        at = self.shown()
        found: dict[str, tuple[Sequence[Reply], Sequence[Reply]]] = {}
        if at.own and self.checked:
            found["own"] = self.checked, at.own
        for name, rows in at.sets.items():
            if rows:
                found[name] = [row.before for row in rows], [row.after for row in rows]
        given = {(mark.prompt, mark.at): mark.verdict for mark in self.marks}

        def counted(replies: Sequence[Reply], strength: float | None) -> list[Reply]:
            return [replace(each, verdict=given.get((each.prompt, strength), each.verdict)) for each in replies]

        return {name: (counted(old, None), counted(new, at.strength)) for name, (old, new) in found.items()}


def _facts(tuned: Tuned, early: bool) -> TunedFacts:
    digest = tuned.delta.digest()
    return TunedFacts(tuned.delta.layer, digest, tuned.strength, tuned.words, early, tuned.projection)


def _at(session: Session, strength: float) -> AtStrength:
    own, guard = session.after.get(strength), session.guards.get(strength)
    sets: dict[SetName, tuple[Comparison, ...]] = {}
    for name, rows in session.sets.get(strength, {}).items():
        if name == "harmful":
            sets["harmful"] = tuple(Comparison(row.prompt, _verdict(row.before), _verdict(row.after)) for row in rows)
        elif name == "look_alike":
            sets["look_alike"] = tuple(rows)
        elif name == "ordinary":
            sets["ordinary"] = tuple(rows)
    counts = GuardCounts(guard.refused_before, guard.lost, guard.asked, guard.incoherent) if guard else None
    return AtStrength(
        strength,
        tuple(own) if own is not None else None,
        sets,
        counts,
        session.perspectives.get(strength),
        session.steadiness.get(strength),
        session.opinions.get(strength),
    )


def _verdict(reply: Reply) -> Reply:
    """``reply`` without what it said."""
    return replace(reply, text="", tokens=())


def _guard(counts: GuardCounts) -> Guard:
    return Guard.of(counts.refused_before, counts.lost, asked=counts.asked, incoherent=counts.incoherent)


def _other(two: Two | None) -> OtherChange | None:
    return OtherChange(two.name, two.strength, tuple(two.likeness), tuple(two.sets)) if two else None
