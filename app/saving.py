"""What is done with changes that were saved before: open one again, compare two, put one on the model hub."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from actor_core.errors import DeltaError, ExportError, PresetError
from actor_core.events import Event
from app.session import ExportRecord, Session, Two
from app.work import TOKENS_OF_HELD_OUT, tuned_of, unit

if TYPE_CHECKING:
    from actor_core.delta import LayerDelta
    from actor_core.export.push import Destination
    from actor_core.model import LoadedModel
    from actor_core.presets import PromptSet
    from actor_core.recipe import Recipe

__all__ = ["ask_both", "name_of", "opened", "push", "read_change", "read_recipe"]


def read_change(files: Sequence[str] | None, model: LoadedModel) -> LayerDelta:
    """The change in the uploaded ``files``: a Second Take file, or a PEFT adapter, as such or zipped.

    Raises `DeltaError` for anything else, and for a change of another base than ``model``.
    """
    from actor_core.export import open_change

    delta = open_change(_wanted(files))
    delta.require_base(model.id)
    return delta


def read_recipe(files: Sequence[str] | None, delta: LayerDelta) -> Recipe | None:
    """What ``delta`` was made with, where the zip that it was read from says so; None where nothing does.

    A recipe that cannot be read, or of another base, only means that the change cannot be made again from here.
    """
    from actor_core import recipe as recipes

    path = _wanted(files)
    with suppress(OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError, PresetError):
        if path.suffix != ".zip":
            return None
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="second-take-") as private:
            inside = [each for each in archive.infolist() if Path(each.filename).name == recipes.RECIPE]
            if len(inside) == 1 and inside[0].file_size <= recipes.MAX_BYTES:
                inside[0].filename = recipes.RECIPE  # its name in the archive decides nothing about where it is written
                found = recipes.read_recipe(Path(archive.extract(inside[0], private)))
                return found if found.base == delta.base else None
    return None


def name_of(files: Sequence[str] | None) -> str:
    """The name of the file that `read_change` reads."""
    return _wanted(files).name


def _wanted(files: Sequence[str] | None) -> Path:
    paths = [Path(file) for file in files or ()]
    wanted = [path for path in paths if path.suffix in (".zip", ".safetensors")]
    if not wanted:
        raise DeltaError("Choose a file first: a .zip as it was downloaded here, or the .safetensors file in it.")
    return wanted[0]


def opened(session: Session, model: LoadedModel, delta: LayerDelta) -> str:
    """Puts ``delta`` in the place of what was tuned, and says so; answers of the untouched model stay."""
    from actor_core.tune import Tuned

    base = delta.base
    said = f"A saved change of layer {delta.layer} was opened. It was made on {base.name} ({base.precision})."
    if base.precision != model.precision:
        said += f" The model is loaded in {model.precision} now, so that figures can differ a little."
    with session.lock:
        if session.base != model.id:
            session.checked, session.harmfulness, session.included, session.variants = [], None, frozenset(), ()
            session.marks.forget_all()
        session.forget_tuning()
        session.base = model.id
        session.tuned = Tuned(delta, 1.0, (), (), (said,))
        session.changed()
    return said


def ask_both(
    model: LoadedModel, session: Session, other: LayerDelta, name: str, prompt_set: PromptSet, per_set: int
) -> Generator[Event, None, None]:
    """The tuned change at the strength that is set beside ``other``: how alike, and what each does to the prompts."""
    from actor_core.evaluate import spread
    from actor_core.two_changes import alike
    from actor_core.two_changes import ask_both as ask

    tuned, strength = tuned_of(session), session.strength
    held_out = prompt_set.held_out()
    sets = {
        "your prompts": [reply.prompt for reply in session.checked],
        "look-alikes": spread(held_out.pseudo_harmful, per_set),
        "harmful": spread(held_out.harmful, per_set),
        "ordinary": spread(held_out.benign, per_set),
    }
    changes = ((tuned.delta, strength * unit(tuned)), (other, 1.0))
    asked = {name: prompts for name, prompts in sets.items() if prompts}
    rows = yield from ask(model, changes, asked, TOKENS_OF_HELD_OUT)
    with session.lock:
        if session.tuned is tuned:
            session.two = Two(name, strength, alike(tuned.delta, other), rows)
            session.changed()


def push(session: Session, record: ExportRecord, to: Destination) -> Generator[Event, None, str]:
    """Puts the files of ``record`` on the hub and notes where."""
    from actor_core.export.push import push as send

    if not Path(record.path).is_dir():
        raise ExportError("These files are no longer on this machine: export again.")
    address = yield from send(Path(record.path), to)
    with session.lock:
        session.exports = [replace(each, address=address) if each == record else each for each in session.exports]
        session.changed()
    return address
