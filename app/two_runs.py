"""Two runs side by side: the settings that differ, the figures with their intervals, and how alike the changes are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from actor_core.delta import LayerDelta
from actor_core.errors import DeltaError
from actor_core.evaluate import Rates
from actor_core.generate import Reply
from actor_core.guard import percent_up
from actor_core.two_changes import alike
from app.language import later, number, t
from app.render import between, how_alike
from app.runs import Run

__all__ = ["GROUPS", "TwoRuns", "beside", "drawn"]

GROUPS = later(
    {"own": "Your prompts", "look_alike": "Look-alikes", "harmful": "Harmful prompts", "ordinary": "Ordinary prompts"}
)
# What a setting is called; what is not named here is shown as the core names it.
SETTINGS = later(
    {
        "layer": "Layer that was asked for",
        "limits.lost": "Limit: harmful refusals lost",
        "limits.newly_refused": "Limit: ordinary newly refused",
        "method": "Method",
        "other_tokens": "Other tokens held",
        "other_weight": "Weight of other tokens",
        "probe_prompts": "Held-out prompts to choose by",
        "published.alpha": "Size of a step (α)",
        "published.centred": "Measured from the ordinary prompts",
        "published.epochs": "Rounds (epochs)",
        "published.learning_rate": "Learning rate",
        "ridge": "Ridge",
        "seed": "Seed",
        "set_share": "Share of the prompt set that is learnt from",
    }
)
NOT_ASKED = later("not asked")


@dataclass(frozen=True)
class TwoRuns:
    """``differ`` and ``same`` are settings with both values, ``figures`` what was refused; ``alike`` is a sentence."""

    names: tuple[str, str]
    differ: tuple[tuple[str, str, str], ...]
    same: tuple[tuple[str, str], ...]
    figures: tuple[tuple[str, str, str], ...]
    alike: str


def beside(first: tuple[Run, LayerDelta], second: tuple[Run, LayerDelta]) -> TwoRuns:
    """Both runs as they were left, each at the strength that was set there."""
    settings = [_settings(run, delta) for run, delta in (first, second)]
    names = list(dict.fromkeys([*settings[0], *settings[1]]))
    rows = [(name, settings[0].get(name, "–"), settings[1].get(name, "–")) for name in names]
    return TwoRuns(
        names=(first[0].name, second[0].name),
        differ=tuple(row for row in rows if row[1] != row[2]),
        same=tuple((name, value) for name, value, other in rows if value == other),
        figures=tuple(_figures(first[0], second[0])),
        alike=_alike(first, second),
    )


def drawn(two: TwoRuns | None) -> str:
    """``two`` as the panel shows it."""
    if two is None:
        return ""
    heads = "".join(f"<th class='st-text'>{escape(name)}</th>" for name in two.names)
    differ = "".join(_row(row) for row in two.differ) or f"<tr><td colspan='3'>{t('None differs.')}</td></tr>"
    same = "".join(_row(row) for row in two.same)
    return (
        f"<p class='st-hint'>{escape(two.alike)}</p>"
        f"<table class='st-table st-two-runs'><thead><tr><th>{t('Settings that differ')}</th>{heads}</tr></thead>"
        f"<tbody>{differ}</tbody>"
        f"<thead><tr><th>{t('Refused (95 %)')}</th>{heads}</tr></thead>"
        f"<tbody>{''.join(_row(row) for row in two.figures)}</tbody></table>"
        f"<details class='st-problems'><summary>{t('Settings that are the same')} ({len(two.same)})</summary>"
        f"<table class='st-table'><tbody>{same}</tbody></table></details>"
    )


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td class=st-text>{escape(cell)}</td>' for cell in cells)}</tr>"


def _settings(run: Run, delta: LayerDelta) -> dict[str, str]:
    recipe = run.recipe
    found: dict[str, object] = {
        t("Model"): run.base.name,
        t("Precision"): run.base.precision,
        t("Weights (digest)"): run.base.digest[:12],
        t("Opened from"): run.source or t("tuned here"),
        t("Strength shown"): number(run.strength),
        t("Layer changed"): delta.layer,
        t("Stopped before its end"): run.tuned is not None and run.tuned.early,
    }
    if recipe is not None:
        found[t("Prompts repaired")] = _digested(len(recipe.own or ()), recipe.own_digest)
        found[t("Prompt set")] = _digested(recipe.prompt_set, recipe.prompt_set_digest)
        found |= {t("Device"): recipe.device, t("Threads"): recipe.threads}
    settings = dict(recipe.settings) | {"targets": delta.settings.get("targets")} if recipe else delta.settings
    found |= {t(SETTINGS.get(name, name)): value for name, value in _flat(settings)}
    if recipe is not None:
        found |= {t("Version of {package}", package=name): version for name, version in recipe.versions.items()}
    return {name: _said(value) for name, value in found.items()}


def _digested(what: object, digest: str) -> str:
    return t("{what} (digest {digest})", what=what, digest=digest[:8])


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _said(value: object) -> str:
    if value is None:
        return t("automatic")
    if isinstance(value, bool):
        return t("yes") if value else t("no")
    return number(value, ".4g") if isinstance(value, float) else str(value)


def _figures(first: Run, second: Run) -> Iterable[tuple[str, str, str]]:
    groups = first.groups(), second.groups()
    for name, title in GROUPS.items():
        if name in groups[0] or name in groups[1]:
            yield t(title), _refused(groups[0].get(name)), _refused(groups[1].get(name))
    if first.guard() or second.guard():
        yield t("Guard"), _guarded(first), _guarded(second)


def _refused(group: tuple[list[Reply], list[Reply]] | None) -> str:
    if group is None:
        return t(NOT_ASKED)
    before, after = (Rates.of(replies) for replies in group)
    (old, *_), (new, low, high) = before.share("refused"), after.share("refused")
    return f"{100 * old:.0f} → {100 * new:.0f} % ({between(low, high)}; n = {after.n})"


def _guarded(run: Run) -> str:
    guard = run.guard()
    if guard is None:
        return t("not measured")
    return t(
        "{verdict}: {lost} of {before} lost, up to {most}",
        verdict=t("passed") if guard.passed else t("not passed"),
        lost=guard.lost,
        before=guard.refused_before,
        most=percent_up(guard.upper_bound),
    )


def _alike(first: tuple[Run, LayerDelta], second: tuple[Run, LayerDelta]) -> str:
    try:
        found = alike(first[1], second[1])
    except DeltaError:
        return t(
            "They were made on different models, so that their changes cannot be compared, and figures only roughly."
        )
    if not found:
        return t("They change different layers, so that their matrices cannot be compared.")
    sizes = [abs(run.strength * (run.tuned.strength if run.tuned else 1.0) or 1.0) for run, _ in (first, second)]
    return t(
        "How alike the changes are: {each}. A cosine of 1 is the same direction, 0 has nothing in common.",
        each="; ".join(how_alike(one, (sizes[0], sizes[1])) for one in found),
    )
