"""What the buttons do. Each method checks what it was given, says at once what is wrong with it (an `ActorError`), and
otherwise puts a job into the line of the `Server`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from actor_core.errors import ActorError, ExportError, ModelError, NothingToRepair, PromptError
from actor_core.events import Event, LayerScored, Step, StrengthMeasured
from app import chatting, exporting, looks_harmful, lowering, saving, work
from app.errors import Notice
from app.export_room import require_room
from app.preparing import Preparing
from app.server import pace_key
from app.session import ExportRecord, Session
from app.variants import Enriched
from app.words import EXPORT_KINDS, WHOLE_MODELS

if TYPE_CHECKING:
    from actor_core.delta import LayerDelta
    from actor_core.export.push import Destination
    from actor_core.guard_search import GuardSearch
    from actor_core.recipe import Recipe
    from actor_core.tune import TuneSettings

__all__ = ["Studio"]

MAX_SAID = 24_000  # characters of one conversation, both models' together


class Studio(Preparing):
    """One a process."""

    def tune(
        self, session: Session, settings: TuneSettings, per_set: int, again: Recipe | None = None
    ) -> None:
        """Step 3: ACTOR on one layer, then the answers for step 4. ``again``: what an earlier change was made with,
        whose prompts are repaired in the place of those that are chosen in step 2."""
        model, prompt_set = self.loaded(session), self.prompt_set()
        self.require_free(session)  # before anything of an earlier tuning is let go
        chosen = session.chosen if again is None else (again.own or ())
        if not chosen and session.flagged:
            raise NothingToRepair(looks_harmful.nothing_left(session, in_space=self.settings.in_space))
        if not chosen:
            raise NothingToRepair(
                "None of your prompts is refused, so there is nothing to repair. Add prompts that the "
                "model refuses in "
                "step 2, or choose there to repair all of them."
            )
        from actor_core.recipe import Recipe

        # What is ticked now counts, whenever its turn comes.
        given = session.variants if again is None else Enriched(again.variants or (), again.twins or ())
        with session.lock:
            session.forget_tuning()
            session.changed()

        def heard(event: Event) -> None:
            _note(session, event)

        def stopped(events: list[Event]) -> Notice:
            return _stopped_tuning(session, events, recipe_of)

        def recipe_of(delta: LayerDelta) -> Recipe:
            made = session.enriched
            return Recipe.of(model, chosen, prompt_set, settings, delta, made.variants, made.twins)

        def finished(_: object) -> None:
            # The comparison follows by itself, as a job that can be stopped on its own.
            self.compare(session, per_set, follows=True)

        self.submit(
            session,
            "tune",
            lambda: work.tune(
                model, session, chosen, given, prompt_set, settings, self.settings.data_dir, self.before
            ),
            heard=heard,
            finished=finished,
            stopped=stopped,
            pace_key=f"{pace_key(model)} {settings.method} {settings.set_share:g}",
        )

    def compare(self, session: Session, per_set: int, *, follows: bool = False) -> None:
        """Step 4: both models on held-out prompts, at the strength that is set."""
        model = self.tuned_model(session)
        self.submit(
            session,
            "compare",
            lambda: work.compare(model, session, self.prompt_set(), self.before, per_set),
            stopped="Stopped: the groups that were finished are shown.",
            pace_key=f"{pace_key(model)} {per_set}",
            follows=follows,
        )

    def set_strength(self, session: Session, strength: float) -> None:
        """Step 4: the visitor's prompts at another strength; what was asked before is shown at once."""
        strength = round(strength, 2)
        known = session.tuned is not None and strength in session.after  # and needs no model
        model = None if known else self.tuned_model(session)
        with session.lock:
            session.strength = strength
            session.changed()
        quick = self.job(session, quick=True)
        if model is None or (quick is not None and quick.kind == "strength"):
            self.keep_results(session)
            return  # known already, or the job that runs follows the slider
        self.submit(
            session,
            "strength",
            lambda: work.follow_strength(model, session),
            pace_key=pace_key(model),
            quick=True,
            follows=True,
        )

    def try_prompt(self, session: Session, prompt: str) -> None:
        """Step 4: any other prompt on both, as the next message of the conversation."""
        from actor_core.prompts import MAX_CHARS

        model = self.tuned_model(session)
        prompt = prompt.strip()
        if not prompt:
            raise PromptError("Type a prompt first.")
        if len(prompt) > MAX_CHARS:
            raise PromptError(f"This prompt has {len(prompt):,} characters; at most {MAX_CHARS:,} can be tried.")
        replies = [reply for turn in session.trials for reply in (turn.before, turn.after)]
        said = sum(len(reply.prompt) + len(reply.text) for reply in replies)
        if said + len(prompt) > MAX_SAID:
            raise PromptError(
                f"This conversation has {said:,} characters and {MAX_SAID:,} is the limit: press “New conversation”."
            )
        engine = self.engine(model)
        before, session.pending = session.pending, prompt  # ahead of the job, which may be done before this is
        try:
            self.submit(
                session,
                "try",
                lambda: chatting.try_both(engine, session, prompt),
                stopped="Stopped: this message was not answered. Ask it again, or go on with another.",
                pace_key=f"{pace_key(model)} {type(engine).__name__}",
            )
        except ActorError:
            session.pending = before
            raise

    def new_conversation(self, session: Session) -> None:
        """Step 4: forgets what was said; a message that is being asked is stopped."""
        job = self.job(session)
        if job is not None and job.kind == "try":
            self.runner.stop(job)
        with session.lock:
            session.trials, session.pending = [], ""
            session.marks.forget_turns()
            session.changed()

    def open_saved(self, session: Session, files: list[str] | None, per_set: int) -> None:
        """Step 1: a change that was exported before, in the place of a tuning; its comparison follows."""
        model = self.loaded()
        if self.job(session) is not None:
            raise ActorError("Something is still running: wait for it, or press Stop in the step that shows it.")
        delta = saving.read_change(files, model)
        name, recipe = saving.name_of(files), saving.read_recipe(files, delta)
        said = saving.opened(session, model, delta)
        session.source, session.recipe = name, recipe
        self.keep_results(session)
        self.sessions.keep(session)
        self.compare(session, per_set)
        session.say("model", Notice("success", said))

    def compare_with(self, session: Session, files: list[str] | None, per_set: int) -> None:
        """Step 4: another saved change of the same model beside the tuned one."""
        model = self.tuned_model(session)
        other = saving.read_change(files, model)
        name = Path((files or [""])[0]).stem
        self.submit(
            session,
            "two",
            lambda: saving.ask_both(model, session, other, name, self.prompt_set(), per_set),
            pace_key=f"{pace_key(model)} {per_set}",
        )

    def repeat(self, session: Session, id: str, per_set: int) -> None:
        """An earlier run again: the same prompts, settings and seed on the same model."""
        if self.history is None:
            raise ActorError("Nothing is kept on this server, so there is nothing to repeat.")
        model, (run, _) = self.loaded(), self.history.read(session, id)
        if run.base != model.id:
            raise ModelError(
                f"This run was made on {run.base.name} ({run.base.precision}), and {model.source.name} "
                f"({model.precision}) is loaded: load the other in step 1 first."
            )
        recipe = run.recipe
        if recipe is None or recipe.own is None:
            raise ActorError(f"This run cannot be repeated: {run.why_not_repeated()}.")
        self.require_free(session)
        settings = recipe.tune_settings()
        recipe.require_prompt_set(self.prompt_set())
        run.put_into(session, None, "")
        if not session.prompts_text.strip():
            session.prompts_text = "\n".join(recipe.own)
        asked = [len(rows) for at in run.at for rows in at.sets.values()]
        self.tune(session, settings, max(asked, default=per_set), recipe)

    def push(self, session: Session, kind: str, to: Destination, *, signed_in: bool = False) -> None:
        """Step 5: the newest export of ``kind`` to the model hub; only for those who sit at this machine, or who are
        ``signed_in`` on a Space and send to their own account."""
        if not (self.settings.local_paths_allowed or (signed_in and self.settings.in_space)):
            raise ExportError("This page is open to others, so nothing is put on the hub from it: download the files.")
        record = next((each for each in session.exports if each.kind == kind), None)
        if record is None:
            raise ExportError("There is no export of this kind yet: export it first.")

        def finished(address: str) -> None:
            self.sessions.keep(session)
            session.say("export", Notice("success", f"The files are on the hub: {address}"))

        self.submit(session, "push", lambda: saving.push(session, record, to), finished=finished)

    def kinds_offered(self) -> list[str]:
        """The kinds of export: whole models only for those who sit at this machine, for they stay on it."""
        return [kind for kind in EXPORT_KINDS if self.settings.local_paths_allowed or kind not in WHOLE_MODELS]

    def export(
        self,
        session: Session,
        kinds: list[str],
        report: dict[str, object],
        typed: str = "",
        choices: exporting.Choices = exporting.NO_CHOICES,
    ) -> None:
        """Step 5: measures the guard where it is not known, then writes and checks the files.

        What does not pass is written only where ``typed`` says so after the guard was shown, and never on a Space.
        """
        model = self.tuned_model(session)
        kinds = [kind for kind in self.kinds_offered() if kind in kinds]
        if not kinds:
            raise ExportError("No kind of file is chosen: tick at least one.")
        if session.strength == 0:
            raise ExportError("The strength is 0, which is the old model: move it up in step 4 before exporting.")
        guard = session.guards.get(session.strength)
        by_word = exporting.accepted(guard, typed, in_space=self.settings.in_space)
        require_room(session, self.exports_of_all)
        folder = self.exports_of_all.folder / session.key
        order = exporting.Order(kinds, session.strength, folder, report, by_word, choices)

        def finished(made: list[ExportRecord]) -> None:
            self.sessions.keep(session)
            session.say("export", exporting.told(made))

        def stopped(_: list[Event]) -> Notice:
            if order.strength in session.guards:
                return Notice("info", "Stopped: files that were finished are kept.")
            return Notice("info", "Stopped before the guard was measured: nothing was written. Export starts it again.")

        self.submit(
            session,
            "export",
            lambda: exporting.export(model, session, self.prompt_set(), self.before, order),
            finished=finished,
            stopped=stopped,
            pace_key=" ".join([pace_key(model), *kinds, "" if guard else "guard"]).rstrip(),
        )

    def lower_strength(self, session: Session) -> None:
        """Step 5: looks for the largest smaller strength that passes the guard, which the one that is set does not."""
        model = self.tuned_model(session)
        strengths = lowering.smaller(session)
        if not strengths:
            raise ExportError(
                "There is no smaller strength to try: this is for a strength above 0.05 whose guard was measured and "
                "not passed, and once for each tuning."
            )

        def finished(found: GuardSearch) -> None:
            session.say("export", lowering.told(session, found, strengths))

        self.submit(
            session,
            "guard",
            lambda: lowering.search(model, session, self.prompt_set(), self.before, strengths),
            finished=finished,
            stopped="Stopped. Strengths that passed the guard until now are kept.",
            pace_key=pace_key(model),
        )


