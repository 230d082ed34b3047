"""The work behind *Write more prompts like these*, and the look at what a visitor wrote into them before it is used."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from actor_core.events import Event
from app import variants
from app.errors import Notice
from app.session import Session
from app.variants import Enriched, Row

if TYPE_CHECKING:
    from actor_core.enrich import EnrichSettings
    from actor_core.model import LoadedModel
    from actor_core.presets import PromptSet
    from actor_core.readings import ReadingStore

__all__ = ["enrich", "told", "vetted"]


def enrich(
    model: LoadedModel,
    session: Session,
    chosen: Sequence[str],
    prompt_set: PromptSet,
    settings: EnrichSettings,
    store: ReadingStore,
) -> Generator[Event, None, None]:
    """Makes variants of the ``chosen`` prompts, and puts them into the visitor's table."""
    from actor_core import enrich as core

    found = yield from core.enrich(model, chosen, prompt_set, store, settings)
    with session.lock:
        session.variants = variants.rows_of(found, session.variants)
        session.changed()


def told(rows: Sequence[Row], chosen: Sequence[str]) -> Notice | None:
    """What is said once they are made, where the table does not say it all."""
    mine = [row for row in rows if row.of(set(chosen))]
    if not any(row.kept for row in mine):
        return Notice(
            "warning",
            "Nothing that was written passed the check, so nothing is ticked: below it stands why. You can tune "
            "without them.",
        )
    if len(rows) == variants.MAX_ROWS:
        said = f"The table holds {variants.MAX_ROWS} lines at most: not all that were left out are in it."
        return Notice("info", said)
    return None


def vetted(
    model: LoadedModel, session: Session, rows: Sequence[Row], chosen: Sequence[str], prompt_set: PromptSet,
    store: ReadingStore,
) -> Generator[Event, None, Enriched]:  # fmt: skip
    """What of ``rows`` is used for the ``chosen`` prompts, without lines that nobody but the visitor saw and that look
    like requests that should be refused: those are named in the table, and lose their tick."""
    from actor_core import harmfulness

    own = set(chosen)
    unseen = [row.text for row in rows if row.ticked and row.text and row.unseen and row.of(own)]
    if not unseen:
        return variants.used(rows, chosen)
    found = yield from harmfulness.name_harmful(model, list(dict.fromkeys(unseen)), prompt_set, store)
    if found.flagged:
        with session.lock:
            session.variants = variants.with_flags(session.variants, found.flagged)
            session.changed()
        session.say(
            "variants",
            Notice(
                "warning",
                "Some lines that you changed or ticked look like requests that should be refused, and were not used. "
                "They are named in the table.",
            ),
        )
    return variants.used(variants.with_flags(rows, found.flagged), chosen)
