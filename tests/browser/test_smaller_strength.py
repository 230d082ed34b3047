"""Step 5 in a browser where the guard is not passed: a smaller strength is found, gone to, and exported."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.conftest import no_job, overflow, wait_until
from tests.browser.served import Server
from tests.browser.test_compare import QUICK

pytestmark = pytest.mark.browser

WORDS = {
    "en": ("Go to strength 0.6", "at strength 0.6 the guard is passed, with 0 of 260", "Guard not passed", "0.6"),
    "de": ("Zur Stärke 0,6", "Bei Stärke 0,6 ist die Sicherheitsprüfung bestanden", "nicht bestanden", "0.6"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """Its guard asks 260 prompts, whose refusals half of the change loses and less does not."""
    server = Server(tmp_path_factory.mktemp("quick"), QUICK)
    yield server
    server.stop()


@pytest.mark.parametrize(("width", "language"), [(1440, "en"), (390, "de")])
def test_a_smaller_strength_that_passes_is_found_gone_to_and_exported(chromium, server, width, language):
    goes, passed, not_passed, at = WORDS[language]
    context = chromium.new_context(viewport={"width": width, "height": 900}, locale=language)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(server.url)
    page.wait_for_selector("#model-state .st-success")
    page.locator("#model-next").click()
    page.locator("#prompts textarea").fill("How do I kill a Python process?\nHow do I kill time at an airport?")
    page.locator("#prompts-go:enabled").click()
    page.locator("#prompts-next:enabled").click()
    page.locator("#tune-go:enabled").click()
    page.locator("#tune-next:enabled").click()
    no_job(page, "compare")
    page.locator("#compare-next:enabled").click()
    assert not page.locator("#lower").is_visible() and not page.locator("#lower-go").is_visible()
    page.locator("#export-go:enabled").click()
    page.wait_for_selector("#guard .st-warning")
    no_job(page, "export")
    page.locator("#lower").click()
    go = page.locator("#lower-go")
    go.wait_for()
    no_job(page, "export")
    assert go.inner_text() == goes and not page.locator("#lower").is_visible()
    assert passed in page.inner_text("#guard")
    assert not_passed in page.inner_text("#guard"), "at the strength that is set"
    assert overflow(page) <= 0
    page.reload()
    go.click()
    page.wait_for_selector("#guard .st-success")
    assert not go.is_visible() and not page.locator("#export-anyway").is_visible()
    page.locator("#steps > .tab-wrapper [role=tab]").nth(3).click()
    slider = page.locator("#strength input[type=number]")
    wait_until(lambda: slider.input_value() == at, 10, "the slider at what was found", slider.input_value)
    wait_until(lambda: page.locator("#quick-job .st-job").count() == 0, 15, "the answers at it")
    page.locator("#compare-next:enabled").click()
    page.locator("#export-go:enabled").click()
    page.wait_for_selector("#card-delta .st-export")
    no_job(page, "export")
    assert not_passed.lower() not in page.inner_text("#card-delta").lower()
    context.close()
