"""The work behind *Export*: the guard at the strength that is set, then the files, where it lets them through.

The guard is measured once a strength and kept in the session, so that a second press or another kind of file
needs no second measurement.
"""

from __future__ import annotations

import secrets
import shutil
import time
import zipfile
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actor_core.errors import ExportError
from actor_core.events import Event
from app import words, zerogpu
from app.errors import Notice
from app.language import t
from app.session import ExportRecord, Session
from app.work import TOKENS_OF_HELD_OUT, BeforeCache, tuned_of, unit

if TYPE_CHECKING:
    from actor_core.generate import Reply
    from actor_core.guard import Guard
    from actor_core.model import LoadedModel
    from actor_core.presets import PromptSet

__all__ = ["NO_CHOICES", "Choices", "Order", "accepted", "compared", "export", "guarded", "told", "zipped"]


@dataclass(frozen=True)
class Choices:
    """``replayed``: how many of the compared prompts each check asks again; ``tensor_type``: how a merged GGUF
    stores the changed matrix; ``rank``: that of a trained layer's adapter, None where the program chooses."""

    replayed: int = 24
    tensor_type: str = "F16"
    rank: int | None = None


NO_CHOICES = Choices()


@dataclass(frozen=True)
class Order:
    """What is to be exported: ``kinds`` of file at ``strength`` (of the slider) into new folders under ``folder``.

    ``report`` is what the cards show. ``accepted``: its owner was shown that the guard is not passed at this
    strength, and typed that it is to be exported all the same.
    """

    kinds: Sequence[str]
    strength: float
    folder: Path
    report: dict[str, object]
    accepted: bool = False
    choices: Choices = NO_CHOICES


def accepted(guard: Guard | None, typed: str, *, in_space: bool) -> bool:
    """Whether ``typed`` has the files written although ``guard`` was not passed.

    Words typed before there is a guard, or that nobody asked for, accept nothing. Raises `ExportError` where
    what was measured holds the files back.
    """
    if guard is None or guard.passed:
        return False
    if in_space:
        raise ExportError(f"Nothing was written. {words.GUARD_IN_SPACE}")
    if " ".join(typed.lower().split()) not in (words.EXPORT_ANYWAY, t(words.EXPORT_ANYWAY)):
        raise ExportError(f"Nothing was written: the box above does not say “{words.EXPORT_ANYWAY}”.")
    return True


def export(
    model: LoadedModel, session: Session, prompt_set: PromptSet, before: BeforeCache, order: Order
) -> Generator[Event, None, list[ExportRecord]]:
    """Writes and checks what ``order`` names, and lists it in the session; nothing where the guard holds it back."""
    from actor_core.export import export as export_one

    tuned = tuned_of(session)
    guard = yield from guarded(model, session, prompt_set, before, order.strength)
    if not (guard.passed or order.accepted):
        return []
    seen = compared(session, order.strength, order.choices.replayed)
    made_now: list[ExportRecord] = []
    stamp = time.strftime("%Y-%m-%d-%H%M%S") + "-" + secrets.token_hex(2)
    for kind in order.kinds:
        place = order.folder / stamp / kind
        place.parent.mkdir(parents=True, exist_ok=True)
        strength = order.strength * unit(tuned)
        try:
            made = yield from export_one(
                model,
                tuned.delta,
                kind,
                place,
                strength=strength,
                report=order.report,
                guard=guard,
                seen=seen,
                rank=order.choices.rank,
                tensor_type=order.choices.tensor_type,
                # Of a change that was stopped or opened it is the recipe of a whole tuning, and not of this one.
                recipe=None if session.tuned_early or session.source else session.recipe,
            )
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(place, ignore_errors=True)
                place.parent.rmdir()
            raise
        record = ExportRecord(
            kind=made.kind,
            made=time.strftime("%Y-%m-%d %H:%M"),
            model=tuned.delta.base.name,
            strength=order.strength,
            path=str(made.path),
            bytes=made.bytes,
            checked=made.checked,
            check_words=made.check_words,
            command=made.command,
            failed=made.failed,
            guard_passed=guard.passed,
            rank_errors=", ".join(f"{rank}: {100 * error:.1f} %" for rank, error in made.error_by_rank.items()),
        )
        made_now.append(record)
        with session.lock:
            session.exports = [record, *session.exports]
            session.changed()
    return made_now


def compared(session: Session, strength: float, count: int) -> list[Reply]:
    """Up to ``count`` replies that the visitor saw at ``strength``, from their own prompts and every held-out set."""
    from actor_core.evaluate import spread

    seen = list(session.after.get(strength, []))
    for rows in session.sets.get(strength, {}).values():
        seen += [row.after for row in rows]
    # Of an earlier run that was opened, replies to harmful prompts were not kept: those cannot be asked again.
    return spread([reply for reply in seen if reply.text or reply.tokens], count)


def guarded(
    model: LoadedModel, session: Session, prompt_set: PromptSet, before: BeforeCache, strength: float
) -> Generator[Event, None, Guard]:
    """The guard at ``strength`` of the slider: the one that is known, or a new measurement, which is kept."""
    from actor_core.guard import measure_guard

    known = session.guards.get(strength)
    if known is not None:
        return known
    tuned = tuned_of(session)
    guard = yield from measure_guard(
        model,
        tuned.delta,
        strength * unit(tuned),
        prompt_set.guard(),
        before=before.answer,
        ask=zerogpu.answer if zerogpu.is_lent() else None,
        max_new_tokens=TOKENS_OF_HELD_OUT,
    )
    with session.lock:
        if session.tuned is tuned:  # another tuning is not what was measured
            session.guards = {**session.guards, strength: guard}
            session.changed()
    return guard


def told(made: Sequence[ExportRecord]) -> Notice | None:
    """What is said of the files of one press; where there is none the guard's own notice says it all."""
    if not made:
        return None
    failed = [words.EXPORT_KINDS[record.kind][0] for record in made if record.failed]
    if failed:
        return Notice(
            "warning",
            f"The files are below, but their check failed for: {', '.join(failed)}. Do not rely on what failed; below "
            "it stands why. Export again, or choose another kind.",
        )
    return Notice("success", "Done. The files are below, each with how to use it.")


def zipped(path: Path, folder: Path) -> Path:
    """``path`` (a file or a folder) as one zip in the new ``folder``."""
    folder.mkdir(parents=True)
    target = folder / f"second-take-{path.stem if path.is_file() else path.name}.zip"
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    root = path.parent
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(root))
    return target
