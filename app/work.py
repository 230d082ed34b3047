"""The long work behind the buttons: the core's generators, put together and noted in the visitor's session.

Each function is a generator of events; it runs in the job's thread and can be closed between two
events. What is found is put into the session as it comes, so that a stop keeps it and a reload
shows it.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actor_core.errors import ExportError, FetchError
from actor_core.events import Ahead, Event, Part, Progress, Replied, retold
from actor_core.freed_memory import give_back
from app import enriching, zerogpu
from app.session import Session
from app.stages import TOKENS, asking, staged
from app.variants import Enriched, Row

if TYPE_CHECKING:
    from actor_core.delta import BaseModelId
    from actor_core.generate import Reply
    from actor_core.model import LoadedModel
    from actor_core.presets import ModelPreset, PromptSet
    from actor_core.tune import Tuned, TuneSettings

__all__ = [
    "SETS",
    "TOKENS_OF_HELD_OUT",
    "BeforeCache",
    "ModelRequest",
    "check",
    "compare",
    "follow_strength",
    "load",
    "tune",
    "tuned_answers",
    "tuned_of",
    "unit",
]

# The held-out prompts that are compared, in the order they are run.
SETS = ("look_alike", "harmful", "ordinary")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
TOKENS_OF_HELD_OUT = 40  # enough for the verdict; a refusal shows in the first sentence
SECONDS_TO_SETTLE = 0.4  # a slider that moves is not yet where its owner wants it


class ModelRequest:
    """What a visitor asked to load: a preset, or a hub id or path that was typed. ``memory`` is as in `load_model`."""

    def __init__(
        self, preset: ModelPreset | None, typed: str, precision: str, device: str, memory: int | None = None
    ) -> None:
        self.preset, self.typed, self.precision, self.device = preset, typed.strip(), precision, device
        self.memory = memory

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.preset.id if self.preset and not self.typed else self.typed, self.precision, self.device)

    def require_allowed(self, *, hub_ids: bool, local_paths: bool) -> None:
        """Raises `FetchError` where what was typed may not be loaded here."""
        if not self.typed:
            return
        if not hub_ids:
            raise FetchError("Only the models of the list can be loaded here: choose one of them.")
        if not local_paths and (not HUB_ID.fullmatch(self.typed) or Path(self.typed).exists()):
            raise FetchError(
                "Only a model hub name such as Qwen/Qwen2.5-1.5B-Instruct can be typed here: this page "
                "is open to "
                "others, so it takes no folder of the machine that it runs on."
            )


class BeforeCache:
    """Answers of the untouched model, so that no prompt is asked twice of the same weights."""

    LIMIT = 5000

    def __init__(self) -> None:
        self._replies: OrderedDict[tuple[BaseModelId, int, str], Reply] = OrderedDict()

    def answer(
        self,
        model: LoadedModel,
        prompts: Sequence[str],
        heard: list[Reply] | None = None,
        tokens: int = TOKENS,
    ) -> Generator[Event, None, list[Reply]]:
        """The untouched model's replies to ``prompts``, in order; they also go to ``heard`` as they come."""
        base = model.id
        missing = [prompt for prompt in prompts if (base, tokens, prompt) not in self._replies]
        if heard is not None:
            known = (self._replies.get((base, tokens, prompt)) for prompt in prompts)
            heard.extend(reply for reply in known if reply is not None)
        work = zerogpu.answer(model, missing, max_new_tokens=tokens) if missing else _nothing()
        for event in work:
            if isinstance(event, Replied):
                for reply in event.replies:
                    self._replies[base, tokens, reply.prompt] = reply
                if heard is not None:
                    heard.extend(event.replies)
            yield event
        found = [self._replies[base, tokens, prompt] for prompt in prompts]
        while len(self._replies) > self.LIMIT:
            self._replies.popitem(last=False)
        return found


def load(
    request: ModelRequest, data_dir: Path, *, offline: bool, release: object
) -> Generator[Event, None, LoadedModel]:
    """Brings the weights onto the disk, lets go of the model that is loaded, and loads the new one.

    ``release()`` is called once the weights are there: two models rarely fit at once.
    """
    from actor_core.fetch import fetch, local_model
    from actor_core.loading import load_model

    if request.typed:
        source = yield from local_model(request.typed, data_dir, offline=offline)
    else:
        assert request.preset is not None
        source = yield from fetch(request.preset, data_dir, offline=offline)
    if callable(release):
        release()
    give_back()
    return (yield from load_model(source, precision=request.precision, device=request.device, memory=request.memory))


def check(
    model: LoadedModel,
    session: Session,
    prompts: Sequence[str],
    before: BeforeCache,
    prompt_set: PromptSet,
    data_dir: Path,
) -> Generator[Event, None, None]:
    """Which of ``prompts`` the untouched model refuses, and which of them look harmful."""
    from actor_core.readings import ReadingStore

    arriving: list[Reply] = []
    with session.lock:
        if session.base != model.id:
            session.marks.forget_all()
            session.included, session.variants = frozenset(), ()
        session.checked, session.arriving, session.base = [], arriving, model.id
        session.harmfulness = None
        session.forget_tuning()
        session.changed()
    # How long the last part takes depends on what was read before: nothing is said of it.
    yield Ahead((asking("check prompts", len(prompts)), Part("harmfulness", "", 0.0)))
    replies = yield from staged(
        before.answer(model, prompts, arriving), "check prompts", 0, len(prompts), len(prompts)
    )
    found = yield from zerogpu.name_harmful(model, prompts, prompt_set, ReadingStore.of(data_dir))
    with session.lock:  # both at once: what looks harmful is at no moment among the chosen
        session.checked, session.arriving, session.harmfulness = replies, [], found
        session.changed()


