"""What each visitor has on this server, kept here and not in the browser.

The browser holds one thing: an id made by this server, long enough that nobody guesses it. A
made-up id opens nothing: its owner gets a new, empty session. What was typed is also kept on disk,
under a digest of the id, so that it survives a restart.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from actor_core.weights.whole_files import put_file
from app.errors import Notice
from app.language import ENGLISH
from app.marks import UNTUNED, Marks
from app.variants import NOTHING_MADE, Enriched, Row, used

if TYPE_CHECKING:
    from gradio import Request

    from actor_core.delta import BaseModelId
    from actor_core.evaluate import Comparison
    from actor_core.events import LayerScored, StrengthMeasured
    from actor_core.generate import Reply
    from actor_core.guard import Guard
    from actor_core.harmfulness import Harmfulness
    from actor_core.perspectives import Perspectives
    from actor_core.prompts import Problem
    from actor_core.recipe import Recipe
    from actor_core.second_judge import SecondOpinion
    from actor_core.steadiness import Steadiness
    from actor_core.tune import Tuned
    from actor_core.two_changes import Likeness, SetOfTwo
    from app.export_room import ExportRoom
    from app.history import History
    from app.shelf import Shelf

__all__ = ["ExportRecord", "OpenRun", "Session", "Sessions", "Trial", "Two"]

logger = logging.getLogger(__name__)

SESSIONS_KEPT = 200
SESSIONS_ON_DISK = 2000  # of at most 5 MB each, which is what can be typed
SECONDS_UNTIL_SEEN_AGAIN = 3600.0
STEPS = ("model", "prompts", "tune", "compare", "export")


@dataclass(frozen=True)
class ExportRecord:
    """One exported file or folder, as the page lists it. ``path`` lies in the visitor's own export folder.

    ``failed`` says that its check went wrong; where it is neither that nor ``checked``, the file could only be
    read back. ``guard_passed`` is None for files of a version that measured no guard.
    """

    kind: str
    made: str  # local time, for a person
    model: str
    strength: float
    path: str
    bytes: int
    checked: bool
    check_words: str
    command: str
    failed: bool = False
    guard_passed: bool | None = None
    rank_errors: str = ""  # of a trained layer's adapter, by rank, in words
    address: str = ""  # where it was put on the hub


@dataclass(frozen=True)
class Trial:
    """One message of a conversation that is held with both models at once; each goes on from its own replies."""

    before: Reply
    after: Reply
    strength: float


@dataclass(frozen=True)
class Two:
    """Another saved change beside the tuned one at ``strength``: its file's name, and what was found."""

    name: str
    strength: float
    likeness: list[Likeness]
    sets: list[SetOfTwo]


@dataclass(frozen=True)
class OpenRun:
    """The kept run that steps 3 to 5 show: its id, its name, and when it was made (seconds since 1970)."""

    id: str = ""
    name: str = ""
    made: float = 0.0


@dataclass
class Session:
    """One visitor. Changed under ``lock``, by handlers and by the thread that runs jobs."""

    id: str
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    seen: float = field(default_factory=time.time)  # when the visitor was last here, in seconds since 1970
    asked_by: Request | None = field(default=None, repr=False)  # their last press, where a GPU is lent for it
    version: int = 0  # goes up when the page has something new to show
    step: int = 1
    language: str = ENGLISH  # of the browser that was last here
    preset: str = ""
    prompts_text: str = ""
    job_id: str = ""
    notices: dict[str, Notice] = field(default_factory=dict)

    # Step 2. ``base`` is the model that everything below was measured with.
    base: BaseModelId | None = None
    problems: tuple[Problem, ...] = ()
    checked: list[Reply] = field(default_factory=list)
    arriving: list[Reply] = field(default_factory=list)
    repair_all: bool = False
    marks: Marks = field(default_factory=Marks)  # verdicts that the visitor corrected, of step 4 too
    harmfulness: Harmfulness | None = None  # of the visitor's prompts; None where that was not looked at
    included: frozenset[str] = frozenset()  # flagged as harmful, and to be repaired all the same

    # Step 2, prompts made of the visitor's. ``enriched`` is what the last tuning was given of them.
    variants: tuple[Row, ...] = ()
    enriched: Enriched = NOTHING_MADE

    # Step 3
    layer_scores: list[LayerScored] = field(default_factory=list)
    curve: list[StrengthMeasured] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)
    tuned: Tuned | None = None
    tuned_early: bool = False
    recipe: Recipe | None = None

    # Step 4. By strength: ``after``, the answers to the visitor's prompts; ``sets``, held-out ones.
    strength: float = 1.0
    after: dict[float, list[Reply]] = field(default_factory=dict)
    sets: dict[float, dict[str, list[Comparison]]] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)  # another list at each change: a job sees by it what is new
    pending: str = ""  # the message that is being asked, or was not answered
    engine_words: str = ""  # what is to be known of what answers
    saying: tuple[str, ...] = ()  # what the old model has replied to it so far, and then the tuned one
    two: Two | None = None

    # Step 4, asked otherwise; by strength, as above.
    perspectives: dict[float, Perspectives] = field(default_factory=dict)
    steadiness: dict[float, Steadiness] = field(default_factory=dict)

    # Step 4, what another judge says; by strength, as above. ``second_judge`` is the one that is chosen.
    second_judge: str = ""
    opinions: dict[float, SecondOpinion] = field(default_factory=dict)

    # Step 5. ``guards`` by strength, as above.
    guards: dict[float, Guard] = field(default_factory=dict)
    searched: bool = False  # whether smaller strengths were tried at the guard
    exports: list[ExportRecord] = field(default_factory=list)
    export_room: ExportRoom | None = None  # looked up on the disk when it is first asked for

    # Earlier runs. ``source`` names the file that the change was opened from; ``kept`` is what was last written down.
    run: OpenRun | None = None
    source: str = ""
    kept: tuple[object, ...] = ()
    exports_kept: list[ExportRecord] | None = None
    shelf: Shelf | None = None  # read from the disk when it is first asked for

    @property
    def key(self) -> str:
        """The name of this session's files: it tells nobody the id."""
        return hashlib.sha256(self.id.encode()).hexdigest()[:32]

    @property
    def chosen(self) -> tuple[str, ...]:
        """The visitor's prompts that are to be repaired."""
        flagged = self.flagged
        return tuple(prompt for prompt in self._wanted() if prompt not in flagged or prompt in self.included)

    @property
    def flagged(self) -> tuple[str, ...]:
        """Those of the visitor's prompts that would be repaired if they did not look harmful."""
        named = self.harmfulness.flagged if self.harmfulness else ()
        return tuple(prompt for prompt in self._wanted() if prompt in named)

    @property
    def ticked(self) -> Enriched:
        """What a tuning that began now would use of the prompts that were made of the visitor's."""
        return used(self.variants, self.chosen)

    def _wanted(self) -> list[str]:
        judged = self.marks.all_of(self.checked, UNTUNED)
        return [r.prompt for r in judged if self.repair_all or r.verdict.value == "refused"]

    def changed(self) -> None:
        self.version += 1

    def say(self, step: str, notice: Notice | None) -> None:
        """Puts ``notice`` on ``step``, in place of what stood there."""
        with self.lock:
            if notice is None:
                self.notices.pop(step, None)
            else:
                self.notices[step] = notice
            self.changed()

    def forget_tuning(self) -> None:
        """Drops what steps 3 to 5 found; exports stay."""
        self.layer_scores, self.curve, self.losses = [], [], []
        self.tuned, self.tuned_early, self.recipe, self.two = None, False, None, None
        self.strength, self.after, self.sets, self.trials, self.pending = 1.0, {}, {}, [], ""
        self.perspectives, self.steadiness, self.opinions = {}, {}, {}
        self.guards, self.searched, self.enriched = {}, False, NOTHING_MADE
        self.marks.forget_tuned()
        self.run, self.source = None, ""


