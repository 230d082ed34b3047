"""Whether ten prompts of one person's kind are enough to have others of that kind answered.

    python benchmarks/own_kind.py

For each file of `benchmarks/prompts/kinds/` (40 harmless prompts of one person: a gardener, a writer of crime
novels, ...) the untuned model is asked all of them. 20 are held out, with as large a share refused as among the 40;
up to 10 of the other refused ones become the user's own prompts. (Were the own ones taken first, hardly a refused one
would be left to measure on.) The model is tuned with them and this project's own set, and the 20 are asked again, as
are held-out harmful prompts of the set, of the half that the strength was not chosen by. Prints one Markdown table
and keeps it with ``--out``; no reply is printed or kept.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from real_model import arguments, halved, load, machine, timed, tuning_prompts

from actor_core.errors import NothingToRepair
from actor_core.evaluate import Rates, wilson
from actor_core.events import finish
from actor_core.generate import Reply, answer
from actor_core.judge import Verdict
from actor_core.model import LoadedModel
from actor_core.readings import ReadingStore
from actor_core.targets import drawn
from actor_core.tune import TuneSettings, tune

KINDS = Path(__file__).resolve().parent / "prompts" / "kinds"
HEADER = (
    "| kind | refused | own | others answered, untuned | tuned | harmful refused, untuned | tuned | "
    "no longer refused | layer | strength | s |"
)


@dataclass(frozen=True)
class Kind:
    """One person's prompts: those given to the program, and others that it never sees."""

    name: str
    refused: int
    own: list[str]
    others: list[Reply]  # the untuned replies


def main() -> None:
    options = _options()
    model = load(options)
    _, unseen = halved(tuning_prompts([]))
    harmful_prompts = drawn(unseen.harmful, options.harmful, options.seed)
    harmful = finish(answer(model, harmful_prompts, max_new_tokens=options.tokens))
    rows = [HEADER, "|---" * HEADER.count(" | ") + "|---|"]
    totals: list[tuple[Rates, Rates]] = []
    for path in sorted(KINDS.glob("*.txt")):
        if options.kinds and path.stem not in options.kinds:
            continue
        kind = read_kind(model, path, options)
        row, rates = measured(model, kind, harmful, options)
        rows.append(row)
        totals += [rates] if rates else []
        print(row, flush=True)
    rows.append(_total(totals))
    text = "\n".join(
        [
            f"{model.source.name}, {model.precision}; greedy, {options.tokens} tokens; seed {options.seed}; "
            f"{machine()}; {time.strftime('%Y-%m-%d')}. Shares with 95 % Wilson intervals.",
            "",
            *rows,
        ]
    )
    print(f"\n{text}")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def _options() -> Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--kinds", nargs="*", help="names of files without their ending; all where none is given")
    parser.add_argument("--own", type=int, default=10, help="at most this many prompts are the user's own")
    parser.add_argument("--others", type=int, default=20, help="how many others of the kind are measured")
    parser.add_argument("--harmful", type=int, default=100, help="how many held-out harmful prompts are measured")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def read_kind(model: LoadedModel, path: Path, options: Namespace) -> Kind:
    """Asks the untuned model every prompt of the file; the others and the own ones are drawn with the seed."""
    prompts = path.read_text(encoding="utf-8").splitlines()
    replies = finish(answer(model, prompts, max_new_tokens=options.tokens))
    by_prompt = {reply.prompt: reply for reply in replies}
    refused = [prompt for prompt in prompts if by_prompt[prompt].verdict is Verdict.REFUSED]
    not_refused = [prompt for prompt in prompts if prompt not in refused]
    share = round(options.others * len(refused) / len(prompts))
    others = drawn(refused, share, options.seed) + drawn(not_refused, options.others - share, options.seed)
    own = drawn([prompt for prompt in refused if prompt not in others], options.own, options.seed)
    return Kind(path.stem.replace("_", " "), len(refused), own, [by_prompt[prompt] for prompt in others])


def measured(
    model: LoadedModel, kind: Kind, harmful: Sequence[Reply], options: Namespace
) -> tuple[str, tuple[Rates, Rates] | None]:
    """The row of ``kind``, and the rates of its other prompts before and after; none where nothing was tuned."""
    before = Rates.of(kind.others)
    beginning = f"| {kind.name} | {kind.refused} | {len(kind.own)} | {_share(before, 'answered')} |"
    try:
        prompts, _ = halved(tuning_prompts(kind.own))
        settings = TuneSettings(seed=options.seed, layer=options.layer)
        tuned, seconds = timed(tune(model, prompts, settings, ReadingStore.of(options.data_dir)))
    except NothingToRepair:
        return f"{beginning} nothing to repair | {_share(Rates.of(harmful), 'refused')} | | | | | |", None

    def again(replies: Sequence[Reply]) -> list[Reply]:
        prompts = [reply.prompt for reply in replies]
        return finish(answer(model, prompts, delta=tuned.delta, strength=tuned.strength, max_new_tokens=options.tokens))

    after, harmful_after = Rates.of(again(kind.others)), again(harmful)
    lost = sum(
        b.verdict is Verdict.REFUSED and a.verdict is not Verdict.REFUSED
        for b, a in zip(harmful, harmful_after, strict=True)
    )
    row = (
        f"{beginning} {_share(after, 'answered')} | {_share(Rates.of(harmful), 'refused')} | "
        f"{_share(Rates.of(harmful_after), 'refused')} | {lost} | {tuned.delta.layer} | {tuned.strength:g} | "
        f"{seconds:.0f} |"
    )
    return row, (before, after)


def _total(kinds: Sequence[tuple[Rates, Rates]]) -> str:
    """The row of all kinds that were tuned for together."""
    cells = []
    for arm in (0, 1):
        answered, n = sum(rates[arm].answered for rates in kinds), sum(rates[arm].n for rates in kinds)
        low, high = wilson(answered, n)
        cells.append(f"{answered / max(n, 1):.3f} ({low:.3f}–{high:.3f})")
    return f"| all tuned for ({len(kinds)}) | | | {cells[0]} | {cells[1]} | | | | | | |"


def _share(rates: Rates, verdict: str) -> str:
    share, low, high = rates.share(verdict)
    return f"{share:.3f} ({low:.3f}–{high:.3f})"


if __name__ == "__main__":
    main()
