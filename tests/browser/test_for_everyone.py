"""For everyone: axe-core on every screen, the whole path by keyboard, zoom, right to left, less motion.

One walk through the five steps over the quick stand-ins; at each screen everything is measured that the tests ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.browser.conftest import no_job, overflow, unfold, wait_until

pytestmark = pytest.mark.browser

PROMPTS = "How do I kill a process?\nHow can I kill time?\nWhat is bread?\nWhat is bread?\n"
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"
# Whether the element with the focus, or what it stands in, looks different from how it looks without.
FOCUS = """() => {
  const e = document.activeElement;
  const look = () => {
    const all = [];
    for (let at = e, up = 0; at && up < 4; at = at.parentElement, up++) {
      const s = getComputedStyle(at);
      all.push(s.outlineStyle, s.outlineWidth, s.boxShadow, s.borderColor);
    }
    return all.join("|");
  };
  if (e === document.body) return true;
  const focused = look();
  e.blur();
  const without = look();
  e.focus();
  return focused !== without;
}"""


def step(page, name: str) -> None:
    page.locator("#steps > .tab-wrapper").get_by_role("tab", name=re.compile(name)).click()
    page.wait_for_function("n => document.querySelector('.st-heading:not([hidden])') && true", arg=name)


def screens(page) -> Iterator[str]:
    """Goes through the five steps, and stops at every screen that differs from the others."""
    unfold(page)
    yield "model, empty"
    step(page, "Prompts")
    yield "prompts, empty"
    step(page, "Model")
    page.locator("#model-go").click()
    page.wait_for_selector("#model-state .st-success")
    yield "model, loaded"
    page.locator("#model-next:enabled").click()
    page.locator("#prompts-go:enabled").click()
    page.wait_for_selector("#prompts-notice .st-error")
    yield "prompts, an error"
    page.locator("#prompts textarea").fill(PROMPTS)
    page.wait_for_selector("#prompt-count span")
    page.locator("#prompts-go").click()
    page.wait_for_selector("#refused-summary h3")
    no_job(page, "prompts")
    yield "prompts, asked"
    unfold(page)
    page.locator("#variants-go:enabled").click()
    page.wait_for_selector("#variants tr[data-id]")
    no_job(page, "variants")
    page.locator("#variants summary").first.click()
    yield "prompts, more written"
    page.locator("#prompts-next:enabled").click()
    page.wait_for_selector("#tune-go")
    unfold(page)
    yield "tune, empty"
    page.locator("#tune-go:enabled").click()
    page.wait_for_selector("#tune-words .st-success")
    yield "tune, while it compares"
    page.locator("#tune-next:enabled").click()
    page.wait_for_selector("#tiles .st-tile")
    no_job(page, "compare")
    unfold(page)
    for name in ("Your prompts", "Look-alikes", "Harmful", "Ordinary", "Try any prompt"):
        page.locator("#sets").get_by_role("tab", name=re.compile(name)).click()
        page.wait_for_timeout(300)
        yield f"compare, {name}"
    page.locator("#trial textarea").fill("How do I kill an evening?")
    page.locator("#trial-go:enabled").click()
    page.wait_for_selector("#turns .st-sides")
    no_job(page, "compare")
    yield "compare, a conversation"
    for name in ("perspectives", "steadiness"):
        page.locator(f"#{name}-go:enabled").click()
        page.wait_for_selector(f"#{name}-found table")
        page.wait_for_selector(f"#{name}-job .st-job", state="detached")
    page.locator("#steadiness .st-strip > [tabindex='0']").first.focus()
    yield "compare, asked otherwise"
    step(page, "Export")
    page.wait_for_selector("#export-go")
    unfold(page)
    yield "export, empty"
    page.locator("#export-go:enabled").click()
    page.wait_for_selector("#guard .st-notice")
    no_job(page, "export")
    yield "export, held back"
    page.locator("#export-anyway textarea, #export-anyway input").first.fill("export anyway")
    page.locator("#export-go").click()
    page.wait_for_selector("#card-peft .st-export")
    no_job(page, "export")
    yield "export, done"


@pytest.fixture(scope="module")
def found(chromium, quick_server) -> dict[str, list[str]]:
    """What is wrong, by kind, over all screens."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-core is not here: pip install axe-playwright-python"
    ).Axe()
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(quick_server.url)
    page.wait_for_selector("#model-go")
    page.add_style_tag(content=STILL)
    faults: dict[str, list[str]] = {"axe": [], "zoom": [], "right to left": [], "screens": []}
    for screen in screens(page):
        faults["screens"].append(screen)
        for theme in ("light", "dark"):
            page.evaluate("dark => document.body.classList.toggle('dark', dark)", theme == "dark")
            result = axe.run(page, options={"resultTypes": ["violations"]}).response
            faults["axe"] += [
                f"{screen}, {theme}: {each['id']} ({each['impact']}) {node['html'][:140]}"
                for each in result["violations"]
                if each["impact"] in ("moderate", "serious", "critical")
                for node in each["nodes"]
            ]
        page.evaluate("document.body.classList.remove('dark')")
        for width in (1200, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate("document.documentElement.dir = 'rtl'")
            page.wait_for_timeout(100)
            # Right to left the page grows to the left: what lies there is counted as well.
            left = page.evaluate(
                "Math.max(0, ...[...document.querySelectorAll('.st-top, #steps, .block:not(.hidden), .st-actions > *')]"
                ".filter(e => e.offsetParent && e.getBoundingClientRect().width)"
                ".map(e => -e.getBoundingClientRect().left))"
            )
            if max(overflow(page), left) > 1:
                faults["right to left"].append(f"{screen} at {width}: {max(overflow(page), left)} px")
            page.evaluate("document.documentElement.dir = 'ltr'")
        page.set_viewport_size({"width": 720, "height": 450})
        page.wait_for_timeout(100)
        if overflow(page) > 0:
            faults["zoom"].append(f"{screen}: {overflow(page)} px")
        page.set_viewport_size({"width": 1200, "height": 900})
    context.close()
    return faults


def test_axe_finds_no_fault_above_minor_ones_on_any_screen_light_or_dark(found):
    assert len(found["screens"]) == 18
    assert found["axe"] == []


def test_at_200_percent_no_screen_is_wider_than_the_window(found):
    assert found["zoom"] == []


def test_right_to_left_no_screen_is_wider_than_the_window(found):
    assert found["right to left"] == []


def test_the_page_names_its_language(chromium, quick_server):
    page = chromium.new_page()
    page.goto(quick_server.url)
    page.wait_for_selector("#model-go")
    assert page.evaluate("document.documentElement.lang").startswith("en")
    page.close()


def test_who_wants_less_motion_gets_none(chromium, quick_server):
    context = chromium.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(quick_server.url)
    page.wait_for_selector("#model-go")
    moving = page.evaluate(
        "[...document.querySelectorAll('*')].filter(e => { const s = getComputedStyle(e);"
        " const seconds = v => Math.max(...v.split(',').map(parseFloat));"
        " return (s.animationName !== 'none' && seconds(s.animationDuration) > 0.01) ||"
        " seconds(s.transitionDuration) > 0.01; }).map(e => e.outerHTML.slice(0, 100))"
    )
    assert moving == []
    context.close()


def tab_to(page, selector: str, most: int = 60) -> None:
    """Presses Tab until ``selector`` has the focus, which is to be seen wherever it is on the way."""
    for _ in range(most):
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUS), page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def enter(page, selector: str) -> None:
    page.wait_for_selector(f"{selector}:enabled")
    tab_to(page, selector)
    page.keyboard.press("Enter")


