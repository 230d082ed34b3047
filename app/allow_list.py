"""Which models a public page offers: presets that its owner names, each of them settled to the last byte."""

from __future__ import annotations

from collections.abc import Mapping

from actor_core.errors import PresetError
from actor_core.presets import ModelPreset
from app.settings import MODELS_ALLOWED

__all__ = ["allowed"]


def allowed(presets: Mapping[str, ModelPreset], allow_list: tuple[str, ...] | None) -> dict[str, ModelPreset]:
    """Those of ``presets`` that ``allow_list`` names, in its order; all of them where there is none.

    Raises `PresetError` for a name that is no preset, and for a model that may not be offered to everybody: one whose
    bytes are not settled, or whose licence each user has to accept on the hub first.
    """
    if allow_list is None:
        return dict(presets)
    for id in allow_list:
        if id not in presets:
            raise PresetError(f"{MODELS_ALLOWED} names {id!r}, which is no preset: give some of {', '.join(presets)}.")
        if presets[id].gated:
            raise PresetError(
                f"{MODELS_ALLOWED} names {id!r}, whose licence each user has to accept on the hub: leave it out."
            )
        if not presets[id].pinned:
            raise PresetError(
                f"{MODELS_ALLOWED} names {id!r}, of which no commit is named: give its preset a 'revision', or leave "
                "it out."
            )
    return {id: presets[id] for id in allow_list}
