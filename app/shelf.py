"""A visitor's list of earlier runs, as the panel shows it, and how many there may be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actor_core.delta import BaseModelId
from actor_core.evaluate import Rates
from app.language import t
from app.runs import Run
from app.words import written_size

if TYPE_CHECKING:
    from app.left_runs import Visitor
    from app.two_runs import TwoRuns

__all__ = ["BYTES_OFFERED", "DAMAGED", "LEFT", "RUNS_OFFERED", "Line", "Shelf"]

DAMAGED, LEFT = "damaged", "left"

# Above these the oldest runs are offered for deletion; at twice as much no new one is kept.
RUNS_OFFERED = 50
BYTES_OFFERED = 1_000_000_000


@dataclass(frozen=True)
class Line:
    """One run as the list shows it. ``figures``: by group, the counts before and after at ``strength``."""

    id: str
    name: str
    made: float
    base: BaseModelId
    layer: int
    strength: float
    source: str
    early: bool
    guard_passed: bool | None
    figures: dict[str, tuple[Rates, Rates]]
    bytes: int
    why_not_repeated: str = ""

    @classmethod
    def of(cls, id: str, run: Run, bytes: int) -> Line:
        """The line of a run that was tuned."""
        assert run.tuned is not None
        guard = run.guard()
        return cls(
            id=id,
            name=run.name,
            made=run.made,
            base=run.base,
            layer=run.tuned.layer,
            strength=run.strength,
            source=run.source,
            early=run.tuned.early,
            guard_passed=guard.passed if guard else None,
            figures={name: (Rates.of(before), Rates.of(after)) for name, (before, after) in run.groups().items()},
            bytes=bytes,
            why_not_repeated=run.why_not_repeated(),
        )


@dataclass
class Shelf:
    """A visitor's list of runs, the newest first, and what they chose in it.

    ``damaged`` are those that could not be read, with the reason. ``asked`` is the run whose deletion was asked for
    once, or `DAMAGED` for all of those, or `LEFT` for those of visitors who did not come back (``left``).
    """

    lines: list[Line] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    left: list[Visitor] = field(default_factory=list)
    picked: str = ""
    asked: str = ""
    two: TwoRuns | None = None

    @property
    def bytes(self) -> int:
        return sum(line.bytes for line in self.lines)

    @property
    def too_many(self) -> bool:
        return len(self.lines) > RUNS_OFFERED or self.bytes > BYTES_OFFERED

    @property
    def full(self) -> bool:
        return len(self.lines) >= 2 * RUNS_OFFERED or self.bytes > 2 * BYTES_OFFERED

    def put(self, line: Line) -> None:
        """``line`` in its place, instead of an earlier one of the same run."""
        others = [each for each in self.lines if each.id != line.id]
        self.lines = sorted([line, *others], key=lambda each: each.id, reverse=True)

    def next_name(self) -> str:
        """'Run 4' after 'Run 3', whatever was renamed or deleted meanwhile."""
        start = t("Run {number}", number="")
        named = [line.name[len(start) :] for line in self.lines if line.name.startswith(start)]
        last = max([len(self.lines), *(int(number) for number in named if number.isdecimal())])
        return t("Run {number}", number=last + 1)

    def no_room(self) -> str:
        """What is said where it is full."""
        return (
            f"There is no room for this run: you have {len(self.lines)} earlier ones "
            f"({written_size(self.bytes)}), and at most {2 * RUNS_OFFERED} of {written_size(2 * BYTES_OFFERED)} "
            "are kept. Until you delete some under “Earlier runs” it is lost when the program ends."
        )
