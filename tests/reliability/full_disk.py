"""A disk that is really full, after a few more bytes each time: no visitor's work ends in a fault, and nothing that is
left on the disk is half written."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attempts import Attempt
from quick_app import quick_core
from quick_core import Model
from visitors import _done, _prompts

from actor_core.delta import LayerDelta
from actor_core.errors import ActorError
from actor_core.tune import TuneSettings
from app.errors import explain
from app.session import Session
from app.settings import Settings
from app.studio import Studio

KILOBYTES = 1024
MOST_FREE = 120  # kB; the whole path takes less


def attempts(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """The five steps on a disk with 0 to 120 kB left; then room is made, and the same visitor goes on."""
    draw = random.Random(seed)
    with quick_core(), _small_disk(folder) as disk:
        if disk is None:
            return
        for number in range(count):
            free = (number * MOST_FREE // count + draw.randint(0, 2)) * KILOBYTES
            data = disk / str(number)
            data.mkdir()
            studio = Studio(Settings(data_dir=data))
            studio.model = Model()
            session = studio.sessions.new()
            filler = disk / "filler"
            _leave_free(filler, free)
            fault = _steps(studio, session) or _half_written(data)
            filler.unlink()
            if not fault:
                fault = _steps(studio, session) or _lost(studio, session)
            yield Attempt(f"{free // KILOBYTES} kB free", fault)
            subprocess.run(["rm", "-rf", str(data)], check=True)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of 2 MB, or None where this user may not mount one."""
    place = folder / "disk"
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _leave_free(filler: Path, free: int) -> None:
    import shutil

    with filler.open("wb") as file:
        size = shutil.disk_usage(filler.parent).free - free
        file.write(bytes(max(0, size)))


def _steps(studio: Studio, session: Session) -> str:
    """What went wrong that is no message about the disk."""

    def export() -> None:
        session.strength = 1.0
        studio.export(session, ["delta"], {}, "export anyway")

    steps = {
        "prompts": lambda: studio.check(session, "\n".join(_prompts(0))),
        "tune": lambda: studio.tune(session, TuneSettings(), 2),
        "share": lambda: studio.share(session),
        "strength": lambda: studio.set_strength(session, 0.5),
        "try": lambda: studio.try_prompt(session, "What is bread?"),
        "guard": export,
        "export": export,
    }
    for name, step in steps.items():
        try:
            step()
            _done(studio, session)
        except ActorError:
            continue  # a step before it came to nothing, and that is said
        except OSError as error:
            notice = explain(error)
            if notice.heading != "The disk is full":
                return f"{name}: {notice.whole()[:200]}"
        except Exception as error:  # noqa: BLE001 - this is what must not be
            return f"{name}: {type(error).__name__}: {error}"
        for step_name, notice in session.notices.items():
            if "inside this program" in notice.heading:
                return f"{name}: the page of {step_name} says {notice.whole()[:300]}"
    return ""


def _half_written(data: Path) -> str:
    for path in data.rglob("*"):
        if not path.is_file() or path.name.startswith(".") or path.parent.name.startswith("."):
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.name == "delta.safetensors":
                LayerDelta.load(path)
            elif path.suffix == ".zip" or path.suffix == ".html":
                if path.stat().st_size == 0:
                    return f"{path.name} is empty"
        except (ValueError, ActorError) as fault:
            return f"{path.relative_to(data)} is half written: {fault}"
    return ""


def _lost(studio: Studio, session: Session) -> str:
    if session.tuned is None or len(session.checked) != 2:
        return "with room again the steps do not go through"
    studio.sessions.keep(session)
    again = Studio(studio.settings).sessions.get(session.id)
    return "" if again is not None and again.prompts_text == session.prompts_text else "what was typed is lost"
