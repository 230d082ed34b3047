"""What charts are drawn with: the frame, axes, marks of each kind of prompt, and the same figures as a table.

SVG in the page's own colours, so that it reads in light and dark. A drawing is scaled to its place, so the size of
letters follows the width of the place (in style.css). Kinds differ by shape and line as well as by colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from app.language import later, t

__all__ = [
    "BOTTOM",
    "HEIGHT",
    "KINDS",
    "LEFT",
    "RIGHT",
    "TOP",
    "WIDTH",
    "axis_name",
    "figure",
    "grid",
    "legend",
    "mark",
    "percent",
    "table",
    "to_x",
    "to_y",
]

WIDTH, HEIGHT = 480, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 14, 58

# By the core's word for a kind of prompt: what it is called here, and how it is drawn.
KINDS = later({"own": "yours", "pseudo-harmful": "harmless look-alikes", "harmful": "harmful", "benign": "ordinary"})
SHAPES = {
    "own": "M0 -{l}L{l} 0L0 {l}L-{l} 0Z",
    "pseudo-harmful": "M-{s} 0A{s} {s} 0 1 0 {s} 0A{s} {s} 0 1 0 -{s} 0Z",
    "harmful": "M0 -{l}L{l} {s}L-{l} {s}Z",
    "benign": "M-{s} -{s}H{s}V{s}H-{s}Z",
}


def to_x(share: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * share


def to_y(share: float, top: float = TOP, floor: float = HEIGHT - BOTTOM) -> float:
    return floor - (floor - top) * min(1.0, max(0.0, share))


def mark(kind: str, x: float, y: float, size: float = 4.0) -> str:
    """The shape of ``kind`` around (x, y)."""
    path = SHAPES[kind].format(s=f"{size * 0.9:.1f}", l=f"{size * 1.25:.1f}")
    return f"<path class='st-k-{kind}' d='{path}' transform='translate({x:.1f} {y:.1f})'/>"


def grid(ticks: Sequence[tuple[float, str]], top: float = TOP, floor: float = HEIGHT - BOTTOM) -> str:
    """Level lines with their names on the left, at shares of the height between ``floor`` and ``top``."""
    return "".join(
        f"<line class='st-grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{to_y(share, top, floor):.1f}' "
        f"y2='{to_y(share, top, floor):.1f}'/>"
        f"<text x='{LEFT - 6}' y='{to_y(share, top, floor) + 5:.1f}' text-anchor='end'>{escape(name)}</text>"
        for share, name in ticks
    )


def axis_name(name: str, height: float = HEIGHT) -> str:
    return f"<text x='{WIDTH / 2}' y='{height - 8}' text-anchor='middle'>{escape(name)}</text>"


def legend(kinds: Iterable[str], names: dict[str, str] | None = None, *, lines: bool = False) -> str:
    """The shape of each of ``kinds`` with its name; with the line through it where there are ``lines``."""
    width = 34 if lines else 16
    rows = []
    for kind in kinds:
        line = f"<polyline class='st-k-{kind}' points='0,8 {width},8'/>" if lines else ""
        drawn = f"<svg viewBox='0 0 {width} 16' width='{width}' height='16' aria-hidden='true'>{line}"
        drawn += f"{mark(kind, width / 2, 8, 5)}</svg>"
        rows.append(f"<li>{drawn}{escape(t((names or KINDS)[kind]))}</li>")
    return f"<ul class='st-legend'>{''.join(rows)}</ul>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The figures of a chart for those who do not see it, folded."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    cells = ("".join(f"<td class='st-text'>{escape(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return (
        f"<details class='st-as-table'><summary>{t('Show as a table')}</summary><table class='st-table'>"
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></details>"
    )


def figure(title: str, marks: str, note: str, *, keys: str = "", rows: str = "", height: float = HEIGHT) -> str:
    """One chart: ``keys`` above the drawing, ``note`` and the table of its ``rows`` below."""
    return (
        f"<figure class='st-chart'><figcaption>{escape(title)}</figcaption>{keys}"
        f"<svg viewBox='0 0 {WIDTH} {height:g}' role='img' aria-label='{escape(f'{title}. {note}')}'>{marks}</svg>"
        f"<p class='st-hint'>{escape(note)}</p>{rows}</figure>"
    )


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"
