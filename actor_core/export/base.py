"""What an exported file says about the model it belongs to: names that hold on any machine.

The files may be shared, so nothing here is a path of this one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from actor_core.delta import BaseModelId
from actor_core.errors import PresetError
from actor_core.presets import ModelPreset, model_presets

__all__ = ["Base", "describe_base"]

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
GGUF_REPO = re.compile(r"[-_.]GGUF$", re.IGNORECASE)


@dataclass(frozen=True)
class Base:
    """``hub_id`` is the base's transformers repository and ``revision`` a commit of it, where known.

    ``measured_on`` names the very weights that were tuned, for a person: a GGUF repository can
    be the source of the weights, and its plain sibling the base that other programs load.
    ``preset`` is its id among this program's presets.
    """

    id: BaseModelId
    title: str
    measured_on: str
    hub_id: str | None
    revision: str | None
    licence: str | None
    licence_url: str | None
    preset: str | None

    @property
    def loadable(self) -> str:
        """What brings these very weights here again where there is no preset: a hub name, or at least the name."""
        return f"{self.id.name}@{self.revision}" if self.revision else self.id.name

    @property
    def slug(self) -> str:
        """A part of a file name: lower case, digits, dots and dashes."""
        return re.sub(r"[^a-z0-9.]+", "-", self.title.lower()).strip("-.") or "model"


def describe_base(base: BaseModelId) -> Base:
    """Looks ``base`` up among the presets by its digest or name; what is not known there is None."""
    name = base.name.replace("\\", "/").rstrip("/")
    preset = _preset(base)
    repo = preset.repo if preset else name if HUB_ID.fullmatch(name) else None
    hub_id = GGUF_REPO.sub("", repo) if repo else None
    commit = base.revision if re.fullmatch(r"[0-9a-f]{40}", base.revision or "") else None
    return Base(
        id=base,
        title=(hub_id or name).rpartition("/")[2] or "model",
        measured_on=(repo or name.rpartition("/")[2]) + (f" at {commit[:12]}" if commit and repo else ""),
        hub_id=hub_id,
        revision=commit if hub_id == repo else None,
        licence=preset.licence if preset else None,
        licence_url=preset.licence_url if preset else None,
        preset=preset.id if preset else None,
    )


def _preset(base: BaseModelId) -> ModelPreset | None:
    try:
        presets = model_presets().values()
    except PresetError:
        return None
    known = (p for p in presets if base.digest == p.sha256 or base.name in (p.id, p.repo))
    return next(known, None)
