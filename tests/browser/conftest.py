"""The real page in a real browser: a server process of its own, Chromium headless, nothing faked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest

from tests.browser.served import ARGUMENTS, QUICK, SHORT_GUARD, Server, chromium_path, lend_models


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    playwright_api = pytest.importorskip("playwright.sync_api")
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium on this machine: install it, or name it in the variable CHROMIUM")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def quick_server(tmp_path_factory) -> Iterator[Server]:
    """The page over the quick stand-ins, in a process of its own."""
    server = Server(tmp_path_factory.mktemp("data"), QUICK)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """Over the real models. Its data folder is new but for them, which are downloaded once for all test runs, and for
    what was read of them."""
    data_dir = tmp_path_factory.mktemp("data")
    lend_models(data_dir)
    server = Server(data_dir, SHORT_GUARD)
    yield server
    server.stop()


# Machines differ threefold in how fast they compute, and two cores share this with a browser.
PATIENCE = 3


def overflow(page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def wait_until(condition, seconds: float, what: str, found=lambda: "") -> None:
    """``seconds`` are more than it takes on a machine of its time; a slower one has `PATIENCE` times as many.

    ``found()`` tells, when it does not happen, what was there instead.
    """
    limit = PATIENCE * seconds
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not within {limit:.0f} s: {what}; {found()}"
        time.sleep(0.2)


def tuned_page(context, url: str, prompts: Sequence[str]):
    """A new page of ``context`` on which somebody has tuned on ``prompts``, over the stand-ins, and is at step 4."""
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(url)
    page.wait_for_function("localStorage.length > 0")  # the page knows its visitor: it listens
    page.locator("#model-go").click()
    page.locator("#model-next:enabled").click()
    page.locator("#prompts textarea").fill("\n".join(prompts))
    page.locator("#prompts-go").click()
    page.locator("#prompts-next:enabled").click()
    page.locator("#tune-go:enabled").click()
    page.locator("#tune-next:enabled").click()
    page.wait_for_selector("#tiles .st-tile")
    no_job(page, "compare")
    return page


def unfold(page) -> None:
    """Opens every group that can be folded on the step that is shown."""
    page.evaluate(
        "[...document.querySelectorAll('button.label-wrap:not(.open)')].filter(b => b.offsetParent).map(b => b.click())"
    )
    page.wait_for_timeout(400)


def no_job(page, name: str) -> None:
    """Waits until the job of step ``name`` has ended."""
    wait_until(lambda: page.locator(f"#{name}-job .st-job").count() == 0, 60, f"the end of {name}")
