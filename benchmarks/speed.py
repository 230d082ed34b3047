"""Three ways of tuning on the same prompts: seconds and memory, as ratios within one run on one machine.

    python benchmarks/speed.py

- *Second Take*: each prompt read once up to the tuned layer, then the closed form. Its row "with all that is chosen"
  is the whole tuning: the refusal's beginnings, the layer and the strength found too.
- *ACTOR's loop on the whole model* (arXiv 2507.04250, algorithm 1): each of 3 epochs runs every prompt through the
  model, one update a prompt, AdamW on the linear weights of one layer, R renewed every 50 steps.
- *LoRA SFT with PEFT*: `baselines/lora.py` with its settings, one epoch over as many examples as there are prompts.

Each is measured in a process of its own, so that its peak of memory is its own; loading the model does not count. Then
how reading and solving grow with the prompts and with the layer. What is learnt is thrown away.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from baselines.answers import lessons
from baselines.lora import LoraSettings, mean_log_likelihood, trained_adapter
from peak_memory import PeakMemory, measured_apart
from real_model import arguments, load, machine, tuning_prompts
from torch import Tensor, nn

from actor_core.direction import refusal_vector
from actor_core.events import finish
from actor_core.model import LoadedModel
from actor_core.readings import NOTHING_KEPT
from actor_core.solve import solve_ridge
from actor_core.targets import TrainingRows, TuningPrompts, drawn, training_rows
from actor_core.train import PublishedSettings, actor_loss, actor_targets
from actor_core.tune import TuneSettings, tune

ANCHORS = 64
GROWTH_PROMPTS = (25, 100, 400, 1600, 2500)
GROWTH_LAYERS = (4, 10, 16, 22)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--prompts", type=int, default=99, help="a third of each kind")
    parser.add_argument("--layer", type=int, default=15)
    parser.add_argument("--only", choices=[*SYSTEMS, "growth"], help="measure one and print it as JSON")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(growth(options) if options.only == "growth" else measured(options)))
        return
    rows = ["| system | seconds | times Second Take's | loaded GB | peak / loaded |", "|---|---|---|---|---|"]
    first = 0.0
    for name in SYSTEMS:
        m = _in_a_process(name, options)
        first = first or m["seconds"]
        rows.append(
            f"| {name} | {m['seconds']:.1f} | {m['seconds'] / first:.1f} | {m['loaded'] / 1e9:.2f} | "
            f"{m['peak'] / m['loaded']:.2f} |"
        )
        print(rows[-1], flush=True)
    rows += ["", "| prompts | layer | reading and solving, s | a prompt, ms |", "|---|---|---|---|"]
    for prompts, layer, seconds in _in_a_process("growth", options)["rows"]:
        rows.append(f"| {prompts} | {layer} | {seconds:.1f} | {1000 * seconds / prompts:.0f} |")
    about = (
        f"{options.model}; {options.prompts} prompts, layer {options.layer}; seed {options.seed}; {machine()}; "
        f"{time.strftime('%Y-%m-%d')}"
    )
    print(text := "\n".join([about, "", *rows]))
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def measured(options: Namespace) -> dict[str, Any]:
    """Seconds of one system, the process's bytes with the model loaded, and their peak."""
    model = load(options)
    prompts = some_prompts(options.prompts, options.seed)
    loaded = psutil.Process().memory_info().rss
    with PeakMemory() as memory:
        start = time.perf_counter()
        SYSTEMS[options.only](model, prompts, options)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "loaded": loaded, "peak": memory.peak}


def growth(options: Namespace) -> dict[str, Any]:
    """Rows of prompts, layer and seconds."""
    model = load(options)
    found = [(count, options.layer) for count in GROWTH_PROMPTS] + [(400, layer) for layer in GROWTH_LAYERS]
    rows = []
    for count, layer in found:
        start = time.perf_counter()
        read_and_solve(model, some_prompts(count, options.seed), Namespace(layer=layer, seed=options.seed))
        rows.append((count, layer, time.perf_counter() - start))
    return {"rows": rows}


