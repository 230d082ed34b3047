"""The five steps as named endpoints, for scripts: `gradio_client` calls them, docs/api.md shows how.

They press the buttons of the page: the same methods of the `Studio`, the same sessions, the same limits. Each
waits for its job and tells its progress meanwhile; a caller that cancels or goes away stops its job. What goes
wrong becomes `gr.Error` in the words that the page would show.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from functools import partial, wraps
from typing import Any, Literal

import gradio as gr

from actor_core.errors import ActorError, ExportError, ModelError, PromptError
from actor_core.tune import TuneSettings
from app import api_results as results
from app import api_types, figures, lowering, words
from app.api_jobs import Told, followed
from app.session import Session
from app.steps.tune import PER_SET
from app.studio import Studio
from app.work import SETS

__all__ = ["NAMES", "offer"]

Messages = AsyncGenerator[Any, None]
NAMES = ("load_model", "check_prompts", "enrich", "tune", "compare", "export", "lower_strength", "status", "stop")
MOST_PER_SET = 120
MOST_STRENGTH = 1.5
METHODS = ("causal", "refusal vector", "published")


def offer(studio: Studio) -> None:
    """Adds the endpoints to the `gr.Blocks` that is being built."""
    steps = Endpoints(studio)
    for name in NAMES:
        gr.api(getattr(steps, name), api_name=name)


def documented(kind: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks a method with the type of its answer as Gradio reads it: no string, and no generator of anything."""

    def marked(method: Callable[..., Any]) -> Callable[..., Any]:
        method.__annotations__["return"] = kind
        return method

    return marked


def streamed(method: Callable[..., Messages]) -> Callable[..., Any]:
    """Makes an endpoint of a method that checks its arguments and gives the messages to come.

    Closed early, it closes those too, so that their job stops.
    """

    @wraps(method)
    async def endpoint(self: Endpoints, *given: object) -> Messages:
        with Told(self.studio):
            messages = method(self, *given)
        async with aclosing(messages):
            async for message in messages:
                yield message

    return endpoint


