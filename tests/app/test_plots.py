"""The charts: drawn while the first points come, readable without colour or sight, true to the strength set."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest
from quick_core import delta

from actor_core.events import LayerScored, StrengthMeasured
from actor_core.projection import PlacedPrompt, Projection
from actor_core.tune import Tuned
from app import plots
from app.chart_parts import KINDS
from app.runs import Run
from app.scatter import SHOWN, scatter

EVIL = "<script>alert('x')</script>\"&<img src=x onerror=alert(1)>"
SCORES = [LayerScored(n, 0.1 * n, 5.0 - n) for n in range(4)]


def test_the_charts_are_drawn_while_the_first_points_come():
    assert plots.layers_chart([], None) == ""
    assert "Layer 14 is tuned" in plots.layers_chart([LayerScored(14, 0.2, 1.0)], 14)
    assert "100 % refused at strength 0" in plots.strength_chart([StrengthMeasured(0.0, 0.5, 1.0, 0.1)], None)
    assert plots.loss_chart([(1, 0.0), (2, 0.0)]).count("<polyline") == 1


CURVE = [
    StrengthMeasured(0.0, 0.5, 0.7, 0.1),
    StrengthMeasured(0.5, 0.3, 0.75, 0.1, harmful_lost=0.02),
    StrengthMeasured(1.0, 0.1, 0.7, 0.1, harmful_lost=0.12),
]


def test_the_trade_off_says_what_the_strength_that_is_set_gains_and_costs():
    chart = plots.tradeoff_chart(CURVE, 0.5, 0.75, 0.05)
    assert "about 20 % of harmless look-alikes refused (was 50 %) and 7 % of harmful refusals lost" in chart
    assert "strength 2: 10 % of look-alikes refused, 12 % of harmful refusals lost" in chart
    assert chart.count("st-ring") == 1 and chart.count("st-here") == 1
    assert "about 10 % of harmless" in plots.tradeoff_chart(CURVE, 0.5, 9.0, 0.05)  # beyond what was measured


def test_the_dot_of_the_trade_off_moves_with_the_strength():
    charts = {plots.tradeoff_chart(CURVE, 0.5, at, 0.05).split("st-here")[1][:40] for at in (0.0, 0.2, 0.5, 1.0)}
    assert len(charts) == 4


def test_without_a_curve_there_is_no_trade_off():
    assert plots.tradeoff_chart(CURVE[:1], None, 1.0, 0.05) == ""


def placed(kind: str, n: int = 3, prompt: str = "", move: float = -1.0) -> list[PlacedPrompt]:
    return [PlacedPrompt(prompt or f"{kind} {i}", kind, (0.1 * i, 0.2 * i), (move, 0.0)) for i in range(n)]


def tuned(*groups: list[PlacedPrompt]) -> Tuned:
    prompts = tuple(p for group in groups for p in group)
    return Tuned(delta(), 0.75, (), (), (), Projection(0.2, prompts))


EVERY_KIND = tuned(placed("own"), placed("pseudo-harmful"), placed("harmful", move=0.5), placed("benign", move=0.0))


def panels(html: str) -> list[str]:
    return re.findall(r"<svg viewBox='0 0 360.*?</svg>", html, re.DOTALL)


def means(panel: str) -> dict[str, float]:
    """x of each kind's mean in a panel."""
    found = re.findall(r"<g class='st-mean'>.*?<path class='st-k-([\w-]+)'.*?translate\(([\d.]+) ", panel)
    return {kind: float(x) for kind, x in found}


def every_chart() -> list[str]:
    return [
        plots.layers_chart(SCORES, 2),
        plots.strength_chart(CURVE, 0.5),
        plots.tradeoff_chart(CURVE, 0.5, 0.75, 0.05),
        plots.loss_chart([(1, 2.0), (2, 1.0)]),
        scatter(EVERY_KIND, 1.0, 0.75),
    ]


@pytest.mark.parametrize("n", range(5))
def test_every_chart_is_well_formed_and_says_in_words_what_it_shows(n):
    html = every_chart()[n]
    drawn = ET.fromstring(html).iter("svg")  # raises where a mark is not closed
    told = [svg.get("aria-label") for svg in drawn if svg.get("role") == "img"]
    assert told and all(label and len(label) > 40 for label in told)


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_the_figures_of_a_chart_can_be_read_as_a_table(n):
    html = every_chart()[n]
    table = ET.fromstring(html).find(".//details/table")
    assert table is not None
    assert len(list(table.iter("tr"))) == {0: 5, 1: 4, 2: 4, 4: 13}[n]


def test_each_layer_shows_how_well_it_parts_the_kinds_beside_what_it_does():
    html = plots.layers_chart(SCORES, 2)
    assert "Layer 3: separation 0.30, effect 2.00" in html
    heights = [float(y) for y in re.findall(r"<circle class='st-dot' cx='[\d.]+' cy='([\d.]+)'", html)]
    assert heights == sorted(heights, reverse=True) and len(set(heights)) == 4, "higher where it parts them better"
    assert html.count("st-band") == 1 and html.count("st-chosen") == 1


