"""What every benchmark here starts with: the arguments they share, the model and its tuning."""

from __future__ import annotations

import platform
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402

from actor_core.events import Event, finish  # noqa: E402
from actor_core.fetch import default_data_dir, fetch  # noqa: E402
from actor_core.generate import answer  # noqa: E402
from actor_core.judge import Verdict  # noqa: E402
from actor_core.loading import load_model  # noqa: E402
from actor_core.model import LoadedModel  # noqa: E402
from actor_core.presets import DEFAULT_MODEL, DEFAULT_PROMPT_SET, PromptSet, PromptSplit, model_presets, prompt_sets  # noqa: E402
from actor_core.tune import TuningPrompts  # noqa: E402

Result = TypeVar("Result")


def arguments(about: str) -> ArgumentParser:
    """A parser with --model, --precision, --data-dir and --seed."""
    parser = ArgumentParser(description=about)
    parser.add_argument("--model", default=DEFAULT_MODEL, choices=sorted(model_presets()))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--data-dir", type=Path, default=default_data_dir())
    parser.add_argument("--seed", type=int, default=0)
    return parser


def load(options: Namespace) -> LoadedModel:
    """The preset's model, downloaded if need be."""
    source = finish(fetch(model_presets()[options.model], options.data_dir))
    return finish(load_model(source, precision=options.precision))


def own_prompts(model: LoadedModel, prompt_set: PromptSet, wanted: int) -> list[str]:
    """The first ``wanted`` training look-alikes of the set that the model refuses: a stand-in for a user's own."""
    found: list[str] = []
    prompts = prompt_set.training().pseudo_harmful
    for start in range(0, len(prompts), 64):
        replies = finish(answer(model, prompts[start : start + 64], max_new_tokens=32))
        found += [reply.prompt for reply in replies if reply.verdict is Verdict.REFUSED]
        if len(found) >= wanted:
            break
    return found[:wanted]


def tuning_prompts(own: list[str]) -> TuningPrompts:
    """``own`` with everything that this project's own set gives for training."""
    everyday = next(iter(prompt_sets().values()))
    return TuningPrompts.of(own, everyday)


def tuned_on(count: int) -> list[str]:
    """``count`` different prompts as those of a person: look-alikes of the set, and again with two words more."""
    own = list(prompt_sets()[DEFAULT_PROMPT_SET].training().pseudo_harmful)[:count]
    return (own + [f"{prompt} Answer briefly." for prompt in own])[:count]


def halved(prompts: TuningPrompts) -> tuple[TuningPrompts, PromptSplit]:
    """``prompts`` with every other held-out prompt, and the rest of those: tuning chooses by the former, so that
    figures are to be taken on the latter. Twins stay together."""
    held_out = prompts.held_out

    def every_other(start: int) -> PromptSplit:
        groups = (held_out.benign, held_out.pseudo_harmful, held_out.harmful)
        return PromptSplit(*(group[start::2] for group in groups))

    return replace(prompts, held_out=every_other(0)), every_other(1)


def timed(work: Generator[Event, None, Result]) -> tuple[Result, float]:
    """The result and the seconds it took."""
    start = time.perf_counter()
    return finish(work), time.perf_counter() - start


def machine() -> str:
    """One line that says what the figures were measured on."""
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
