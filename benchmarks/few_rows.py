"""A token's linear layers, and replies, by way of x Wᵀ (torch's own) and of W xᵀ (`actor_core.few_rows`).

    python benchmarks/few_rows.py

Both ways are timed in turns within one run, whichever of them the program would take on this machine: what counts is
the ratio. No reply is printed or kept.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from statistics import median

import torch
from real_model import arguments, load, machine, timed
from torch import nn

from actor_core import few_rows
from actor_core.evaluate import spread
from actor_core.few_rows import FewRowsLinear
from actor_core.generate import answer
from actor_core.model import LoadedModel
from actor_core.presets import DEFAULT_PROMPT_SET, prompt_sets

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
REPLIES = (4, 8, 16, 32)
WAYS = (nn.Linear, FewRowsLinear)


def main() -> None:
    options = _options()
    model = load(options)
    taken = any(isinstance(module, FewRowsLinear) for module in model.model.modules())
    print(f"{model.source.name}, {model.precision}, {machine()}. Taken here: {'W xᵀ' if taken else 'x Wᵀ'}.")
    linear = [m for m in model.model.modules() if type(m) in WAYS and m.weight.numel() >= few_rows.LEAST_NUMBERS]
    few_rows.MOST_ROWS = max(ROWS)
    print("\n| rows | x Wᵀ, ms | W xᵀ, ms | ratio |\n|---|---|---|---|")
    for rows in ROWS:
        print(_row(rows, 1e3, _of_a_token(linear, rows, options.times)), flush=True)
    few_rows.MOST_ROWS = options.most
    prompts = spread(prompt_sets()[DEFAULT_PROMPT_SET].held_out().pseudo_harmful, max(REPLIES))
    print(f"\n| replies of {options.tokens} tokens | x Wᵀ, s | W xᵀ, s | ratio |\n|---|---|---|---|")
    for number in REPLIES:
        print(_row(number, 1, _of_replies(model, linear, prompts[:number], options)), flush=True)


def _of_a_token(linear: list[nn.Linear], rows: int, times: int) -> list[float]:
    """Median seconds of each way through all ``linear`` layers, one after the other."""
    entering = {width: torch.randn(rows, width).to(linear[0].weight) for width in {m.in_features for m in linear}}

    def through(way: type[nn.Linear]) -> Callable[[], object]:
        return lambda: [way.forward(module, entering[module.in_features]) for module in linear]

    with torch.inference_mode():
        return _in_turns([through(way) for way in WAYS], times)


def _of_replies(model: LoadedModel, linear: list[nn.Linear], prompts: list[str], options: Namespace) -> list[float]:
    seconds: list[list[float]] = [[], []]
    for _ in range(options.times // 2 + 1):
        for number, way in enumerate(WAYS):
            for module in linear:
                module.__class__ = way
            seconds[number].append(timed(answer(model, prompts, max_new_tokens=options.tokens))[1])
    return [median(each) for each in seconds]


def _in_turns(works: list[Callable[[], object]], times: int) -> list[float]:
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(times + 1):  # the first warms up
        for number, work in enumerate(works):
            start = time.perf_counter()
            work()
            seconds[number].append(time.perf_counter() - start)
    return [median(each[1:]) for each in seconds]


def _row(number: int, unit: float, seconds: list[float]) -> str:
    one, other = seconds
    return f"| {number} | {one * unit:.1f} | {other * unit:.1f} | {one / other:.2f} |"


def _options() -> Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--most", type=int, default=few_rows.MOST_ROWS, help="rows that count as few in replies")
    return parser.parse_args()


if __name__ == "__main__":
    main()
