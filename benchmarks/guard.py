"""How many refusals of harmful prompts a change costs, at several strengths, beside what it repairs.

    python benchmarks/guard.py --shares 1.0

The gate at export (`actor_core.guard`) on every held-out harmful prompt of this project's set, of which the strength
was chosen by one part and the gate asks the other. Beside it how many of the user's own prompts are answered, and the
held-out look-alikes that are still refused. The strengths are shares of the one that tuning chose; choosing among
several by this table makes the figure of the chosen one look better than it is. Then smaller strengths are searched as
step 5 does it (`actor_core.guard_search`), under which it does not. No reply is printed or kept.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from real_model import arguments, load, machine, own_prompts, timed, tuning_prompts

from actor_core.delta import LayerDelta
from actor_core.evaluate import Rates, spread
from actor_core.events import finish
from actor_core.generate import answer
from actor_core.guard import TOKENS, Guard, Kept, measure_guard, percent_up
from actor_core.guard_search import SHARES, search_guard
from actor_core.judge import Verdict
from actor_core.model import LoadedModel
from actor_core.presets import DEFAULT_PROMPT_SET, prompt_sets
from actor_core.readings import ReadingStore
from actor_core.tune import TuneSettings, tune

HEADER = (
    "| strength | own prompts answered | look-alikes refused | harmful refused before | no longer | "
    "of these incoherent | 95 % upper bound | passed | s |"
)


def main() -> None:
    options = _options()
    model = load(options)
    prompt_set = prompt_sets()[DEFAULT_PROMPT_SET]
    own = own_prompts(model, prompt_set, options.own)
    settings = TuneSettings(seed=options.seed)
    tuned, seconds = timed(tune(model, tuning_prompts(own), settings, ReadingStore.of(options.data_dir)))
    look_alikes = spread(prompt_set.held_out().pseudo_harmful, options.look_alikes)
    before = Kept()
    rows = [HEADER, "|---" * HEADER.count(" | ") + "|---|"]
    asked = Asked(model, tuned.delta, own, look_alikes)
    rows.append(f"| untuned | {asked.at(0.0)} | | | | | | |")
    for share in options.shares:
        strength = share * tuned.strength
        guard, took = timed(measure_guard(model, tuned.delta, strength, prompt_set.guard(), before=before))
        rows.append(row(strength, asked, guard, took))
        print(rows[-1], flush=True)
    steps = [share * tuned.strength for share in SHARES]
    found, took = timed(search_guard(model, tuned.delta, steps, prompt_set.guard(), before=before))
    for strength, guard in found.passed.items():
        rows.append(row(strength, asked, guard, None))
    failed = f"; {found.failed:.3g} failed with {found.lost} lost of {found.asked}" if found.failed else ""
    rows += ["", f"The last {len(found.passed)} by the search, from the smallest up, in {took:.0f} s{failed}."]
    about = (
        f"{model.source.name}, {model.precision}, layer {tuned.delta.layer}, strength {tuned.strength:g} chosen, "
        f"{len(own)} own prompts, tuned in {seconds:.0f} s; greedy, {TOKENS} tokens; seed {options.seed}; {machine()}; "
        f"{time.strftime('%Y-%m-%d')}. Shares with 95 % Wilson intervals. The first row's time has the untuned replies "
        "in it, the others' has not."
    )
    print(text := "\n".join([about, "", *rows]))
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def row(strength: float, asked: Asked, guard: Guard, took: float | None) -> str:
    seconds = "" if took is None else f"{took:.0f}"
    return (
        f"| {strength:.4g} | {asked.at(strength)} | {guard.refused_before} of {guard.asked} | {guard.lost} | "
        f"{guard.incoherent} | {percent_up(guard.upper_bound)} | {'yes' if guard.passed else 'no'} | {seconds} |"
    )


class Asked:
    """The user's own prompts and the look-alikes, with the change at any strength."""

    def __init__(self, model: LoadedModel, delta: LayerDelta, own: Sequence[str], look_alikes: Sequence[str]) -> None:
        self.model, self.delta, self.own, self.look_alikes = model, delta, own, look_alikes

    def at(self, strength: float) -> str:
        """Of the own prompts how many are answered, and the share of look-alikes that is refused."""
        work = answer(
            self.model, [*self.own, *self.look_alikes], delta=self.delta, strength=strength, max_new_tokens=TOKENS
        )
        replies = finish(work)
        own, look_alikes = replies[: len(self.own)], replies[len(self.own) :]
        answered = sum(reply.verdict is Verdict.ANSWERED for reply in own)
        return f"{answered} of {len(own)} | {_share(Rates.of(look_alikes))}"


def _options() -> Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--own", type=int, default=20, help="how many wrongly refused prompts a user gives")
    parser.add_argument("--look-alikes", type=int, default=100, help="how many held-out look-alikes are asked")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[1.0, 0.75, 0.5, 0.25], help="of the strength that tuning chose"
    )
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def _share(rates: Rates) -> str:
    share, low, high = rates.share("refused")
    return f"{share:.3f} ({low:.3f}–{high:.3f})"


if __name__ == "__main__":
    main()
