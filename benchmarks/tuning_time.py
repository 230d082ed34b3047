"""How long tuning takes beside reading the prompts, and how much memory it takes beside the model.

    python benchmarks/tuning_time.py
    python benchmarks/tuning_time.py --counts 100
    python benchmarks/tuning_time.py --counts 100 --set-share 0.25

For 25, 100 and 400 prompts of a user, each in a process of its own: seconds of reading (every
training prompt once, up to the layer that is tuned), of solving, and of the whole; of tuning once more,
when the set's prompts were read before; and the peak of the process's memory during the first tuning, over
what it holds with the model loaded.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from peak_memory import PeakMemory, measured_apart
from real_model import arguments, load, machine, timed, tuned_on, tuning_prompts

from actor_core.events import Progress
from actor_core.readings import ReadingStore
from actor_core.tune import TuneSettings, tune

COUNTS = "25,100,400"


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--count", type=int, help="measure one number of prompts and print it as JSON")
    parser.add_argument("--counts", default=COUNTS, help="numbers of prompts, with commas between")
    parser.add_argument("--set-share", type=float, default=1.0, help="of the prompt set's prompts to learn from")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.count:
        print(json.dumps(measure(options)))
        return
    rows = [
        "| user's prompts | read | reading s | solving s | whole s | whole / reading | again s | loaded GB | "
        "peak / loaded |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for count in options.counts.split(","):
        command = [__file__, "--count", count, "--model", options.model, "--set-share", str(options.set_share)]
        m = measured_apart([*command, "--precision", options.precision, "--data-dir", str(options.data_dir)])
        rows.append(
            f"| {count} | {m['read']} | {m['reading']:.1f} | {m['solving']:.1f} | {m['whole']:.1f} | "
            f"{m['whole'] / m['reading']:.2f} | {m['again']:.1f} | {m['loaded'] / 1e9:.2f} | "
            f"{m['peak'] / m['loaded']:.2f} |"
        )
        print(rows[-1], flush=True)
    share = f"learning from {options.set_share:g} of the set; " if options.set_share < 1 else ""
    text = "\n".join([f"{options.model}; {share}{machine()}; {time.strftime('%Y-%m-%d')}", "", *rows])
    print(f"\n{text}")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def measure(options: Namespace) -> dict[str, float]:
    """Two tunings with ``options.count`` prompts: seconds by stage of the first, and of the whole; bytes of memory."""
    model = load(options)
    own = tuned_on(options.count)
    settings = TuneSettings(seed=options.seed, set_share=options.set_share)
    loaded = psutil.Process().memory_info().rss
    seconds: dict[str, float] = defaultdict(float)
    read = 0
    with TemporaryDirectory() as folder:
        store = ReadingStore.of(Path(folder))
        with PeakMemory() as memory:
            start = last = time.perf_counter()
            for event in tune(model, tuning_prompts(own), settings, store):
                now = time.perf_counter()
                if isinstance(event, Progress):
                    seconds[event.stage] += now - last
                    read += event.total if event.stage == "read" and event.done == event.total else 0
                last = now
            whole = time.perf_counter() - start
        _, again = timed(tune(model, tuning_prompts(own), settings, store))
    return {
        "read": read,
        "reading": seconds["read"],
        "solving": seconds["solve"],
        "whole": whole,
        "again": again,
        "loaded": loaded,
        "peak": memory.peak,
    }


if __name__ == "__main__":
    main()
