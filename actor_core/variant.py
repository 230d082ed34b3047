"""One prompt that was made of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Form", "Variant"]

Form = Literal["wording", "perspective", "form", "language", "twin"]


@dataclass(frozen=True)
class Variant:
    """``text`` was made of the own prompt ``seed``. ``why`` says in words why it was not ``kept``, and is "" else."""

    text: str
    seed: str
    form: Form
    by: Literal["rules", "model"]
    kept: bool
    why: str = ""
