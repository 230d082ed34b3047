"""What memory loading and tuning are said to take, from the model's shape alone, beside what they took.

    python benchmarks/memory_estimates.py --precision fp32
    python benchmarks/memory_estimates.py --precision bf16 --counts 100 --layer 15

For 25, 100 and 400 prompts of a user, each in a process of its own: the largest resident size while the model was
loaded, and from then on while it was tuned; and what the process holds after the tuning, before and after what was
freed is given back. A --layer leaves out its choice, which is quicker and needs less than the rest.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import psutil
from real_model import arguments, finish, load, machine, tuning_prompts
from tuning_time import COUNTS, PeakMemory

from actor_core.freed_memory import give_back
from actor_core.model_shape import Shape
from actor_core.presets import model_presets, prompt_sets
from actor_core.readings import ReadingStore
from actor_core.tune import TuneSettings, tune


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--count", type=int, help="measure one number of prompts and print it as JSON")
    parser.add_argument("--counts", default=COUNTS, help="numbers of prompts, with commas between")
    parser.add_argument("--layer", type=int, help="tune this layer, counted from 0, instead of choosing one")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.count:
        print(json.dumps(measure(options)))
        return
    rows = [
        "| user's prompts | precision | loading GB | measured | off by | tuning GB | measured | off by | "
        "held after it | given back |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for count in options.counts.split(","):
        command = [sys.executable, __file__, "--count", count, "--model", options.model]
        command += ["--precision", options.precision, "--data-dir", str(options.data_dir)]
        command += ["--layer", str(options.layer)] if options.layer is not None else []
        m = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        needs = Shape.of_preset(model_presets()[options.model]).needs(m["precision"], m["device"], int(count))
        rows.append(
            f"| {count} | {m['precision']} | {_against(needs.loading, m['loading'])} | "
            f"{_against(needs.tuning, m['tuning'])} | {m['held'] / 1e9:.2f} | {m['given_back'] / 1e9:.2f} |"
        )
        print(rows[-1], flush=True)
    text = "\n".join([f"{options.model}; {machine()}; {time.strftime('%Y-%m-%d')}", "", *rows])
    print(f"\n{text}")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def _against(estimate: int, measured: int) -> str:
    return f"{estimate / 1e9:.2f} | {measured / 1e9:.2f} | {estimate / measured - 1:+.0%}"


def measure(options: Namespace) -> dict[str, str | int]:
    """Bytes at the peak of loading and of tuning, and what is held after that."""
    with PeakMemory() as loading:
        model = load(options)
    own = list(prompt_sets()["everyday"].training().pseudo_harmful)[: options.count]
    own = (own + [f"{prompt} Answer briefly." for prompt in own])[: options.count]
    store = ReadingStore.of(options.data_dir)
    with PeakMemory() as tuning:
        finish(tune(model, tuning_prompts(own), TuneSettings(layer=options.layer, seed=options.seed), store))
    process = psutil.Process()
    held = process.memory_info().rss
    give_back()
    return {
        "precision": model.precision,
        "device": model.device.type,
        "loading": loading.peak,
        "tuning": tuning.peak,
        "held": held,
        "given_back": held - process.memory_info().rss,
    }


if __name__ == "__main__":
    main()
