"""Step 4 in a browser, over the quick stand-ins with 500 prompts: no model, so that it takes seconds."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest

from tests.browser.conftest import overflow, wait_until
from tests.browser.served import Server

pytestmark = pytest.mark.browser

QUICK = "import runpy; runpy.run_path('tests/browser/quick_server.py', run_name='__main__')"
# A third of them is refused before tuning.
OWN = [f"How do I kill process number {n}?" if n % 3 == 0 else f"How do I bake bread number {n}?" for n in range(500)]
REFUSED = sum("kill" in prompt for prompt in OWN)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("quick"), QUICK)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def page(chromium, server):
    """Someone who has tuned on 500 prompts and looks at step 4."""
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900},
        accept_downloads=True,
        permissions=["clipboard-read", "clipboard-write"],
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(server.url)
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
    wait_until(lambda: "by you" in row.inner_text(), 10, "the correction")
    assert page.locator("#set-harmful .st-reply").count() == 0
    row.get_by_role("button", name="Undo").click()
    wait_until(lambda: "by you" not in row.inner_text(), 10, "the judge's verdict")
    tab(page, "Your prompts")


def search(page, words: str, name: str = "own") -> None:
    page.locator(f"#tools-{name} [type=search]").fill(words)


def show(page, outcome: str, name: str = "own") -> None:
    page.locator(f"#tools-{name} label").filter(has=page.locator(f"[value='{outcome}']")).click()


def shown(page, name: str = "own") -> int:
    return page.locator(f"#set-{name} .st-list > [data-id]:not([hidden])").count()


def test_every_prompt_is_in_the_list_and_each_outcome_is_counted(page):
    assert shown(page) == len(OWN)
    counts = page.locator("#tools-own [data-count]").all_inner_texts()
    assert counts == [str(n) for n in (len(OWN), REFUSED, 0, 0, 0, len(OWN) - REFUSED, 0)]
    show(page, "fixed")
    assert shown(page) == REFUSED
    assert f"{REFUSED} of {len(OWN)} are shown" in page.inner_text("#tools-own")
    show(page, "all")


def test_a_search_finds_words_of_prompts_and_replies_within_a_tenth_of_a_second(page):
    search(page, "NUMBER 499?")
    assert shown(page) == 1
    search(page, "four careful steps")  # only replies say so
    assert shown(page) == len(OWN)
    measure = """async () => {
      const field = document.querySelector("#tools-own [type=search]");
      const times = [];
      for (const words of ["number 1", "number 12", "number 123", ""]) {
        const start = performance.now();
        field.value = words;
        field.dispatchEvent(new Event("input", {bubbles: true}));
        document.querySelector("#set-own").getBoundingClientRect();  // what it shows is laid out
        times.push(performance.now() - start);
      }
      return times;
    }"""
    took = min(max(page.evaluate(measure)) for _ in range(3))  # the best of them: others may be using the machine
    assert took < 100, took


def test_search_and_filter_outlive_a_list_that_is_drawn_anew_and_a_change_of_tab(page):
    search(page, "number 9")
    show(page, "fixed")
    before = shown(page)
    assert 0 < before < REFUSED
    page.locator("#set-own .st-pair:visible [data-side=after]").first.click()
    wait_until(lambda: shown(page) == before - 1, 10, "the corrected pair leaves the group that is shown")
    tab(page, "Ordinary")
    page.wait_for_selector("#set-ordinary .st-pair")
    assert shown(page, "ordinary") == 16, "each list has its own search"
    tab(page, "Your prompts")
    page.wait_for_selector("#set-own .st-pair:not([hidden])")
    assert shown(page) == before - 1 and page.locator("#tools-own [type=search]").input_value() == "number 9"
    show(page, "by you")
    assert shown(page) == 1
    page.locator("#set-own .st-pair:visible [data-side=after]").click()
    wait_until(lambda: shown(page) == 0, 10, "the mark is gone")
    search(page, "")
    show(page, "all")
    assert shown(page) == len(OWN)


def test_the_strength_is_shown_within_a_second(page):
    """Also what 500 prompts ask of the page: tiles, trade-off and the whole list.

    A second is for a machine that opens this very page in one; a slower or busier one may take as much longer.
    """
    start = time.monotonic()
    page.reload()
    page.wait_for_selector("#set-own .st-pair")
    opened = time.monotonic() - start
    slider = page.locator("#strength input[type=range]")
    slider.focus()
    slider.press("Home")
    wait_until(lambda: "at strength 0." in page.inner_text("#strength-now"), 15, "strength 0")
    wait_until(lambda: f"{REFUSED} of {len(OWN)}" in tile(page), 15, "the answers at strength 0")
    took = []
    for strength in ("0.05", "0.1", "0.15"):
        start = time.monotonic()
        slider.press("ArrowRight")
        # With the words around it: Gradio's unseen clock in the same place reads 0.1 s, too.
        said = f"at strength {strength}."
        page.wait_for_function("s => document.querySelector('#strength-now').innerText.includes(s)", arg=said)
        took.append(time.monotonic() - start)
        wait_until(lambda: page.locator("#quick-job .st-job").count() == 0, 30, "the answers")
    assert min(took) < max(1, opened), (took, opened)
    number = page.locator("#strength input[type=number]")
    number.fill("1")
    number.press("Tab")
    wait_until(lambda: "at strength 1." in page.inner_text("#strength-now"), 15, "strength 1")
    wait_until(lambda: page.locator("#quick-job .st-job").count() == 0, 30, "the answers")


def decoration(page, tag: str) -> str:
    return page.evaluate("tag => getComputedStyle(document.querySelector(`#set-own ${tag}`)).textDecorationLine", tag)


def test_words_that_differ_are_marked_without_colour_alone_and_can_be_left_plain(page):
    bread = page.locator("#set-own .st-pair").filter(has_text="bake bread number 1?")
    # The figures of a new strength are sent ahead of the lists.
    wait_until(lambda: bread.locator("del").all_text_contents() == ["three"], 15, "the list at strength 1")
    assert bread.locator("ins").all_text_contents() == ["four careful"]
    killed = page.locator("#set-own .st-pair").filter(has_text="kill process number 3?")
    assert killed.locator("ins, del").count() == 0, "a refusal and an answer have nearly nothing in common"
    assert (decoration(page, "del"), decoration(page, "ins")) == ("line-through", "underline")
    switch = page.locator("#tools-own [data-differences]")
    switch.uncheck()
    assert (decoration(page, "del"), decoration(page, "ins")) == ("none", "none")
    tab(page, "Ordinary")
    page.wait_for_selector("#tools-ordinary [data-differences]")
    assert not page.locator("#tools-ordinary [data-differences]").is_checked(), "one switch for all lists"
    tab(page, "Your prompts")
    page.wait_for_selector("#tools-own [data-differences]")
    switch.check()


def test_the_keys_walk_through_what_is_shown_and_copy_it(page):
    search(page, "kill process number 3")
    here = "document.activeElement.querySelector('.st-prompt')?.textContent"
    page.locator("#set-own .st-list").focus()
    page.keyboard.press("j")
    assert page.evaluate(here) == "How do I kill process number 3?"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(here) == "How do I kill process number 30?", "what is filtered out is passed over"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("k")
    page.keyboard.press("c")
    page.wait_for_function("document.activeElement.querySelector('[data-copy-pair]').textContent === 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("Prompt: How do I kill process number 3?\n\nBefore (refused): I'm sorry, but I can't")
    assert "After (answered): About “How do I kill process number 3?”: You can do this in four careful steps." in copied
    search(page, "")


def test_keys_typed_into_the_search_field_are_text(page):
    field = page.locator("#tools-own [type=search]")
    field.focus()
    page.keyboard.type("jkc")
    assert field.input_value() == "jkc" and page.evaluate("document.activeElement.type") == "search"
    search(page, "")


def test_a_harmful_prompt_is_copied_with_its_verdicts_alone(page):
    tab(page, "Harmful")
    page.locator("#set-harmful tbody [data-copy-pair]").first.click()
    page.wait_for_function("document.querySelector('#set-harmful [data-copy-pair]').textContent === 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"Prompt: .+\n\nBefore \(\w+\)\n\nAfter \(\w+\)\n", copied), copied
    tab(page, "Your prompts")


def test_a_conversation_goes_on_with_both_models_and_is_cleared(page):
    tab(page, "Try any prompt")
    box = page.locator("#trial textarea")
    for n, prompt in enumerate(("How do I kill a zombie?", "And <b>then</b>?"), 1):
        box.fill(prompt)
        page.locator("#trial-go").click()
        wait_until(lambda n=n: page.locator("#turns .st-sides").count() == n, 15, f"message {n}")
        assert box.input_value() == ""
    last = page.locator("#turns .st-pair").last
    assert last.locator(".st-reply").all_inner_texts()[1].endswith("(After 2 messages.)")
    assert "<b>then</b>" in last.inner_text(), "what was typed stays text"
    page.reload()
    page.wait_for_selector("#set-own .st-pair")
    tab(page, "Try any prompt")
    wait_until(lambda: page.locator("#turns .st-sides").count() == 2, 15, "the conversation after a reload")
    page.locator("#trial-new").click()
    wait_until(lambda: page.locator("#turns .st-pair").count() == 0, 15, "an empty conversation")
    assert page.locator("#trial-new").count() == 0
    tab(page, "Your prompts")


def test_the_comparison_is_saved_as_one_file_that_opens_by_itself(page, chromium, tmp_path):
    page.get_by_role("button", name="Save what this step shows").click()
    with page.expect_download() as waiting:
        page.locator("#share").click()
    assert waiting.value.suggested_filename == "second-take-a-model.html"
    file = tmp_path / "shared.html"
    waiting.value.save_as(file)
    context = chromium.new_context(java_script_enabled=False, offline=True, viewport={"width": 390, "height": 844})
    other = context.new_page()
    other.goto(file.as_uri())
    assert other.locator(".own article").count() == len(OWN)
    assert other.locator("section.harmful tbody tr").count() == 16
    backs = []
    for scheme in ("light", "dark"):
        other.emulate_media(color_scheme=scheme)
        if os.environ.get("SHOTS"):
            other.screenshot(path=f"{os.environ['SHOTS']}/shared-{scheme}.png")
        backs.append(other.locator("body").evaluate("body => getComputedStyle(body).backgroundColor"))
    assert backs[0] != backs[1]
    wide = other.locator("html").bounding_box()["width"], other.locator("table").bounding_box()["width"]
    assert max(wide) <= 390
    context.close()


def test_a_phone_shows_all_of_it_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("Your prompts", "Harmful", "Try any prompt"):
        tab(page, name)
        page.wait_for_timeout(300)
        assert overflow(page) <= 0, name
    page.set_viewport_size({"width": 1440, "height": 900})
    tab(page, "Your prompts")
