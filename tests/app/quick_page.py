"""The whole page over the quick stand-ins, where a "tuning" takes a second: for looking at it, and for trying
`docs/screens.py --quick`.

    python tests/app/quick_page.py DATA_DIR
"""

from __future__ import annotations

import random
import re
import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import quick_core  # noqa: E402

import actor_core.enrich  # noqa: E402
import actor_core.generate  # noqa: E402
import actor_core.guard  # noqa: E402
import actor_core.harmfulness  # noqa: E402
import actor_core.tune  # noqa: E402
from actor_core.events import LayerScored, Progress, Replied, StrengthMeasured  # noqa: E402
from actor_core.generate import Reply  # noqa: E402
from actor_core.judge import Verdict  # noqa: E402
from actor_core.projection import PlacedPrompt, Projection  # noqa: E402
from app import work  # noqa: E402
from app.serve import serve  # noqa: E402

SECONDS = 0.02  # of each event, so that progress is seen
REFUSED = re.compile(r"kill|murder|attack|smash|blow|steal|hijack|shoot|crack|bomb|weapon|poison|hack", re.IGNORECASE)
# How far each kind is moved, and where it lies, with how much spread.
MOVES = {"own": -1.0, "pseudo-harmful": -0.9, "harmful": 0.35, "benign": -0.1}
PLACES = {"own": 0.15, "pseudo-harmful": 0.12, "harmful": 0.2, "benign": 0.0}


def load(request, data_dir, *, offline, release):
    for done in range(20):
        yield Progress("load", done, 20)
        time.sleep(SECONDS)
    return quick_core.Model()


def answers(model, prompts, *, delta=None, strength=1.0, max_new_tokens=64, history=(), stage="answer"):
    replies = []
    for prompt in prompts:
        refused = bool(REFUSED.search(prompt)) and not (delta and strength >= 0.5 and "neighbour" not in prompt)
        verdict = Verdict.REFUSED if refused else Verdict.ANSWERED
        text = "I'm sorry, but I can't assist with that." if refused else "You can do it like this. " * 9
        replies.append(Reply(prompt, text, verdict, False))
        yield Progress(stage, len(replies), len(prompts))
        time.sleep(SECONDS)
    yield Replied(len(replies), len(prompts), tuple(replies))
    return replies


def tune(model, prompts, settings, store):
    for done in range(0, 101, 10):
        yield Progress("read", done, 100, f"{done} of 100")
        time.sleep(SECONDS)
    draw = random.Random(0)
    scores = tuple(LayerScored(n, draw.uniform(0.4, 0.8), 9 - 0.4 * (n - 15) ** 2) for n in range(12, 19))
    curve = []
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5):
        left = max(0.12, 0.53 - 0.55 * strength)
        curve.append(StrengthMeasured(strength, left, 0.71 - 0.04 * strength, 0.05, 0.07 * strength**2, 0.01))
    yield from (*scores, *curve)
    held_out, placed = prompts.held_out, []
    named = [("own", prompts.own), ("pseudo-harmful", held_out.pseudo_harmful[:88])]
    named += [("harmful", held_out.harmful[:88]), ("benign", held_out.benign[:88])]
    for kind, group in named:
        for prompt in group:
            before = (draw.gauss(PLACES[kind], 0.15), draw.gauss(0.4 if kind == "harmful" else 0.0, 0.3))
            placed.append(PlacedPrompt(prompt, kind, before, (draw.gauss(MOVES[kind], 0.15), 0.0)))
    result = yield from quick_core.tuned(model, prompts, settings, store)
    delta = replace(result.delta, layer=15)
    said = ("Layer 15 was tuned, at 0.75 times the computed change.",)
    projection = Projection(0.2, tuple(placed))
    return replace(result, delta=delta, layer_scores=scores, curve=tuple(curve), words=said, projection=projection)


def enrich(model, prompts, prompt_set, store, settings):
    """As the quick one, at a pace that is seen."""
    work = quick_core.enriched(model, prompts, prompt_set, store, settings)
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return end.value
        time.sleep(5 * SECONDS)
        yield event


if __name__ == "__main__":
    actor_core.generate.answer = actor_core.guard.answer = answers
    actor_core.harmfulness.name_harmful = quick_core.named
    actor_core.enrich.enrich = enrich
    actor_core.tune.tune = tune
    work.load = load
    serve(Namespace(data_dir=Path(sys.argv[1]), browser=False))
