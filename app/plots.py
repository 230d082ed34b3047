"""Small charts as SVG: they take the page's colours, so they read in light and dark, and scale to a phone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actor_core.events import LayerScored, StrengthMeasured

__all__ = ["layers_chart", "loss_chart", "strength_chart", "tradeoff_chart"]

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 14, 54


def layers_chart(scores: Sequence[LayerScored], chosen: int | None) -> str:
    """One bar a layer: how much a nudge there changes refusing. The chosen layer is filled."""
    if not scores:
        return ""
    best = max((abs(s.effect) for s in scores), default=0.0) or 1.0
    step = (WIDTH - LEFT - RIGHT) / max(8, len(scores))
    width = step * 0.7
    floor = HEIGHT - BOTTOM
    marks = [_grid([(0.0, "0"), (best, _short(best))], best)]
    for i, score in enumerate(sorted(scores, key=lambda s: s.layer)):
        x, height = LEFT + step * (i + 0.15), (floor - TOP) * abs(score.effect) / best
        css = "st-chosen" if score.layer == chosen else "st-plain"
        told = f"Layer {score.layer}: effect {score.effect:.2f}, separation {score.silhouette:.2f}"
        marks.append(
            f"<rect class='{css}' x='{x:.1f}' y='{floor - height:.1f}' width='{width:.1f}' "
            f"height='{height:.1f}' rx='2'>"
            f"<title>{escape(told)}</title></rect>"
            f"<text x='{x + width / 2:.1f}' y='{floor + 20}' text-anchor='middle'>{score.layer}</text>"
        )
    marks.append(_axis_name("layer of the model"))
    note = "The taller the bar, the more a small change in that layer changes whether the model refuses."
    if chosen is not None:
        note += f" Layer {chosen} is tuned."
    return _figure("Which layer decides about refusing", "".join(marks), note)


def strength_chart(curve: Sequence[StrengthMeasured], chosen: float | None) -> str:
    """Held-out prompts refused, in percent, over the strength; the ``chosen`` one is 1, as on the slider."""
    if not curve:
        return ""
    unit = chosen or 1.0
    points = sorted(curve, key=lambda m: m.strength)
    last = max(points[-1].strength / unit, 0.1)
    lines = [
        (
            "st-line-good",
            "harmful: should stay high",
            [(m.strength / unit, m.harmful_refused) for m in points],
        ),
        (
            "st-line-bad",
            "harmless look-alikes: should fall",
            [(m.strength / unit, m.pseudo_harmful_refused) for m in points],
        ),
        (
            "st-line-plain",
            "ordinary: should stay low",
            [(m.strength / unit, m.benign_refused) for m in points],
        ),
    ]
    marks = [_grid([(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")], 1.0)]
    if chosen is not None:
        x = _x(chosen / unit / last)
        marks.append(f"<line class='st-at' x1='{x:.1f}' x2='{x:.1f}' y1='{TOP}' y2='{HEIGHT - BOTTOM}'/>")
    for css, name, values in lines:
        path = " ".join(f"{_x(s / last):.1f},{_y(v):.1f}" for s, v in values)
        marks.append(f"<polyline class='{css}' points='{path}'/>")
        marks.extend(
            f"<circle class='{css}' cx='{_x(s / last):.1f}' cy='{_y(v):.1f}' r='3'>"
            f"<title>{escape(name)}: {100 * v:.0f} % refused at strength {s:.2g}</title></circle>"
            for s, v in values
        )
    ticks = sorted({0.0, last, *([chosen / unit] if chosen is not None else [])})
    marks.extend(
        f"<text x='{_x(s / last):.1f}' y='{HEIGHT - BOTTOM + 20}' text-anchor='middle'>{s:.2g}</text>" for s in ticks
    )
    marks.append(_axis_name("strength of the change (0 is the old model)"))
    legend = "".join(f"<li class='{css}'><i></i>{escape(name)}</li>" for css, name, _ in lines)
    return _figure(
        "How many questions are refused, at each strength",
        "".join(marks),
        "Measured on prompts that are not used for tuning, by the first word of the answer."
        + (" The dashed line is the strength that was chosen." if chosen is not None else ""),
        f"<ul class='st-legend'>{legend}</ul>",
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
        return _x(lost / widest), _y(refused / highest)

    lost, refused = _between(points, at)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(m.harmful_lost, m.pseudo_harmful_refused) for m in points))
    edge = _x(min(1.0, limit / widest))
    marks = [
        f"<rect class='st-zone' x='{LEFT}' y='{TOP}' width='{edge - LEFT:.1f}' height='{HEIGHT - BOTTOM - TOP}'/>",
        _grid([(share, f"{100 * share:.0f} %") for share in (0.0, highest / 2, highest)], highest),
        f"<polyline class='st-line-plain' points='{path}'/>",
    ]
    for m in points:
        x, y = place(m.harmful_lost, m.pseudo_harmful_refused)
        told = (
            f"strength {m.strength / (chosen or 1.0):.2g}: {100 * m.pseudo_harmful_refused:.0f} % of look-alikes "
            f"refused, {100 * m.harmful_lost:.0f} % of harmful refusals lost"
        )
        ring = "st-ring" if m.strength == chosen else "st-line-plain"
        marks.append(f"<circle class='{ring}' cx='{x:.1f}' cy='{y:.1f}' r='4'><title>{escape(told)}</title></circle>")
    x, y = place(lost, refused)
    marks.append(f"<circle class='st-here' cx='{x:.1f}' cy='{y:.1f}' r='7'/>")
    marks.extend(
        f"<text x='{_x(share / widest):.1f}' y='{HEIGHT - BOTTOM + 20}' text-anchor='middle'>{100 * share:.0f} %</text>"
        for share in (0.0, widest / 2, widest)
    )
    marks.append(_axis_name("harmful prompts no longer refused (of those refused before)"))
    note = (
        f"The dot is the strength set above: about {100 * refused:.0f} % of harmless look-alikes refused (was "
        f"{100 * points[0].pseudo_harmful_refused:.0f} %) and {100 * lost:.0f} % of harmful refusals lost. Lower is "
        f"better, further right is worse; the program chooses within the shaded part, up to {100 * limit:.0f} %. "
        "By the first word of the answer, on prompts that are not used for tuning."
    )
    return _figure("Harmless look-alikes still refused, at each strength", "".join(marks), note)


def _between(points: Sequence[StrengthMeasured], at: float) -> tuple[float, float]:
    """(harmful lost, look-alikes refused) at strength ``at``, on the line between the nearest two of ``points``."""
    inside = min(max(at, points[0].strength), points[-1].strength)
    left, right = next((a, b) for a, b in pairwise(points) if a.strength <= inside <= b.strength)
    part = (inside - left.strength) / ((right.strength - left.strength) or 1.0)
    return (
        left.harmful_lost + part * (right.harmful_lost - left.harmful_lost),
        left.pseudo_harmful_refused + part * (right.pseudo_harmful_refused - left.pseudo_harmful_refused),
    )


def loss_chart(losses: Sequence[tuple[int, float]]) -> str:
    """The published loop: loss after each update."""
    if len(losses) < 2:
        return ""
    top = max(loss for _, loss in losses) or 1.0
    last = losses[-1][0] or 1
    path = " ".join(f"{_x(step / last):.1f},{_y(loss / top):.1f}" for step, loss in _thinned(losses))
    marks = _grid([(0.0, "0"), (top, _short(top))], top) + f"<polyline class='st-line-plain' points='{path}'/>"
    return _figure(
        "Distance from the goal (loss)",
        marks + _axis_name(f"update (now {last})"),
        "It should fall, and level off.",
    )


def _thinned(losses: Sequence[tuple[int, float]], most: int = 200) -> Sequence[tuple[int, float]]:
    every = max(1, len(losses) // most)
    return [*losses[::every], losses[-1]]


def _x(share: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * share


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * min(1.0, max(0.0, share))


def _grid(ticks: Sequence[tuple[float, str]], top: float) -> str:
    return "".join(
        f"<line class='st-grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{_y(v / top):.1f}' "
        f"y2='{_y(v / top):.1f}'/>"
        f"<text x='{LEFT - 6}' y='{_y(v / top) + 4:.1f}' text-anchor='end'>{escape(name)}</text>"
        for v, name in ticks
    )


def _axis_name(name: str) -> str:
    return f"<text x='{(LEFT + WIDTH) / 2}' y='{HEIGHT - 6}' text-anchor='middle'>{escape(name)}</text>"


def _short(value: float) -> str:
    return f"{value:.2g}"


def _figure(title: str, marks: str, note: str, legend: str = "") -> str:
    return (
        f"<figure class='st-chart'><figcaption>{escape(title)}</figcaption>{legend}"
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(title)}'>{marks}</svg>"
        f"<p class='st-hint'>{escape(note)}</p></figure>"
    )
