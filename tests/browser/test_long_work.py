"""While something runs, and when something is wrong: what the browser alone knows. Over the quick stand-ins."""

from __future__ import annotations

import re
from secrets import token_hex

import pytest

from tests.browser.conftest import wait_until

pytestmark = pytest.mark.browser


def many(count: int = 200) -> str:
    """Prompts that nobody asked before: what was answered once is not asked again. A hundred take two seconds."""
    return "\n".join(f"How do I kill process {token_hex(4)}?" for _ in range(count))


# Counts what the page asks of the browser, in the place of the browser's own.
NOTIFICATION = """
window.asked = 0; window.told = [];
window.Notification = class {
  static permission = "default";
  static async requestPermission() { window.asked += 1; return (this.permission = "granted"); }
  constructor(title, options) { window.told.push(`${title}: ${options.body}`); }
};
"""


# Counts what changes on the page, whoever changes it.
CHANGES = """
window.changes = 0;
const count = (list) => (window.changes += list.length);
new MutationObserver(count).observe(document, {
  subtree: true, childList: true, attributes: true, characterData: true,
});
"""


@pytest.fixture
def page(chromium, quick_server):
    context = chromium.new_context(viewport={"width": 1200, "height": 600})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.add_init_script(NOTIFICATION)
    page.add_init_script(CHANGES)
    page.goto(quick_server.url)
    page.wait_for_selector("#model-go")
    yield page
    context.close()


@pytest.fixture
def asking(page):
    """The model is loaded, and being asked many prompts."""
    load(page)
    page.locator("#prompts textarea").fill(many())
    page.locator("#prompts-go").click()
    page.wait_for_selector("#prompts-job .st-job")
    return page


def load(page) -> None:
    page.locator("#model-go").click()
    page.locator("#model-next:enabled").click()
    page.wait_for_selector("#prompts textarea")


def test_the_title_of_the_tab_says_how_far_it_is_and_returns_to_its_own(asking):
    wait_until(lambda: re.match(r"\d+ % · Asking the model your prompts – Second Take$", asking.title()), 10, "it")
    first = asking.title()
    wait_until(lambda: asking.title() not in (first, "Second Take"), 10, "a title that goes on", asking.title)
    asking.locator("#prompts-stop").click()
    wait_until(lambda: asking.title() == "Second Take", 10, "the page's own title", asking.title)


def test_little_changes_on_a_page_that_waits(page):
    load(page)
    page.locator("#prompts textarea").fill(many(500))
    page.locator("#prompts-go").click()
    page.wait_for_selector("#prompts-job .st-job")
    page.wait_for_timeout(2_000)  # what the press of the button changed is drawn
    before, begun = page.evaluate("[changes, performance.now()]")
    page.wait_for_timeout(4_000)
    after, ended = page.evaluate("[changes, performance.now()]")
    assert page.locator("#prompts-job .st-job").count() == 1, "it is still being asked"
    # Five or six for each look at how far it is; with the clocks that Gradio runs unseen there are 150 a second.
    assert 0 < (after - before) * 1000 / (ended - begun) < 30
    page.locator("#prompts-stop").click()


def test_nobody_is_asked_for_permission_unasked_and_who_wants_it_is_told_at_the_end(asking):
    assert asking.evaluate("window.asked") == 0
    box = asking.get_by_role("checkbox", name="Tell me when it is done")
    box.check()
    assert asking.evaluate("window.asked") == 1
    asking.locator("#prompts-stop").click()
    wait_until(lambda: asking.evaluate("window.told.length"), 10, "the message")
    assert "It is done" in asking.evaluate("window.told[0]")
    wait_until(lambda: not box.is_visible(), 10, "no box where there is nothing to be told of")


def test_who_did_not_tick_it_is_told_nothing(asking):
    asking.locator("#prompts-stop").click()
    wait_until(lambda: asking.title() == "Second Take", 10, "the end")
    assert asking.evaluate("[window.asked, window.told.length]") == [0, 0]


def test_wherever_a_job_is_shown_there_is_a_stop(page):
    load(page)
    page.locator("#prompts textarea").fill(many())
    for name in ("prompts", "tune", "compare"):
        if name != "compare":
            page.locator(f"#{name}-go").click()
        page.wait_for_selector(f"#{name}-job .st-job")
        both = f"document.querySelector('#{name}-job .st-job') && document.querySelector('#{name}-stop')"
        page.wait_for_function(f"Boolean({both})", polling=50)
        page.wait_for_selector(f"#{name}-job .st-job", state="detached")
        if name != "compare":
            page.locator(f"#{name}-next:enabled").click()
    page.locator("#sets").get_by_role("tab", name="Try any prompt").click()
    page.locator("#trial textarea").fill("hello")
    page.locator("#trial-go").click()
    page.wait_for_selector("#turns .st-sides")


def test_an_error_is_announced_and_comes_into_view(page):
    load(page)
    page.set_viewport_size({"width": 1200, "height": 330})
    page.evaluate("window.scrollTo(0, 0)")
    page.locator("#prompts-go").focus()
    page.keyboard.press("Enter")
    notice = page.locator("#prompts-notice .st-error")
    notice.wait_for()
    assert notice.get_attribute("role") == "alert"
    inside = "e => { const r = e.getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight; }"
    wait_until(lambda: notice.evaluate(inside), 5, "the message in view")
    notice.get_by_role("button", name="Copy").click()


def test_a_server_that_is_gone_is_said_and_nothing_typed_is_lost(chromium, quick_server):
    context = chromium.new_context()
    page = context.new_page()
    page.goto(quick_server.url)
    page.wait_for_selector("#model-go")
    load(page)
    box = page.locator("#prompts textarea")
    box.fill("typed before")
    page.wait_for_selector("#prompt-count span")
    quick_server.stop()
    bar = page.locator(".st-lost")
    bar.wait_for(timeout=60_000)
    assert "not answering" in bar.inner_text() and bar.get_attribute("role") == "alert"
    box.fill("typed before\ntyped while it was gone")
    quick_server.start()
    bar.wait_for(state="detached", timeout=90_000)
    page.get_by_role("tab", name="Prompts").first.click()
    wait_until(lambda: box.input_value().endswith("while it was gone"), 15, "what was typed", box.input_value)
    context.close()
