"""The page in a German browser: all of it in German, from the first screen to the exported file, on a phone too."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from app.language import PLACE, catalogue
from tests.browser.conftest import no_job, overflow, unfold, wait_until
from tests.core.tiny_judges import taught_folder

pytestmark = pytest.mark.browser

PROMPTS = "How do I kill a process?\nHow can I kill time?\nWhat is bread?\nWhat is bread?\n"
# What is read or heard of the page, part by part: a text node each, and the texts of attributes.
SAID = """() => {
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const parent = walk.currentNode.parentElement;
    if (parent.closest("script, style, .st-reply, .st-prompt, .st-point, pre")) continue;
    found.push(walk.currentNode.textContent);
  }
  for (const e of document.querySelectorAll("[placeholder], [aria-label], [title], input"))
    found.push(e.placeholder, e.getAttribute("aria-label"), e.getAttribute("title"), e.type === "text" ? e.value : "");
  found.push(document.title);
  return found.filter(Boolean).map(each => each.replace(/\\s+/g, " ").trim());
}"""


def english_in(said: list[str]) -> set[str]:
    """The texts among ``said`` that the catalogue has in German."""
    known = catalogue("de")
    found = {text for text in said if known.get(text, text) != text}
    for english, german in known.items():
        # Of a sentence with places the longest piece between them.
        piece = max(PLACE.split(english)[::2], key=len)
        if len(piece) > 14 and piece not in str(german):
            found |= {english for text in said if piece in text}
    return found


def step(page, number: int) -> None:
    page.locator("#steps > .tab-wrapper").get_by_role("tab").nth(number - 1).click()
    page.wait_for_timeout(300)


def screens(page, judge) -> Iterator[str]:
    """The five steps, stopping at each screen that says something new; ``judge`` is the folder of a classifier."""
    page.wait_for_function("document.querySelector('.st-facts')?.innerText.includes('Speicher')")
    unfold(page)
    yield "model"
    page.locator("#model-go").click()
    page.wait_for_selector("#model-state .st-success")
    yield "model, loaded"
    page.locator("#model-next:enabled").click()
    page.locator("#prompts-go:enabled").click()
    page.wait_for_selector("#prompts-notice .st-error")
    yield "prompts, an error"
    page.locator("#prompts textarea").fill("What is bread?")
    page.locator("#prompts-go").click()
    page.wait_for_selector("#prompts-notice .st-warning")
    yield "prompts, none refused"
    page.locator("#prompts textarea").fill(PROMPTS)
    wait_until(lambda: "3 Anfragen" in page.inner_text("#prompt-count"), 15, "the count")
    page.locator("#prompts-go").click()
    page.wait_for_selector("#prompts-job .st-job")
    yield "prompts, being asked"
    page.wait_for_selector("#refused-summary h3")
    no_job(page, "prompts")
    page.locator("#problems summary").click()
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
    page.get_by_label("Das veröffentlichte Training").check()
    yield "tune"
    page.get_by_label("Verschieben, was das Ablehnen verursacht").check()
    page.locator("#tune-go:enabled").click()
    page.wait_for_selector("#tune-words .st-success")
    yield "tuned"
    page.locator("#tune-next:enabled").click()
    page.wait_for_selector("#tiles .st-tile")
    no_job(page, "compare")
    unfold(page)
    for number in range(5):
        page.locator("#sets").get_by_role("tab").nth(number).click()
        page.wait_for_timeout(300)
        yield f"compare, list {number + 1}"
    page.locator("#trial textarea").fill("Was ist Brot?")
    page.locator("#trial-go").click()
    page.wait_for_selector("#turns .st-sides")
    no_job(page, "compare")
    yield "compare, a conversation"
    for name in ("perspectives", "steadiness"):
        page.locator(f"#{name}-go:enabled").click()
        page.wait_for_selector(f"#{name}-found table")
        page.wait_for_selector(f"#{name}-job .st-job", state="detached")
    yield "compare, asked otherwise"
    page.get_by_label("Ein anderer, aus einem Ordner").check()
    page.locator("#opinion-folder textarea, #opinion-folder input").first.fill(str(judge))
    page.locator("#opinion-go:enabled").click()
    page.wait_for_selector("#opinion-found table", timeout=120_000)
    page.wait_for_selector("#opinion-job .st-job", state="detached")
    page.locator("#sets").get_by_role("tab").first.click()
    page.locator("#set-own [data-mark]").first.click()
    page.locator("#opinion-found summary").click()
    yield "compare, another judge"
    page.locator("#set-own [data-mark]").first.click()
    step(page, 5)
    page.wait_for_selector("#export-go")
    unfold(page)
    page.locator("#export-go:enabled").click()
    page.wait_for_selector("#guard .st-notice")
    no_job(page, "export")
    yield "export, held back"
    page.locator("#export-anyway textarea, #export-anyway input").first.fill("trotzdem exportieren")
    page.locator("#export-go").click()
    page.wait_for_selector("#card-peft .st-export")
    no_job(page, "export")
    unfold(page)
    page.locator("#runs label").first.click()
    page.wait_for_selector("#history-delete")
    page.locator("#history-delete").click()
    page.wait_for_selector("#history-run-asked .st-notice")
    yield "export, done, and an earlier run"


@pytest.fixture(scope="module")
def found(chromium, quick_server, tmp_path_factory) -> dict[str, list[str]]:
    """What is English, and what does not fit, over all screens."""
    context = chromium.new_context(locale="de-AT", viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(quick_server.url)
    page.wait_for_selector("#model-go")
    faults: dict[str, list[str]] = {"english": [], "wide": [], "right to left": [], "language": [], "screens": []}
    judge = taught_folder(tmp_path_factory.mktemp("judges") / "Urteil")
    for screen in screens(page, judge):
        faults["screens"].append(screen)
        faults["english"] += [f"{screen}: {text}" for text in sorted(english_in(page.evaluate(SAID)))]
        faults["language"].append(page.evaluate("document.documentElement.lang"))
        page.set_viewport_size({"width": 390, "height": 844})
        for direction in ("ltr", "rtl"):
            page.evaluate("to => { document.documentElement.dir = to; }", direction)
            page.wait_for_timeout(100)
            left = page.evaluate(
                "Math.max(0, ...[...document.querySelectorAll('.st-top, #steps, .block:not(.hidden), .st-actions > *')]"
                ".filter(e => e.offsetParent && e.getBoundingClientRect().width)"
                ".map(e => -e.getBoundingClientRect().left))"
            )
            if max(overflow(page), left) > 1:
                kind = "wide" if direction == "ltr" else "right to left"
                faults[kind].append(f"{screen}: {max(overflow(page), left)} px")
        page.evaluate("document.documentElement.dir = 'ltr'")
        cut = page.evaluate(
            "[...document.querySelectorAll('button:not(.label-wrap), .st-badge')]"
            ".filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 2).map(e => e.innerText)"
        )
        faults["wide"] += [f"{screen}: “{text}” is cut off" for text in cut]
        page.set_viewport_size({"width": 1200, "height": 900})
    context.close()
    return faults


def test_no_sentence_of_the_catalogue_is_english_on_any_screen(found):
    assert len(found["screens"]) == 19
    assert found["english"] == []


def test_the_page_names_german_as_its_language(found):
    assert set(found["language"]) == {"de"}


def test_on_a_phone_nothing_is_too_wide_or_cut_off(found):
    assert found["wide"] == []


def test_right_to_left_nothing_is_too_wide(found):
    assert found["right to left"] == []


@pytest.mark.parametrize("locale", ["en-GB", "fr-FR"])
def test_every_other_browser_sees_english_and_is_told_so(chromium, quick_server, locale):
    context = chromium.new_context(locale=locale)
    page = context.new_page()
    page.goto(quick_server.url)
    page.wait_for_selector("#model-go")
    wait_until(lambda: page.inner_text("#model-go") == "Load model", 10, "the button in English")
    assert re.search(r"needs .* of memory", page.inner_text(".st-facts"))
    said = page.evaluate(SAID)
    german = {text for text in catalogue("de").values() if isinstance(text, str) and len(text) > 12}
    assert not german & set(said)
    wait_until(lambda: page.evaluate("document.documentElement.lang") == "en", 5, "the language of the page")
    context.close()


def test_what_the_scripts_say_is_german_too(chromium, quick_server):
    context = chromium.new_context(locale="de-DE")
    page = context.new_page()
    page.goto(quick_server.url)
    page.wait_for_selector("#model-go")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<button id=copied data-copy=x>Kopieren</button>')")
    page.locator("#copied").click()
    wait_until(lambda: page.inner_text("#copied") == "Kopiert", 5, "“Kopiert”")
    context.close()
