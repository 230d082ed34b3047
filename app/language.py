"""In which language the page speaks: English as it stands in the code, and others from a catalogue each.

A catalogue is ``app/locales/LANGUAGE.json``: the English text, and what it is in that language. The language is
the first one that the browser asks for (de-AT is de), English where there is no catalogue; nothing is configured.

- *Laid out once for everybody* (labels, infos, placeholders, choices, the text of buttons and tabs): within
  `in_the_browser` `t` gives Gradio's own marker, and Gradio's i18n (`gr.I18n`, see `for_gradio`) translates it in the
  browser. It translates one marker in each of these texts, whose English has no "}", and it translates no toast.
- *Drawn for one visitor* (`spoken`): `t` and `plural` give the text at once, with numbers as the language writes them.
- *Written elsewhere* (errors, notices, what `actor_core` says, what saved files hold): kept in English, and
  `translated` where it is shown, by the catalogue's sentence that it fits.

The scripts of the page (app/*.js) look into the same catalogue. What stays English: technical errors of the core and
of other libraries that no catalogue has, names that programs give (fp32, llama.cpp, GGUF), commands, the log, the
cards and files of an export, what *Copy* takes from an error for a report, the API, and what is printed in the
terminal. Gradio's own few words (where a file is dropped) are its own translations.

To add a language see docs/languages.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from gradio import I18n

__all__ = [
    "ENGLISH",
    "catalogue",
    "for_gradio",
    "in_the_browser",
    "language",
    "languages",
    "later",
    "number",
    "plural",
    "spoken",
    "t",
    "translated",
    "wanted_by",
]

ENGLISH = "en"
FOLDER = Path(__file__).parent / "locales"
PLACE = re.compile(r"\{(\w+)\}")
COUNTS = ("count", "done", "total")  # placeholders that only a number fits
# And those whose words are nobody's to translate.
NAMES = ("name", "file", "model", "version", "text", "prompt", "id", "address", "path")
SENTENCE_ENDS = (".", ":", "!", "?", ".)")
LEAST_LETTERS = 6
KEPT = 4000

Texts = TypeVar("Texts")
_BROWSER = "the browser's own"
_now: ContextVar[str] = ContextVar("language", default=ENGLISH)


@lru_cache
def languages() -> tuple[str, ...]:
    """The languages that have a catalogue, beside English."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


@lru_cache
def catalogue(language: str) -> Mapping[str, str | dict[str, str]]:
    """By English text: the translation, or its forms ``one`` and ``other`` where it counts something."""
    if language not in languages():
        return {}
    found: dict[str, str | dict[str, str]] = json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return found


def for_gradio() -> I18n:
    """The catalogues as Gradio's i18n takes them."""
    from gradio import I18n

    return I18n(
        **{
            language: {english: text for english, text in catalogue(language).items() if isinstance(text, str)}
            for language in languages()
        }
    )


def wanted_by(accept_language: str | None) -> str:
    """The language for a browser that sends this header: its first choice, as Gradio's i18n takes it."""
    first = re.split(r"[-_,;\s]", (accept_language or "").strip().lower(), maxsplit=1)[0]
    return first if first in languages() else ENGLISH


def language() -> str:
    """The language that is spoken now; English while the page is laid out, for it is translated in the browser."""
    return ENGLISH if _now.get() == _BROWSER else _now.get()


@contextmanager
def spoken(language: str) -> Iterator[None]:
    """Within it texts are in ``language``; in this thread alone."""
    token = _now.set(language)
    try:
        yield
    finally:
        _now.reset(token)


@contextmanager
def in_the_browser() -> Iterator[None]:
    """Within it `t` gives what the browser translates."""
    with spoken(_BROWSER):
        yield


def t(text: str, **values: object) -> str:
    """``text`` in the language that is spoken, with ``values`` in the places of their {names}."""
    if _now.get() == _BROWSER:
        if values or "}" in text:
            raise ValueError(f"Gradio cannot translate {text!r} in the browser: it takes no values and no braces")
        from gradio.i18n import I18nData

        return str(I18nData(text))
    found = catalogue(_now.get()).get(text, text)
    return _filled(found if isinstance(found, str) else found["other"], values)


