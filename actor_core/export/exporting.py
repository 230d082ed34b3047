"""Exports a delta: files, a card, and a check that loads them again in the program they are for."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actor_core.delta import LayerDelta
from actor_core.errors import first_line
from actor_core.events import Event, Progress
from actor_core.export import words
from actor_core.export.adapter import at_strength
from actor_core.export.base import describe_base
from actor_core.export.card import Card, read_corrected, read_enriched, read_figures, read_flagged
from actor_core.export.compare import CHECK_PROMPTS, Checked
from actor_core.export.folder import File, folder_bytes, write_folder
from actor_core.export.formats import plan_of
from actor_core.export.request import Plan, Request
from actor_core.generate import Reply
from actor_core.guard import Guard
from actor_core.model import LoadedModel
from actor_core.recipe import RECIPE, Recipe
from actor_core.weights.whole_files import put_file

__all__ = ["CARD", "Exported", "export"]

CARD = "README.md"
# The card, the configuration and what the file formats add to the numbers.
OVERHEAD_BYTES = 64_000


@dataclass(frozen=True)
class Exported:
    """A finished export: the folder ``path`` with its size in bytes.

    ``checked`` says that the program it is for loaded it and did what it does here, ``failed``
    that it did not; neither, where that program cannot be run on this machine. ``check_words``
    tells a person which and why, ``figures`` holds the numbers. ``command`` is what takes it;
    ``error_by_rank`` the relative errors that other ranks of an approximated full difference have.
    """

    kind: str
    path: Path
    bytes: int
    checked: bool
    failed: bool
    check_words: str
    figures: dict[str, Any]
    command: str
    error_by_rank: dict[int, float]


def export(
    model: LoadedModel,
    delta: LayerDelta,
    kind: str,
    folder: Path,
    *,
    strength: float = 1.0,
    report: Mapping[str, Any] | None = None,
    guard: Guard | None = None,
    prompts: Sequence[str] = CHECK_PROMPTS,
    seen: Sequence[Reply] = (),
    rank: int | None = None,
    tensor_type: str | None = None,
    recipe: Recipe | None = None,
) -> Generator[Event, None, Exported]:
    """Writes ``delta`` at ``strength`` as the new folder ``folder``, and checks it by loading it again.

    ``kind`` is one of `KINDS`. Where ``folder`` exists the new one is called ``folder-2``, ``-3``...
    ``report`` is what the card's tables show: ``figures`` (a list of ``set``, ``n``, ``before`` and ``after`` with
    their counts), ``corrected`` (how many of those verdicts a person gave), ``flagged`` (``left_out`` and
    ``included``: how many own prompts looked harmful), ``enriched`` (``variants`` and ``twins``: how many prompts made
    of the own ones were tuned on), ``prompts`` and ``settings``, of which numbers and short
    names are shown. ``guard`` is what was measured at this very strength: its figures go into the card and the
    files' metadata, and where it was not passed, or not measured, they say GUARD NOT PASSED; to keep such files
    back is up to the caller. The check compares first tokens of ``prompts`` and asks those of ``seen``, the replies
    that the user saw at this strength, again. A check that fails keeps the files and marks them; stopping it leaves
    them marked as not checked. ``rank`` is that of a full difference's approximation, ``tensor_type`` how a merged
    GGUF stores the changed matrices; ``recipe`` is written beside the files, so that the change can be made again.

    Raises `ExportError` where nothing could be written, `DeltaError` for a delta of another base.
    """
    delta.require_base(model.id)
    figures, corrected, flagged = read_figures(report), read_corrected(report), read_flagged(report)
    enriched = read_enriched(report)
    scaled = at_strength(delta, strength)
    scaled = replace(scaled, measured=scaled.measured | {"guard": guard.figures() if guard else None})
    base = describe_base(delta.base)
    yield Progress("export", 0, 4, f"Writing the {kind} files")
    line = words.guard_line(guard)
    plan = plan_of(Request(model, delta, strength, scaled, base, line, prompts, seen, rank, tensor_type), kind)
    card = Card(
        base=base,
        delta=delta,
        strength=strength,
        relation=plan.relation,
        relative_error=plan.relative_error,
        error_by_rank=plan.error_by_rank,
        library=plan.library,
        tags=plan.tags,
        files=dict(plan.described) | ({RECIPE: words.RECIPE_FILE} if recipe else {}),
        load=plan.load,
        undo=plan.undo,
        figures=figures,
        corrected=corrected,
        flagged=flagged,
        enriched=enriched,
        guard=guard,
        prompts={**(report or {}).get("prompts", {}), **(recipe.provenance() if recipe else {})},
        settings=(report or {}).get("settings", {}),
    )
    files: dict[str, File] = {**plan.files, CARD: card.text(None).encode()}
    if recipe:
        files[RECIPE] = recipe.text().encode()
    path = write_folder(folder, files, plan.bytes + OVERHEAD_BYTES, plan.fill)
    yield Progress("export", 1, 4, "Checking the files by loading them again")
    checked = yield from _checked(plan, path)
    try:
        put_file(path / CARD, card.text(checked).encode())
    except OSError as error:
        checked = replace(checked, words=f"{checked.words} (The card could not be updated: {error}.)")
    yield Progress("export", 4, 4, checked.words)
    return Exported(
        kind=kind,
        path=path,
        bytes=folder_bytes(path),
        checked=checked.passed is True,
        failed=checked.passed is False,
        check_words=checked.words,
        figures=checked.figures,
        command=plan.command(path),
        error_by_rank=dict(plan.error_by_rank),
    )


def _checked(plan: Plan, path: Path) -> Generator[Event, None, Checked]:
    try:
        return (yield from plan.check(path))
    except Exception as error:  # whatever another program's code raises is a check that failed
        reason = first_line(error)
        return Checked(False, f"Loading it again ended in a fault: {reason}")
