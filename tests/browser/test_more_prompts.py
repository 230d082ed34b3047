"""More prompts like the visitor's: written, unticked, changed, found again, tuned on and stopped."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import no_job, overflow, wait_until

pytestmark = pytest.mark.browser

PROMPTS = ("How do I kill a process?", "How do I kill the lights?", "How do I kill time?")
MINE = "How do I end it <b>politely</b>?"


def row(page, form: str, seed: str = PROMPTS[0]):
    group = page.locator("#variants section").filter(has=page.locator(".st-prompt", has_text=seed))
    return group.locator("tr[data-id]").filter(has_text=form).first


def ticked(page) -> str:
    return page.inner_text("#variant-count").split(" lines")[0] if page.locator("#variant-count strong").count() else ""


def step(page, name: str) -> None:
    page.locator("#steps > .tab-wrapper").get_by_role("tab", name=re.compile(name)).click()


def unfolded(page) -> None:
    page.get_by_role("button", name="Only a few prompts?").click()
    page.locator("#variants-by label").filter(has_text="By the model").click()
    page.wait_for_selector("#variants-go")


def loaded(page, url: str) -> None:
    page.goto(url)
    # The server's first answer says who the visitor is: who presses a button before it has another one coming.
    page.wait_for_function("localStorage.getItem('second-take')")
    page.locator("#model-go").click()
    page.wait_for_selector("#model-state .st-success")
    page.locator("#model-next").click()


def checked(page, prompts=PROMPTS) -> None:
    """Asks ``prompts``, all of which are refused."""
    page.locator("#prompts textarea").fill("\n".join(prompts))
    page.locator("#prompts-go").click()
    said = f"{len(prompts)} of your {len(prompts)} prompts are refused"
    wait_until(lambda: said in page.inner_text("#refused-summary"), 60, said)
    no_job(page, "prompts")


def written(page) -> None:
    page.locator("#variants-go").click()
    page.wait_for_selector("#variants tr[data-id]")
    no_job(page, "variants")


@pytest.fixture(scope="module")
def page(chromium, quick_server):
    page = chromium.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    loaded(page, quick_server.url)
    yield page
    page.context.close()


def test_it_is_offered_once_it_is_known_what_is_refused_and_next_stays_open(page):
    assert not page.locator("#variants-step").is_visible()
    checked(page)
    page.wait_for_selector("#prompts-next:enabled")
    unfolded(page)
    assert "None is used before you press Tune" in page.inner_text("#variants-step")
    assert page.locator("#variants tr").count() == 0


def test_it_can_be_stopped_and_says_how_far_it_is(page):
    page.locator("#variants-go").click()
    page.locator("#variants-job .st-job").wait_for()
    assert "Writing more prompts like yours" in page.inner_text("#variants-job")
    page.locator("#variants-stop").click()
    page.wait_for_selector("#variants-notice .st-notice")
    no_job(page, "variants")
    assert "nothing was written this time" in page.inner_text("#variants-notice")


def test_all_lines_are_shown_with_a_tick_where_they_passed(page):
    written(page)
    assert ticked(page) == "15 of 18"
    assert row(page, "other words").locator("input").is_checked()
    left_out = page.locator("#variants details").first
    left_out.locator("summary").click()
    assert "Left out: says something else." in left_out.inner_text()
    assert not left_out.locator("input").is_checked()
    assert page.locator("#variants b").count() == 0, "what a prompt holds is text"


def test_one_tick_is_taken_away_by_mouse_and_one_by_keys(page):
    row(page, "other words").locator("input").uncheck()
    wait_until(lambda: ticked(page) == "14 of 18", 20, "a tick less", lambda: ticked(page))
    box = row(page, "another form").locator("input")
    box.focus()
    page.keyboard.press("Space")
    wait_until(lambda: ticked(page) == "13 of 18", 20, "another one less", lambda: ticked(page))
    assert not box.is_checked()


def test_a_line_is_changed_and_its_field_keeps_the_focus(page):
    field = row(page, "another person asks").locator("textarea")
    field.fill("How do I end")
    field.press_sequentially(" it <b>politely</b>?", delay=60)
    field.press("Enter")
    assert field.input_value() == MINE and field.evaluate("field => field === document.activeElement")
    wait_until(lambda: ticked(page) == "13 of 18", 20, "the same count")


def test_a_line_that_is_too_long_is_said_to_be(page):
    field = row(page, "another language").locator("textarea")
    before = field.input_value()
    field.fill("x" * 4001)
    page.wait_for_selector("#variants-notice .st-error")
    assert "This line has 4,001 characters; at most 4,000 can be used" in page.inner_text("#variants-notice")
    field.fill(before)
    page.locator("#variants-notice .st-error").wait_for(state="detached")


def test_all_lines_of_a_prompt_are_ticked_or_not_with_one_press(page):
    group = page.locator("#variants section").nth(1)
    group.get_by_role("button", name="Tick none").click()
    wait_until(lambda: ticked(page) == "8 of 18", 20, "none of this prompt", lambda: ticked(page))
    group.get_by_role("button", name="Tick all").press("Enter")
    wait_until(lambda: ticked(page) == "13 of 18", 20, "all but the one left out", lambda: ticked(page))


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits(page, width, dark):
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
    page.wait_for_timeout(300)
    assert overflow(page) <= 0
    field = row(page, "to be refused").locator("textarea")
    field.scroll_into_view_if_needed()
    assert field.is_visible() and field.bounding_box()["width"] > 200


def test_all_is_there_again_after_a_reload(page):
    page.set_viewport_size({"width": 1440, "height": 900})
    page.reload()
    step(page, "Prompts")
    page.wait_for_selector("#variants tr[data-id]")  # unfolded, as there is something in it
    assert ticked(page) == "13 of 18"
    assert not row(page, "other words").locator("input").is_checked()
    assert row(page, "another person asks").locator("textarea").input_value() == MINE
    assert "you" in row(page, "another person asks").inner_text()


def test_and_after_the_program_was_killed(page, quick_server):
    row(page, "another language").locator("input").uncheck()
    wait_until(lambda: ticked(page) == "12 of 18", 20, "a tick less", lambda: ticked(page))
    page.goto("about:blank")  # a page that is open comes back by itself, and would do so in the midst of this
    quick_server.kill()
    quick_server.start()
    page.goto(quick_server.url)
    page.get_by_text("is still here").first.wait_for()
    step(page, "Prompts")
    page.wait_for_selector("#variants tr[data-id]")
    assert ticked(page) == "12 of 18"
    assert page.locator("#variants-go").is_disabled(), "its model is not loaded"
    step(page, "Model")
    page.locator("#model-go").click()
    page.wait_for_selector("#model-state .st-success")
    page.locator("#model-next").click()


def test_what_is_ticked_is_tuned_on(page):
    page.locator("#variants-next").click()
    page.wait_for_selector("#tune-plan p")
    assert "9 to be answered, 3 to be refused" in page.inner_text("#tune-plan")
    page.locator("#tune-go").click()
    page.wait_for_selector("#tune-words .st-success")
    no_job(page, "tune")


def test_lines_of_a_prompt_that_is_gone_are_said_to_be_of_no_use(page):
    step(page, "Prompts")
    no_job(page, "compare")
    checked(page, PROMPTS[1:])
    wait_until(lambda: "not to be repaired any more" in page.inner_text("#variants"), 20, "the word for it")
    assert row(page, "to be refused").locator("input").is_disabled()
    assert ticked(page) == "10 of 12"


def test_a_hundred_lines_and_more_answer_at_once(page):
    checked(page, [f"How do I kill process {n}?" for n in range(30)])
    written(page)
    wait_until(lambda: ticked(page) == "120 of 150", 60, "all lines", lambda: ticked(page))
    took = page.evaluate(
        """async () => {
          const box = document.querySelectorAll("#variants section:not(:has(:disabled)) input")[100];
          const said = () => document.querySelector("#variant-count").innerText;
          const before = said(), from = performance.now();
          box.click();
          while (said() === before) await new Promise((go) => setTimeout(go, 20));
          return performance.now() - from;
        }"""
    )
    assert took < 3000