def some_prompts(count: int, seed: int) -> TuningPrompts:
    """``count`` prompts of the project's set, a third of each kind; the first are those of a user."""
    every = tuning_prompts([])
    third = count // 3
    look_alikes = drawn(every.pseudo_harmful, count - 2 * third, seed)
    return replace(
        every,
        own=look_alikes[: max(1, third // 4)],
        pseudo_harmful=look_alikes[max(1, third // 4) :],
        harmful=drawn(every.harmful, third, seed),
        benign=drawn(every.benign, third, seed),
    )


def read_and_solve(model: LoadedModel, prompts: TuningPrompts, options: Namespace) -> None:
    """Each prompt up to the layer, and w by ridge regression."""
    settings = TuneSettings(seed=options.seed)
    rows = training_rows(prompts, harmful_weight=settings.harmful_weight)
    reading = finish(
        NOTHING_KEPT.read_rows(
            model, rows.prompts, prompts.of_the_set(), options.layer,
            other_tokens=settings.other_tokens, seed=options.seed,
        )
    )  # fmt: skip
    solve_ridge(
        reading.inputs, rows.indicators() / reading.gains[:, None], rows.weights, reading.others,
        ridge=settings.ridge, other_weight=settings.other_weight,
    )  # fmt: skip


def with_all_that_is_chosen(model: LoadedModel, prompts: TuningPrompts, options: Namespace) -> None:
    """What a user's click does on these prompts, nothing kept from before."""
    finish(tune(model, prompts, TuneSettings(seed=options.seed)))


def loop_on_the_whole_model(model: LoadedModel, prompts: TuningPrompts, options: Namespace) -> None:
    """ACTOR's loop as published, without keeping what enters the layer."""
    settings = PublishedSettings(centred=False, batch_size=1)
    rows = training_rows(prompts, harmful_weight=1.0)
    signs = torch.where(rows.are("harmful"), 1.0, -1.0)
    step = 0
    with trainable(model, options.layer) as weights:
        optimiser = torch.optim.AdamW(weights, lr=settings.learning_rate)
        for epoch in range(settings.epochs):
            order = torch.randperm(len(rows.prompts), generator=torch.Generator().manual_seed(options.seed + epoch))
            for row in order.tolist():
                if step % settings.refresh == 0:
                    r = _refusal_vector_now(model, rows, options.layer)
                a = last_states(model, [rows.prompts[row]], options.layer)
                targets = actor_targets(a.detach(), r, signs[[row]], settings.alpha, torch.zeros_like(r))
                optimiser.zero_grad()
                actor_loss(a, targets).backward()
                optimiser.step()
                step += 1


def lora_sft(model: LoadedModel, prompts: TuningPrompts, options: Namespace) -> None:
    """One epoch of LoRA on every layer."""
    examples = lessons(prompts, options.prompts, options.seed)
    trained_adapter(
        model, examples, lambda batch: -mean_log_likelihood(model, batch).mean(), LoraSettings(), seed=options.seed
    )


SYSTEMS: dict[str, Callable[[LoadedModel, TuningPrompts, Namespace], None]] = {
    "Second Take": read_and_solve,
    "Second Take, with all that is chosen": with_all_that_is_chosen,
    "ACTOR's loop on the whole model": loop_on_the_whole_model,
    "LoRA SFT with PEFT": lora_sft,
}


@contextmanager
def trainable(model: LoadedModel, layer: int) -> Iterator[list[Tensor]]:
    """The linear weights of ``layer`` with gradients; they are as before afterwards."""
    linear = [module for module in model.layers[layer].modules() if isinstance(module, nn.Linear)]
    before = [module.weight.detach().clone() for module in linear]
    with model.lock, torch.enable_grad():
        for module in linear:
            module.weight.requires_grad_(True)
        try:
            yield [module.weight for module in linear]
        finally:
            for module, weight in zip(linear, before, strict=True):
                module.weight.requires_grad_(False)
                module.weight.copy_(weight)


def last_states(model: LoadedModel, prompts: list[str], layer: int) -> Tensor:
    """a(q) in fp32 by a pass through the whole model, shape [n, d_model]."""
    (batch,) = model.batches(prompts, max_tokens=10**9, max_rows=len(prompts))
    states = model.model(**batch.inputs(), use_cache=False, output_hidden_states=True, logits_to_keep=1).hidden_states
    return states[layer + 1][:, -1].float()


def _refusal_vector_now(model: LoadedModel, rows: TrainingRows, layer: int) -> Tensor:
    with torch.no_grad():
        harmful, benign = (last_states(model, rows.of(kind)[:ANCHORS], layer) for kind in ("harmful", "benign"))
    return refusal_vector(harmful, benign)


def _in_a_process(name: str, options: Namespace) -> dict[str, Any]:
    command = [__file__, "--only", name, "--prompts", str(options.prompts)]
    command += ["--layer", str(options.layer), "--model", options.model, "--precision", options.precision]
    return measured_apart([*command, "--data-dir", str(options.data_dir), "--seed", str(options.seed)])


if __name__ == "__main__":
    main()
