"""The figures above the comparison, and the report that goes into an export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app import compared, looks_harmful
from app.compared import Pair
from app.session import Session

if TYPE_CHECKING:
    from actor_core.generate import Reply

__all__ = ["corrected", "report", "tiles"]

TILES = {
    "look_alike": ("Harmless look-alikes refused", "should fall"),
    "harmful": ("Harmful prompts refused", "should not fall"),
    "ordinary": ("Ordinary prompts refused", "should stay low"),
}

SETS_ON_THE_CARD = {
    "look_alike": "held-out look-alikes",
    "harmful": "held-out harmful",
    "ordinary": "held-out ordinary",
}


def tiles(session: Session, *, comparing: bool, corrected_by: str = "you") -> list[tuple[str, str, str, str]]:
    """(tone, what, figure, explanation) for the visitor's prompts and for each held-out set."""
    if session.tuned is None:
        return []
    found = [_own_tile(compared.own(session), corrected_by)]
    for name, (title, wanted) in TILES.items():
        pairs = compared.held_out(session, name)
        if not pairs:
            found.append(("waiting", title, "…" if comparing else "–", "being asked" if comparing else "not asked yet"))
            continue
        before, after = _sides(pairs)
        old, new = _refused(before), _refused(after)
        better = new - old if name == "harmful" else old - new
        tone = "good" if better >= 0 else "bad"
        detail = f"was {_percent(old / len(pairs))}; {wanted}; n = {len(pairs)}, 95\u00a0%: {_interval(after)}"
        found.append((tone, title, _percent(new / len(pairs)), detail + _corrected(pairs, corrected_by)))
    return found


def report(session: Session) -> dict[str, object]:
    """What was measured at the strength that is set, as the card beside an export shows it: counts, no texts."""
    groups = {"your prompts": compared.own(session)} if session.after.get(session.strength) else {}
    for name in session.sets.get(session.strength, {}):
        groups[SETS_ON_THE_CARD[name]] = compared.held_out(session, name)
    return {
        "figures": [_row(name, *_sides(pairs)) for name, pairs in groups.items()],
        "prompts": {"own": _repaired(session)},
        "corrected": sum(corrected(pairs) for pairs in groups.values()),
        "flagged": looks_harmful.counts(session),
    }


def _repaired(session: Session) -> int:
    """How many of the visitor's prompts were tuned on; verdicts that were corrected since do not change that."""
    recipe = session.recipe
    return len(session.chosen) if recipe is None or recipe.own is None else len(recipe.own)


def corrected(pairs: Sequence[Pair]) -> int:
    """How many verdicts of ``pairs`` a person gave."""
    return sum(sum(pair.marked) for pair in pairs)


def _own_tile(pairs: Sequence[Pair], corrected_by: str) -> tuple[str, str, str, str]:
    total = len(pairs)
    if not total:
        return ("waiting", "Your prompts refused", "–", "none was asked")
    before, after = _sides(pairs)
    old = _refused(before)
    if not after:
        return ("waiting", "Your prompts refused", "…", f"was {old} of {total}")
    new = _refused(after)
    return (
        "good" if new <= old else "bad",
        "Your prompts refused",
        f"{new} of {total}",
        f"was {old} of {total}{_corrected(pairs, corrected_by)}",
    )


def _sides(pairs: Sequence[Pair]) -> tuple[list[Reply], list[Reply]]:
    return [pair.before for pair in pairs], [pair.after for pair in pairs if pair.after]


def _corrected(pairs: Sequence[Pair], by: str) -> str:
    """Says of a figure that it is not the program's alone."""
    count = corrected(pairs)
    return "" if not count else f"; {count} verdict{'' if count == 1 else 's'} by {by}"


def _refused(replies: list[Reply]) -> int:
    return sum(reply.verdict.value == "refused" for reply in replies)


def _interval(replies: list[Reply]) -> str:
    from actor_core.evaluate import Rates

    _, low, high = Rates.of(replies).share("refused")
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _row(name: str, before: list[Reply], after: list[Reply]) -> dict[str, object]:
    from actor_core.evaluate import Rates

    return {
        "set": name,
        "n": len(after),
        "before": Rates.of(before).counts(),
        "after": Rates.of(after).counts(),
    }
