"""The charts of steps 3 and 4 as SVG: layers, strengths, the trade-off between them, and the loss of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from app.chart_parts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    axis_name,
    figure,
    grid,
    legend,
    mark,
    percent,
    table,
    to_x,
    to_y,
)
from app.language import later, number, t

if TYPE_CHECKING:
    from actor_core.events import LayerScored, StrengthMeasured

__all__ = ["layers_chart", "loss_chart", "strength_chart", "tradeoff_chart"]

LINES = later(
    {
        "harmful": "harmful: should stay high",
        "pseudo-harmful": "harmless look-alikes: should fall",
        "benign": "ordinary: should stay low",
    }
)
# Of the chart of layers: two drawings, one above the other, over the same layers.
LAYERS_HEIGHT = 340
APART, DOES = (34.0, 124.0), (172.0, LAYERS_HEIGHT - 58.0)
LABEL = 30  # the room a layer's number takes
CLEARLY = 0.25  # below this, by convention, a silhouette shows no structure


def layers_chart(scores: Sequence[LayerScored], chosen: int | None) -> str:
    """For each layer how well it parts harmful from ordinary prompts, and how much a nudge there changes refusing."""
    if not scores:
        return ""
    ordered = sorted(scores, key=lambda s: s.layer)
    best = max(abs(s.effect) for s in ordered) or 1.0
    step = (WIDTH - LEFT - RIGHT) / max(8, len(ordered))
    every = max(1, -(-LABEL // int(step)))
    middles = [LEFT + step * (i + 0.5) for i in range(len(ordered))]
    line = " ".join(f"{x:.1f},{to_y(s.silhouette, *APART):.1f}" for x, s in zip(middles, ordered, strict=True))
    marks = [
        grid([(0.0, "0"), (1.0, "1")], *APART) + grid([(0.0, "0"), (1.0, number(best, ".2g"))], *DOES),
        _inside(t("tells harmful from ordinary"), APART[0] - 12) + _inside(t("decides about refusing"), DOES[0] - 12),
    ]
    for x, score in zip(middles, ordered, strict=True):
        top, dot = to_y(abs(score.effect) / best, *DOES), to_y(score.silhouette, *APART)
        is_chosen = score.layer == chosen
        told = t(
            "Layer {layer}: separation {separation}, effect {effect}",
            layer=score.layer,
            separation=number(score.silhouette, ".2f"),
            effect=number(score.effect, ".2f"),
        )
        if is_chosen:
            marks.append(
                f"<rect class='st-band' x='{x - step / 2:.1f}' y='{APART[0]}' width='{step:.1f}' "
                f"height='{DOES[1] - APART[0]:.1f}'/>"
            )
        marks.append(
            f"<g><title>{escape(told)}</title><rect class='{'st-chosen' if is_chosen else 'st-plain'}' "
            f"x='{x - step * 0.35:.1f}' y='{top:.1f}' width='{step * 0.7:.1f}' height='{DOES[1] - top:.1f}' rx='2'/>"
            f"<circle class='st-dot' cx='{x:.1f}' cy='{dot:.1f}' r='{6 if is_chosen else 4}'/>"
            "</g>"
        )
        beside = chosen is not None and 0 < abs(score.layer - chosen) < every
        if is_chosen or (score.layer % every == 0 and not beside):
            marks.append(f"<text x='{x:.1f}' y='{DOES[1] + 20}' text-anchor='middle'>{score.layer}</text>")
    marks.insert(1, f"<polyline class='st-dotted' points='{line}'/>")
    marks.append(axis_name(t("layer of the model"), LAYERS_HEIGHT))
    note = t(
        "A model is a stack of layers. Above: how clearly each keeps harmful and ordinary questions apart (0 is not at "
        "all, 1 is completely). Below: the taller the bar, the more a small change in that layer changes whether the "
        "model refuses."
    )
    if max(s.silhouette for s in ordered) < CLEARLY:
        note += " " + t("In this model no layer keeps them clearly apart.")
    if chosen is not None:
        note += " " + t("Layer {layer} is tuned.", layer=chosen)
    rows = [[str(s.layer), number(s.silhouette, ".2f"), number(s.effect, ".2f")] for s in ordered]
    shown = table([t("Layer"), t("Tells harmful from ordinary"), t("Decides about refusing")], rows)
    return figure(t("Which layer decides about refusing"), "".join(marks), note, rows=shown, height=LAYERS_HEIGHT)


def strength_chart(curve: Sequence[StrengthMeasured], chosen: float | None) -> str:
    """Held-out prompts refused, in percent, over the strength; the ``chosen`` one is 1, as on the slider."""
    if not curve:
        return ""
    unit = chosen or 1.0
    points = sorted(curve, key=lambda m: m.strength)
    last = max(points[-1].strength / unit, 0.1)
    marks = [grid([(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")])]
    if chosen is not None:
        x = to_x(chosen / unit / last)
        marks.append(f"<line class='st-at' x1='{x:.1f}' x2='{x:.1f}' y1='{TOP}' y2='{HEIGHT - BOTTOM}'/>")
    for kind, name in LINES.items():
        values = [(m.strength / unit, _refused(m, kind)) for m in points]
        path = " ".join(f"{to_x(s / last):.1f},{to_y(v):.1f}" for s, v in values)
        marks.append(f"<polyline class='st-k-{kind}' points='{path}'/>")
        marks.extend(
            f"<g><title>{escape(_told(name, v, s))}</title>{mark(kind, to_x(s / last), to_y(v))}</g>" for s, v in values
        )
    ticks = sorted({0.0, last, *([chosen / unit] if chosen is not None else [])})
    marks.extend(
        f"<text x='{to_x(s / last):.1f}' y='{HEIGHT - BOTTOM + 22}' text-anchor='middle'>{number(s, '.2g')}</text>"
        for s in ticks
    )
    marks.append(axis_name(t("strength of the change (0 is the old model)")))
    rows = [[number(m.strength / unit, ".2g"), *(percent(_refused(m, kind)) for kind in LINES)] for m in points]
    return figure(
        t("How many questions are refused, at each strength"),
        "".join(marks),
        t("Measured on questions that were not used for tuning, by the first word of the answer.")
        + (" " + t("The dashed line is the strength that was chosen.") if chosen is not None else ""),
        keys=legend(LINES, LINES, lines=True),
        rows=table([t("Strength"), t("Harmful refused"), t("Look-alikes refused"), t("Ordinary refused")], rows),
    )


def tradeoff_chart(curve: Sequence[StrengthMeasured], chosen: float | None, at: float, limit: float) -> str:
    """Look-alikes still refused over harmful refusals lost, a point for each strength, and where ``at`` is.

    ``chosen`` and ``at`` are strengths of the change as it was computed; ``limit`` is the share of lost refusals
    up to which a strength may be chosen.
    """
    points = sorted(curve, key=lambda m: m.strength)
    if len(points) < 2:
        return ""
    widest = max(0.2, *(m.harmful_lost for m in points))
    highest = max(0.2, *(m.pseudo_harmful_refused for m in points))

    def place(lost: float, refused: float) -> tuple[float, float]:
        return to_x(lost / widest), to_y(refused / highest)

    lost, refused = _between(points, at)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(m.harmful_lost, m.pseudo_harmful_refused) for m in points))
    edge = to_x(min(1.0, limit / widest))
    marks = [
        f"<rect class='st-zone' x='{LEFT}' y='{TOP}' width='{edge - LEFT:.1f}' height='{HEIGHT - BOTTOM - TOP}'/>",
        grid([(share, percent(share * highest)) for share in (0.0, 0.5, 1.0)]),
        f"<polyline class='st-line-plain' points='{path}'/>",
    ]
    for m in points:
        x, y = place(m.harmful_lost, m.pseudo_harmful_refused)
        told = t(
            "strength {strength}: {refused} of look-alikes refused, {lost} of harmful refusals lost",
            strength=number(m.strength / (chosen or 1.0), ".2g"),
            refused=percent(m.pseudo_harmful_refused),
            lost=percent(m.harmful_lost),
        )
        ring = "st-ring" if m.strength == chosen else "st-line-plain"
        marks.append(f"<circle class='{ring}' cx='{x:.1f}' cy='{y:.1f}' r='4'><title>{escape(told)}</title></circle>")
    x, y = place(lost, refused)
    marks.append(f"<circle class='st-here' cx='{x:.1f}' cy='{y:.1f}' r='7'/>")
    marks.extend(
        f"<text x='{to_x(share):.1f}' y='{HEIGHT - BOTTOM + 22}' "
        f"text-anchor='{'end' if share == 1 else 'middle'}'>{percent(share * widest)}</text>"
        for share in (0.0, 0.5, 1.0)
    )
    marks.append(axis_name(t("harmful refusals lost (further right is worse)")))
    note = t(
        "The dot is the strength set above: about {refused} of harmless look-alikes refused (was {before}) and {lost} "
        "of harmful refusals lost: harmful questions refused before that would now be answered. Lower is better; the "
        "program chooses within the shaded part, up to {limit}. By the first word of the answer, on questions that "
        "were not used for tuning.",
        refused=percent(refused),
        before=percent(points[0].pseudo_harmful_refused),
        lost=percent(lost),
        limit=percent(limit),
    )
    rows = [
        [number(m.strength / (chosen or 1.0), ".2g"), percent(m.pseudo_harmful_refused), percent(m.harmful_lost)]
        for m in points
    ]
    shown = table([t("Strength"), t("Look-alikes refused"), t("Harmful refusals lost")], rows)
    return figure(t("Harmless look-alikes still refused, at each strength"), "".join(marks), note, rows=shown)


def loss_chart(losses: Sequence[tuple[int, float]]) -> str:
    """The published loop: loss after each update."""
    if len(losses) < 2:
        return ""
    top = max(loss for _, loss in losses) or 1.0
    last = losses[-1][0] or 1
    path = " ".join(f"{to_x(step / last):.1f},{to_y(loss / top):.1f}" for step, loss in _thinned(losses))
    marks = grid([(0.0, "0"), (1.0, number(top, ".2g"))]) + f"<polyline class='st-line-plain' points='{path}'/>"
    return figure(
        t("Distance from the goal (loss)"),
        marks + axis_name(t("update (now {step})", step=last)),
        t(
            "It should fall, and level off. At first {first}, now {now}.",
            first=number(losses[0][1], ".2g"),
            now=number(losses[-1][1], ".2g"),
        ),
    )


def _between(points: Sequence[StrengthMeasured], at: float) -> tuple[float, float]:
    """(harmful lost, look-alikes refused) at strength ``at``, on the line between the nearest two of ``points``."""
    inside = min(max(at, points[0].strength), points[-1].strength)
    left, right = next((a, b) for a, b in pairwise(points) if a.strength <= inside <= b.strength)
    part = (inside - left.strength) / ((right.strength - left.strength) or 1.0)
    return (
        left.harmful_lost + part * (right.harmful_lost - left.harmful_lost),
        left.pseudo_harmful_refused + part * (right.pseudo_harmful_refused - left.pseudo_harmful_refused),
    )


def _refused(measured: StrengthMeasured, kind: str) -> float:
    return {
        "harmful": measured.harmful_refused,
        "pseudo-harmful": measured.pseudo_harmful_refused,
        "benign": measured.benign_refused,
    }[kind]


def _told(name: str, share: float, strength: float) -> str:
    return t(
        "{kind}: {share} refused at strength {strength}",
        kind=t(name),
        share=percent(share),
        strength=number(strength, ".2g"),
    )


def _inside(name: str, y: float) -> str:
    return f"<text x='{LEFT}' y='{y:.0f}'>{escape(name)}</text>"


def _thinned(losses: Sequence[tuple[int, float]], most: int = 200) -> Sequence[tuple[int, float]]:
    every = max(1, len(losses) // most)
    return [*losses[::every], losses[-1]]
