"""Tries a chat template that came with a model before the program itself renders it.

transformers renders templates in Jinja's sandbox, which keeps them from the machine but neither from loops without an
end nor from strings as large as memory; nothing in this process could stop them. So each is first rendered in a
program of its own (``python -m actor_core.weights.template_trial``, the template on its standard input), with a limit
of time and memory.

What it cannot know: a template that misbehaves only for prompts that are not tried here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from actor_core.errors import ModelError
from actor_core.weights.child_process import PROGRAM_FOLDER

__all__ = ["try_template"]

SECONDS = 5.0  # of a processor, where the system can count them
SECONDS_OF_THE_CLOCK = 30.0  # on a busy machine the program alone takes some to start
MEMORY = 1 << 30
MAX_CHARS = 1_000_000
# As long as a reply, and none of it a word that a template would look for.
LONG = "Where does the river begin, and who gave it its name? " * 80
CONVERSATIONS = (
    [{"role": "user", "content": "What is bread?"}],
    [{"role": "user", "content": LONG}],
    [
        {"role": "user", "content": "What is bread?"},
        {"role": "assistant", "content": "Flour, water and time."},
        {"role": "user", "content": LONG},
    ],
)


def try_template(template: str, where: str) -> None:
    """Raises ModelError for a template that takes too long or too much; ``where`` says whose it is."""
    if len(template) > MAX_CHARS:
        raise ModelError(f"The chat template of {where} has {len(template):,} characters: it is none. Do not use it.")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "actor_core.weights.template_trial"],
            input=json.dumps(template).encode(),
            cwd=PROGRAM_FOLDER,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SECONDS_OF_THE_CLOCK,
        )
        took_too_long = done.returncode in (-signal.SIGXCPU, -signal.SIGKILL) if sys.platform == "linux" else False
    except subprocess.TimeoutExpired:
        took_too_long = True
    if took_too_long:
        raise ModelError(
            f"The chat template of {where} does not come to an end: the model is damaged, or made to harm. "
            "Choose another one."
        )
    if done.returncode != 0:
        raise ModelError(
            f"The chat template of {where} takes more than {MEMORY >> 30} GB to say a few sentences: the model is "
            "damaged, or made to harm. Choose another one."
        )


def _limit() -> None:
    """Linux holds to it; other systems have no such limit, or ignore it."""
    if sys.platform == "linux":
        import resource

        for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, round(SECONDS))):
            hard = resource.getrlimit(what)[1]
            resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main(template: str) -> None:
    """Renders ``template``; one with an error in it is let pass, for transformers says that better."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    _limit()
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    sandbox.filters["tojson"] = lambda value, **_: json.dumps(value)
    known = {"bos_token": "<s>", "eos_token": "</s>", "date_string": "01 Jan 2026", "add_generation_prompt": True}
    try:
        compiled = sandbox.from_string(template, {"strftime_now": lambda form: form, "raise_exception": _raised})
        for messages in CONVERSATIONS:
            compiled.render(messages=messages, **known)
    except (MemoryError, OverflowError):
        raise
    except Exception:  # noqa: BLE001 - a template can raise anything
        return


def _raised(message: str) -> None:
    raise ValueError(message)


if __name__ == "__main__":
    main(json.loads(sys.stdin.buffer.read()))
