"""Every visitor's earlier runs: kept as they come, listed, opened, renamed and deleted.

A visitor's runs lie in a folder named by a digest of their id, so that nobody else's are reached by any id or
path that is sent. What was asked and not yet tuned on is kept beside them, as a draft that is not listed.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from actor_core.errors import ActorError
from app.errors import DISK_FULL, Notice
from app.language import spoken
from app.left_runs import Everybody, no_room_for_all
from app.run_files import (
    RunError,
    changed,
    delete_run,
    new_id,
    read_delta,
    read_run,
    run_bytes,
    run_ids,
    sweep,
    write_run,
)
from app.runs import MAX_NAME, Run
from app.session import OpenRun
from app.shelf import Line, Shelf

if TYPE_CHECKING:
    from actor_core.delta import LayerDelta
    from app.session import Session

__all__ = ["History", "why"]

logger = logging.getLogger(__name__)

DRAFT = "draft"


class History:
    """The runs below ``folder``. A session's lock is held while its runs are read or written."""

    def __init__(self, folder: Path, everybody: Everybody) -> None:
        self.folder = folder
        self.everybody = everybody

    def shelf(self, session: Session) -> Shelf:
        """The visitor's list; read from the disk the first time."""
        with session.lock:
            if session.shelf is None:
                session.shelf = self._read(session)
            return session.shelf

    def keep(self, session: Session) -> bool:
        """Writes down what ``session`` shows, where it is not yet; says whether that is under a new id.

        A disk that takes nothing loses only this copy, and the page says so.
        """
        with session.lock:
            now = _contents(session)
            if all(a is b for a, b in zip(now, session.kept, strict=False)) and session.kept:
                return False
            session.kept = now
            if session.base is None or not (session.tuned or session.checked):
                return False
            try:
                return self._write_tuned(session) if session.tuned else self._write_draft(session)
            except (OSError, ActorError, ValueError) as fault:
                session.say("kept", _not_kept(fault))
                return False

    def forget_draft(self, session: Session) -> None:
        """Called once the session's run is noted where `restore` is told of it: the draft is part of that run."""
        with session.lock, suppress(FileNotFoundError):
            if session.run is not None:
                delete_run(self._place(session) / DRAFT)

    def restore(self, session: Session, id: str) -> None:
        """Shows in a session that was found again what it showed before; '' is what was not tuned on yet."""
        id = id or self._newer_than_draft(session)
        place = self._place(session) / (id or DRAFT)
        if not id and not place.is_dir():
            return
        try:
            if id and id not in run_ids(place.parent):
                raise RunError("its files are gone")
            run = read_run(place)
            if id and run.tuned is None:
                raise RunError("it was never tuned")
            self._show(session, run, read_delta(place, run), id)
        except ActorError as fault:
            logger.warning("what a visitor had cannot be restored: %s", fault)
            text = f"What you had before the program was closed could not be read ({fault})."
            session.say("kept", Notice("warning", f"{text} Other runs are below, under “Earlier runs”."))

    def open(self, session: Session, id: str) -> None:
        """Shows the run in steps 2 to 5. Raises `ActorError` for one that is not the visitor's, or is damaged."""
        run, delta = self.read(session, id)
        with session.lock:
            if session.tuned is not None and session.run is None:
                self._keep_again(session)
                if session.run is None:
                    raise RunError("The run that is open now is not on the disk yet: make room for it there first.")
        self._show(session, run, delta, id)

    def read(self, session: Session, id: str) -> tuple[Run, LayerDelta]:
        """The run with its change. Raises `ActorError` as `open` does."""
        place = self._place_of(session, id)
        try:
            run = read_run(place)
            delta = read_delta(place, run)
            if delta is None:
                raise RunError("it was never tuned")
        except ActorError as fault:
            raise RunError(f"This run cannot be opened ({fault}). You can delete it.") from fault
        return run, delta

    def rename(self, session: Session, id: str, name: str) -> None:
        """Gives the run another name. Raises `ActorError` for an empty one, or a disk that takes nothing."""
        name = " ".join(name.split())[:MAX_NAME]
        if not name:
            raise RunError("A run needs a name: type one first.")
        place = self._place_of(session, id)
        with session.lock:
            run = read_run(place).model_copy(update={"name": name})
            try:
                write_run(place, run, None)
            except OSError as fault:
                raise RunError(f"The name could not be written down ({why(fault)}): the old one stays.") from fault
            if session.run is not None and session.run.id == id:
                session.run = replace(session.run, name=name)
            self.shelf(session).put(Line.of(id, run, run_bytes(place)))
            session.changed()

    def delete(self, session: Session, id: str) -> None:
        """Takes the run off the disk for good, and out of the steps where it is open. Exported files stay."""
        place = self._place_of(session, id)
        with session.lock:
            try:
                delete_run(place)
            except OSError as fault:
                raise RunError(f"The run could not be deleted ({why(fault)}).") from fault
            shelf = self.shelf(session)
            shelf.lines = [line for line in shelf.lines if line.id != id]
            shelf.picked, shelf.asked, shelf.two = "", "", None
            if session.run is not None and session.run.id == id:
                session.forget_tuning()
                session.kept = _contents(session)  # what it was tuned on is gone from the disk as well
            elif session.run is None and session.tuned is not None:
                self._keep_again(session)
            session.changed()

    # Files

    def _place(self, session: Session) -> Path:
        return self.folder / session.key

    def _place_of(self, session: Session, id: object) -> Path:
        """Where one of the visitor's own runs lies: only what is in their list has a place."""
        if not isinstance(id, str) or id not in {line.id for line in self.shelf(session).lines}:
            raise RunError("This run is not here any more: choose another.")
        return self._place(session) / id

    def _newer_than_draft(self, session: Session) -> str:
        """The last run where the program was killed after it was written, and before its draft was forgotten."""
        folder = self._place(session)
        ids = run_ids(folder)
        with suppress(OSError):
            if ids and changed(folder / ids[-1]) >= changed(folder / DRAFT):
                return ids[-1]
        return ""

    def _read(self, session: Session) -> Shelf:
        shelf, folder = Shelf(), self._place(session)
        sweep(folder)
        for id in reversed(run_ids(folder)):
            try:
                run = read_run(folder / id)
                if run.tuned is None:
                    raise RunError("it was never tuned")
                shelf.lines.append(Line.of(id, run, run_bytes(folder / id)))
            except RunError as fault:
                logger.warning("run %s is left out: %s", id, fault)
                shelf.damaged[id] = str(fault)
        if not self.everybody.open_to_others:
            shelf.left = [each for each in self.everybody.unseen(but=session.key) if each.count]
        return shelf

    def _show(self, session: Session, run: Run, delta: LayerDelta | None, id: str) -> None:
        with session.lock:
            run.put_into(session, delta, id)
            session.kept = _contents(session)
            session.notices = {step: said for step, said in session.notices.items() if step in ("model", "kept")}

    def _keep_again(self, session: Session) -> None:
        """For what found no room before."""
        session.kept = ()
        self.keep(session)

    def _write_tuned(self, session: Session) -> bool:
        assert session.tuned is not None
        shelf, new = self.shelf(session), session.run is None
        if new and shelf.full:
            session.say("kept", Notice("warning", shelf.no_room()))
            return False
        if new and not self.everybody.make_room(session.key):
            session.say("kept", Notice("warning", no_room_for_all(self.everybody)))
            return False
        with spoken(session.language):
            name = session.source[:MAX_NAME] or shelf.next_name()
        run = session.run or OpenRun(new_id(), name, time.time())
        session.run = run
        place = self._place(session) / run.id
        kept = Run.of(session)
        try:
            write_run(place, kept, session.tuned.delta)
        except BaseException:
            if new:
                session.run = None
            raise
        session.say("kept", None)
        shelf.put(Line.of(run.id, kept, run_bytes(place)))
        session.changed()
        return new

    def _write_draft(self, session: Session) -> bool:
        write_run(self._place(session) / DRAFT, Run.of(session), None)
        return True


def _contents(session: Session) -> tuple[object, ...]:
    """All that is kept of a session. Its parts are replaced and never changed, so that the same ones are not new."""
    return (
        session.tuned,
        session.checked,
        session.repair_all,
        session.marks.given,
        session.harmfulness,
        session.included,
        session.variants,
        session.recipe,
        session.strength,
        session.after,
        session.sets,
        session.guards,
        session.trials,
        session.two,
        session.perspectives,
        session.steadiness,
        session.opinions,
    )


def _not_kept(fault: Exception) -> Notice:
    logger.warning("a run could not be kept", exc_info=fault)
    return Notice(
        "warning",
        f"These results could not be written to the disk ({why(fault)}). They are lost when the program ends: free "
        "some space. It is tried again with your next result.",
    )


def why(fault: Exception) -> str:
    """Why the disk did not take or give what it should, in words."""
    if isinstance(fault, OSError):
        return "it is full" if fault.errno in DISK_FULL else (fault.strerror or "it takes nothing")
    return "they hold what cannot be written" if isinstance(fault, ValueError) else str(fault)