def _note(session: Session, event: Event) -> None:
    with session.lock:
        if isinstance(event, LayerScored):
            session.layer_scores = [*session.layer_scores, event]
        elif isinstance(event, StrengthMeasured):
            session.curve = [*session.curve, event]
        elif isinstance(event, Step):
            session.losses = [*session.losses, (event.step, event.loss)]
        else:
            return
        session.changed()


def _stopped_tuning(session: Session, events: list[Event], recipe_of: Callable[[LayerDelta], Recipe]) -> Notice:
    """Keeps what was learnt. ``recipe_of`` it says what it would have become, so that it can be repeated to its end."""
    if session.tuned is not None:
        return Notice("info", "Stopped. The tuning itself was finished and is kept; the comparison is not whole.")
    last = next((event for event in reversed(events) if isinstance(event, Step)), None)
    if last is None:
        return Notice("info", "Stopped before there was anything to keep. Press Tune to start again.")
    from actor_core.tune import Tuned

    with session.lock:
        session.tuned = Tuned(
            delta=last.delta,
            strength=1.0,
            layer_scores=tuple(session.layer_scores),
            curve=tuple(session.curve),
            words=(f"Stopped after {last.step} of {last.total} updates: what was learnt up to there is kept.",),
        )
        session.tuned_early, session.recipe = True, recipe_of(last.delta)
    return Notice(
        "info", f"Stopped after {last.step} of {last.total} updates. What was learnt up to there is kept."
    )
