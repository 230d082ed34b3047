"""What this server has: the loaded model that all visitors share, the line of jobs, and the sessions.

`app.studio` is what the buttons do with it.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any

from actor_core.errors import ActorError, ModelError
from actor_core.events import Event
from actor_core.presets import DEFAULT_MODEL, DEFAULT_PROMPT_SET, ModelPreset, PromptSet, model_presets, prompt_sets
from app import exporting, work, zerogpu
from app.allow_list import allowed
from app.errors import Notice, explain
from app.export_room import ExportsOfAll
from app.history import History
from app.jobs import Job, Runner
from app.left_runs import Everybody
from app.pace import PaceMemory
from app.quota import Quota
from app.session import Session, Sessions
from app.settings import Settings
from app.words import KINDS, STEP_OF_KIND, WHOLE_MODELS

if TYPE_CHECKING:
    from actor_core.engine import Engine
    from actor_core.memory import Fit
    from actor_core.model import LoadedModel

__all__ = ["Server", "pace_key"]

JOBS_IN_LINE = 20
FOR_ALL = ("load",)  # kinds of job that no visitor's quota pays for


class Server:
    """One a process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # What a visitor of a Space leaves is gone within the hour (`app.expiry`), so no runs are kept there.
        runs, sessions = settings.data_dir / "runs", settings.data_dir / "sessions"
        open_to_others = not settings.local_paths_allowed
        everybody = Everybody(runs, sessions, open_to_others)
        self.history = None if settings.in_space else History(runs, everybody)
        self.exports_of_all = ExportsOfAll(settings.data_dir / "exports", sessions, open_to_others)
        self.sessions = Sessions(sessions, self.history)
        self.runner = Runner(settings.data_dir / "jobs", PaceMemory(settings.data_dir / "pace.json"))
        self.quota = Quota() if settings.in_space else None
        self.presets: dict[str, ModelPreset] = allowed(model_presets(), settings.allow_list)
        self.before = work.BeforeCache()
        self.model: LoadedModel | None = None
        self.model_key: tuple[str, str, str] | None = None
        self._engine: Engine | None = None
        self._zips: dict[str, Path] = {}
        self._shared: dict[str, Path] = {}
        self._zip_lock = threading.Lock()
        shutil.rmtree(settings.page_cache, ignore_errors=True)
        settings.page_cache.mkdir(parents=True, exist_ok=True)

    @property
    def first_preset(self) -> str:
        """The preset that is offered first: what ``--model`` named, else the default."""
        wanted = self.settings.model or (self.settings.allow_list or (DEFAULT_MODEL,))[0]
        return wanted if wanted in self.presets else next(iter(self.presets))

    def prompt_set(self) -> PromptSet:
        return prompt_sets()[DEFAULT_PROMPT_SET]

    def fits(self) -> dict[str, Fit]:
        """For each preset whether it fits this machine as it is now."""
        from actor_core.memory import Machine, fits

        machine = Machine.look()
        return {id: fits(preset, machine) for id, preset in self.presets.items()}

    def job(self, session: Session, *, quick: bool = False) -> Job | None:
        return self.runner.of(session.id, quick=quick)

    def has_model_of(self, session: Session) -> bool:
        """Whether the model that is loaded is the one the visitor's results were measured with."""
        return self.model is not None and (session.base is None or session.base == self.model.id)

    def needs_model(self, session: Session) -> str:
        """What comes first where results are shown whose model is not loaded; '' where it is."""
        if session.base is None or self.has_model_of(session):
            return ""
        return f"These results belong to {session.base.name} ({session.base.precision}): load it in step 1 first."

    def stop(self, session: Session) -> None:
        for job in (self.job(session, quick=True), self.job(session)):
            if job is not None:
                self.runner.stop(job)
                return

    def note_interrupted(self, session: Session) -> None:
        """Says so where the visitor's last job was cut off by the end of the program."""
        if session.job_id and self.job(session) is None and self.runner.ending(session.job_id) == "interrupted":
            session.job_id = ""
            session.say(
                "model",
                Notice(
                    "warning",
                    "The program was closed while it worked. Your prompts and what was finished are still here: load "
                    "the model again.",
                ),
            )

    def download(self, session: Session, path: str) -> Path | None:
        """A zip of one of the visitor's exports, in the folder that is served, in a place nobody guesses.

        None for whole models: they are gigabytes, and their owner sits at this machine.
        """
        mine = {record.path for record in session.exports if record.kind not in WHOLE_MODELS}
        if path not in mine or not Path(path).exists():
            return None
        with self._zip_lock:
            if path not in self._zips or not self._zips[path].is_file():
                self._zips[path] = exporting.zipped(Path(path), self.settings.page_cache / token_urlsafe(18))
            return self._zips[path]

    def share(self, session: Session) -> Path:
        """The comparison of step 4 as one HTML file, in the folder that is served, in the place of the one before."""
        from app.sharing import write_shared

        path = write_shared(session, self.settings.page_cache)
        with self._zip_lock:
            before = self._shared.pop(session.key, None)
            self._shared[session.key] = path
        if before is not None:
            shutil.rmtree(before.parent, ignore_errors=True)
        return path

    def loaded(self, session: Session | None = None) -> LoadedModel:
        if self.model is None:
            raise ModelError("No model is loaded: load one in step 1 first.")
        if session is not None and not self.has_model_of(session):
            raise ModelError(
                f"These results belong to {session.base.name if session.base else 'another model'}; now "
                f"{self.model.source.name} ({self.model.precision}) is loaded. Ask your prompts again in "
                "step 2."
            )
        return self.model

    def engine(self, model: LoadedModel) -> Engine:
        """What answers the messages of a conversation."""
        if self._engine is None or self._engine.model is not model:
            from actor_core.engine import engine_for

            self.let_go_of_engine()
            self._engine = engine_for(model)
        return self._engine

    def let_go_of_engine(self) -> None:
        """Frees what it holds beside the loaded model."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def tuned_model(self, session: Session) -> LoadedModel:
        if session.tuned is None:
            raise ModelError("Nothing was tuned yet: press Tune in step 3 first.")
        return self.loaded(session)

    def require_free(self, session: Session, *, quick: bool = False, follows: bool = False) -> None:
        """Raises `ActorError` where no job of the visitor's can be put into the line now."""
        running = self.job(session, quick=quick)
        if running is not None and not follows:
            raise ActorError(
                f"“{KINDS[running.kind]}” is still running: wait for it, or press Stop in the step that shows it."
            )
        if self.runner.waiting() >= JOBS_IN_LINE:
            raise ActorError("Too many jobs wait on this server already: try again in a few minutes.")

    def submit(
        self,
        session: Session,
        kind: str,
        start: Callable[[], Generator[Event, None, Any]],
        *,
        finished: Callable[[Any], None] = lambda result: None,
        stopped: str | Callable[[list[Event]], Notice] = "Stopped.",
        heard: Callable[[Event], None] = lambda event: None,
        pace_key: str = "",
        quick: bool = False,
        follows: bool = False,
    ) -> None:
        """Puts a job into the line; ``follows``: by the job that ends now, so that there is no gap."""
        step = STEP_OF_KIND[kind]
        self.require_free(session, quick=quick, follows=follows)
        quota = self.quota if kind not in FOR_ALL else None
        if quota is not None and not follows:
            quota.require_left(session.id)

        def used_up() -> None:
            running = self.job(session, quick=quick)
            if running is not None:
                self.runner.stop(running)

        def begun() -> Generator[Event, None, Any]:
            if kind != "try" and not quick:
                self.let_go_of_engine()  # one model in memory: a conversation takes its own up again
            work = start()
            if quota is not None:
                work = quota.metered(session.id, work, used_up)
            return zerogpu.on_behalf_of(session.asked_by, work) if zerogpu.is_lent() else work

        def noted(event: Event) -> None:
            heard(event)
            self.keep_results(session)

        def done(result: Any) -> None:  # noqa: ANN401
            self.keep_results(session)
            finished(result)
            session.changed()

        def ended(events: list[Event]) -> None:
            notice = stopped(events) if callable(stopped) else Notice("info", stopped)
            if quota is not None and quota.spent(session.id) >= quota.most:
                notice = Notice("warning", f"{notice.text} {quota.words(session.id)}")
            session.say(step, notice)
            self.keep_results(session)

        def failed(error: BaseException) -> None:
            session.say(step, explain(error, with_paths=self.settings.local_paths_allowed))
            self.keep_results(session)

        if zerogpu.is_lent():
            session.asked_by = zerogpu.asked_by() or session.asked_by  # what follows by itself is theirs, too
        session.say(step, None)
        job = self.runner.submit(
            kind,
            session.id,
            begun,
            pace_key=pace_key,
            finished=done,
            stopped=ended,
            failed=failed,
            heard=noted,
            quick=quick,
        )
        if not quick:
            session.job_id = job.id
            self.sessions.keep(session)

    def keep_results(self, session: Session) -> None:
        """Writes down what the visitor got so far, after each click and between any two events of their jobs."""
        if session.exports and session.exports is not session.exports_kept:
            self.sessions.keep(session)
        if self.history is not None and self.history.keep(session):
            self.sessions.keep(session)
            self.history.forget_draft(session)


def pace_key(model: LoadedModel) -> str:
    """What the time that a job takes depends on."""
    return f"{model.source.name} {model.precision} {model.device.type}"
