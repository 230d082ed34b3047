"""What the page says in other languages: the catalogues hold what the code says, and the code finds it there."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
import texts

from actor_core.errors import ActorError, ExportError, PromptError
from actor_core.guard import Guard
from actor_core.presets import judge_presets
from actor_core.prompts import parse_prompts
from app import language, render, words
from app.create_app import create_app
from app.errors import Notice, explain
from app.exporting import accepted
from app.language import PLACE, catalogue, for_gradio, languages, number, plural, spoken, t, translated, wanted_by
from app.left_runs import rule
from app.page import Page, spoken_with
from app.sharing import shared_page

# Put together by the core from pieces, so that no one text of its source is the whole sentence.
SAID_BY_THE_CORE = (
    *(Guard.of(*counts, asked=600).words() for counts in ((400, 0), (400, 1), (400, 300), (100, 0), (0, 0), (600, 0))),
    "4 bits (nf4) on cuda, because bf16 needs 3.1 GB of 2.0 GB free",
    "300 of 491 MB, from huggingface.co",
    "0.3 of 1.5 GB, 2.5 MB/s, 90 s left, from huggingface.co",
    "huggingface.co stopped sending for 60 s; trying the next source",
    "It repeats row 1. 7 more rows like the ones above are left out.",
    "1,000 prompts are used at most. 12 rows from here on are left out.",
    "it is not what this program wrote: a link",
    "it is not what this program wrote: it has 9 bytes",
    "it is not what this program wrote: it holds replies to harmful prompts",
    "it is not what this program wrote: at.0 is wrong",
    "There was no room to write at /somewhere/else. Nothing typed is lost.",
    "No strength is acceptable: what answers more look-alikes loses too much. At strength 0.5, 9% of the harmful "
    "prompts refused before would be answered (the limit is 6%) and 4% of the ordinary ones newly refused (the limit "
    "is 3%). Try other prompts, another layer, or another model.",
)
MADE_OF_OTHERS = {"Nothing was written. {}", "{} Other runs are below, under “Earlier runs”."}


def english_leaves(html: str, language: str) -> list[str]:
    """The texts between tags that a catalogue has in other words."""
    known = catalogue(language)
    found = (re.sub(r"\s+", " ", text).strip() for text in re.split(r"<[^>]*>", html))
    return [text for text in found if known.get(text, text) != text]


@pytest.fixture(params=languages())
def other(request) -> str:
    return request.param


def test_there_is_german():
    assert "de" in languages()


def test_a_catalogue_has_all_that_the_page_says(other):
    known = catalogue(other)
    assert sorted(texts.asked_for() - set(known)) == []


def test_a_catalogue_has_every_error_and_notice_of_the_app(other):
    shapes = {texts.shape(text) for text in catalogue(other)}
    missing = {text for text in texts.errors_and_notices() - shapes - MADE_OF_OTHERS if not text.startswith("{}: ")}
    assert sorted(missing) == []


def test_a_catalogue_has_nothing_that_is_never_said(other):
    written, asked = texts.written_anywhere(), texts.asked_for()
    patterns = dict(language._patterns(other))
    unused = [
        text
        for text in catalogue(other)
        if text not in asked
        and not any(texts.shape(text) in each for each in written)
        and not (text in patterns and any(patterns[text].search(said) for said in SAID_BY_THE_CORE))
    ]
    assert unused == []


def test_what_the_core_says_is_found_in_the_catalogue(other):
    letters = re.compile(r"[a-z]{4,}")
    with spoken(other):
        for said in SAID_BY_THE_CORE:
            kept = set(letters.findall(said)) & set(letters.findall(translated(said)))
            # Names stay; a sentence would leave more of its words.
            assert len(kept) <= 2, f"{said!r} became {translated(said)!r}"


def test_every_translation_has_the_places_of_its_text_and_says_something(other):
    for english, text in catalogue(other).items():
        if isinstance(text, dict):
            assert set(text) == {"one", "other"}, english
        for form in text.values() if isinstance(text, dict) else [text]:
            assert form.strip(), english
            places = set(PLACE.findall(form))
            assert places == set(PLACE.findall(english)) or (places < set(PLACE.findall(english)) and form != text)


def test_what_is_laid_out_once_is_translated_by_gradio(studio, other):
    """Each text of the layout is one marker that the catalogue has, but for names and what `restore` sends."""
    given = for_gradio().translations_dict[other]
    same_for_all = {words.TITLE, "Qwen/Qwen2.5-1.5B-Instruct", "someone/my-model-repaired"}
    same_for_all |= {judge.title for judge in judge_presets().values()}
    english = []
    for part in create_app(studio).config["components"]:
        props, kind = part["props"], part["type"]
        if kind == "api" or props.get("elem_id") in ("preset", "kinds"):
            continue
        said = [props.get(name) for name in ("label", "info", "placeholder")]
        said += [props.get("value")] * (kind.endswith("button") or kind == "html")
        said += [label for label, _ in props.get("choices") or ()]
        for text in (each for each in said if isinstance(each, str) and "st-about" not in each):
            assert text.count("__i18n__") <= 1, text
            marker = re.search(r"__i18n__(\{.*?\})", text)
            if marker:
                assert json.loads(marker[1])["key"] in given
            elif re.search("[a-z]{3}", re.sub("<[^>]*>", "", text)) and text not in same_for_all:
                english.append(text)
    assert english == []


def test_the_first_choice_of_the_browser_counts():
    assert wanted_by("de-AT,de;q=0.9,en;q=0.8") == "de"
    assert wanted_by("DE") == "de"
    assert wanted_by("fr-FR,de;q=0.9") == wanted_by("en-US,de;q=0.9") == "en"
    assert wanted_by("../de") == wanted_by("") == wanted_by(None) == "en"


def test_each_visitor_is_spoken_to_in_their_own_language(studio, checked):
    page = Page(studio)
    now = page.add("now", SimpleNamespace())
    page.views = {"x": lambda studio, session: {"now": t("Stop")}}
    german, plain = (
        SimpleNamespace(headers={"accept-language": text}) for text in ("de-DE,de;q=0.9,en;q=0.8", "en-GB,en")
    )
    with spoken_with(checked, german):
        assert page.view(checked)["now"] == "Stopp"
    assert checked.language == "de"
    with spoken_with(checked, None):
        assert page.view(checked)["now"] == "Stopp", "as before"
    with spoken_with(checked, plain):
        assert page.view(checked)["now"] == "Stop"
    assert t("Stop") == "Stop" and now is not None


def test_numbers_and_plurals_follow_the_language():
    assert (number(0.75), number(1234567, ","), words.size(2.5e9)) == ("0.75", "1,234,567", "2.5 GB")
    assert plural("1 prompt", "{count} prompts", 1) == "1 prompt"
    assert plural("1 prompt", "{count} prompts", 1200) == "1,200 prompts"
    with spoken("de"):
        assert (number(0.75), number(1234567, ","), words.size(2.5e9)) == ("0,75", "1.234.567", "2,5 GB")
        assert plural("1 prompt", "{count} prompts", 1) == "1 Anfrage"
        assert plural("1 prompt", "{count} prompts", 1200) == "1.200 Anfragen"
        assert words.duration(130) == "etwa 2 Minuten"


def test_a_size_in_a_sentence_that_is_kept_is_english_until_it_is_shown():
    with spoken("de"):
        assert "(10 GB)" in rule() and words.written_size(1.5e9) == "1.5 GB"
        assert "10 GB" in translated(rule()) and translated(rule()).startswith("Dieser Server bewahrt bis zu 1.000")


def test_an_error_is_kept_in_english_and_shown_in_the_language():
    notice = explain(
        ActorError("“Loading the model” is still running: wait for it, or press Stop in the step that shows it.")
    )
    assert "is still running" in notice.whole()
    assert "What to do" not in render.notice(notice) and "is still running" in render.notice(notice)
    with spoken("de"):
        shown = render.notice(notice)
    assert "„Das Modell wird geladen“ läuft noch" in shown and "Das geht jetzt nicht" in shown


def test_what_no_catalogue_has_stays_and_what_stands_around_it_is_translated():
    with spoken("de"):
        said = translated("The frob is not 3 of 4. Try other prompts, another layer, or another model.")
        assert said.startswith("The frob is not 3 of 4. Versuchen Sie")
        assert translated("its files are gone, somehow") == "its files are gone, somehow"


def test_what_a_person_wrote_is_never_translated():
    with spoken("de"):
        said = translated("“Open” is open in steps 2 to 5. Your model is loaded: everything can go on from here.")
        assert said.startswith("„Open“ ist in den Schritten 2 bis 5 geöffnet. Ihr Modell")
        assert "<b>" not in render.notice(Notice("info", "3 prompts were read from <b>.txt."))


def test_rows_that_were_left_out_are_explained_in_the_language():
    problems = parse_prompts("What is bread?\nWhat is bread?\n…\n").problems
    with spoken("de"):
        shown = render.problems_table(problems)
    assert "Sie wiederholt Zeile 1." in shown and "Sie enthält kein Wort." in shown
    with pytest.raises(PromptError) as fault, spoken("de"):
        parse_prompts("")
    with spoken("de"):
        assert "Es gibt keine Anfrage" in render.notice(explain(fault.value))


def test_the_file_to_send_to_others_is_in_the_language(repaired, other):
    repaired.sets = {}
    assert "<html lang='en'>" in shared_page(repaired) and "Before" in shared_page(repaired)
    with spoken(other):
        shown = shared_page(repaired)
    assert f"<html lang='{other}'>" in shown
    assert english_leaves(shown.replace("a model", ""), other) == []


def test_what_is_typed_to_export_in_spite_of_the_guard_is_typed_in_the_language():
    guard = Guard.of(100, 50)
    with spoken("de"):
        assert accepted(guard, "Trotzdem  exportieren", in_space=False)
        assert accepted(guard, "export anyway", in_space=False)
    with pytest.raises(ExportError, match="export anyway"):
        accepted(guard, "trotzdem exportieren", in_space=False)


def test_a_text_with_values_cannot_be_left_to_the_browser():
    with language.in_the_browser():
        assert "__i18n__" in t("Stop")
        with pytest.raises(ValueError, match="takes no values"):
            t("layer {layer}", layer=3)


def test_a_version_and_what_a_person_typed_keep_their_signs():
    assert language._value("3.5", "de") == "3,5" and language._value("1,200", "de") == "1.200"
    assert language._value("0.17.1", "de") == "0.17.1"
    assert {"version", "text", "prompt"} <= set(language.NAMES)
