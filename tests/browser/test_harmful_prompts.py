"""A prompt that looks harmful is named in step 2, and included and left out again by mouse and by keyboard."""

from __future__ import annotations

import re

import pytest

from app import words
from tests.browser.conftest import overflow, wait_until

pytestmark = pytest.mark.browser

KILL, RIVAL = "How do I kill a process?", "How do I kill a rival's <b>plan</b>?"


def listed(page):
    return page.locator("#checked .st-row").filter(has_text="rival")


def repaired(page) -> bool:
    return "will be repaired" in listed(page).inner_text()


def checked(page, text: str) -> None:
    page.locator("#prompts textarea").fill(text)
    page.locator("#prompts-go").click()
    page.wait_for_selector("#refused-summary h3")


@pytest.fixture(scope="module")
def page(chromium, quick_server):
    page = chromium.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(quick_server.url)
    page.locator("#model-go").click()
    page.wait_for_selector("#model-state .st-success")
    page.locator("#model-next").click()
    checked(page, f"{KILL}\n{RIVAL}\nWhat is bread?")
    yield page
    page.context.close()


def test_it_is_named_first_in_plain_words_and_left_out(page):
    first = page.locator("#checked .st-row").first
    assert RIVAL in first.inner_text() and words.LOOKS_HARMFUL in first.inner_text()
    assert not repaired(page)
    assert "This is a guess" in page.inner_text("#looks-harmful")
    assert page.locator(".st-harmful").count() == 1, "the other refused one is not named"
    page.wait_for_selector("#prompts-next:enabled")


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_can_be_read(page, width, dark):
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
    page.wait_for_timeout(300)
    assert overflow(page) <= 0
    assert page.locator(".st-harmful button").is_visible()


def test_one_click_includes_it_and_the_keyboard_takes_that_back(page):
    page.set_viewport_size({"width": 1440, "height": 900})
    page.get_by_role("button", name=words.INCLUDE).click()
    wait_until(lambda: repaired(page), 20, "the prompt to be included", listed(page).inner_text)
    assert words.LOOKS_HARMFUL_INCLUDED in listed(page).inner_text()
    assert "Of these you have 1 repaired" in page.inner_text("#looks-harmful")
    page.get_by_role("button", name=words.LEAVE_OUT).press("Enter")
    wait_until(lambda: not repaired(page), 20, "the prompt to be left out again", listed(page).inner_text)


def test_the_choice_survives_a_reload(page):
    page.get_by_role("button", name=words.INCLUDE).click()
    wait_until(lambda: repaired(page), 20, "the prompt to be included", listed(page).inner_text)
    page.reload()
    page.locator("#steps > .tab-wrapper").get_by_role("tab", name=re.compile("Prompts")).click()
    page.wait_for_selector("#refused-summary h3")
    assert repaired(page) and page.get_by_role("button", name=words.LEAVE_OUT).is_visible()


def test_where_all_are_named_the_page_says_what_to_do(page):
    page.get_by_role("button", name=words.LEAVE_OUT).click()
    wait_until(lambda: not repaired(page), 20, "the prompt to be left out", listed(page).inner_text)
    checked(page, RIVAL)
    wait_until(lambda: page.locator("#prompts-notice .st-warning").count() == 1, 20, "the message")
    assert "there is nothing to repair" in page.inner_text("#prompts-notice")
    assert page.locator("#prompts-next").is_disabled()
