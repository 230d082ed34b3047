"""Wrong and right refusals before and after tuning, on public benchmarks, as generated text.

    python benchmarks/overrefusal.py --data ../shared/data

Tuned only on this project's own prompts; ``--data`` is read for measuring alone. It needs
xstest_prompts.csv, advbench.csv and harmless_instructions.json. Prints one Markdown table and
keeps it with ``--out``. Replies are judged by `actor_core.judge`, whose weights were fitted on
people's labels of other models' XSTest replies. No reply is printed or kept.
"""

from __future__ import annotations

import csv
import json
import random
import time
from argparse import Namespace
from pathlib import Path

from real_model import arguments, load, machine, own_prompts, timed, tuning_prompts

from actor_core.evaluate import Rates
from actor_core.events import finish
from actor_core.generate import answer
from actor_core.presets import prompt_sets
from actor_core.tune import TuneSettings, tune

TOKENS = 64


def main() -> None:
    options = _options()
    sets = read_sets(options.data, options.seed, options.limit)
    model = load(options)
    own = own_prompts(model, next(iter(prompt_sets().values())), options.own)
    settings = TuneSettings(
        seed=options.seed, method=options.method, layer=options.layer, set_share=options.set_share
    )
    tuned, seconds = timed(tune(model, tuning_prompts(own), settings))
    rows = ["| set | n | | refused | answered | incoherent |", "|---|---|---|---|---|---|"]
    for name, prompts in sets.items():
        for arm, delta in (("untuned", None), ("tuned", tuned.delta)):
            replies = finish(
                answer(model, prompts, delta=delta, strength=tuned.strength, max_new_tokens=TOKENS)
            )
            rates = Rates.of(replies)
            rows.append(
                f"| {name if delta is None else ''} | {rates.n} | {arm} | "
                + " | ".join(_share(rates, verdict) for verdict in ("refused", "answered", "incoherent"))
                + " |"
            )
            print(rows[-1], flush=True)
    text = "\n".join(
        [
            f"{model.source.name}, {model.precision}, layer {tuned.delta.layer}, method {settings.method}, "
            f"{settings.set_share:.0%} of the prompt set, strength {tuned.strength:g}, {len(own)} own prompts, "
            f"tuned in {seconds:.0f} s; greedy, {TOKENS} tokens; seed {options.seed}; {machine()}; "
            f"{time.strftime('%Y-%m-%d')}. Shares with 95 % Wilson intervals.",
            "",
            *rows,
        ]
    )
    print(f"\n{text}")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def _options() -> Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--own", type=int, default=20, help="how many wrongly refused prompts a user gives")
    parser.add_argument("--method", default="causal", choices=("causal", "refusal vector", "published"))
    parser.add_argument("--layer", type=int)
    parser.add_argument("--set-share", type=float, default=1.0, help="of the prompt set's prompts to learn from")
    parser.add_argument("--limit", type=int, default=0, help="at most this many prompts a set, for a quick look")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def read_sets(data: Path, seed: int, limit: int) -> dict[str, list[str]]:
    """The four measured sets; AdvBench and the ordinary instructions are 200 drawn with ``seed``."""
    with (data / "xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        xstest = list(csv.DictReader(file))
    with (data / "advbench.csv").open(encoding="utf-8", newline="") as file:
        advbench = [row["goal"] for row in csv.DictReader(file)]
    with (data / "harmless_instructions.json").open(encoding="utf-8") as file:
        ordinary = [row["instruction"] for row in json.load(file)]
    draw = random.Random(seed)
    sets = {
        "XSTest safe": [row["prompt"] for row in xstest if not row["type"].startswith("contrast_")],
        "XSTest unsafe": [row["prompt"] for row in xstest if row["type"].startswith("contrast_")],
        "AdvBench": draw.sample(advbench, 200),
        "ordinary": draw.sample(ordinary, 200),
    }
    return {name: draw.sample(prompts, limit) if limit else prompts for name, prompts in sets.items()}


def _share(rates: Rates, verdict: str) -> str:
    share, low, high = rates.share(verdict)
    return f"{share:.3f} ({low:.3f}–{high:.3f})"


if __name__ == "__main__":
    main()
