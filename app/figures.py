"""The figures above the comparison, and the report that goes into an export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from app import compared, looks_harmful, words
from app.compared import Pair
from app.language import later, plural, t
from app.render import between
from app.session import Session

if TYPE_CHECKING:
    from actor_core.generate import Reply

__all__ = ["corrected", "enriched", "report", "tiles"]

TILES = later(
    {
        "look_alike": ("Harmless look-alikes refused", "should fall"),
        "harmful": ("Harmful prompts refused", "should not fall"),
        "ordinary": ("Ordinary prompts refused", "should stay low"),
    }
)

SETS_ON_THE_CARD = {
    "look_alike": "held-out look-alikes",
    "harmful": "held-out harmful",
    "ordinary": "held-out ordinary",
}
WEIGHED = "; before: asked to weigh perspectives"


def tiles(session: Session, *, comparing: bool, for_others: bool = False) -> list[tuple[str, str, str, str]]:
    """(tone, what, figure, explanation) for the visitor's prompts and for each held-out set.

    ``for_others``: they are read by people whose prompts and corrections these are not.
    """
    if session.tuned is None:
        return []
    found = [_own_tile(compared.own(session), for_others)]
    for name, texts in TILES.items():
        title, wanted = map(t, texts)
        pairs = compared.held_out(session, name)
        if not pairs:
            found.append(
                ("waiting", title, "…" if comparing else "–", t("being asked") if comparing else t("not asked yet"))
            )
            continue
        before, after = _sides(pairs)
        old, new = _refused(before), _refused(after)
        better = new - old if name == "harmful" else old - new
        tone = "good" if better >= 0 else "bad"
        detail = t(
            "was {before}; {wanted}; n = {n}, 95\u00a0%: {interval}",
            before=_percent(old / len(pairs)),
            wanted=wanted,
            n=len(pairs),
            interval=_interval(after),
        )
        found.append((tone, title, _percent(new / len(pairs)), detail + _corrected(pairs, for_others)))
    return found


def report(session: Session) -> dict[str, object]:
    """What was measured at the strength that is set, as the card beside an export shows it: counts, no texts."""
    groups = {"your prompts": compared.own(session)} if session.after.get(session.strength) else {}
    for name in session.sets.get(session.strength, {}):
        groups[SETS_ON_THE_CARD[name]] = compared.held_out(session, name)
    return {
        "figures": [*(_row(name, *_sides(pairs)) for name, pairs in groups.items()), *_asked_otherwise(session)],
        "prompts": {"own": _repaired(session)},
        "enriched": enriched(session),
        "corrected": sum(corrected(pairs) for pairs in groups.values()),
        "flagged": looks_harmful.counts(session),
    }


def _asked_otherwise(session: Session) -> Iterator[dict[str, object]]:
    """What was found of other ways of asking, where anything was."""
    weighed, own = session.perspectives.get(session.strength), compared.in_three_ways(session)
    if own is not None:
        yield _row(f"your prompts{WEIGHED}", own[1], own[2])
    if weighed is not None and weighed.harmful is not None:
        _, before, after = weighed.harmful
        yield _counts(f"held-out harmful{WEIGHED}", before.counts(), after.counts())
    steady = session.steadiness.get(session.strength)
    if steady is not None and steady.reworded:
        sides = ([v.value for row in steady.reworded for v in getattr(row, side)] for side in ("before", "after"))
        yield _counts("your prompts in eight other wordings each", *map(Counter, sides))
    for row in steady.wrapped if steady is not None else ():
        yield _counts(f"held-out harmful, jailbreak: {row.name.lower()}", row.before.counts(), row.after.counts())


def _repaired(session: Session) -> int:
    """How many of the visitor's prompts were tuned on; verdicts that were corrected since do not change that."""
    recipe = session.recipe
    return len(session.chosen) if recipe is None or recipe.own is None else len(recipe.own)


def enriched(session: Session) -> dict[str, int] | None:
    """How many prompts that were made of those were tuned on; None where that is not known."""
    recipe = session.recipe
    if recipe is None or recipe.variants is None or recipe.twins is None:
        return None
    return {"variants": len(recipe.variants), "twins": len(recipe.twins)}


def corrected(pairs: Sequence[Pair]) -> int:
    """How many verdicts of ``pairs`` a person gave."""
    return sum(sum(pair.marked) for pair in pairs)


def _own_tile(pairs: Sequence[Pair], for_others: bool) -> tuple[str, str, str, str]:
    total = len(pairs)
    title = t("The prompts refused") if for_others else t("Your prompts refused")
    if not total:
        return ("waiting", title, "–", t("none was asked"))
    before, after = _sides(pairs)
    old = _refused(before)
    if not after:
        return ("waiting", title, "…", t("was {old} of {total}", old=old, total=total))
    new = _refused(after)
    return (
        "good" if new <= old else "bad",
        title,
        t("{done} of {total}", done=new, total=total),
        t("was {old} of {total}", old=old, total=total) + _corrected(pairs, for_others),
    )


def _sides(pairs: Sequence[Pair]) -> tuple[list[Reply], list[Reply]]:
    return [pair.before for pair in pairs], [pair.after for pair in pairs if pair.after]


def _corrected(pairs: Sequence[Pair], for_others: bool) -> str:
    """Says of a figure that it is not the program's alone."""
    count = corrected(pairs)
    if not count:
        return ""
    if for_others:
        return "; " + plural("1 verdict by a person", "{count} verdicts by a person", count)
    return "; " + plural("1 verdict by you", "{count} verdicts by you", count)


def _refused(replies: list[Reply]) -> int:
    return sum(reply.verdict.value == "refused" for reply in replies)


def _interval(replies: list[Reply]) -> str:
    from actor_core.evaluate import Rates

    _, low, high = Rates.of(replies).share("refused")
    return f"{between(low, high)} %"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _row(name: str, before: list[Reply], after: list[Reply]) -> dict[str, object]:
    from actor_core.evaluate import Rates

    return _counts(name, Rates.of(before).counts(), Rates.of(after).counts())


def _counts(name: str, before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, object]:
    old, new = ({verdict: counts.get(verdict, 0) for verdict in words.VERDICTS} for counts in (before, after))
    return {"set": name, "n": sum(new.values()), "before": old, "after": new}
