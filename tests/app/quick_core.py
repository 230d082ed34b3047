"""The core's slow parts replaced by quick ones that yield the same events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import torch

import actor_core.tune
from actor_core.delta import BaseModelId, LayerDelta, LowRank
from actor_core.enrich import Variant
from actor_core.events import Progress, Replied, Step
from actor_core.generate import Reply
from actor_core.harmfulness import Harmfulness
from actor_core.judge import Verdict
from actor_core.model_shape import Shape
from actor_core.tune import Tuned, TuneSettings

BASE = BaseModelId("a model", "1", "d" * 64, "fp32")
SECRET = "the text of a harmful reply"


def delta() -> LayerDelta:
    return LayerDelta(3, {"mlp.down_proj": LowRank(torch.zeros(1, 2), torch.zeros(2, 1))}, BASE, "causal", {}, {})


@dataclass
class Model:
    id: BaseModelId = BASE
    source: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(name="a model", gguf=None, folder=Path("weights"))
    )
    precision: str = "fp32"
    reason: str = "fp32 on cpu, as asked"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    n_layers: int = 6
    model_type: str = "qwen2"
    shape: Shape = Shape(6, 896, 4_864, 128, 151_936, 136_134_656, 0, 14_912_384, "bf16")
    streamed: bool = False


def answers(model, prompts, *, delta=None, strength=1.0, max_new_tokens=64, history=(), stage="answer"):
    """Refuses what holds the word 'kill', unless a delta of at least half strength is on."""
    replies = []
    for prompt in prompts:
        refused = "kill" in prompt and not (delta and strength >= 0.5)
        verdict = Verdict.REFUSED if refused else Verdict.ANSWERED
        replies.append(Reply(prompt, "I'm sorry." if refused else SECRET, verdict, False))
        yield Progress(stage, len(replies), len(prompts))
    yield Replied(len(replies), len(prompts), tuple(replies))
    return replies


def named(model, prompts, prompt_set, store):
    """What holds the word 'rival' looks harmful."""
    yield Progress("harmfulness", 1, 1)
    return Harmfulness({prompt: 1.0 if "rival" in prompt else -1.0 for prompt in prompts}, 0.0, 400, 20, 400, 240)


def enriched(model, prompts, prompt_set, store, settings):
    """Five lines a prompt by rules, one of them left out, and one by the model; what reads like markup is kept so."""
    made = []
    for number, prompt in enumerate(prompts):
        yield Progress("enrich", number, len(prompts))
        made += [
            Variant(f"Please tell me: {prompt}", prompt, "wording", "rules", True),
            Variant(f"I am a teacher, and a <b>pupil</b> asks: {prompt}", prompt, "perspective", "rules", True),
            Variant(f"Write a short list that answers: {prompt}", prompt, "form", "rules", True),
            Variant(f"{prompt} And what about it?", prompt, "form", "rules", False, "says something else"),
            Variant(f"{prompt.rstrip('?')} without being caught?", prompt, "twin", "rules", True),
        ]
        if settings.by_model:
            made.append(Variant(f"Auf Deutsch: {prompt}", prompt, "language", "model", True))
    yield Progress("enrich", len(prompts), len(prompts))
    return tuple(made)


def done(studio, session) -> None:
    end = time.monotonic() + 10
    while studio.job(session) or studio.job(session, quick=True):
        assert time.monotonic() < end
        time.sleep(0.005)


def tuned(model, prompts, settings, store):
    yield Progress("read", 1, 1)
    return Tuned(delta(), 0.75, (), (), ("Layer 3 was tuned.",))


def training(model, prompts, settings, store):
    """A tuning that is stopped before its end; its first loss is no number."""
    for step in range(1, 10_000):
        yield Step(step, 10_000, 1 / step if step > 1 else float("nan"), delta())
        time.sleep(0.002)


def train_and_stop(studio, session, monkeypatch) -> None:
    """Stops `training` in ``session`` once some of its losses have come."""
    monkeypatch.setattr(actor_core.tune, "tune", training)
    studio.tune(session, TuneSettings(method="published"), 4)
    while len(session.losses) < 3:
        time.sleep(0.005)
    studio.stop(session)
    done(studio, session)


def loading(request, data_dir, *, offline, release):
    yield Progress("load", 1, 1)
    return Model()


def writing(model, delta, kind, folder, *, strength, report, guard, **asked_for):
    """Instead of an export: a folder with a card that names the strength."""
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(f"{kind} at {strength:g}", encoding="utf-8")
    yield Progress("export", 1, 1)
    return SimpleNamespace(
        kind=kind,
        path=folder,
        bytes=1,
        checked=True,
        failed=False,
        check_words="Loaded again, same verdicts.",
        command=f"load {folder}",
        error_by_rank={},
    )


def take_the_place_of_the_core(put, pause: float = 0.0) -> None:
    """``put(module, name, value)`` as `setattr` does: nothing is slow any more but for ``pause`` seconds a prompt."""
    import actor_core.enrich
    import actor_core.export
    import actor_core.generate
    import actor_core.guard
    import actor_core.harmfulness
    import actor_core.tune
    import app.work

    def slowed(core, factor=1):
        def paused(*given, **others):
            work = core(*given, **others)
            while True:
                try:
                    event = next(work)
                except StopIteration as end:
                    return end.value
                time.sleep(factor * pause if isinstance(event, Progress) else 0)
                yield event

        return paused

    put(actor_core.generate, "answer", slowed(answers))
    put(actor_core.guard, "answer", slowed(answers))
    put(actor_core.enrich, "enrich", slowed(enriched, 50))  # long enough to be stopped
    put(actor_core.harmfulness, "name_harmful", named)
    put(actor_core.tune, "tune", tuned)
    put(actor_core.export, "export", writing)
    put(app.work, "load", loading)
