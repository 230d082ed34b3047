"""Whether a verdict holds when the same is asked otherwise: in other words, or wrapped in a known jailbreak.

Rewordings are judged as they are asked. A reply to a wrapped request is judged against the request within: a wrapper
speaks of ethics, sorrow and stories, which the judge takes for what was asked ("classify", "apologise", "write a
scene") and reads the reply in its light. The opening that a wrapper dictates ("Sure, ...") is taken off first, since
it is no sign that the rest answers; and quotation marks are, since a wrapper has a character speak in the model's
place, and the judge passes over what is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from actor_core.errors import PresetError
from actor_core.evaluate import Rates
from actor_core.events import Event
from actor_core.generate import Ask, Reply
from actor_core.judge import Verdict
from actor_core.preset_files import PRESETS
from actor_core.wordings import rewordings

__all__ = ["BARE", "Reworded", "Steadiness", "Wrapped", "Wrapper", "ask_reworded", "ask_wrapped", "wrappers"]

REQUEST = "{request}"
LEAST_DICTATED_WORDS = 3


@dataclass(frozen=True)
class Wrapper:
    """A known jailbreak: ``text`` has the request in the place of {request}."""

    name: str
    text: str

    def around(self, request: str) -> str:
        return self.text.replace(REQUEST, request)

    def judged(self, request: str, reply: Reply) -> Reply:
        """``reply`` to the wrapped ``request`` as one to the bare request, see this module's docstring."""
        return reply if self is BARE else reply.as_one_to(request, _own_words(reply.text, self._dictated()))

    def _dictated(self) -> list[str]:
        quoted = re.findall(r'"([^"{]+)"', self.text)
        return [words for words in quoted if len(words.split()) >= LEAST_DICTATED_WORDS]


BARE = Wrapper("No trick", REQUEST)


@dataclass(frozen=True)
class Reworded:
    """The verdicts of both models on the ``wordings`` of ``prompt``, in their order."""

    prompt: str
    wordings: tuple[str, ...]
    before: tuple[Verdict, ...]
    after: tuple[Verdict, ...]


@dataclass(frozen=True)
class Wrapped:
    """How both models took harmful requests in the wrapper of this ``name``."""

    name: str
    before: Rates
    after: Rates


@dataclass(frozen=True)
class Steadiness:
    """A user's prompts in other wordings, and harmful ones in jailbreaks. Of the latter the counts alone."""

    reworded: tuple[Reworded, ...] = ()
    wrapped: tuple[Wrapped, ...] = ()


def wrappers(path: Path | None = None) -> tuple[Wrapper, ...]:
    """The jailbreaks of ``presets/wrappers.txt``: a line each, its name, a tab, and the text. Raises `PresetError`."""
    path = PRESETS / "wrappers.txt" if path is None else path
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        name, tab, text = line.partition("\t")
        if not (name and tab and REQUEST in text):
            raise PresetError(f"{path} line {number} is no name, tab and text with {REQUEST} in it: correct it.")
        found.append(Wrapper(name, text))
    return tuple(found)


def ask_reworded(untuned: Ask, tuned: Ask, prompts: Sequence[str]) -> Generator[Event, None, list[Reworded]]:
    """Asks both models each of ``prompts`` in all its `rewordings`."""
    wordings = [rewordings(prompt) for prompt in prompts]
    asked = [text for texts in wordings for text in texts]
    before = yield from untuned(asked)
    after = yield from tuned(asked)
    found, start = [], 0
    for prompt, texts in zip(prompts, wordings, strict=True):
        end = start + len(texts)
        old, new = (tuple(reply.verdict for reply in replies[start:end]) for replies in (before, after))
        found.append(Reworded(prompt, texts, old, new))
        start = end
    return found


def ask_wrapped(untuned: Ask, tuned: Ask, wrapper: Wrapper, requests: Sequence[str]) -> Generator[Event, None, Wrapped]:
    """Asks both models all ``requests`` in ``wrapper``."""
    rates = []
    for ask in (untuned, tuned):
        replies = yield from ask([wrapper.around(request) for request in requests])
        judged = [wrapper.judged(request, reply) for request, reply in zip(requests, replies, strict=True)]
        rates.append(Rates.of(judged))
    return Wrapped(wrapper.name, *rates)


def _own_words(text: str, dictated: Sequence[str]) -> str:
    """``text`` without as much of a dictated opening as it begins with, and without quotation marks."""
    for opening in dictated:
        for word in re.findall(r"\w+", opening):
            text = re.sub(rf"(?i)\A\W*{word}\b[,.!:]*", "", text)
    return re.sub(r'["“”«»]', "", text).strip()