def tune(
    model: LoadedModel,
    session: Session,
    chosen: Sequence[str],
    made: Sequence[Row] | Enriched,
    prompt_set: PromptSet,
    settings: TuneSettings,
    data_dir: Path,
    before: BeforeCache,
) -> Generator[Event, None, None]:
    """Tunes one layer for the ``chosen`` prompts and what was ``made`` of them, then answers the visitor's with it."""
    from actor_core.readings import ReadingStore
    from actor_core.recipe import Recipe
    from actor_core.tune import TuningPrompts
    from actor_core.work_ahead import generating

    store = ReadingStore.of(data_dir)
    if not isinstance(made, Enriched):
        made = yield from enriching.vetted(model, session, made, chosen, prompt_set, store)
    session.enriched = made
    tuning = zerogpu.tune(model, TuningPrompts.of(chosen, prompt_set, made.variants, made.twins), settings, store)
    tuned: Tuned = yield from _then(tuning, lambda: generating(model, "answer again", len(session.checked), TOKENS))
    with session.lock:
        session.recipe = Recipe.of(model, chosen, prompt_set, settings, tuned.delta, made.variants, made.twins)
        session.tuned, session.strength = tuned, 1.0 if tuned.strength else 0.0
        session.changed()
    yield from _ask_untuned(model, session, chosen, before)
    yield from own_answers(model, session, session.strength)


def _ask_untuned(
    model: LoadedModel, session: Session, prompts: Sequence[str], before: BeforeCache
) -> Generator[Event, None, None]:
    """Asks the untouched model those of ``prompts`` that the visitor's list does not have: of a run from a file."""
    known = {reply.prompt for reply in session.checked}
    missing = [prompt for prompt in prompts if prompt not in known]
    if missing:
        work = before.answer(model, missing)
        replies = yield from staged(work, "check prompts", 0, len(missing), len(missing))
        with session.lock:
            session.checked = [*session.checked, *replies]
            session.changed()


def compare(
    model: LoadedModel, session: Session, prompt_set: PromptSet, before: BeforeCache, per_set: int
) -> Generator[Event, None, None]:
    """The visitor's prompts at the strength that is set, then ``per_set`` prompts of each held-out set."""
    from actor_core.evaluate import Comparison, spread

    strength = session.strength  # may be moved meanwhile
    held_out = prompt_set.held_out()
    sets = {"look_alike": held_out.pseudo_harmful, "harmful": held_out.harmful, "ordinary": held_out.benign}
    chosen = {name: spread(sets[name], per_set) for name in SETS}
    total = 2 * sum(len(prompts) for prompts in chosen.values())
    yield Ahead((asking("answer again", len(session.checked)), asking("compare", total, TOKENS_OF_HELD_OUT)))
    yield from own_answers(model, session, strength)
    done = 0
    for name, prompts in chosen.items():
        tokens = TOKENS_OF_HELD_OUT
        work = before.answer(model, prompts, tokens=tokens)
        old = yield from staged(work, "compare", done, len(prompts), total)
        done += len(prompts)
        work = tuned_answers(model, session, prompts, strength, tokens)
        new = yield from staged(work, "compare", done, len(prompts), total)
        done += len(prompts)
        rows = [Comparison(b.prompt, b, a) for b, a in zip(old, new, strict=True)]
        with session.lock:
            session.sets = {**session.sets, strength: {**session.sets.get(strength, {}), name: rows}}
            session.changed()


def own_answers(model: LoadedModel, session: Session, strength: float) -> Generator[Event, None, None]:
    """Answers the visitor's prompts at ``strength``, unless that was done before."""
    prompts = [reply.prompt for reply in session.checked]
    if strength in session.after or not prompts:
        return
    work = tuned_answers(model, session, prompts, strength)
    replies = yield from staged(work, "answer again", 0, len(prompts), len(prompts))
    with session.lock:
        session.after = {**session.after, strength: replies}
        session.changed()


def follow_strength(model: LoadedModel, session: Session) -> Generator[Event, None, None]:
    """`own_answers` at the strength that is set, and again at the next one when it is moved meanwhile."""
    while True:
        strength = session.strength
        yield Progress("answer again", 0, 1)
        time.sleep(SECONDS_TO_SETTLE)
        if session.strength != strength:
            continue
        work = own_answers(model, session, strength)
        for event in work:
            yield event
            if session.strength != strength:
                work.close()
                break
        else:
            return


def unit(tuned: Tuned) -> float:
    """What the slider's 1 stands for: what tuning chose, or the whole change where it chose none."""
    return tuned.strength or 1.0


def tuned_of(session: Session) -> Tuned:
    """What was tuned; raises `ExportError` where nothing was."""
    if session.tuned is None:
        raise ExportError("Nothing was tuned yet: press Tune in step 3 first.")
    return session.tuned


def tuned_answers(
    model: LoadedModel,
    session: Session,
    prompts: Sequence[str],
    strength: float,
    tokens: int = TOKENS,
) -> Generator[Event, None, list[Reply]]:
    """Replies with the change at ``strength``: 0 is the old model and 1 what tuning chose."""
    tuned = tuned_of(session)
    strength = strength * unit(tuned)
    work = zerogpu.answer(model, list(prompts), delta=tuned.delta, strength=strength, max_new_tokens=tokens)
    return (yield from work)


def _then(work: Generator[Event, None, Any], last: Callable[[], Part]) -> Generator[Event, None, Any]:
    """``work``, and what it says lies ahead with ``last`` behind it."""
    return retold(work, lambda event: Ahead((*event.parts, last())) if isinstance(event, Ahead) else event)


def _nothing() -> Generator[Event, None, list[Reply]]:
    return []
    yield  # makes it a generator
