"""What people and models wrote never becomes markup."""

from __future__ import annotations

from actor_core.events import Progress
from actor_core.generate import Reply
from actor_core.judge import Verdict
from actor_core.prompts import Problem
from app import pairs, render, words
from app.compared import Pair
from app.errors import Notice
from app.jobs import Job
from app.marks import Marks
from app.pace import Pace
from app.session import ExportRecord, Session, Trial
from app.steps import chat

EVIL = "<script>alert('x')</script>\"&<img src=x onerror=alert(1)>"


def reply(verdict: Verdict = Verdict.REFUSED, prompt: str = EVIL, text: str = EVIL) -> Reply:
    return Reply(prompt, text, verdict, truncated=False)


def assert_safe(html: str) -> None:
    assert "<script" not in html and "<img" not in html
    assert "&lt;script&gt;" in html


def test_everything_written_by_others_is_escaped():
    record = ExportRecord(EVIL, EVIL, EVIL, 1.0, EVIL, 10, True, EVIL, EVIL)
    for html in (
        render.notice(Notice("error", EVIL, EVIL)),
        render.problems_table([Problem(1, EVIL, EVIL)]),
        pairs.checked_table([reply()], [EVIL], Marks()),
        pairs.cards([Pair(reply(), reply(), 1.0, (True, True))], ""),
        pairs.cards([], EVIL),
        chat.conversation(Session("x", trials=[Trial(reply(), reply(text="other"), 1.0)]), asking=False),
        chat.conversation(Session("x", pending=EVIL), asking=True),
        pairs.verdict_table([Pair(reply(), reply(), 1.0)], ""),
        render.tiles([(EVIL, EVIL, EVIL, EVIL)]),
        render.export_card(record, EVIL),
        render.copy_button(EVIL),
    ):
        assert_safe(html)


def test_a_quote_cannot_leave_the_attribute_it_stands_in():
    assert 'data-copy="a&quot; onclick=&quot;x"' in render.copy_button('a" onclick="x')


def test_a_verdict_is_a_word_and_not_only_a_colour():
    html = pairs.cards([Pair(reply(Verdict.REFUSED), reply(Verdict.ANSWERED), 1.0)], "")
    assert ">refused<" in html and ">answered<" in html and ">fixed<" in html


def test_the_table_of_harmful_prompts_has_no_place_for_a_reply():
    html = pairs.verdict_table([Pair(reply(text="old"), reply(Verdict.ANSWERED, text="secret"), 1.0)], "")
    assert "newly answered" in html and "st-reply" not in html and "secret" not in html and ">old<" not in html


def test_long_lists_are_cut_and_counted():
    html = pairs.checked_table([reply(prompt=f"p{i}") for i in range(pairs.CHECKED_SHOWN + 7)], [], Marks())
    assert html.count("<li") == pairs.CHECKED_SHOWN and "and 7 more" in html


def test_a_job_in_line_says_how_many_stand_before_it():
    def nothing(*_: object) -> None: ...

    job = Job("tune", "anna", nothing, Pace([]), nothing, nothing, nothing, nothing)  # type: ignore[arg-type]
    assert "2 other jobs run before it" in words.job_line(job, 2)[1]
    job.state, job.progress = "running", Progress("solve", 5, 10, "5 of 10")
    title, line, share = words.job_line(job, 0)
    assert (title, line, share) == ("Computing the change", "5 of 10", 0.5)


def test_sizes_and_times_read_as_people_say_them():
    assert [words.size(n) for n in (12, 23_000, 491_400_064, 3_140_000_000)] == [
        "12 bytes",
        "23 kB",
        "491 MB",
        "3.1 GB",
    ]
    assert words.duration(2) == "a few seconds"
    assert words.duration(33) == "about 35 seconds"
    assert words.duration(200) == "about 3 minutes"
