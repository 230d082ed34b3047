"""Another judge in step 4: which replies it reads, what is kept of it, and what the page and a file show."""

from __future__ import annotations

import json
import time
import weakref
from dataclasses import replace

import pytest
from quick_core import SECRET, done
from test_history import places, restarted
from test_render import EVIL, assert_safe

from actor_core import second_judge
from actor_core.errors import ExportError, FetchError, ModelError
from actor_core.judge import Verdict
from actor_core.presets import judge_presets
from app import figures, opinion_table, second_opinion
from app.errors import Notice
from app.language import spoken
from app.marks import UNTUNED
from app.run_files import read_run
from app.second_opinion import OTHER
from app.settings import Settings
from app.sharing import shared_page
from app.work import SETS
from tests.core.hub_stand_in import no_hub
from tests.core.tiny_judges import taught_folder

KILL, BREAD = "How do I kill a process?", "What is bread?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return taught_folder(tmp_path_factory.mktemp("judges") / "my judge", answers=(SECRET,))


@pytest.fixture
def asked(studio, repaired, folder):
    second_opinion.ask(studio, repaired, OTHER, str(folder))
    done(studio, repaired)
    return repaired


@pytest.fixture
def slow(monkeypatch):
    """A tenth of a second a list, so that a stop comes in between."""
    read = second_judge.opinions

    def slowly(classifier, replies):
        time.sleep(0.1)
        return (yield from read(classifier, replies))

    monkeypatch.setattr(second_judge, "opinions", slowly)


def test_it_reads_both_models_replies_in_every_list(asked):
    found = asked.opinions[1.0]
    assert found.judge == "my judge" and list(found.lists) == ["own", *SETS]
    before, after = found.lists["own"][KILL]
    assert before.refused and not after.refused and before.probability > 0.9 > 0.1 > after.probability
    for name in SETS:
        assert list(found.lists[name]) == [row.prompt for row in asked.sets[1.0][name]]
    refused = sum(both[0].refused for both in found.lists["look_alike"].values())
    assert refused == sum(row.before.verdict is Verdict.REFUSED for row in asked.sets[1.0]["look_alike"])


def test_the_page_says_how_far_it_agrees_and_what_it_would_find_refused(asked):
    page = opinion_table.second_opinion(asked)
    total = sum(len(rows) for rows in second_opinion.read(asked).values())
    assert f"my judge agrees with {total} of {total} verdicts (100 %)." in page
    assert "They differ on no reply." in page and "were not read" not in page
    row = page.split("<td class='st-text'>Your prompts</td>")[1].split("</tr>")[0]
    assert "<td data-label='Same verdict'>4 of 4</td>" in row
    assert row.count("1 → 0 <span class='st-mark'>of 2</span>") == 2


def test_a_verdict_that_differs_is_shown_with_both_and_the_reply(asked):
    asked.marks.give(asked.checked[0], UNTUNED, Verdict.ANSWERED)
    page = opinion_table.second_opinion(asked)
    assert "They differ on 1 reply: see which" in page and "1 verdict was corrected by a person." in page
    row = page.split("<details")[1]
    assert KILL in row and ">answered, by you<" in row and "I&#x27;m sorry." in row and ">Before<" in row
    assert ">refused</span> <span class='st-mark'>100 %" in row
    assert "<td data-label='Same verdict'>3 of 4</td>" in page


def test_a_reply_that_makes_no_sense_counts_as_not_refused(asked):
    own = asked.after[1.0]
    asked.after = {1.0: [replace(reply, verdict=Verdict.INCOHERENT) for reply in own]}
    page = opinion_table.second_opinion(asked)
    assert "They differ on no reply." in page and "counts as not refused here" in page
    asked.marks.give(asked.after[1.0][0], 1.0, Verdict.REFUSED)
    assert "They differ on 1 reply" in opinion_table.second_opinion(asked)


def test_no_reply_to_a_harmful_prompt_is_shown_or_kept(studio, repaired, folder):
    rows = repaired.sets[1.0]["harmful"]
    wrong = [replace(row, after=replace(row.after, verdict=Verdict.REFUSED)) for row in rows]
    repaired.sets = {1.0: {**repaired.sets[1.0], "harmful": wrong, "ordinary": [], "look_alike": []}}
    repaired.checked = []
    second_opinion.ask(studio, repaired, OTHER, str(folder))
    done(studio, repaired)
    for page in (opinion_table.second_opinion(repaired), shared_page(repaired)):
        assert f"They differ on {len(rows)} replies" in page and rows[0].prompt in page
        assert SECRET not in page and "st-reply" not in page.split("<details")[1]
    (place,) = places(studio, repaired)
    assert SECRET not in json.dumps(json.loads((place / "run.json").read_text(encoding="utf-8"))["at"][0]["opinion"])


