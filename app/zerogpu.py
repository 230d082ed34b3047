"""Work on a GPU that a Space is lent for seconds at a time, which Hugging Face calls ZeroGPU.

The model stays on the processor. Each piece of work is done in a process that the package `spaces` forks from this one:
there the model is copied to the GPU, the events of the work come back one by one, and its result as the last of them,
on the processor as all that the core gives is. What is changed on a model there is never seen here, so each piece is
given all that it needs, the delta too, which is applied anew.

Where no GPU is lent, `answer`, `tune` and `name_harmful` are the core's own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from actor_core.errors import ActorError, ModelError
from actor_core.events import Ahead, Event, Part

if TYPE_CHECKING:
    import gradio as gr

    from actor_core.delta import BaseModelId
    from actor_core.generate import Reply
    from actor_core.model import LoadedModel
    from actor_core.presets import PromptSet
    from actor_core.readings import ReadingStore
    from actor_core.targets import TuningPrompts
    from actor_core.tune import Tuned, TuneSettings

__all__ = ["MOST_SECONDS", "Lent", "answer", "asked_by", "is_lent", "name_harmful", "on_behalf_of", "prepare", "tune"]

# A piece that is estimated to take longer is not begun; a whole run is to stay within it.
MOST_SECONDS = 60.0
# What such a GPU does in a second, as work is counted in `actor_core.work_ahead`: assumed, and measured nowhere.
PER_SECOND = {"read": 2e13, "generate": 1.4e12, "train": 5e12, "score": 1.0, "solve": 5e10}
TOKENS_TO_READ = 40  # of a prompt with its chat template, about
SECONDS_TO_JUDGE = 3.0  # which of the prompts look harmful, once they are read
# What is asked for: some more than is estimated, for what is not done in it is ended, and the beginning of a process.
MARGIN, SECONDS_TO_BEGIN = 1.5, 3.0
WHERE = {"answer": "actor_core.generate", "tune": "actor_core.tune", "name_harmful": "actor_core.harmfulness"}


@dataclass(frozen=True)
class _Returned:
    """The last thing that comes from the other process: what the work gave, or the error that a person can mend."""

    value: Any = None
    error: ActorError | None = None


def is_lent() -> bool:
    """Whether this is a Space whose GPU is lent, as its environment says."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def prepare() -> None:
    """Imports `spaces` where it is installed: before PyTorch, or it finds no GPU. On a Space, at its start."""
    try:
        import spaces  # noqa: F401
    except ImportError:
        if is_lent():
            raise SystemExit("This Space is lent a GPU and lacks the package 'spaces': build it anew.") from None
        return
    if is_lent():
        _lent()  # the hub wants to see at the start that there is work for a GPU


class Lent:
    """The lent GPU, for one model: it is loaded before the first piece of work, and stays."""

    def __init__(self) -> None:
        import spaces

        self.model: LoadedModel | None = None  # what a process that is forked now finds
        self._there: LoadedModel | None = None  # the same in that process, on its GPU
        self._in_a_process = spaces.GPU(duration=_asked_for)(self._in_there)

    def work(
        self, name: str, model: LoadedModel, seconds: float, *given: object, **named: object
    ) -> Generator[Event, None, Any]:
        """The core's function ``name`` of ``model`` and what was ``given``, in another process; its events and result.

        Raises `ActorError` where it is estimated to take more than `MOST_SECONDS`, and where no GPU is lent.
        """
        import gradio as gr

        if seconds > MOST_SECONDS:
            raise ActorError(
                f"This would take about {seconds:.0f} s of the GPU that is lent here, and {MOST_SECONDS:.0f} s is the "
                "limit: take fewer prompts, or run Second Take on a machine of your own."
            )
        self.model = model
        try:
            with closing(self._in_a_process(seconds, name, model.id, given, named)) as events:
                for event in events:
                    if not isinstance(event, _Returned):
                        yield event
                    elif event.error is not None:
                        raise event.error
                    else:
                        return event.value
        except gr.Error as refused:
            raise ActorError(f"No GPU was lent for this: {str(refused.message)[:300]}") from refused
        raise ActorError("The GPU was taken back before this was done: try again.")

    def _in_there(
        self, seconds: float, name: str, base: BaseModelId, given: tuple[Any, ...], named: dict[str, Any]
    ) -> Generator[Any, None, None]:
        """What the other process does. ``seconds`` are for `_asked_for`, which is called with the same."""
        try:
            model = self._moved(base)
            with closing(getattr(import_module(WHERE[name]), name)(model, *given, **named)) as work:
                while True:
                    try:
                        event = next(work)
                    except StopIteration as end:
                        yield _Returned(end.value)
                        return
                    yield event
        except ActorError as error:
            yield _Returned(error=error)

    def _moved(self, base: BaseModelId) -> LoadedModel:
        import torch

        torch.set_num_threads(1)  # the threads that this process computed with before it was forked are not there
        if self._there is None or self._there.id != base:
            model = self.model
            if model is None or model.id != base:
                raise ModelError("The GPU's process has another model than this page: try again in a minute.")
            place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            model.model.to(place)  # type: ignore[arg-type]  # in this process alone
            self._there = replace(model, device=place, lock=threading.RLock())
        return self._there


