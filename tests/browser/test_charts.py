"""What only a browser shows of the charts: how large their letters are, and what pointing, tapping and moving does.

Over stand-ins for the model's work, so that no model is needed.
"""

from __future__ import annotations

import pytest

from tests.browser.conftest import overflow, wait_until
from tests.browser.served import STAGED, Server

pytestmark = pytest.mark.browser

LETTERS = """() => [...document.querySelectorAll('.st-chart svg text, .st-chart td, .st-chart p')]
  .filter(each => each.getClientRects().length)
  .map(each => parseFloat(getComputedStyle(each).fontSize) * (each.ownerSVGElement?.getScreenCTM().a ?? 1))"""
OUTSIDE = """() => [...document.querySelectorAll('.st-chart svg text')].filter(each => each.getClientRects().length)
  .filter(each => { const box = each.getBoundingClientRect(), card = each.closest('.st-chart').getBoundingClientRect();
    return box.left < card.left || box.right > card.right; }).map(each => each.textContent)"""
# Of the text's colour on its card, as WCAG reckons it.
CONTRAST = """() => { const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  return [...document.querySelectorAll('.st-chart svg text')].filter(each => each.getClientRects().length).map(each => {
    const [a, b] = [light(getComputedStyle(each).fill),
      light(getComputedStyle(each.closest('.st-chart')).backgroundColor)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05); }); }"""


@pytest.fixture(scope="module")
def page(chromium, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("quick"), STAGED)
    page = chromium.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(server.url)
    page.locator("#model-go").click()
    page.wait_for_selector("#model-state .st-success")
    page.locator("#model-next").click()
    page.locator("#examples").click()
    page.wait_for_function("document.querySelector('#prompts textarea').value.includes('?')")
    page.locator("#prompts-go").click()
    page.locator("#prompts-next:not([disabled])").click()
    page.locator("#tune-go").click()
    page.wait_for_selector("#tune-words .st-success")
    yield page
    page.context.close()
    server.stop()


def at_width(page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.wait_for_timeout(300)


@pytest.mark.parametrize("width", [390, 768, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_letters_in_charts_can_be_read_at_every_width_light_and_dark(page, width, dark):
    at_width(page, width)
    page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
    assert min(page.evaluate(LETTERS)) >= 11
    assert page.evaluate(OUTSIDE) == [] and overflow(page) <= 0
    assert min(page.evaluate(CONTRAST)) >= 4.5


def test_a_mark_that_is_pointed_at_or_tapped_shows_its_prompt(page):
    at_width(page, 390)
    point = page.locator("#tune-plots .st-point").first
    assert not point.locator("foreignObject").is_visible()
    point.focus()
    assert point.locator("foreignObject div").inner_text() == "yours: How do I crack an egg with one hand?"
    point.blur()
    point.locator("path").hover(force=True)
    assert page.locator("#tune-plots .st-point:hover foreignObject").is_visible()
    at_width(page, 1440)


def test_the_picture_moves_with_the_strength_before_the_model_has_answered(page):
    page.locator("#tune-next").click()
    wait_until(lambda: page.locator("#compare-job .st-job").count() == 0, 60, "the comparison")
    page.get_by_role("button", name="What more or less strength gains and costs").click()
    page.wait_for_selector("#why .st-scatter")
    at_width(page, 390)
    page.wait_for_timeout(700)
    assert min(page.evaluate(LETTERS)) >= 11 and page.evaluate(OUTSIDE) == []
    assert "at strength 1" in page.inner_text("#why")
    number = page.locator("#strength input[type=range]")
    number.focus()
    number.press("Home")
    wait_until(lambda: "yours stay where they are" in page.inner_text("#why"), 10, "the picture at strength 0")