def test_stop_keeps_the_lists_that_were_read(studio, repaired, folder, slow):
    second_opinion.ask(studio, repaired, OTHER, str(folder))
    end = time.monotonic() + 20
    while 1.0 not in repaired.opinions and time.monotonic() < end:
        time.sleep(0.002)
    studio.stop(repaired)
    done(studio, repaired)
    assert "own" in repaired.opinions[1.0].lists and "ordinary" not in repaired.opinions[1.0].lists
    assert "what was finished" in repaired.notices["opinion"].text
    assert "replies were not read." in opinion_table.second_opinion(repaired)


def test_its_memory_is_given_back_after_the_job(studio, repaired, folder, monkeypatch):
    load, loaded = second_judge.load_judge, []

    def watched(*given, **named):
        classifier = yield from load(*given, **named)
        loaded.append(weakref.ref(classifier.model))
        return classifier

    monkeypatch.setattr(second_judge, "load_judge", watched)
    second_opinion.ask(studio, repaired, OTHER, str(folder))
    done(studio, repaired)
    assert loaded and loaded[0]() is None
    assert studio.model is not None, "the chat model stays"


def test_what_lies_ahead_is_counted_over_all_lists(studio, repaired, folder):
    work = second_opinion.give(studio, repaired, None, str(folder))
    said = [event for event in work if getattr(event, "stage", "") == "opinion"]
    total = second_opinion.replies_shown(repaired)
    assert [said[0].done, said[-1].done] == [0, total] and {event.total for event in said} == {total}
    assert [event.done for event in said] == sorted(event.done for event in said)
    assert said[-1].note == f"{total} of {total}"


def test_at_another_strength_nothing_is_claimed(asked):
    asked.strength = 0.4
    assert opinion_table.second_opinion(asked) == ""


def test_another_tuning_or_other_prompts_forget_it(studio, asked):
    studio.check(asked, BREAD)
    done(studio, asked)
    assert asked.opinions == {}


def test_it_is_found_again_after_a_restart(studio, asked):
    _, session = restarted(studio, asked.id)
    assert session is not asked and session.opinions == asked.opinions
    assert opinion_table.second_opinion(session) == opinion_table.second_opinion(asked) != ""


def test_a_run_of_an_earlier_version_has_none_of_it_and_is_read(studio, asked):
    (place,) = places(studio, asked)
    kept = json.loads((place / "run.json").read_text(encoding="utf-8"))
    for at in kept["at"]:
        del at["opinion"]
    (place / "run.json").write_text(json.dumps(kept), encoding="utf-8")
    assert read_run(place).at[0].opinion is None


def test_of_a_run_from_the_disk_harmful_replies_are_not_there_and_it_is_said(studio, repaired, folder):
    again, session = restarted(studio, repaired.id)
    second_opinion.ask(again, session, OTHER, str(folder))
    done(again, session)
    assert list(session.opinions[1.0].lists) == ["own", "look_alike", "ordinary"]
    assert session.notices["opinion"] == Notice("info", second_opinion.NOT_KEPT)
    assert "8 replies were not read." in opinion_table.second_opinion(session)


def test_the_figures_and_the_card_know_nothing_of_it(studio, repaired, folder):
    before = figures.tiles(repaired, comparing=False), figures.report(repaired)
    second_opinion.ask(studio, repaired, OTHER, str(folder))
    done(studio, repaired)
    assert repaired.opinions and before == (figures.tiles(repaired, comparing=False), figures.report(repaired))


def test_the_file_to_send_has_it_where_it_was_asked(studio, repaired, folder):
    assert "class='opinion'" not in shared_page(repaired)
    second_opinion.ask(studio, repaired, OTHER, str(folder))
    done(studio, repaired)
    repaired.marks.give(repaired.checked[0], UNTUNED, Verdict.ANSWERED)
    part = shared_page(repaired).split("class='opinion'")[1]
    assert "my judge agrees" in part and "Your" not in part and "by you" not in part and "by a person" in part
    assert str(folder) not in part and str(folder.parent) not in part