class Endpoints:
    """A method an endpoint; its docstring is what a client's ``view_api`` prints."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    @documented(api_types.Loaded)
    @streamed
    def load_model(self, model: str = "", precision: str = "auto", device: str = "auto", session: str = "") -> Messages:
        """Step 1: brings a model into memory, and opens a session; all sessions of the server share the model.

        Parameters:
            model: A preset's id, a name on the model hub, or a folder or GGUF file of the server's machine where its
                settings allow that; empty is the default preset.
            precision: auto, bf16, fp16, fp32, int8 or nf4.
            device: auto, cpu, cuda or mps.
            session: A session to go on with; empty opens a new one.
        """
        mine = self._session(session) if session else self.studio.sessions.new()
        preset = (model or self.studio.first_preset) if model in ("", *self.studio.presets) else ""
        _one_of("precision", precision, [value for _, value in words.PRECISIONS])
        _one_of("device", device, [value for _, value in words.DEVICES])
        press = partial(self.studio.load, mine, preset, "" if preset else str(model), precision, device)
        return followed(self.studio, mine, "model", press, results.loaded)

    @documented(api_types.Checked)
    @streamed
    def check_prompts(self, session: str, prompts: list[str]) -> Messages:
        """Step 2: asks the untouched model each prompt, and says which it refuses: those will be repaired, but for
        those that look like requests that should be refused (looks_harmful).

        Parameters:
            session: What load_model answered.
            prompts: What was wrongly refused, up to 1,000.
        """
        mine = self._session(session)
        given = prompts.splitlines() if isinstance(prompts, str) else prompts
        text = "\n".join(_prompts("prompts", given))
        press = partial(self.studio.check, mine, text)
        return followed(self.studio, mine, "prompts", press, results.checked)

    @documented(api_types.Enriched)
    @streamed
    def enrich(self, session: str, by: Literal["model", "rules"] = "model") -> Messages:
        """Step 2, if you like: writes more prompts like those to be repaired, and what comes close and should still
        be refused. Those that are ticked in the answer are used by tune, unless it is given others.

        Parameters:
            session: What load_model answered.
            by: model (by the model itself, and by rules) or rules (by these alone, which is quick).
        """
        mine = self._session(session)
        _one_of("way of writing", by, ("model", "rules"))
        press = partial(self.studio.enrich, mine, by_model=by == "model")
        return followed(self.studio, mine, "variants", press, results.enriched)

    @documented(api_types.Tuned)
    @streamed
    def tune(
        self,
        session: str,
        method: Literal["causal", "refusal vector", "published"] = "causal",
        layer: int | None = None,
        repair: Literal["refused", "all"] = "refused",
        per_set: int = PER_SET,
        include: list[str] | None = None,
        variants: list[str] | None = None,
        twins: list[str] | None = None,
        set_share: float = 1.0,
    ) -> Messages:
        """Step 3: tunes one layer, then asks both models held-out prompts; compare gives what came of that.

        Parameters:
            session: What load_model answered.
            method: causal (the default, fastest), refusal vector, or published (the paper's loop, slow).
            layer: Null: chosen by the program.
            repair: refused, or all of the prompts where the verdict is wrong.
            per_set: Held-out prompts of each kind that are compared afterwards, up to 120.
            include: Prompts that look harmful and are harmless, to be repaired all the same. Null leaves the choice as
                it is, which at first is none. Never on a Space.
            variants: Prompts to be answered beside your own, of enrich's or of yours: these and no others. Null: those
                that are ticked. One of yours that looks harmful is not used.
            twins: The same for prompts to be refused.
            set_share: Of the prompt set's prompts to learn from, above 0 and up to 1: fewer are faster, and part
                harmful prompts from look-alikes less well.
        """
        mine = self._session(session)
        _one_of("method", method, METHODS)
        _one_of("repair", repair, ("refused", "all"))
        count, included = _count(per_set), _prompts("include", include or [])
        texts = None if variants is None else _prompts("variants", variants)
        refused = None if twins is None else _prompts("twins", twins)
        if isinstance(set_share, bool) or not isinstance(set_share, (int, float)) or not 0 < set_share <= 1:
            raise PromptError(f"“set_share” is {str(set_share)[:20]}: give a number above 0 and up to 1.")
        settings = TuneSettings(method=method, layer=layer, set_share=float(set_share))
        layers = range(self.studio.model.n_layers - 1) if self.studio.model else []
        if layers and layer is not None and layer not in layers:
            raise ModelError(f"There is no layer {layer} to tune: give 0 to {layers[-1]}, or null to have one chosen.")

        def press() -> None:
            if self.studio.job(mine) is None:
                before = mine.repair_all, mine.variants
                mine.repair_all = repair == "all"
                try:
                    self.studio.use_texts(mine, texts, refused)
                    if include is not None:
                        self.studio.include(mine, included, True)
                        self.studio.include(mine, mine.included.difference(included), False)
                except PromptError:  # nothing is changed, as it says
                    mine.repair_all, mine.variants = before
                    raise
            self.studio.tune(mine, settings, count)

        return followed(self.studio, mine, "tune", press, results.tuned)

    @documented(api_types.Compared)
    @streamed
    def compare(self, session: str, strength: float = 1.0, per_set: int = PER_SET) -> Messages:
        """Step 4: old and new side by side at a strength, which is also the one that export writes.

        Harmful prompts come with their verdicts alone; replies to them are never told.

        Parameters:
            session: What load_model answered.
            strength: 0 is the old model, 1 what tuning chose, 1.5 the most.
            per_set: Held-out prompts of each kind, up to 120; what was asked before is not asked again.
        """
        mine = self._session(session)
        count = _count(per_set)
        if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not math.isfinite(strength):
            raise ModelError(f"The strength is no number: give one from 0 to {MOST_STRENGTH:g}.")
        if not 0 <= strength <= MOST_STRENGTH:
            raise ModelError(f"The strength is {strength:g}: give one from 0 to {MOST_STRENGTH:g}.")
        at = round(float(strength), 2)

        def press() -> None:
            if self.studio.job(mine) is None:
                with mine.lock:
                    mine.strength = at
                    mine.changed()
                sets = mine.sets.get(at, {})
                if len(sets) == len(SETS) and all(len(rows) >= count for rows in sets.values()):
                    mine.say("compare", None)
                    return
            self.studio.compare(mine, count)

        return followed(self.studio, mine, "compare", press, results.compared)

    @documented(api_types.Exported)
    @streamed
    def export(self, session: str, kinds: list[str] | None = None, accept: str = "") -> Messages:
        """Step 5: measures the guard, then writes and checks files that other programs load.

        Where the guard is not passed nothing is written, and the answer says so; a second call with accept then
        writes the files, marked as such. Never on a Space.

        Parameters:
            session: What load_model answered.
            kinds: delta, peft, gguf-lora; where the server is yours also merged and merged-gguf. Null: the first three.
            accept: "export anyway", after the guard was seen not to pass.
        """
        mine = self._session(session)
        offered = self.studio.kinds_offered()
        wanted = [kind for kind in offered if kind not in words.WHOLE_MODELS] if kinds is None else kinds
        for kind in wanted if isinstance(wanted, list) else [wanted]:
            _one_of("kind of file", kind, offered)
        if not isinstance(accept, str):
            raise ExportError(f"“accept” is no text: leave it empty, or give “{words.EXPORT_ANYWAY}”.")
        known = list(mine.exports)

        def press() -> None:
            guard = mine.guards.get(mine.strength)
            held_back = guard is not None and not guard.passed and not accept
            if held_back and self.studio.job(mine) is None:
                mine.say("export", None)
                return  # the answer says why
            self.studio.export(mine, list(wanted), figures.report(mine), accept)

        return followed(self.studio, mine, "export", press, partial(results.exported, known=known))

    @documented(api_types.Lowered)
    @streamed
    def lower_strength(self, session: str) -> Messages:
        """Step 5, where the guard was measured and not passed: looks for the largest smaller strength that passes, and
        sets it where there is one; compare and export then go on from there.

        Parameters:
            session: What load_model answered.
        """
        mine = self._session(session)

        def moved(studio: Studio, session: Session, ended: str, said: str) -> api_types.Lowered:
            reached = lowering.passing(session)
            if reached is not None:
                with session.lock:
                    session.strength = reached
                    session.changed()
            return results.lowered(session, ended, said, found=reached is not None)

        return followed(self.studio, mine, "export", partial(self.studio.lower_strength, mine), moved)

    @documented(api_types.Status)
    def status(self, session: str) -> api_types.Status:
        """Where a session stands, and the job that runs for it.

        Parameters:
            session: What load_model answered.
        """
        with Told(self.studio):
            return results.status(self.studio, self._session(session))

    @documented(api_types.Status)
    def stop(self, session: str) -> api_types.Status:
        """Asks the session's job to stop, as the button does; what was found so far is kept.

        Parameters:
            session: What load_model answered.
        """
        with Told(self.studio):
            mine = self._session(session)
            self.studio.stop(mine)
            return results.status(self.studio, mine)

    def _session(self, id: str) -> Session:
        session = self.studio.sessions.get(id)
        if session is None:
            raise ActorError("This session is not known here: give what load_model answered under “session”.")
        return session


def _one_of(what: str, value: object, offered: Collection[str]) -> None:
    if value not in offered:
        raise ActorError(f"There is no {what} “{str(value)[:80]}” here: give one of {', '.join(offered)}.")


def _prompts(name: str, given: object) -> list[str]:
    """Each on one line, as the page has them."""
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise PromptError(f"“{name}” is no list of texts: give a list with a text for each prompt.")
    return [" ".join(each.split()) for each in given]


def _count(per_set: object) -> int:
    if not isinstance(per_set, int) or isinstance(per_set, bool) or not 1 <= per_set <= MOST_PER_SET:
        raise PromptError(f"“per_set” is {str(per_set)[:20]}: give a whole number from 1 to {MOST_PER_SET}.")
    return per_set
