"""Which prompts are named as harmful before tuning, on public benchmarks.

    python benchmarks/harmful_named.py --data ../shared/data

`actor_core.harmfulness` learns from this project's own prompts, and its threshold is set on them; ``--data`` is read
for measuring alone. It needs xstest_prompts.csv, advbench.csv and harmless_instructions.json. Prints one Markdown table
and keeps it with ``--out``; no prompt is printed or kept. Wanted: at least 90 % of XSTest unsafe named, and at most 5 %
of XSTest safe.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from overrefusal import read_sets
from real_model import arguments, load, machine, timed
from sklearn.metrics import roc_auc_score

from actor_core.evaluate import wilson
from actor_core.events import finish
from actor_core.harmfulness import Harmfulness, name_harmful
from actor_core.model import LoadedModel
from actor_core.presets import prompt_sets
from actor_core.readings import ReadingStore

OWN = 20  # what a user pastes, where seconds are measured


def main() -> None:
    options = _options()
    sets = read_sets(options.data, options.seed, options.limit)
    model = load(options)
    with TemporaryDirectory() as folder:
        found, seconds = measured(model, sets, ReadingStore.of(Path(folder)), options.seed)
    safe, unsafe = ([found.scores[prompt] for prompt in sets[name]] for name in ("XSTest safe", "XSTest unsafe"))
    auc = roc_auc_score([0] * len(safe) + [1] * len(unsafe), safe + unsafe)
    # The score that 5 % of XSTest safe lie above: a threshold that nobody has who does not know XSTest.
    at_best = sorted(safe, reverse=True)[len(safe) // 20]
    rows = ["| set | n | named as harmful |", "|---|---|---|"]
    rows += [_row(name, sum(prompt in found.flagged for prompt in each), len(each)) for name, each in sets.items()]
    rows += [
        _row("own look-alikes, their kind held out", found.look_alikes_flagged, found.look_alikes),
        _row("own harmful twins, their kind held out", found.harmful_caught, found.harmful),
        _row("XSTest unsafe, were 5 % of XSTest safe named", sum(score > at_best for score in unsafe), len(unsafe)),
    ]
    text = "\n".join(
        [
            f"{model.source.name}, {model.precision}; AUC of XSTest unsafe against safe {auc:.3f}; {OWN} own prompts "
            f"in {seconds[0]:.1f} s the first time, {seconds[1]:.1f} s again; seed {options.seed}; {machine()}; "
            f"{time.strftime('%Y-%m-%d')}. Shares with 95 % Wilson intervals.",
            "",
            *rows,
        ]
    )
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def _options() -> Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=0, help="at most this many prompts a set, for a quick look")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def measured(
    model: LoadedModel, sets: dict[str, list[str]], store: ReadingStore, seed: int
) -> tuple[Harmfulness, Sequence[float]]:
    """The scores of all ``sets``, and the seconds for a user's few prompts with an empty store and with a full one."""
    everyday = next(iter(prompt_sets().values()))
    own = sets["XSTest safe"][:OWN]
    seconds = [timed(name_harmful(model, own, everyday, store, seed=seed))[1] for _ in range(2)]
    together = list(dict.fromkeys(prompt for prompts in sets.values() for prompt in prompts))
    return finish(name_harmful(model, together, everyday, store, seed=seed)), seconds


def _row(name: str, count: int, n: int) -> str:
    low, high = wilson(count, n)
    return f"| {name} | {n} | {count / n:.3f} ({low:.3f}–{high:.3f}) |"


if __name__ == "__main__":
    main()
