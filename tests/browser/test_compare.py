"""Step 4 in a browser, over the quick stand-ins with 500 prompts: no model, so that it takes seconds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import ROOT, wait_until

pytestmark = pytest.mark.browser

# A third of them is refused before tuning.
OWN = [f"How do I kill process number {n}?" if n % 3 == 0 else f"How do I bake bread number {n}?" for n in range(500)]
REFUSED = sum("kill" in prompt for prompt in OWN)


@pytest.fixture(scope="module")
def quick_server(tmp_path_factory) -> Iterator[str]:
    data_dir = tmp_path_factory.mktemp("quick")
    environment = {name: value for name, value in os.environ.items() if name != "SPACE_ID"}
    with (data_dir / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("quick_server.py")), str(data_dir)],
            cwd=ROOT,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        url = next((line.split()[-1] for line in process.stdout if line.startswith("Second Take is at ")), None)
        assert url, (data_dir / "server.log").read_text()[-2000:]
        yield url
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def page(chromium, quick_server):
    """Someone who has tuned on 500 prompts and looks at step 4."""
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900},
        accept_downloads=True,
        permissions=["clipboard-read", "clipboard-write"],
    )
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(quick_server)
    page.wait_for_selector("#model-state .st-success")
    page.locator("#model-next").click()
    page.locator("#prompts textarea").fill("\n".join(OWN))
    page.locator("#prompts-go").click()
    page.wait_for_selector("#refused-summary h3")
    page.locator("#prompts-next").click()
    page.locator("#tune-go").click()
    page.wait_for_selector("#tune-words .st-success")
    page.locator("#tune-next").click()
    page.wait_for_selector("#set-own .st-pair")
    wait_until(lambda: page.locator("#compare-job .st-job").count() == 0, 20, "the end of the comparison")
    yield page
    assert page.faults == []
    context.close()


def step(page, name: str) -> None:
    page.locator("#steps > .tab-wrapper").get_by_role("tab", name=re.compile(name)).click()


def tab(page, name: str) -> None:
    page.locator("#sets").get_by_role("tab", name=re.compile(f"^{name}")).first.click()


def tile(page) -> str:
    return page.locator("#tiles .st-tile").first.inner_text()


def test_a_verdict_marked_wrong_counts_at_once_and_can_be_taken_back(page):
    first = page.locator("#set-own .st-pair").first
    assert f"0 of {len(OWN)}" in tile(page) and f"was {REFUSED}" in tile(page)
    first.locator("[data-side=after]").click()
    wait_until(lambda: f"1 of {len(OWN)}" in tile(page), 10, "the corrected figure", lambda: tile(page))
    assert "1 verdict by you" in tile(page)
    assert "by you" in first.inner_text() and "still refused" in first.inner_text()
    page.reload()
    page.wait_for_selector("#set-own .st-pair")
    assert "by you" in first.inner_text(), "a mark survives a reload"
    first.get_by_role("button", name="Undo").click()
    wait_until(lambda: f"0 of {len(OWN)}" in tile(page), 10, "the judge's figure")
    assert "by you" not in first.inner_text()


def test_a_harmful_prompts_verdict_is_corrected_without_its_reply(page):
    tab(page, "Harmful")
    row = page.locator("#set-harmful tbody tr").first
    row.locator("[data-side=after]").click()
    page.wait_for_selector("#set-harmful .st-mark")
    assert page.locator("#set-harmful .st-reply").count() == 0
    row.get_by_role("button", name="Undo").click()
    wait_until(lambda: page.locator("#set-harmful .st-mark").count() == 0, 10, "the judge's verdict")
    tab(page, "Your prompts")
