"""What a change was made with, as a file that makes it again: ``python -m actor_core reproduce FILE``.

The same machine, versions, weights, prompts and seed give the same numbers, bit for bit. Another machine, or
another number of threads, adds in another order, and gives nearly the same.

The user's own prompts are in it, and what was made of them, since without them nothing can be made again. Where
the file goes to others (`without_prompts`) their digests stand for them, and they must be given again.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from actor_core.delta import BaseModelId, LayerDelta
from actor_core.errors import PresetError, PromptError
from actor_core.events import Event
from actor_core.model import LoadedModel
from actor_core.prompt_sets import PromptSet
from actor_core.tune import Tuned, TuneSettings, TuningPrompts, tune

__all__ = ["RECIPE", "Recipe", "read_recipe", "reproduce"]

RECIPE = "reproduce.json"
FORMAT = "second-take.reproduce.1"
PACKAGES = ("torch", "transformers", "tokenizers", "bitsandbytes", "numpy", "scipy", "scikit-learn", "second-take")
MAX_BYTES = 50_000_000
# Settings that a file from before there were any lacks, and what was done then.
SETTINGS_SINCE = {"set_share": 1.0}
# The digest of no variants and no twins.
NOTHING_MADE = hashlib.sha256(b"\n").hexdigest()


@dataclass(frozen=True)
class Recipe:
    """``settings`` are those of `TuneSettings`; ``own`` the user's prompts that were repaired, None where they
    were left out, and so with the ``variants`` and ``twins`` made of them. The digests are SHA-256: of the base, of
    prompts, of the delta at strength 1."""

    base: BaseModelId
    device: str
    threads: int
    settings: Mapping[str, Any]
    prompt_set: str
    prompt_set_digest: str
    own: tuple[str, ...] | None
    own_digest: str
    delta_digest: str
    versions: Mapping[str, str]
    # A file from before there were any has none.
    variants: tuple[str, ...] | None = ()
    twins: tuple[str, ...] | None = ()
    enriched_digest: str = NOTHING_MADE

    @classmethod
    def of(
        cls,
        model: LoadedModel,
        own: Sequence[str],
        prompt_set: PromptSet,
        settings: TuneSettings,
        delta: LayerDelta,
        variants: Sequence[str] = (),
        twins: Sequence[str] = (),
    ) -> Recipe:
        """What ``delta`` was made with a moment ago."""
        return cls(
            base=model.id,
            device=model.device.type,
            threads=torch.get_num_threads(),
            settings=asdict(settings),
            prompt_set=prompt_set.id,
            prompt_set_digest=_set_digest(prompt_set),
            own=tuple(own),
            own_digest=_digest(own),
            delta_digest=delta.digest(),
            versions=dict(_versions()),
            variants=tuple(variants),
            twins=tuple(twins),
            enriched_digest=_groups_digest(variants, twins),
        )

    def without_prompts(self) -> Recipe:
        """The same for others' eyes."""
        return replace(self, own=None, variants=None, twins=None)

    def provenance(self) -> dict[str, Any]:
        """Where the prompts are from, in numbers and names: what a card may say."""
        count = {} if self.own is None else {"repaired": len(self.own)}
        digests = {"set_sha256": self.prompt_set_digest, "repaired_sha256": self.own_digest}
        return {**count, "set": self.prompt_set, **digests}

    def text(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    def differences(self) -> list[str]:
        """What is not here as it was there: 'torch 2.13.0 instead of 2.12.1'."""
        here = dict(_versions())
        names = sorted(self.versions.keys() | here.keys())
        return [
            f"{name} {here.get(name, 'missing')} instead of {self.versions.get(name, 'none')}"
            for name in names
            if here.get(name) != self.versions.get(name)
        ]

    def require_prompt_set(self, prompt_set: PromptSet) -> None:
        """Raises `PromptError`, with both digests, where ``prompt_set`` is not as it was."""
        here = _set_digest(prompt_set)
        if here != self.prompt_set_digest:
            raise PromptError(
                f"The prompt set '{prompt_set.id}' is another version than the change was made with (digest "
                f"{here[:12]} instead of {self.prompt_set_digest[:12]}): use the program's version "
                f"{self._version()}."
            )

    def tune_settings(self) -> TuneSettings:
        """The settings as this version reads them. Raises `PresetError` where it would make another change."""
        known = {**SETTINGS_SINCE, **self.settings}
        try:
            settings = TypeAdapter(TuneSettings).validate_python(known)
            if json.loads(json.dumps(asdict(settings))) != json.loads(json.dumps(known)):
                raise ValueError("some are new, or gone")
            return settings
        except ValueError as fault:  # pydantic's are ValueErrors too
            raise PresetError(
                f"This version of the program has other settings than the file ({str(fault).splitlines()[0]}): use "
                f"version {self._version()}."
            ) from fault

    def _version(self) -> str:
        return self.versions.get("second-take", "of that time")


def read_recipe(path: Path) -> Recipe:
    """Reads what `Recipe.text` wrote. Raises `PresetError` for anything else."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError(f"no {FORMAT} in it")
        return TypeAdapter(Recipe).validate_python(values)
    except (OSError, ValueError, RecursionError) as fault:  # pydantic's and JSON's faults are ValueErrors
        reason = str(fault).splitlines()[0]
        raise PresetError(f"{path.name} is no {RECIPE} of this program ({reason}): give one that it wrote.") from fault


def reproduce(
    recipe: Recipe,
    model: LoadedModel,
    prompt_set: PromptSet,
    own: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    twins: Sequence[str] | None = None,
) -> Generator[Event, None, Tuned]:
    """Tunes as ``recipe`` says. ``own`` are the user's prompts where it leaves them out, ``variants`` and ``twins``
    what was made of them.

    Raises `DeltaError` for another base, `PromptError` for other prompts, `PresetError` for settings that this
    version does not know.
    """
    LayerDelta(0, {}, recipe.base, "", {}, {}).require_base(model.id)
    prompts = recipe.own if own is None else tuple(own)
    if prompts is None:
        raise PromptError("The prompts were left out of this file: give them again with --prompts FILE.")
    if _digest(prompts) != recipe.own_digest:
        raise PromptError(
            f"These {len(prompts)} prompts are not those that the change was made with (digest {_digest(prompts)[:12]} "
            f"instead of {recipe.own_digest[:12]}): give those that were refused, in their order."
        )
    made_of_them = _given_again(recipe, variants, twins)
    recipe.require_prompt_set(prompt_set)
    settings = recipe.tune_settings()
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        return (yield from tune(model, TuningPrompts.of(prompts, prompt_set, *made_of_them), settings))
    finally:
        torch.set_num_threads(threads)


def _digest(prompts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(prompts).encode()).hexdigest()


def _given_again(
    recipe: Recipe, variants: Sequence[str] | None, twins: Sequence[str] | None
) -> tuple[Sequence[str], Sequence[str]]:
    """The variants and twins that ``recipe`` was made with: its own, or those given where it leaves them out."""
    if recipe.enriched_digest == NOTHING_MADE:
        return (), ()
    variants = recipe.variants if variants is None else variants
    twins = recipe.twins if twins is None else twins
    if variants is None or twins is None:
        raise PromptError(
            "The prompts that were made of the user's own were left out of this file: give them again, or use the "
            "file that lies with the user's own prompts."
        )
    digest = _groups_digest(variants, twins)
    if digest != recipe.enriched_digest:
        raise PromptError(
            f"What was made of the user's own prompts is not what the change was made with (digest {digest[:12]} "
            f"instead of {recipe.enriched_digest[:12]}): give the variants and the twins in their order."
        )
    return variants, twins


def _set_digest(prompt_set: PromptSet) -> str:
    """Of everything in the set that tuning reads."""
    training, held_out = prompt_set.training(), prompt_set.held_out()
    return _groups_digest(
        *(split for part in (training, held_out) for split in (part.benign, part.pseudo_harmful, part.harmful))
    )


def _groups_digest(*groups: Sequence[str]) -> str:
    return _digest([line for group in groups for line in (*group, "")])


def _versions() -> list[tuple[str, str]]:
    found = [("python", platform.python_version()), ("machine", f"{platform.system()} {platform.machine()}")]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found
