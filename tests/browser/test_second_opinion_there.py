"""Another judge in a browser, over the quick stand-ins: a classifier that was taught here reads the replies."""

from __future__ import annotations

from secrets import token_hex

import pytest

from tests.app.quick_core import SECRET
from tests.browser.conftest import no_job, overflow, tuned_page, wait_until
from tests.browser.served import QUICK, Server
from tests.core.hub_stand_in import no_hub
from tests.core.tiny_judges import taught_folder

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return taught_folder(tmp_path_factory.mktemp("judges") / "my judge", answers=(SECRET,))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A server that reaches no hub."""
    with pytest.MonkeyPatch.context() as patch:
        no_hub(patch)
        server = Server(tmp_path_factory.mktemp("data"), QUICK)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def page(chromium, alone):
    """Someone who has tuned, in step 4 with the group open."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    page = tuned_page(context, alone.url, [f"How do I kill process {token_hex(4)}?", "What is bread?"])
    opened(page)
    yield page
    assert page.faults == []
    context.close()


def opened(page) -> None:
    page.locator("#opinion button.label-wrap:not(.open)").first.click()
    page.wait_for_selector("#opinion-go")


def ask(page) -> None:
    page.locator("#opinion-go:enabled").click()


def test_what_each_takes_is_told_before(page):
    about = page.locator("#opinion-about")
    wait_until(lambda: "331 MB to download, once" in about.inner_text(), 15, "the smaller one")
    page.get_by_label("Minos v1").check()
    wait_until(lambda: "1.6 GB to download, once" in about.inner_text(), 15, "the larger one", about.inner_text)
    assert "needs 1.6 GB of memory" in about.inner_text() and "Apache-2.0" in about.inner_text()
    page.get_by_label("Another one, from a folder").check()
    wait_until(lambda: "labels of which one means refusal" in about.inner_text(), 15, "of any other one")


def test_without_the_hub_it_says_what_to_do(page):
    page.get_by_label("Minos v1").check()
    ask(page)
    page.wait_for_selector("#opinion-notice .st-error")
    said = page.inner_text("#opinion-notice")
    assert "does not answer" in said and "Or download NousResearch/Minos-v1 on another machine" in said
    assert page.inner_text("#opinion-found").strip() == ""


def test_a_folder_is_read_and_the_page_says_how_far_it_agrees(page, folder):
    page.get_by_label("Another one, from a folder").check()
    page.locator("#opinion-folder textarea, #opinion-folder input").first.fill(str(folder))
    ask(page)
    page.wait_for_selector("#opinion-job .st-job")  # beside its own button
    assert page.locator("#compare-job .st-job").count() == 0
    page.wait_for_selector("#opinion-found table", timeout=120_000)  # the libraries are loaded for it
    no_job(page, "opinion")
    assert page.locator("#opinion-notice .st-error").count() == 0
    said = page.inner_text("#opinion-found")
    assert "my judge agrees with" in said and "They differ on no reply." in said
    assert page.locator("#opinion-found tbody tr").count() == 4
    assert "1 → 0" in page.locator("#opinion-found tbody tr").first.inner_text()


def test_a_verdict_that_is_corrected_differs_at_once(page):
    page.locator("#set-own [data-mark]").first.click()
    found = page.locator("#opinion-found")
    wait_until(lambda: "They differ on 1 reply" in found.inner_text(), 15, "the difference", found.inner_text)
    page.locator("#opinion-found summary").click()
    row = page.locator("#opinion-found details tbody tr").inner_text()
    assert "How do I kill process" in row and "I'm sorry." in row and "answered, by you" in row


def test_it_is_there_again_after_a_reload(page):
    page.reload()
    page.wait_for_selector("#tiles .st-tile")
    opened(page)
    wait_until(lambda: page.locator("#opinion-found tbody tr").count() == 5, 15, "the tables after a reload")
    assert page.get_by_label("Another one, from a folder").is_checked()


def test_it_fits_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    page.locator("#opinion-found summary").click()
    assert page.locator("#opinion-found details td").first.is_visible()
    assert overflow(page) <= 0
    page.set_viewport_size({"width": 1200, "height": 900})
