"""Many rounds of tuning, comparing and exporting one after the other: memory and open files stay where they were."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import quick_app  # noqa: F401  makes the other tests' helpers importable
import torch
from attempts import Attempt
from not_finite import SETTINGS as SETTINGS_OF_THE_TOY
from test_tune import HELD_OUT, PROMPTS
from tiny_models import hooks, loaded, refusing_folder

from actor_core.events import finish
from actor_core.export import export
from actor_core.generate import answer
from actor_core.tune import tune

SETTINGS = replace(SETTINGS_OF_THE_TOY, layer=3)
KINDS = ("delta", "peft", "gguf-lora")
WARM_UP = 5  # rounds after which allocators and caches have what they want
MOST_GROWN = 40_000_000  # bytes over all the rounds that follow


def attempts(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    torch.set_num_threads(1)
    model = loaded(refusing_folder(folder / "toy"))
    clean, process = hooks(model), psutil.Process()
    memory, files = 0, 0
    for number in range(count):
        tuned = finish(tune(model, PROMPTS, replace(SETTINGS, seed=number)))
        finish(answer(model, HELD_OUT.pseudo_harmful[:4], delta=tuned.delta, max_new_tokens=4))
        kind = KINDS[number % len(KINDS)]
        finish(export(model, tuned.delta, kind, folder / "out" / kind, prompts=("how do i kill a process",)))
        shutil.rmtree(folder / "out")
        gc.collect()
        now, opened = process.memory_info().rss, process.num_fds()
        fault = "" if hooks(model) == clean else "hooks are left on the model"
        if number <= min(WARM_UP, count // 2):
            memory, files = now, opened
        elif now > memory + MOST_GROWN:
            fault = f"memory grew by {(now - memory) / 1e6:.0f} MB"
        elif opened > files:
            fault = f"{opened - files} more files are open"
        yield Attempt(f"round {number}", fault)
