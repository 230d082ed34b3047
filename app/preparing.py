"""What the buttons of steps 1 and 2 do, as `app.studio` says of all of them: a model is loaded, the visitor's prompts
are asked, and others are made of those that it refuses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from actor_core.errors import ModelError, NothingToRepair, PromptError
from app import enriching, looks_harmful, variants, work, zerogpu
from app.errors import Notice
from app.marks import UNTUNED
from app.quota import MOST_PROMPTS
from app.server import Server, pace_key
from app.session import Session
from app.words import FLAGGED_IN_SPACE

if TYPE_CHECKING:
    from actor_core.model import LoadedModel

__all__ = ["Preparing"]


class Preparing(Server):
    """One a process."""

    def load(self, session: Session, preset: str, typed: str, precision: str, device: str) -> None:
        """Step 1: brings the model into memory."""
        if not typed.strip() and preset not in self.presets:
            raise ModelError("No model is chosen: choose one from the list.")
        if not self.settings.ways_to_load_allowed and (precision, device) != ("auto", "auto"):
            raise ModelError("All visitors share the model here: leave precision and device at auto.")
        if zerogpu.is_lent():
            device = "cpu"  # from where it is copied to the GPU, a piece of work at a time
        request = work.ModelRequest(self.presets.get(preset), typed, precision, device, self.settings.memory)
        request.require_allowed(hub_ids=self.settings.hub_ids_allowed, local_paths=self.settings.local_paths_allowed)
        session.preset = preset
        if self.model is not None and request.key == self.model_key:
            session.say("model", None)
            return

        def release() -> None:
            self.let_go_of_engine()
            self.model, self.model_key = None, None

        def finished(model: LoadedModel) -> None:
            self.model, self.model_key = model, request.key

        self.submit(
            session,
            "load",
            lambda: work.load(request, self.settings.data_dir, offline=self.settings.offline, release=release),
            finished=finished,
            pace_key=" ".join(request.key),
        )

    def check(self, session: Session, text: str) -> None:
        """Step 2: asks the untouched model each of the visitor's prompts."""
        from actor_core.prompts import parse_prompts

        model = self.loaded()
        session.prompts_text = text
        self.sessions.keep(session)
        parsed = parse_prompts(text)
        if self.quota is not None and len(parsed.prompts) > MOST_PROMPTS:
            raise PromptError(
                f"These are {len(parsed.prompts):,} prompts. This page is public, and takes up to {MOST_PROMPTS} at "
                "once: leave some out, or run Second Take on a machine of your own."
            )
        session.problems = parsed.problems

        def finished(_: object) -> None:
            judged = session.marks.all_of(session.checked, UNTUNED)
            if not any(reply.verdict.value == "refused" for reply in judged):
                session.say("prompts", _none_refused(len(session.checked)))
            else:
                session.say("prompts", looks_harmful.all_left_out(session, in_space=self.settings.in_space))

        self.submit(
            session,
            "check",
            lambda: work.check(model, session, parsed.prompts, self.before, self.prompt_set(), self.settings.data_dir),
            finished=finished,
            stopped="Stopped. Press the button again to ask the rest: answers so far are kept.",
            pace_key=pace_key(model),
        )

    def include(self, session: Session, prompts: Collection[str], include: bool) -> None:
        """Step 2: has flagged ``prompts`` repaired all the same, or leaves them out again. Never on a Space, where
        everybody could have a model answer what it should refuse. Raises `PromptError` for one that is not flagged."""
        if include and prompts and self.settings.in_space:
            raise PromptError(FLAGGED_IN_SPACE)
        unknown = [prompt for prompt in prompts if prompt not in session.flagged]
        if include and unknown:
            raise PromptError(f"“{unknown[0][:80]}” is not among the prompts that were left out: nothing was changed.")
        with session.lock:
            session.included = session.included.union(prompts) if include else session.included.difference(prompts)
            session.changed()

    def enrich(self, session: Session, *, by_model: bool) -> None:
        """Step 2: makes other prompts of those to be repaired; by rules alone, or ``by_model`` too."""
        from actor_core.enrich import EnrichSettings
        from actor_core.readings import ReadingStore

        model, chosen = self.loaded(session), session.chosen
        if not chosen:
            raise NothingToRepair(
                "None of your prompts is to be repaired, so there is nothing to write others of: find out first which "
                "are refused."
            )
        if len(chosen) > variants.MAX_SEEDS:
            raise PromptError(
                f"You have {len(chosen)} prompts to repair. Others are written of up to {variants.MAX_SEEDS}: so many "
                "need none, and can be tuned on as they are."
            )
        settings, store = EnrichSettings(by_model=by_model), ReadingStore.of(self.settings.data_dir)
        self.submit(
            session,
            "enrich",
            lambda: enriching.enrich(model, session, chosen, self.prompt_set(), settings, store),
            finished=lambda _: session.say("variants", enriching.told(session.variants, chosen)),
            stopped="Stopped: nothing was written this time, and what was there before is kept.",
            pace_key=f"{pace_key(model)} {'model' if by_model else 'rules'}",
        )

    def tick_variants(self, session: Session, ids: Collection[str], ticked: bool) -> None:
        """Step 2: lines of the table are used for tuning, or not. Raises `PromptError` where one cannot be."""
        with session.lock:
            session.variants = variants.with_ticks(session.variants, ids, ticked, in_space=self.settings.in_space)
            session.changed()

    def write_variant(self, session: Session, id: str, text: str) -> None:
        """Step 2: a line of the table says ``text``. Raises `PromptError` for one that is too long."""
        with session.lock:
            session.variants = variants.with_text(session.variants, id, text)
            session.changed()

    def use_texts(self, session: Session, texts: Sequence[str] | None, twins: Sequence[str] | None) -> None:
        """From a script: what is used beside the own prompts; None leaves it as it is. Raises `PromptError` for what
        cannot be used, and changes nothing."""
        with session.lock:
            rows = session.variants
            for given, are_twins in ((texts, False), (twins, True)):
                rows = rows if given is None else variants.with_texts(rows, given, are_twins)
            session.variants = rows
            session.changed()


def _none_refused(count: int) -> Notice:
    said = "Your prompt is not refused by this model as it is, so there is nothing to repair."
    if count != 1:
        said = f"None of your {count} prompts is refused by this model as it is, so there is nothing to repair."
    todo = "Add prompts that it refused for you. Or, where the verdict is wrong, choose to repair all of them below."
    return Notice("warning", f"{said} {todo}")