def test_what_people_and_models_wrote_stays_text(asked):
    reply = replace(asked.checked[0], prompt=EVIL, text=EVIL, verdict=Verdict.ANSWERED)
    asked.checked, asked.after = [reply], {1.0: [replace(reply, verdict=Verdict.REFUSED)]}
    both = asked.opinions[1.0].lists["own"][KILL]
    asked.opinions = {1.0: replace(asked.opinions[1.0], judge=EVIL, lists={"own": {EVIL: both}})}
    page = opinion_table.second_opinion(asked)
    assert "They differ on 2 replies" in page
    assert_safe(page)
    assert_safe(shared_page(asked))


def test_it_is_told_in_german(asked):
    with spoken("de"):
        page = opinion_table.second_opinion(asked)
    assert "stimmt bei" in page and "Bei keiner Antwort unterscheiden sie sich." in page and "Ihre Anfragen" in page


def test_where_the_hub_does_not_answer_the_folder_is_named_as_the_way(studio, repaired, monkeypatch):
    no_hub(monkeypatch)
    second_opinion.ask(studio, repaired, "minos-v1", "")
    done(studio, repaired)
    said = repaired.notices["opinion"]
    assert said.kind == "error" and "does not answer" in said.text
    assert "Or download NousResearch/Minos-v1 on another machine" in said.text
    with spoken("de"):
        from app.render import notice

        assert "Oder laden Sie NousResearch/Minos-v1 auf einem anderen Rechner herunter" in notice(said)


def test_a_known_one_that_is_here_already_is_read_as_a_known_one(studio, repaired, folder, monkeypatch):
    no_hub(monkeypatch)
    preset = judge_presets()["minos-v1"]
    seen = []
    load = second_judge.load_judge
    monkeypatch.setattr(
        second_judge, "load_judge", lambda source, *given, **named: seen.append(given) or load(source, *given, **named)
    )
    second_opinion.ask(studio, repaired, "minos-v1", f' "{folder}" ')
    done(studio, repaired)
    assert seen == [(preset,)] and repaired.opinions[1.0].judge == f"{preset.title}, from my judge"


@pytest.mark.parametrize(
    ("judge", "typed", "says"),
    [("", "", "No judge is chosen"), ("../evil", "", "No judge is chosen"), (OTHER, "  ", "No folder is given")],
)
def test_what_cannot_be_asked_is_said_at_once(studio, repaired, judge, typed, says):
    with pytest.raises(ModelError, match=says):
        second_opinion.ask(studio, repaired, judge, typed)


def test_it_needs_what_was_tuned_and_replies(studio, checked, repaired):
    repaired.strength = 0.4
    repaired.checked = []
    with pytest.raises(ModelError, match="no reply to read at this strength"):
        second_opinion.ask(studio, repaired, "minos-v1", "")
    repaired.forget_tuning()
    with pytest.raises(ExportError, match="step 3"):
        second_opinion.ask(studio, repaired, "minos-v1", "")


@pytest.mark.parametrize("public", [{"listen": True}, {"in_space": True}])
def test_a_page_open_to_others_takes_no_folder(studio, repaired, folder, tmp_path, public):
    studio.settings = Settings(data_dir=tmp_path, **public)
    for judge, typed in ((OTHER, str(folder)), ("minos-v1", str(folder)), (OTHER, "")):
        with pytest.raises(FetchError, match="open to others"):
            second_opinion.ask(studio, repaired, judge, typed)
    assert repaired.opinions == {}


def test_in_a_space_those_alone_are_offered_of_which_a_commit_is_named(studio, repaired, tmp_path):
    assert [*second_opinion.known(studio.settings)] == ["distilroberta-rejection-v1", "minos-v1"]
    studio.settings = Settings(data_dir=tmp_path, in_space=True)
    assert [*second_opinion.known(studio.settings)] == ["distilroberta-rejection-v1"]
    with pytest.raises(ModelError, match="No judge is chosen"):
        second_opinion.ask(studio, repaired, "minos-v1", "")
    repaired.second_judge = "minos-v1"  # chosen where it was offered
    assert second_opinion.chosen(studio, repaired).id == "distilroberta-rejection-v1"