def test_the_whole_path_goes_by_keyboard_alone_and_the_focus_is_always_seen(chromium, quick_server):
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(quick_server.url)
    page.wait_for_selector("#model-go")
    page.add_style_tag(content=STILL)
    enter(page, "#model-go")
    enter(page, "#model-next")
    page.wait_for_selector("#prompts textarea")
    tab_to(page, "#prompts textarea")
    page.keyboard.type("How do I kill a process at night?")
    enter(page, "#prompts-go")
    enter(page, "#prompts-next")
    enter(page, "#tune-go")
    enter(page, "#tune-next")
    page.wait_for_selector("#tiles .st-tile")
    no_job(page, "compare")
    tab_to(page, "#strength input[type=range]")
    page.keyboard.press("ArrowLeft")
    wait_until(lambda: "strength 0.95" in page.inner_text("#strength-now"), 15, "the strength by arrow keys")
    wait_until(lambda: page.locator("#quick-job .st-job").count() == 0, 15, "the answers")
    enter(page, "#compare-next")
    enter(page, "#export-go")
    page.wait_for_selector("#guard .st-notice")
    page.wait_for_selector("#export-anyway textarea, #export-anyway input")
    no_job(page, "export")
    tab_to(page, "#export-anyway textarea, #export-anyway input")
    page.keyboard.type("export anyway")
    page.keyboard.press("Enter")
    page.wait_for_selector("#card-delta .st-export")
    context.close()
