"""What the code says to people, read from its source: what the catalogues of `app.language` must have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from actor_core.steadiness import wrappers
from app import words
from app.errors import HEADINGS

ROOT = Path(__file__).parents[2]
PLACE = re.compile(r"\{\w*\}")
# Whose first text (of `plural` the second, of `later` all) is translated.
CALLS = {"t": 0, "plural": 1}
SAID_IN_JS = re.compile(r'\bsay\("((?:[^"\\]|\\.)*)"')
# Errors that no visitor of the page sees: they end the program, or are raised for scripts alone.
NOT_ON_THE_PAGE = ("api", "api_jobs", "api_results", "serve", "doctor", "language", "space", "allow_list")


def shape(text: str) -> str:
    """``text`` without the names of its places."""
    return PLACE.sub("{}", text)


def _text(node: ast.AST | None) -> str | None:
    """A literal's text, of an f-string with {} for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def _in(table: object) -> Iterator[str]:
    """The texts of a table: of a dict its values."""
    if isinstance(table, str):
        yield table
    elif isinstance(table, dict):
        for value in table.values():
            yield from _in(value)
    elif isinstance(table, (list, tuple)):
        for value in table:
            yield from _in(value)


def _calls(folder: str) -> Iterator[tuple[Path, ast.Call]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path, node


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


@lru_cache
def asked_for() -> frozenset[str]:
    """The texts that the page looks up as they stand: by `t`, `plural`, `later` and the scripts' ``say``."""
    found = set(_in(words.TEXTS))
    for path, call in _calls("app"):
        place = CALLS.get(_name(call))
        text = _text(call.args[place]) if place is not None and len(call.args) > place else None
        if text is not None:
            assert not isinstance(call.args[place or 0], ast.JoinedStr), f"{path.name}: {text!r} is put together"
            found.add(text)
        if _name(call) == "later":
            found |= set(_in(ast.literal_eval(call.args[0])))
    for path in (ROOT / "app").glob("*.js"):
        found |= set(SAID_IN_JS.findall(path.read_text(encoding="utf-8")))
    return frozenset(found)


@lru_cache
def errors_and_notices() -> frozenset[str]:
    """The shapes of what the app raises and notes, line by line; they are translated where they are shown."""
    found = {heading for _, heading in HEADINGS}
    for path, call in _calls("app"):
        given = [k.value for k in call.keywords if k.arg == "stopped"]
        found |= {text for text in map(_text, given) if text}
        if path.stem in NOT_ON_THE_PAGE:
            continue
        if _name(call) == "Notice" or _name(call).endswith("Error") or _name(call) == "NothingToRepair":
            given = [*call.args[_name(call) == "Notice" :], *(k.value for k in call.keywords if k.arg != "details")]
            found |= {line for text in map(_text, given) if text for line in text.split("\n")}
    return frozenset(text for text in found if re.search(r"[a-z]{2}", text))


@lru_cache
def written_anywhere() -> frozenset[str]:
    """The shapes of all texts in the source, the summaries of the presets, and the names of the jailbreaks."""
    found = set()
    for folder in ("app", "actor_core"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                text = _text(node)
                if text:
                    found.add(shape(text).strip())
    found |= {wrapper.name for wrapper in wrappers()}
    for path in (ROOT / "presets").glob("*/*.toml"):
        found |= set(re.findall(r'^summary = "(.*)"$', path.read_text(encoding="utf-8"), re.MULTILINE))
    return frozenset(found)
