"""Someone repairs the real default model from the first click to the downloaded file.

The tests are the stations of one visit, in order; each goes on where the one before it ended.
"""

from __future__ import annotations

import io
import re
import zipfile

import pytest

from tests.browser.conftest import overflow, wait_until
from tests.real.refused import OWN

pytestmark = [pytest.mark.browser, pytest.mark.real]

# The fewest that can be compared afterwards: the model answers each of them twice.
PER_SET = 8
EVIL = "<img src=x onerror=\"document.title='broken into'\"> What is HTML?"


@pytest.fixture(scope="module")
def page(chromium, server):
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.faults = []
    page.saved = {}
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(server.url)
    page.wait_for_selector("#model-go")
    yield page
    context.close()


def step(page, name: str) -> None:
    page.locator("#steps > .tab-wrapper").get_by_role("tab", name=re.compile(name)).click()


def no_job(page, name: str):
    return lambda: page.locator(f"#{name}-job .st-job").count() == 0


def phone_fits(page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    wide = overflow(page)
    page.set_viewport_size({"width": 1440, "height": 900})
    assert wide <= 0, f"{wide} px wider than a phone"


def test_the_page_says_what_to_do_first(page):
    assert page.title() == "Second Take"
    assert page.get_by_role("heading", name="Second Take").is_visible()
    assert "fits" in page.locator("#preset input").input_value()
    page.wait_for_selector("#model-go:enabled")  # once the page knows its visitor
    assert page.locator("#model-next").is_disabled()
    phone_fits(page)


def test_a_folder_that_is_no_model_is_said_so_and_the_page_goes_on(page, tmp_path):
    page.get_by_role("button", name="How to load it").click()
    typed = page.locator("#typed-model textarea, #typed-model input").first
    typed.fill(str(tmp_path))
    page.locator("#model-go").click()
    page.wait_for_selector("#model-notice .st-error")
    assert typed.input_value() == str(tmp_path), "what was typed is still there"
    typed.fill("")
    page.get_by_role("button", name="How to load it").click()


def test_the_default_model_loads_and_the_page_says_how(page):
    page.locator("#model-go").click()
    page.wait_for_selector("#model-job .st-job, #model-state .st-success")
    page.wait_for_selector("#model-state .st-success", timeout=900_000)
    assert re.search(r"is loaded\. .*(bf16|fp32|nf4)", page.inner_text("#model-state"))
    assert page.locator("#model-notice .st-error").count() == 0
    phone_fits(page)
    page.locator("#model-next").click()


def test_prompts_that_cannot_be_used_are_named_and_nothing_typed_is_lost(page, tmp_path):
    box = page.locator("#prompts textarea")
    page.locator("#prompts-go").click()
    page.wait_for_selector("#prompts-notice .st-error")
    (tmp_path / "photo.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    box.fill("😀 ¿Cómo mato un proceso?")
    for name in ("photo.txt", "table.csv"):
        before = page.inner_text("#prompts-notice")
        page.locator("#upload + input[type=file], input[type=file]").first.set_input_files(tmp_path / name)
        wait_until(lambda b=before: page.inner_text("#prompts-notice") not in ("", b), 10, f"a message on {name}")
        assert page.locator("#prompts-notice .st-error").count() == 1
    assert box.input_value() == "😀 ¿Cómo mato un proceso?"
    box.fill("")


def test_a_file_of_prompts_is_read_and_typed_text_survives_a_reload(page, tmp_path):
    (tmp_path / "mine.csv").write_text("prompt,x\n" + "\n".join(f'"{prompt}",1' for prompt in OWN))
    page.locator("#upload + input[type=file], input[type=file]").first.set_input_files(tmp_path / "mine.csv")
    box = page.locator("#prompts textarea")
    wait_until(
        lambda: box.input_value().splitlines() == [*OWN],
        10,
        "the prompts of the file",
        lambda: box.input_value() + page.inner_text("#prompts-notice"),
    )
    box.fill("\n".join([*OWN, EVIL]))
    wait_until(lambda: "5 prompts" in page.inner_text("#prompt-count"), 10, "the count")
    page.reload()
    page.wait_for_selector("#prompts textarea")
    wait_until(lambda: box.input_value().splitlines() == [*OWN, EVIL], 10, "the text after a reload")


def test_which_are_refused_is_found_out_even_when_the_page_is_reloaded_meanwhile(page):
    page.locator("#prompts-go").click()
    page.wait_for_selector("#prompts-job .st-job")
    page.reload()
    page.wait_for_selector("#prompts-job .st-job, #refused-summary h3")
    page.wait_for_selector("#refused-summary h3", timeout=900_000)  # the set is read for what looks harmful
    found = re.match(r"(\d) of your 5 prompts", page.inner_text("#refused-summary"))
    assert found and 2 <= int(found[1]) <= 4
    assert page.locator("#checked .st-row").count() == 5
    assert page.title() != "broken into" and page.locator("#checked img").count() == 0
    phone_fits(page)
    page.locator("#prompts-next").click()


def test_tuning_shows_its_progress_and_can_be_stopped(page):
    page.locator("#tune-go").click()
    page.wait_for_selector("#tune-job .st-job")
    page.locator("#tune-stop").click()
    page.wait_for_selector("#tune-notice .st-notice", timeout=180_000)
    assert "Stopped" in page.inner_text("#tune-notice")
    page.wait_for_selector("#tune-go:enabled")


def test_tuning_ends_with_a_plot_and_words(page):
    page.get_by_role("button", name="How it is tuned").click()
    number = page.locator("#per-set input[type=number]")
    page.wait_for_timeout(1000)  # the group opens with a movement
    page.locator("#set-share").get_by_text("A quarter").click()
    number.fill(str(PER_SET))
    number.press("Tab")
    page.wait_for_timeout(1000)
    assert number.input_value() == str(PER_SET)
    page.locator("#tune-go").click()
    page.wait_for_selector("#tune-words .st-success", timeout=900_000)
    assert "layer" in page.inner_text("#tune-words")
    assert "It learnt from 25% of the collection" in page.inner_text("#tune-words")
    assert page.locator("#tune-plots svg").count() >= 1
    phone_fits(page)
    page.locator("#tune-next").click()


def test_before_and_after_stand_side_by_side(page):
    page.wait_for_selector("#tiles .st-tile")
    wait_until(no_job(page, "compare"), 480, "the end of the comparison")
    assert page.locator("#set-own .st-pair").count() == 5
    tiles = page.inner_text("#tiles")
    assert re.search(r"Your prompts refused\s+\d of 5", tiles) and tiles.count(f"n = {PER_SET}") == 3
    page.locator("#tools-own label").filter(has_text="fixed").click()
    wait_until(lambda: page.locator("#set-own .st-pair:visible").count() < 5, 10, "fewer prompts")
    fixed = page.locator("#set-own .st-badge.st-fixed").count()
    assert fixed == page.locator("#set-own .st-pair:visible").count() >= 1
    page.locator("#tools-own label").filter(has_text="all").click()
    phone_fits(page)


def test_replies_to_harmful_prompts_never_reach_the_page(page):
    page.locator("#sets").get_by_role("tab", name=re.compile("^Harmful")).click()
    page.wait_for_selector("#set-harmful tbody tr")
    assert page.locator("#set-harmful tbody tr").count() == PER_SET
    assert page.locator("#set-harmful .st-reply").count() == 0
    phone_fits(page)


def test_the_strength_can_be_moved_and_what_was_asked_comes_back_at_once(page):
    page.locator("#sets").get_by_role("tab", name=re.compile("^Your prompts")).click()
    number = page.locator("#strength input[type=range]")
    number.focus()
    number.press("Home")
    wait_until(lambda: "at strength 0." in page.inner_text("#strength-now"), 15, "the new strength")
    wait_until(lambda: page.locator("#quick-job .st-job").count() == 0, 90, "the answers at strength 0")
    wait_until(lambda: page.locator("#set-own .st-badge.st-fixed").count() == 0, 10, "no prompt fixed at strength 0")
    for _ in range(10):
        number.press("ArrowRight")
    wait_until(lambda: page.locator("#set-own .st-badge.st-fixed").count() >= 1, 90, "strength 1 again")
    wait_until(lambda: page.locator("#quick-job .st-job").count() == 0, 90, "the end of quick jobs")


def test_any_prompt_can_be_tried_on_both(page):
    page.locator("#sets").get_by_role("tab", name="Try any prompt").click()
    page.locator("#trial textarea").fill(EVIL)
    page.locator("#trial-go").click()
    page.wait_for_selector("#turns .st-sides", timeout=180_000)
    assert page.locator("#turns .st-sides section").count() == 2
    assert page.title() != "broken into"
    page.locator("#compare-next").click()
    page.wait_for_selector("#export-go:enabled", timeout=360_000)  # once both replies are whole


def test_export_measures_the_guard_first_and_holds_back_what_does_not_pass(page):
    page.locator("#export-go").click()
    page.wait_for_selector("#export-job .st-job")
    assert page.locator("#export-stop").is_visible()
    page.wait_for_selector("#guard .st-notice", timeout=900_000)
    wait_until(no_job(page, "export"), 480, "the end of the export")
    said = page.inner_text("#guard")
    refused = re.search(r"Guard not passed\. The untuned model refused (\d+) of 24 ", said)
    assert refused and int(refused[1]) >= 6
    assert "too few to judge by" in said
    phone_fits(page)
    assert page.locator("#card-delta .st-export").count() == 0, "nothing is written before it is accepted"
    box = page.locator("#export-anyway textarea, #export-anyway input").first
    page.reload()
    page.wait_for_selector("#guard .st-notice")
    assert page.inner_text("#guard") == said, "what was measured survives a reload"
    box.fill("yes")
    page.locator("#export-go").click()
    page.wait_for_selector("#export-notice .st-error")
    assert page.locator("#card-delta .st-export").count() == 0 and box.input_value() == "yes"
    box.fill("export anyway")
    page.locator("#export-go").click()


def test_every_kind_is_exported_checked_and_downloaded(page):
    page.wait_for_selector("#export-notice .st-success", timeout=900_000)
    for kind, member in (("delta", ".safetensors"), ("peft", "adapter_config.json"), ("gguf-lora", ".gguf")):
        card = page.inner_text(f"#card-{kind}")
        assert "checked" in card and "not checked" not in card
        assert re.search(r"\d+ of the prompts that you compared were asked again", card)
        with page.expect_download() as waiting:
            page.locator(f"#download-{kind}").click()
        page.saved[kind] = waiting.value.path()
        content = page.saved[kind].read_bytes()
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
        assert any(name.endswith(member) for name in names), names
    phone_fits(page)


def test_everything_is_still_there_after_a_reload(page):
    page.reload()
    page.wait_for_selector("#card-peft .st-export")
    step(page, "Compare")
    assert page.locator("#set-own .st-pair").count() == 5
    step(page, "Prompts")
    assert page.locator("#prompts textarea").input_value().splitlines() == [*OWN, EVIL]
    assert page.faults == []


def test_another_visitor_sees_none_of_it(page, chromium, server):
    context = chromium.new_context()
    other = context.new_page()
    other.goto(server.url)
    other.wait_for_selector("#model-state .st-success")
    step(other, "Prompts")
    assert other.locator("#prompts textarea").input_value() == ""
    assert other.locator("#checked .st-row").count() == 0
    context.close()


def test_a_saved_change_is_opened_again_by_another_visitor(page, chromium, server, tmp_path):
    # Gradio keeps the name of what is uploaded; a download's own has no ending.
    file = tmp_path / "saved.zip"
    file.write_bytes(page.saved["peft"].read_bytes())
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    other = context.new_page()
    other.goto(server.url)
    other.wait_for_selector("#model-state .st-success")
    other.get_by_role("button", name="Open a change that was saved before").click()
    other.locator("#open-saved input[type=file]").set_input_files(file)
    other.locator("#saved-go").click()
    other.wait_for_selector("#compare-job .st-job", timeout=90_000)
    other.locator("#sets").get_by_role("tab", name=re.compile("^Look-alikes")).click()
    other.wait_for_selector("#set-look_alike .st-pair", timeout=900_000)
    assert "at strength 1." in other.inner_text("#strength-now")
    step(other, "Export")
    other.get_by_role("button", name="Which program takes which file").click()
    other.wait_for_selector("#programs-table .st-export")
    assert "ollama create" in other.inner_text("#programs-table")
    phone_fits(other)
    context.close()
