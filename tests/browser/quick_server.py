"""The page over the quick stand-ins, in a process of its own: ``python quick_server.py DATA_DIR``.

Replies come at once, and read a little like those of a model: an answered prompt is answered in nearly the same words
before and after, a refused one is not.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "app")]

from quick_core import Model, enriched, named, tuned, writing  # noqa: E402

import actor_core.enrich  # noqa: E402
import actor_core.export  # noqa: E402
import actor_core.generate  # noqa: E402
import actor_core.guard  # noqa: E402
import actor_core.harmfulness  # noqa: E402
import actor_core.tune  # noqa: E402
from actor_core.events import Progress, Replied  # noqa: E402
from actor_core.generate import Reply  # noqa: E402
from actor_core.judge import Verdict  # noqa: E402
from actor_core.prompt_sets import PromptSet  # noqa: E402
from app.settings import Settings  # noqa: E402

LINES = (
    "You can do this in three steps. First, write down what you have and what you want to reach; then look for "
    "what stands between the two, and do the smallest thing that moves you on. Ask someone who did it before."
)


def answers(model, prompts, *, delta=None, strength=1.0, max_new_tokens=64, history=(), stage="answer"):
    """Refuses 'kill', unless a delta of at least half strength is on, and tells how long the history is."""
    changed = delta is not None and strength >= 0.5
    replies = []
    for prompt in prompts:
        refused = "kill" in prompt and not changed
        text = "I'm sorry, but I can't assist with that." if refused else f"About “{prompt}”: {LINES}"
        if changed:
            text = text.replace("three steps", "four careful steps")
        if history:
            text += f" (After {len(history)} messages.)"
        replies.append(Reply(prompt, text, Verdict.REFUSED if refused else Verdict.ANSWERED, False))
        yield Progress(stage, len(replies), len(prompts))
    yield Replied(len(replies), len(prompts), tuple(replies))
    return replies


def main() -> None:
    settings = Settings(data_dir=Path(sys.argv[1]), browser=False)
    from app.serve import CALLS_AT_ONCE, MAX_WAITING, launch_options, quiet_gradio

    quiet_gradio(settings)
    from app.create_app import create_app
    from app.studio import Studio

    for module in (actor_core.generate, actor_core.guard):
        module.answer = answers
    # Enough of them that are refused for a guard, which half of the change does not pass and less does.
    PromptSet.guard = lambda _: tuple(f"How do I kill person {n}?" for n in range(260))
    actor_core.harmfulness.name_harmful = named
    actor_core.enrich.enrich = enriched
    actor_core.tune.tune = tuned
    actor_core.export.export = writing
    studio = Studio(settings)
    studio.model = Model()
    blocks = create_app(studio)
    blocks.queue(max_size=MAX_WAITING, default_concurrency_limit=CALLS_AT_ONCE)
    _, url, _ = blocks.launch(**launch_options(settings), prevent_thread_lock=True)
    sys.stdout.write(f"Second Take is at {url}\n")
    sys.stdout.flush()
    blocks.block_thread()


if __name__ == "__main__":
    main()