def plural(one: str, other: str, count: int, **values: object) -> str:
    """``one`` where ``count`` is 1, else ``other``, in which {count} stands; in the language that is spoken.

    The catalogue has both forms under ``other``.
    """
    forms = catalogue(language()).get(other, {"one": one, "other": other})
    assert not isinstance(forms, str), f"{other!r} needs its forms in the catalogue"
    return _filled(forms["one" if count == 1 else "other"], {"count": number(count, ",")} | values)


def later(texts: Texts) -> Texts:
    """Marks ``texts`` (one, or a table of them) that are translated where they are shown."""
    return texts


def number(value: float, form: str = "g") -> str:
    """``value`` as `format` writes it, with the decimal and thousands signs of the language that is spoken."""
    return _figure(format(value, form), language())


def translated(text: str) -> str:
    """A sentence, or several, that were written in English elsewhere; what no catalogue has stays as it is."""
    if language() == ENGLISH or not text:
        return text
    return _again(text, language())


@lru_cache(maxsize=KEPT)
def _again(text: str, language: str) -> str:
    known = catalogue(language)
    exact = known.get(text)
    if isinstance(exact, str):
        return exact
    for english, pattern in _patterns(language):
        if match := pattern.fullmatch(text):
            return _put(english, match, language)
    said = []
    while text:
        for english, pattern in _patterns(language):
            match = pattern.match(text) if english.endswith(SENTENCE_ENDS) else None
            if match and (match.end() == len(text) or text[match.end()].isspace()):
                said.append(_put(english, match, language))
                text = text[match.end() :].lstrip()
                break
        else:
            # The end of an unknown sentence, after which another may be known.
            stop = re.search(r"[.!?](?=\s)", text)
            end = stop.end() if stop else len(text)
            said.append(text[:end])
            text = text[end:].lstrip()
    return " ".join(said)


@lru_cache
def _patterns(language: str) -> list[tuple[str, re.Pattern[str]]]:
    """What each English text of the catalogue fits; those that say most first."""
    found = []
    for english, text in catalogue(language).items():
        if isinstance(text, str) and _tells_enough(english):
            pieces = PLACE.split(english)  # text, name, text, name, text
            said = "".join(_place(piece) if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))
            found.append((english, re.compile(said, re.DOTALL), sum(map(len, pieces[::2]))))
    found.sort(key=lambda each: -each[2])
    return [(english, pattern) for english, pattern, _ in found]


def _tells_enough(english: str) -> bool:
    """Whether a sentence can be known by ``english``; "{low} to {high}" stands in many."""
    words = re.findall(r"[^\W\d_]{2,}", PLACE.sub(" ", english))
    return len("".join(words)) >= LEAST_LETTERS or set(PLACE.findall(english)) <= {*COUNTS}


def _place(name: str) -> str:
    return f"(?P<{name}>{r'[0-9][0-9.,]*' if name in COUNTS else '.+?'})"


def _put(english: str, match: re.Match[str], language: str) -> str:
    text = catalogue(language)[english]
    assert isinstance(text, str)
    return _filled(
        text, {name: found if name in NAMES else _value(found, language) for name, found in match.groupdict().items()}
    )


def _value(found: str, language: str) -> str:
    """What stood in a place: a number, or words that may be in the catalogue themselves."""
    if re.fullmatch(r"\d+(,\d{3})*(\.\d+)?( ?(%|[kMG]?B|nats|bytes|h))?", found):
        return _figure(found, language)
    return _again(found, language)


def _figure(said: str, language: str) -> str:
    """Decimal comma and thousands point, in the languages that have them."""
    return said if language == ENGLISH else said.translate(str.maketrans(".,", ",."))


def _filled(text: str, values: Mapping[str, object]) -> str:
    return PLACE.sub(lambda place: str(values[place[1]]) if place[1] in values else place[0], text)
