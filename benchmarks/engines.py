"""llama.cpp beside the loaded model: how fast one reply comes, and whether it is judged the same.

    python benchmarks/engines.py

The model is tuned with this project's own prompts; held-out ones of each kind are then asked of both engines
(`actor_core.engine`), before and after. Speed is that of one reply at a time, in turns, so that what else the machine
does slows both. No reply is printed or kept.
"""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import psutil
from real_model import arguments, load, machine, own_prompts, timed, tuning_prompts

from actor_core.engine import Engine, ResidentEngine
from actor_core.evaluate import spread, wilson
from actor_core.events import finish
from actor_core.generate import Reply, answer
from actor_core.llama.conversation import LlamaEngine, why_not_llama
from actor_core.presets import DEFAULT_PROMPT_SET, prompt_sets
from actor_core.readings import ReadingStore
from actor_core.tune import TuneSettings, tune

KINDS = {"look-alikes": "pseudo_harmful", "harmful": "harmful", "ordinary": "benign"}


def main() -> None:
    options = _options()
    model = load(options)
    reason = why_not_llama(model)
    if reason:
        raise SystemExit(f"llama.cpp cannot answer here: {reason}.")
    prompt_set = prompt_sets()[DEFAULT_PROMPT_SET]
    own = own_prompts(model, prompt_set, options.own)
    settings = TuneSettings(seed=options.seed)
    tuned = finish(tune(model, tuning_prompts(own), settings, ReadingStore.of(options.data_dir)))
    llama, resident = LlamaEngine(model), ResidentEngine(model)
    arms: dict[str, dict[str, Any]] = {"untuned": {}, "tuned": {"delta": tuned.delta, "strength": tuned.strength}}
    rows = [
        "| prompts | arm | n | refused, loaded model | llama.cpp | same verdict | same text |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, attribute in KINDS.items():
        prompts = spread(getattr(prompt_set.held_out(), attribute), options.prompts)
        for arm, change in arms.items():
            here = finish(answer(model, prompts, max_new_tokens=options.tokens, **change))
            there = [finish(llama.answer(prompt, max_new_tokens=options.tokens, **change)) for prompt in prompts]
            rows.append(_row(name, arm, here, there))
            print(rows[-1], flush=True)
    rows += ["", "| engine | tokens a second, untuned | tuned | memory beside the loaded model, MB |"]
    rows.append("|---|---|---|---|")
    speeds: dict[str, dict[str, float]] = {"loaded model": {}, "llama.cpp": {}}
    for arm, change in arms.items():
        seconds = dict.fromkeys(speeds, 0.0)
        tokens = dict.fromkeys(speeds, 0)
        for prompt in spread(prompt_set.held_out().benign, options.timed):
            for engine_name, engine in (("loaded model", resident), ("llama.cpp", llama)):
                tokens[engine_name] += _tokens(engine, prompt, options.long_tokens, change, seconds, engine_name)
        for engine_name in speeds:
            speeds[engine_name][arm] = tokens[engine_name] / seconds[engine_name]
    memory = {"loaded model": 0.0, "llama.cpp": _children_megabytes()}
    rows += [f"| {n} | {s['untuned']:.1f} | {s['tuned']:.1f} | {memory[n]:.0f} |" for n, s in speeds.items()]
    llama.close()
    about = (
        f"{model.source.name}, {model.precision}, layer {tuned.delta.layer}, strength {tuned.strength:g}; greedy, "
        f"{options.tokens} tokens for verdicts, {options.long_tokens} for speed; seed {options.seed}; {machine()}; "
        f"{time.strftime('%Y-%m-%d')}. Verdicts with 95 % Wilson intervals."
    )
    print(text := "\n".join([about, "", *rows]))
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def _row(name: str, arm: str, here: list[Reply], there: list[Reply]) -> str:
    n = len(here)
    refused = [sum(reply.verdict.value == "refused" for reply in replies) for replies in (here, there)]
    verdicts = sum(a.verdict is b.verdict for a, b in zip(here, there, strict=True))
    texts = sum(a.text == b.text for a, b in zip(here, there, strict=True))
    low, high = wilson(verdicts, n)
    return (
        f"| {name} | {arm} | {n} | {refused[0]} | {refused[1]} | {verdicts / n:.3f} ({low:.3f}–{high:.3f}) | "
        f"{texts / n:.2f} |"
    )


def _tokens(
    engine: Engine, prompt: str, tokens: int, change: dict[str, Any], seconds: dict[str, float], name: str
) -> int:
    """Of one reply, the tokens; its time is added to ``seconds``."""
    reply, taken = timed(engine.answer(prompt, max_new_tokens=tokens, **change))
    seconds[name] += taken
    return len(engine.model.tokenizer(reply.text, add_special_tokens=False)["input_ids"])


def _children_megabytes() -> float:
    """Memory of the processes that this one started, without pages of files that the system can take back."""
    children = psutil.Process().children(recursive=True)
    return sum(child.memory_full_info().uss for child in children) / 1e6


def _options() -> Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--own", type=int, default=12, help="how many wrongly refused prompts a user gives")
    parser.add_argument("--prompts", type=int, default=60, help="of each kind, for the verdicts")
    parser.add_argument("--timed", type=int, default=6, help="ordinary prompts, for the speed")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--long-tokens", type=int, default=96)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
