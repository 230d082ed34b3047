"""Why a change works, as a picture: where prompts lie in the tuned layer, before and after.

Of prompts the text is shown, never a reply. Positions follow the strength without asking the model anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from app.chart_parts import KINDS, legend, mark, table
from app.language import later, number, t

if TYPE_CHECKING:
    from actor_core.projection import PlacedPrompt
    from actor_core.tune import Tuned

__all__ = ["scatter"]

WIDTH, HEIGHT = 360, 292
EDGE, TOP, FLOOR = 12, 40, 220
TOLD = (FLOOR + 30, HEIGHT - FLOOR - 32)  # where the prompt that is pointed at stands: from, height
SHOWN = 18  # of each kind: more hide each other, and make the page slow
CHARS = 110  # of a prompt
LABEL = 132  # the room that the words at a line take
STRONGEST = 1.5  # of what the slider of step 4 takes: the picture keeps its scale meanwhile
# What left and right mean, along the direction that was used.
SIDES = later({True: ("◂ leans to answering", "leans to refusing ▸"), False: ("◂ like ordinary", "like harmful ▸")})

Point = tuple[float, float]


def scatter(tuned: Tuned, strength: float, unit: float) -> str:
    """Before, and with the change at ``strength`` as on the slider, where 1 stands for ``unit`` of what was computed.

    '' where nothing was read for it: a change that was opened from a file.
    """
    projection = tuned.projection
    if projection is None or not projection.prompts:
        return ""
    groups = {kind: [p for p in projection.prompts if p.kind == kind] for kind in KINDS}
    groups = {kind: group for kind, group in groups.items() if group}
    few = [p for group in groups.values() for p in _few(group)]
    place = _Scale([p.at(s * unit) for p in few for s in (0.0, STRONGEST)])
    causal = tuned.delta.method == "causal"
    panels = []
    changed = t("With the change, at strength {strength}", strength=number(strength))
    for title, at in ((t("Before"), 0.0), (changed, strength)):
        marks = _frame(place, projection.harmful, SIDES[causal])
        marks += "".join(_point(p, place(p.at(at * unit))) for p in few)
        for kind, group in groups.items():
            marks += _mean_mark(kind, place(_mean(group, 0.0)), place(_mean(group, at * unit)))
        told = f"{title}: {_words(groups, at * unit)}"
        panels.append(
            f"<div><h3>{escape(title)}</h3><svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
            f"aria-label='{escape(told)}'>{marks}</svg></div>"
        )
    rows = [
        [t(KINDS[p.kind]), _short(p.prompt), number(p.before[0], ".2f"), number(p.at(strength * unit)[0], ".2f")]
        for p in few
    ]
    heads = [t("Kind"), t("Prompt"), t("Before"), t("At strength {strength}", strength=number(strength))]
    return (
        "<figure class='st-chart st-scatter'><figcaption>"
        f"{t('Why it works: prompts in the tuned layer')}</figcaption>"
        f"{legend(groups)}<div class='st-panels'>{''.join(panels)}</div>"
        f"<p class='st-hint'>{escape(_note(tuned.delta.layer, causal, groups, strength * unit))}</p>"
        f"{table(heads, rows)}</figure>"
    )


class _Scale:
    """From the plane of the projection to the drawing, wide enough for all ``points`` at any strength."""

    def __init__(self, points: Sequence[Point]) -> None:
        xs, ys = [x for x, _ in points] + [0.0], [y for _, y in points]
        self.left, self.low = min(xs), min(ys)
        self.across, self.up = (max(xs) - self.left) or 1.0, (max(ys) - self.low) or 1.0

    def __call__(self, point: Point) -> Point:
        x = EDGE + (WIDTH - 2 * EDGE) * (point[0] - self.left) / self.across
        y = FLOOR - 8 - (FLOOR - TOP - 16) * (point[1] - self.low) / self.up
        return min(max(x, 0.0), float(WIDTH)), y


def _frame(place: _Scale, harmful: float, sides: tuple[str, str]) -> str:
    """The box, where ordinary and harmful prompts lie on average, and what left and right mean."""
    drawn = f"<rect class='st-box' x='2' y='{TOP}' width='{WIDTH - 4}' height='{FLOOR - TOP}' rx='4'/>"
    named = sorted([(0.0, t("average ordinary")), (harmful, t("average harmful"))])
    for row, (x, name) in enumerate(named):
        at, _ = place((x, 0.0))
        # Away from the other line where there is room for the words, and never on its height.
        outside = at > LABEL if row == 0 else at > WIDTH - LABEL
        anchor, gap = ("end", -4) if outside else ("start", 4)
        top = 14 + 17 * row
        drawn += (
            f"<line class='st-at' x1='{at:.1f}' x2='{at:.1f}' y1='{top - 10}' y2='{FLOOR}'/>"
            f"<text x='{at + gap:.1f}' y='{top}' text-anchor='{anchor}'>{name}</text>"
        )
    left, right = map(t, sides)
    hint = t("point at a mark to read its prompt")
    return (
        f"{drawn}<text x='{WIDTH / 2}' y='{TOLD[0] + 14}' text-anchor='middle'>{hint}</text>"
        f"<text x='2' y='{FLOOR + 19}'>{left}</text>"
        f"<text x='{WIDTH - 2}' y='{FLOOR + 19}' text-anchor='end'>{right}</text>"
    )


def _point(prompt: PlacedPrompt, at: Point) -> str:
    """A prompt; its words stand under the drawing while it is pointed at, tapped or focused."""
    told = escape(f"{t(KINDS[prompt.kind])}: {_short(prompt.prompt)}")
    top, height = TOLD
    return (
        f"<g class='st-point' tabindex='-1'><title>{told}</title>{mark(prompt.kind, *at, 4.5)}"
        f"<foreignObject x='2' y='{top}' width='{WIDTH - 4}' height='{height}'><div>{told}</div></foreignObject></g>"
    )


def _mean_mark(kind: str, before: Point, after: Point) -> str:
    """The mean of a kind, large, with the way it has come."""
    (x1, y1), (x2, y2) = before, after
    way = f"<line class='st-way st-k-{kind}' x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}'/>"
    return f"<g class='st-mean'>{way if abs(x1 - x2) > 1 else ''}{mark(kind, x2, y2, 9)}</g>"


def _note(layer: int, causal: bool, groups: dict[str, list[PlacedPrompt]], at: float) -> str:
    return t(
        "Each mark is a prompt, placed by what layer {layer} makes of it: the further right, {meaning}. Up and down "
        "only spreads them out. The large marks are averages, with the way they have come. {moved} All but yours were "
        "not used for tuning.",
        layer=layer,
        meaning=t("the more the model leans to refusing")
        if causal
        else t("the more it looks to the model like a harmful one"),
        moved=_moved(groups, at),
    )


def _moved(groups: dict[str, list[PlacedPrompt]], at: float) -> str:
    said = []
    for kind, group in groups.items():
        way = _mean(group, at)[0] - _mean(group, 0.0)[0]
        size = number(abs(way), ".1f")
        if abs(way) < 0.05:
            where = t("stay where they are")
        else:
            where = (
                t("{distance} to the left", distance=size) if way < 0 else t("{distance} to the right", distance=size)
            )
        said.append(f"{t(KINDS[kind])} {where}")
    return t(
        "At this strength, on average: {moves} (1 is the distance between the average harmful and the average ordinary "
        "prompt).",
        moves=", ".join(said),
    )


def _words(groups: dict[str, list[PlacedPrompt]], at: float) -> str:
    """Where the kinds lie on average, for those who do not see the drawing."""
    return ", ".join(
        t("{kind} at {place}", kind=t(KINDS[kind]), place=number(_mean(group, at)[0], ".2f"))
        for kind, group in groups.items()
    )


def _mean(group: Sequence[PlacedPrompt], at: float) -> Point:
    places = [p.at(at) for p in group]
    return sum(x for x, _ in places) / len(places), sum(y for _, y in places) / len(places)


def _few(prompts: list[PlacedPrompt]) -> list[PlacedPrompt]:
    """Up to `SHOWN` of them, evenly."""
    return prompts[:: max(1, -(-len(prompts) // SHOWN))]


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= CHARS else f"{prompt[: CHARS - 1]}…"