@cache
def _lent() -> Lent:
    """The one of this process: `spaces` wants to see its functions when the page is launched."""
    return Lent()


def _asked_for(seconds: float, *_: object) -> int:
    """For how many seconds the GPU is asked: `spaces` calls it with what the work is given."""
    return round(MARGIN * seconds + SECONDS_TO_BEGIN)


def estimated(parts: Sequence[Part]) -> float:
    """How many seconds of the GPU ``parts`` are taken to need."""
    return sum(part.work / PER_SECOND[part.kind] for part in parts if part.kind)


def seconds_to_judge(model: LoadedModel, prompts: Sequence[str], prompt_set: PromptSet) -> float:
    """The same of `name_harmful`, where nothing of the set was read before."""
    from actor_core.harmfulness import Examples

    read = len(prompts) + len(Examples.of(prompt_set, 0).prompts)
    weights = sum(each.numel() for each in model.layers.parameters())
    return estimated([Part("harmfulness", "read", float(read * TOKENS_TO_READ * weights))]) + SECONDS_TO_JUDGE


def answer(
    model: LoadedModel,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 64,
    **named: Any,  # noqa: ANN401
) -> Generator[Event, None, list[Reply]]:
    """See `actor_core.generate.answer`."""
    from actor_core import generate

    if not is_lent():
        return (yield from generate.answer(model, prompts, max_new_tokens=max_new_tokens, **named))
    from actor_core.work_ahead import generating

    seconds = estimated([generating(model, "answer", len(prompts), max_new_tokens)])
    return (yield from _lent().work("answer", model, seconds, prompts, max_new_tokens=max_new_tokens, **named))


def tune(
    model: LoadedModel, prompts: TuningPrompts, settings: TuneSettings, store: ReadingStore
) -> Generator[Event, None, Tuned]:
    """See `actor_core.tune.tune`."""
    from actor_core import tune as core

    if not is_lent():
        return (yield from core.tune(model, prompts, settings, store))
    with closing(core.tune(model, prompts, settings, store)) as work:
        ahead = next(work)  # reads nothing yet
    seconds = estimated(ahead.parts) if isinstance(ahead, Ahead) else MOST_SECONDS
    return (yield from _lent().work("tune", model, seconds, prompts, settings, store))


def name_harmful(
    model: LoadedModel, prompts: Sequence[str], prompt_set: PromptSet, store: ReadingStore
) -> Generator[Event, None, Any]:
    """See `actor_core.harmfulness.name_harmful`."""
    from actor_core import harmfulness

    if not is_lent():
        return (yield from harmfulness.name_harmful(model, prompts, prompt_set, store))
    seconds = seconds_to_judge(model, prompts, prompt_set)
    return (yield from _lent().work("name_harmful", model, seconds, prompts, prompt_set, store))


def asked_by() -> gr.Request | None:
    """Whose press of a button this is: the hub lends a GPU to them, and counts its seconds as theirs."""
    from gradio.context import LocalContext

    return LocalContext.request.get(None)


def on_behalf_of(request: gr.Request | None, work: Generator[Event, None, Any]) -> Generator[Event, None, Any]:
    """``work``, which is done in another thread, and in which `asked_by` is ``request``."""
    from gradio.context import LocalContext

    with closing(work):
        while True:
            token = LocalContext.request.set(request)
            try:
                event = next(work)
            except StopIteration as end:
                return end.value
            finally:
                LocalContext.request.reset(token)
            yield event
