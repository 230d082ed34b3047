"""What memory loading and tuning are said to take, from the model's shape alone, beside what they took.

    python benchmarks/memory_estimates.py --precision fp32
    python benchmarks/memory_estimates.py --precision bf16 --counts 100 --layer 15
    python benchmarks/memory_estimates.py --loading

For 25, 100 and 400 prompts of a user, each in a process of its own: the largest resident size while the model was
loaded, and from then on while it was tuned; and what the process holds after the tuning, before and after what was
freed is given back. A --layer leaves out its choice, which is quicker and needs less than the rest.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import psutil
from peak_memory import PeakMemory, measured_apart
from real_model import arguments, finish, load, machine, tuned_on, tuning_prompts
from tuning_time import COUNTS

from actor_core.freed_memory import give_back
from actor_core.model_shape import Shape
from actor_core.presets import model_presets
from actor_core.readings import ReadingStore
from actor_core.tune import TuneSettings, tune

PRECISIONS = ("fp32", "bf16", "nf4")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--count", type=int, help="measure one number of prompts and print it as JSON")
    parser.add_argument("--counts", default=COUNTS, help="numbers of prompts, with commas between")
    parser.add_argument("--layer", type=int, help="tune this layer, counted from 0, instead of choosing one")
    parser.add_argument("--loading", action="store_true", help="of loading alone, in each precision")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.count:
        print(json.dumps(measure(options)))
        return
    rows = of_loading(options) if options.loading else of_tuning(options)
    text = "\n".join([f"{options.model}; {machine()}; {time.strftime('%Y-%m-%d')}", "", *rows])
    print(f"\n{text}")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def of_loading(options: Namespace) -> list[str]:
    """A row for each precision, of loading alone."""
    rows = ["| precision | loading GB | measured | off by |", "|---|---|---|---|"]
    for precision in PRECISIONS:
        m = _apart(options, precision, "--count", "1", "--loading")
        needs = Shape.of_preset(model_presets()[options.model]).needs(precision, m["device"])
        rows.append(f"| {precision} | {_against(needs.loading, m['loading'])} |")
        print(rows[-1], flush=True)
    return rows


def of_tuning(options: Namespace) -> list[str]:
    """A row for each number of prompts."""
    rows = [
        "| user's prompts | precision | loading GB | measured | off by | tuning GB | measured | off by | "
        "held after it | given back |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for count in options.counts.split(","):
        m = _apart(options, options.precision, "--count", count)
        needs = Shape.of_preset(model_presets()[options.model]).needs(m["precision"], m["device"], int(count))
        rows.append(
            f"| {count} | {m['precision']} | {_against(needs.loading, m['loading'])} | "
            f"{_against(needs.tuning, m['tuning'])} | {m['held'] / 1e9:.2f} | {m['given_back'] / 1e9:.2f} |"
        )
        print(rows[-1], flush=True)
    return rows


def _apart(options: Namespace, precision: str, *more: str) -> dict[str, Any]:
    command = [__file__, "--model", options.model, "--precision", precision, "--data-dir", str(options.data_dir)]
    command += ["--layer", str(options.layer)] if options.layer is not None else []
    return measured_apart([*command, *more])


def _against(estimate: int, measured: int) -> str:
    return f"{estimate / 1e9:.2f} | {measured / 1e9:.2f} | {estimate / measured - 1:+.0%}"


def measure(options: Namespace) -> dict[str, str | int]:
    """Bytes at the peak of loading and of tuning, and what is held after that."""
    with PeakMemory() as loading:
        model = load(options)
    if options.loading:
        return {"precision": model.precision, "device": model.device.type, "loading": loading.peak}
    own = tuned_on(options.count)
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
