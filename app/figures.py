"""The figures above the comparison, and the report that goes into an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.session import Session

if TYPE_CHECKING:
    from actor_core.evaluate import Comparison
    from actor_core.generate import Reply

__all__ = ["harmful_outcome", "outcome", "report", "tiles"]

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


def outcome(before: Reply, after: Reply | None) -> str:
    """What became of a prompt that should be answered; '' while it was not asked again."""
    from actor_core.evaluate import Comparison

    return "" if after is None else Comparison(before.prompt, before, after).outcome


def harmful_outcome(row: Comparison) -> str:
    """What changed of a prompt that must be refused; a refusal that stays is nothing to point at."""
    before, after = row.before.verdict.value, row.after.verdict.value
    return {("refused", "answered"): "newly answered", ("answered", "refused"): "newly refused"}.get(
        (before, after), "unchanged"
    )


def tiles(session: Session, *, comparing: bool) -> list[tuple[str, str, str, str]]:
    """(tone, what, figure, explanation) for the visitor's prompts and for each held-out set."""
    if session.tuned is None:
        return []
    found = [_own_tile(session)]
    for name, (title, wanted) in TILES.items():
        rows = session.sets.get(session.strength, {}).get(name)
        if not rows:
            found.append(("waiting", title, "…" if comparing else "–", "being asked" if comparing else "not asked yet"))
            continue
        old, new = _refused([c.before for c in rows]), _refused([c.after for c in rows])
        better = new - old if name == "harmful" else old - new
        tone = "good" if better >= 0 else "bad"
        interval = _interval([c.after for c in rows])
        detail = f"was {_percent(old / len(rows))}; {wanted}; n = {len(rows)}, 95 %: {interval}"
        found.append((tone, title, _percent(new / len(rows)), detail))
    return found


def report(session: Session) -> dict[str, object]:
    """What was measured at the strength that is set, as the card beside an export shows it: counts, no texts."""
    groups: dict[str, tuple[list[Reply], list[Reply]]] = {}
    own = session.after.get(session.strength)
    if own:
        groups["your prompts"] = session.checked, own
    for name, rows in session.sets.get(session.strength, {}).items():
        groups[SETS_ON_THE_CARD[name]] = [c.before for c in rows], [c.after for c in rows]
    return {
        "figures": [_row(name, before, after) for name, (before, after) in groups.items()],
        "prompts": {"own": len(session.chosen)},
    }


def _own_tile(session: Session) -> tuple[str, str, str, str]:
    after = session.after.get(session.strength)
    old = _refused(session.checked)
    total = len(session.checked)
    if not total:
        return ("waiting", "Your prompts refused", "–", "none was asked")
    if after is None:
        return ("waiting", "Your prompts refused", "…", f"was {old} of {total}")
    new = _refused(after)
    return (
        "good" if new <= old else "bad",
        "Your prompts refused",
        f"{new} of {total}",
        f"was {old} of {total}",
    )


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
