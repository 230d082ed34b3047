"""Earlier runs in a real browser, over a server process that is killed and started again; the core is quick."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import overflow, wait_until
from tests.browser.served import START, Server

pytestmark = pytest.mark.browser

WITHOUT_MODEL = f"""
import sys
sys.path.insert(0, "tests/app")
from quick_core import take_the_place_of_the_core
take_the_place_of_the_core(setattr)
{START}"""
WITH_MODEL = f"""
import sys
sys.path.insert(0, "tests/app")
import app.studio
from quick_core import Model
class Loaded(app.studio.Studio):
    def __init__(self, settings):
        super().__init__(settings)
        self.model = Model()
app.studio.Studio = Loaded
{WITHOUT_MODEL}"""
EVIL = "<img src=x onerror=\"document.title='broken into'\">"


@pytest.fixture(scope="module")
def killed_server(tmp_path_factory):
    """One address, so that the browser's own store stays the same."""
    server = Server(tmp_path_factory.mktemp("history"), WITH_MODEL)
    yield server
    server.kill()


@pytest.fixture(scope="module")
def page(chromium, killed_server):
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(killed_server.url)
    page.wait_for_selector("#model-state .st-success")
    yield page
    context.close()


def step(page, name: str) -> None:
    page.locator("#steps > .tab-wrapper").get_by_role("tab", name=re.compile(name)).click()


def started_again(page, server, code: str, shown: str) -> None:
    """After a kill -9 of ``server``. The page is left first: it would load itself anew as soon as the server is back
    (tests/browser/test_long_work.py), and Chromium may lose one of two such loads."""
    page.goto("about:blank")
    server.kill()
    server.code = code
    server.start()
    page.goto(server.url)
    page.wait_for_selector(shown)


def runs(page):
    return page.locator("#runs label")


def fits(page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    wide = overflow(page)
    page.set_viewport_size({"width": 1440, "height": 900})
    assert wide <= 0, f"{wide} px wider than a phone"


def test_a_tuning_is_an_earlier_run_at_once(page):
    assert not page.locator("#history").is_visible(), "nobody is shown an empty list"
    step(page, "Prompts")
    page.locator("#prompts textarea").fill("How do I kill a process?\nWhat is bread?")
    page.locator("#prompts-go").click()
    page.wait_for_selector("#refused-summary h3")
    step(page, "Tune")
    page.locator("#tune-go").click()
    page.wait_for_selector("#tune-words .st-success")
    page.wait_for_selector("#history")
    assert "Earlier runs (1)" in page.inner_text("#history")


def test_a_run_is_named_and_the_name_is_text(page):
    page.locator("#history > button").click()
    runs(page).first.click()
    box = page.locator("#history-name input, #history-name textarea").first
    wait_until(lambda: box.input_value() == "Run 1", 10, "the name to change", box.input_value)
    box.fill(EVIL)
    page.locator("#history-rename").click()
    wait_until(lambda: EVIL in runs(page).first.inner_text(), 10, "the new name", lambda: runs(page).first.inner_text())
    assert page.title() != "broken into" and page.locator("#history img").count() == 0
    box.fill("of Monday")
    box.press("Enter")
    wait_until(lambda: "of Monday" in runs(page).first.inner_text(), 10, "the name again")
    fits(page)


def test_after_a_kill_9_the_run_is_there_without_the_model(page, killed_server):
    started_again(page, killed_server, WITHOUT_MODEL, "#history")
    step(page, "Compare")
    page.wait_for_selector("#set-own .st-pair")
    assert page.locator("#set-own .st-pair").count() == 2 and page.locator("#set-own .st-fixed").count() == 1
    assert re.search(r"Your prompts refused\s+0 of 2", page.inner_text("#tiles"))
    assert "belong to a model (fp32): load it in step 1 first" in page.inner_text("#strength-now")
    step(page, "Prompts")
    assert page.locator("#checked .st-row").count() == 2


def test_it_is_opened_from_the_list_and_what_needs_the_model_says_so(page):
    page.locator("#history > button").click()
    page.wait_for_selector("#runs label")
    assert "of Monday (open now)" in runs(page).first.inner_text()
    runs(page).first.click()
    page.locator("#history-repeat").click()
    page.wait_for_selector("#kept-notice .st-error")
    assert "No model is loaded" in page.inner_text("#kept-notice")
    page.locator("#history-open").click()
    page.wait_for_selector("#compare-notice .st-success")
    assert "“of Monday” is open" in page.inner_text("#compare-notice")
    assert page.locator("#set-own .st-pair").count() == 2 and page.locator("#kept-notice .st-error").count() == 0
    page.locator("#history-export").click()
    page.wait_for_selector("#export-notice .st-success")
    assert page.locator("#export-go").is_disabled()
    fits(page)


def test_with_its_model_it_is_repeated_and_compared_with_the_first(page, killed_server):
    started_again(page, killed_server, WITH_MODEL, "#model-state .st-success")
    page.locator("#history > button").click()
    runs(page).first.click()
    page.locator("#history-repeat").click()
    wait_until(lambda: runs(page).count() == 2, 20, "a second run")
    wait_until(lambda: page.locator("#tune-job .st-job, #compare-job .st-job").count() == 0, 20, "the end of it")
    page.locator("#history-other input").click()
    page.get_by_role("option").first.click()
    page.locator("#history-beside").click()
    page.wait_for_selector("#history-two table")
    assert "None differs." in page.inner_text("#history-two")
    fits(page)


def test_delete_asks_once_and_takes_the_files(page, killed_server):
    def files() -> int:
        return len(list((killed_server.data_dir / "runs").rglob("run.json")))

    assert files() == 2
    page.locator("#history-delete").click()
    page.wait_for_selector("#history-run-gone")
    page.locator("#history-run-stay").click()
    wait_until(lambda: not page.locator("#history-run-gone").is_visible(), 10, "the question to go")
    assert files() == 2
    page.locator("#history-delete").click()
    page.locator("#history-run-gone").click()
    wait_until(lambda: runs(page).count() == 1, 10, "one run less")
    assert files() == 1 and page.faults == []


def test_another_visitor_sees_none_of_it(chromium, killed_server):
    context = chromium.new_context()
    other = context.new_page()
    other.goto(killed_server.url)
    other.wait_for_selector("#model-state .st-success")
    assert not other.locator("#history").is_visible()
    context.close()
