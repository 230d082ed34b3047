"""Reads a preset file strictly: the rules that model presets and prompt sets share.

A key that is not known, or a value that may not be, is a `PresetError` that names the file, the
field and the remedy.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from actor_core.errors import PresetError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["PRESETS", "PresetFile", "read_preset"]

PRESETS = Path(__file__).resolve().parent.parent / "presets"


class PresetFile(BaseModel):
    """Frozen, and a key that it does not know is an error: a misspelt key must not pass unseen."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


PresetT = TypeVar("PresetT", bound=PresetFile)


def read_preset(path: Path, form: type[PresetT]) -> PresetT:
    """Reads one TOML file as ``form``; raises PresetError with the file, the field and the remedy."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as fault:
        words = fault.strerror or str(fault)
        raise PresetError(f"{path} cannot be read ({words}): put it there, or remove it.") from fault
    except UnicodeDecodeError as fault:
        raise PresetError(f"{path} is not UTF-8 text: save it as UTF-8.") from fault
    except tomllib.TOMLDecodeError as fault:
        raise PresetError(f"{path} is not valid TOML: {fault}. Correct that line.") from fault
    try:
        # By way of JSON, whose strict rules let an array be a tuple: TOML has arrays only.
        return form.model_validate_json(json.dumps(values, default=str))
    except ValidationError as fault:
        raise PresetError(f"{path}: {'; '.join(_words(error) for error in fault.errors())}.") from fault


def _words(error: Any) -> str:  # noqa: ANN401 - pydantic_core's ErrorDetails, a private TypedDict
    """One of Pydantic's errors as a sentence for whoever edits the file."""
    field = ".".join(str(step) for step in error["loc"]) or "the file"
    given = repr(error.get("input"))
    given = given if len(given) <= 60 else given[:57] + "..."
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"'{field}' is no known key: remove it or correct its spelling"
    if kind == "missing":
        return f"'{field}' is missing: add it"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "string_pattern_mismatch":
        return f"'{field}' is {given}, which does not look like {error['ctx']['pattern']}: correct it"
    return f"'{field}' is {given}: {error['msg']}; correct it"