class Sessions:
    """The sessions of this server; the one not seen for longest goes when there are too many."""

    def __init__(self, folder: Path, history: History | None = None) -> None:
        self._folder = folder
        self._history = history
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, visitor: object) -> Session | None:
        """The session with this id, if this server made it."""
        if not isinstance(visitor, str) or not 20 <= len(visitor) <= 100:
            return None
        with self._lock:
            session = self._open.get(visitor) or self._restored(visitor)
            if session is not None:
                self._open[visitor] = session
                self._open.move_to_end(visitor)
                self._seen(session)
            return session

    def _seen(self, session: Session) -> None:
        """Notes that the visitor is there, on the disk at most once an hour; see `app.left_runs`."""
        session.seen = time.time()
        path = self._folder / f"{session.key}.json"
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > SECONDS_UNTIL_SEEN_AGAIN:
                os.utime(path)

    def new(self) -> Session:
        session = Session(secrets.token_urlsafe(24))
        with self._lock:
            self._open[session.id] = session
            while len(self._open) > SESSIONS_KEPT:
                self._open.popitem(last=False)
        return session

    def open(self) -> list[Session]:
        """Those that are in memory, the one not seen for longest first."""
        with self._lock:
            return list(self._open.values())

    def forget_unseen(self, since: float, busy: Callable[[Session], bool]) -> list[Session]:
        """Forgets, in memory and on the disk, those not seen since then (seconds since 1970) but for the ``busy``
        ones, and gives them."""
        with self._lock:
            gone = [session for session in self._open.values() if session.seen < since and not busy(session)]
            for session in gone:
                del self._open[session.id]
                with suppress(OSError):
                    (self._folder / f"{session.key}.json").unlink(missing_ok=True)
        return gone

    def keep(self, session: Session) -> None:
        """Writes down what the visitor typed and exported; a full disk loses only this copy."""
        kept = {
            "step": session.step,
            "preset": session.preset,
            "prompts": session.prompts_text,
            "job": session.job_id,
            "run": session.run.id if session.run else "",
            "exports": [asdict(record) for record in session.exports],
        }
        path = self._folder / f"{session.key}.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                self._make_room()
            with session.lock:
                put_file(path, json.dumps(kept).encode(), for_owner=True)
                session.exports_kept = session.exports
        except OSError:
            logger.warning("a session could not be kept", exc_info=True)

    def _make_room(self) -> None:
        """Forgets on the disk those not seen for longest; their runs stay, see `app.left_runs`."""
        kept = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in kept[: max(0, len(kept) - SESSIONS_ON_DISK + 1)]:
            path.unlink(missing_ok=True)

    def _restored(self, visitor: str) -> Session | None:
        session = Session(visitor)
        try:
            kept = json.loads((self._folder / f"{session.key}.json").read_text(encoding="utf-8"))
            session.preset, session.prompts_text = str(kept["preset"]), str(kept["prompts"])
            session.job_id = str(kept["job"])
            records = [ExportRecord(**record) for record in kept["exports"]]
            session.exports = [record for record in records if Path(record.path).exists()]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if self._history is not None:
            self._history.restore(session, str(kept.get("run", "")))
        return session