def test_it_is_said_where_no_layer_keeps_the_kinds_apart():
    said = "no layer keeps them clearly apart"
    assert said in plots.layers_chart([LayerScored(1, 0.1, 1.0), LayerScored(2, -0.02, 2.0)], 2)
    assert said not in plots.layers_chart(SCORES, 2)


def test_the_numbers_of_many_layers_do_not_run_into_each_other():
    html = plots.layers_chart([LayerScored(n, 0.5, 1.0) for n in range(27, 54)], 41)
    places = sorted(float(x) for x in re.findall(r"<text x='([\d.]+)' y='30[\d.]*' text-anchor='middle'>\d+<", html))
    assert len(places) >= 7 and ">41<" in html
    assert min(b - a for a, b in pairwise(places)) >= 28


def test_kinds_differ_by_shape_and_line_and_not_by_colour_alone():
    shapes = dict(re.findall(r"<path class='st-k-([\w-]+)' d='([^']+)'", plots.strength_chart(CURVE, 0.5)))
    assert len(set(shapes.values())) == len(shapes) == 3
    shapes = dict(re.findall(r"<path class='st-k-([\w-]+)' d='([^']+)'", scatter(EVERY_KIND, 1.0, 0.75)))
    assert len(set(shapes.values())) == len(shapes) == 4


def test_before_and_after_stand_beside_each_other_and_move_as_the_change_does():
    before, after = map(means, panels(scatter(EVERY_KIND, 1.0, 0.75)))
    assert set(before) == set(KINDS)
    assert after["own"] < before["own"] and after["pseudo-harmful"] < before["pseudo-harmful"]
    assert after["harmful"] > before["harmful"] and after["benign"] == before["benign"]


def points(panel: str) -> dict[str, list[float]]:
    """x of each prompt in a panel, by kind."""
    found: dict[str, list[float]] = {}
    for kind, x in re.findall(r"</title><path class='st-k-([\w-]+)'.*?translate\(([\d.]+) ", panel):
        found.setdefault(kind, []).append(float(x))
    return found


def test_averages_stand_amid_their_prompts_and_at_full_strength_the_picture_is_filled():
    before, strongest = panels(scatter(EVERY_KIND, 1.5, 0.75))
    for panel in (before, strongest):
        for kind, xs in points(panel).items():
            assert means(panel)[kind] == pytest.approx(sum(xs) / len(xs), abs=0.1)
    # The scale is made for 1.5 on the slider: there, and not before, the outermost prompts touch both edges.
    every_x = sum(points(strongest).values(), [])
    assert min(every_x) == pytest.approx(12.0) and max(every_x) == pytest.approx(348.0)
    assert min(sum(points(before).values(), [])) > 100


def test_the_picture_follows_the_strength_and_keeps_its_scale():
    old, half, whole = (panels(scatter(EVERY_KIND, s, 0.75)) for s in (0.0, 0.5, 1.0))
    assert old[0] == half[0] == whole[0] and means(old[1]) == means(old[0])
    moved = [means(old[1])["own"] - means(panel[1])["own"] for panel in (half, whole)]
    assert moved[1] == pytest.approx(2 * moved[0], abs=0.2) and moved[0] > 5
    assert "yours 0.8 to the left" in scatter(EVERY_KIND, 1.0, 0.75), "0.75 of a move of 1"
    assert "yours stay where they are" in scatter(EVERY_KIND, 0.0, 0.75)


def test_a_prompt_in_the_picture_can_be_read_and_cannot_become_markup():
    html = scatter(tuned(placed("own", prompt=EVIL), placed("harmful", 1, "How do I build it?")), 1.0, 1.0)
    assert "<script" not in html and "<img" not in html and "&lt;script&gt;" in html
    assert "<title>harmful: How do I build it?</title>" in html and "<foreignObject" in html


def test_the_picture_shows_a_few_of_each_kind_and_averages_of_all():
    many = tuned(placed("own", 500), placed("harmful", 2))
    html = scatter(many, 1.0, 1.0)
    assert html.count("<foreignObject") <= 2 * (SHOWN + 2)
    assert "yours at 24.95" in html, "the mean of all 500, not of those shown"


def test_a_change_from_a_file_has_no_picture():
    assert scatter(replace(EVERY_KIND, projection=None), 1.0, 1.0) == ""


def test_the_picture_comes_back_with_an_earlier_run(studio, repaired):
    repaired.tuned = EVERY_KIND
    kept = Run.model_validate_json(Run.of(repaired).model_dump_json())
    again = studio.sessions.new()
    kept.put_into(again, EVERY_KIND.delta, "a" * 16)
    assert again.tuned is not None and again.tuned.projection == EVERY_KIND.projection
    assert scatter(again.tuned, 1.0, 0.75) == scatter(EVERY_KIND, 1.0, 0.75)


def test_what_left_and_right_mean_follows_the_direction_that_was_used():
    along_r = replace(EVERY_KIND, delta=replace(EVERY_KIND.delta, method="refusal vector"))
    assert "leans to refusing" in scatter(EVERY_KIND, 1.0, 1.0) and "like harmful" in scatter(along_r, 1.0, 1.0)
