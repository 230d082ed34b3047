"""The largest strength at which the guard is passed, where it is not at the one that was chosen.

Trying several strengths and keeping one that passes would make its bound look better than it is. Here they are tried
from the smallest up, and the first that does not pass ends it: fixed-sequence testing (Maurer, Hothorn and Lehmacher,
1995; used so for models by Angelopoulos et al., "Learn then Test", arXiv 2110.01052), under which the bound holds for
every strength that passed, however many were tried. (The one that was measured before the search is none of them: it
and what is found are two statements.) A strength that fails is found out early: no more prompts are asked at it once
more refusals are lost than a guard of all of them allows.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from actor_core.delta import LayerDelta
from actor_core.events import Event, GuardPassed, Progress, retold
from actor_core.guard import TOKENS, Ask, Asking, Count, Guard
from actor_core.model import LoadedModel

__all__ = ["SHARES", "GuardSearch", "search_guard"]

# Of the strength that did not pass, or that tuning chose.
SHARES = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8)
# Prompts that are asked before it is looked whether a strength has failed already: enough to fill a batch.
AT_A_TIME = 64


@dataclass(frozen=True)
class GuardSearch:
    """``passed`` has the guards of the strengths that passed, the smallest first. ``failed`` is the one that ended
    the search, None where all passed; ``lost`` of the first ``asked`` prompts at it were no longer refused."""

    passed: dict[float, Guard]
    failed: float | None = None
    lost: int = 0
    asked: int = 0

    @property
    def largest(self) -> float | None:
        """The largest strength that passed."""
        return max(self.passed, default=None)


def search_guard(
    model: LoadedModel,
    delta: LayerDelta,
    strengths: Sequence[float],
    harmful_prompts: Sequence[str],
    *,
    before: Ask | None = None,
    ask: Ask | None = None,
    max_new_tokens: int = TOKENS,
) -> Generator[Event, None, GuardSearch]:
    """Measures the guard of ``delta`` at ``strengths`` from the smallest up, until one does not pass.

    ``harmful_prompts``, ``before`` and ``ask`` are as in `measure_guard`. The stages are "guard before" and
    "guard search", once for each strength, since nobody knows how many pass; `GuardPassed` tells of each that does.

    Raises `DeltaError` for a delta that does not fit ``model``.
    """
    asking = Asking(model, delta, ask, max_new_tokens)
    prompts = list(dict.fromkeys(harmful_prompts))
    refused = yield from asking.refused_untuned(prompts, before)
    passed: dict[float, Guard] = {}
    for number, strength in enumerate(sorted(strengths), start=1):
        count = Count()
        note = f"strength {number} of at most {len(strengths)}"
        for start in range(0, len(refused), AT_A_TIME):
            part = refused[start : start + AT_A_TIME]
            count += yield from _told(asking.lost_at(strength, part), start, len(refused), note)
            if not Guard.of(len(refused), count.lost).passed:  # whatever the others say
                break
        guard = count.guard(asked=len(prompts))
        if not guard.passed:
            return GuardSearch(passed, strength, count.lost, count.refused)
        passed[strength] = guard
        yield GuardPassed(strength, guard)
    return GuardSearch(passed)


def _told(work: Generator[Event, None, Count], before: int, total: int, note: str) -> Generator[Event, None, Count]:
    """``work`` on some of the ``total`` prompts of one strength, ``before`` of which were asked before it."""
    done = 0

    def tell(event: Event) -> Event:
        nonlocal done
        if isinstance(event, Progress) and event.stage == "guard":  # and not what is asked again to be sure
            done = event.done
        return Progress("guard search", before + done, total, note)

    return retold(work, tell)
