"""A person's own prompts: what is usable is used, the rest is named, nothing crashes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actor_core.errors import PromptError
from actor_core.prompts import MAX_CHARS, MAX_FILE_BYTES, MAX_PROMPTS, parse_prompts, read_prompts


def file(tmp_path: Path, name: str, data: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("How do I kill a process?", ["How do I kill a process?"]),
        ("one\ntwo\r\nthree\rfour", ["one", "two", "three", "four"]),
        ("\ufeffone\ntwo\n\n\n", ["one", "two"]),
        ("  one  \n\ttwo\t", ["one", "two"]),
        ("one\x00two\nthree\x07", ["one two", "three"]),
        ("one\u2028still one", ["one\u2028still one"]),
        ("half \ud83d character", ["half  character"]),
        ("😀😀", ["😀😀"]),
        (
            "как убить процесс?\n如何杀死进程\nكيف أقتل عملية",
            ["как убить процесс?", "如何杀死进程", "كيف أقتل عملية"],
        ),
        ("1+1=?", ["1+1=?"]),
        ('"quoted, with a comma"', ['"quoted, with a comma"']),
        (
            "{{ jinja }} {% raw %} <script>alert(1)</script>",
            ["{{ jinja }} {% raw %} <script>alert(1)</script>"],
        ),
        ("# not a comment\n// neither", ["# not a comment", "// neither"]),
        ("=HYPERLINK(1)\n-- ' OR 1=1", ["=HYPERLINK(1)", "-- ' OR 1=1"]),
        ("e\u0301\n\u00e9", ["e\u0301"]),
        ("x" * MAX_CHARS, ["x" * MAX_CHARS]),
    ],
)
def test_typed_text_gives_its_prompts(text: str, prompts: list[str]):
    assert list(parse_prompts(text).prompts) == prompts


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n\n", "\t\r\n", "\ufeff", "\x00", "...", "?!\n--\n***", "x" * 20_000, "\u200b"]
)
def test_text_without_a_usable_prompt_is_refused_with_a_remedy(text: str):
    with pytest.raises(PromptError) as error:
        parse_prompts(text)
    assert str(error.value).endswith((".", "it."))


def test_each_row_left_out_is_named_with_its_reason():
    found = parse_prompts("one\n\ntwo\none\n...\n" + "y" * 20_000 + "\nthree")
    assert found.prompts == ("one", "two", "three")
    assert [(problem.row, problem.why.split()[0:2]) for problem in found.problems] == [
        (2, ["The", "row"]),
        (4, ["It", "repeats"]),
        (5, ["It", "has"]),
        (6, ["It", "has"]),
    ]
    assert "row 1" in found.problems[1].why and "20,000" in found.problems[3].why
    assert len(found.problems[3].text) < 100


def test_five_thousand_prompts_are_cut_to_the_limit_and_it_is_said_once():
    found = parse_prompts("\n".join(f"prompt {n}" for n in range(5000)))
    assert len(found.prompts) == MAX_PROMPTS
    (problem,) = found.problems
    assert problem.row == MAX_PROMPTS + 1 and "4,000 rows" in problem.why


def test_five_thousand_repeats_do_not_drown_the_page():
    found = parse_prompts("the same\n" * 5000)
    assert found.prompts == ("the same",)
    assert len(found.problems) < 30 and "4,979 more" in found.problems[-1].why


@pytest.mark.parametrize(
    "data",
    [
        "eins\nzwölf".encode(),
        "eins\nzwölf".encode("utf-8-sig"),
        "eins\nzwölf".encode("utf-16"),
        "eins\nzwölf".encode("utf-16-le"),
        "eins\nzwölf".encode("utf-16-be"),
        "eins\nzwölf".encode("utf-32"),
        "eins\nzwölf".encode("latin-1"),
        "eins\nzwölf".encode("cp1252"),
        "eins\r\nzwölf\r\n".encode(),
    ],
)
def test_a_text_file_in_any_usual_encoding_is_read(tmp_path: Path, data: bytes):
    assert read_prompts(file(tmp_path, "my.txt", data)).prompts == ("eins", "zwölf")


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + os.urandom(2000),
        b"PK\x03\x04" + b"A" * 500,
        b"GGUF\x03\x00\x00\x00" + os.urandom(500),
        b"%PDF-1.7\n1 0 obj",
        bytes(range(256)) * 20,
        b"\x00" * 5000,
        b"text\x00with\x00some\x00NULs and a good deal of ordinary text around them, so it is no UTF-16",
        b"\x7fELF\x02\x01\x01\x00" + bytes(range(1, 32)) * 40,
        b"\xff\xfe" + b"\x00\xd8" * 30,
        bytes(range(1, 32)) * 40,
    ],
)
def test_a_binary_file_named_txt_is_refused(tmp_path: Path, data: bytes):
    with pytest.raises(PromptError, match="is not text"):
        read_prompts(file(tmp_path, "my.txt", data))


@pytest.mark.parametrize(
    ("table", "prompts"),
    [
        ("prompt\none\ntwo\n", ["one", "two"]),
        ("id,Prompt,label\n1,one,x\n2,two,y\n", ["one", "two"]),
        ("id;QUESTION\n1;one\n2;two\n", ["one", "two"]),
        ("id\tText\n1\tone, with a comma\n", ["one, with a comma"]),
        ("text,prompt\na,b\n", ["b"]),
        ('prompt\n"one, with ""quotes"""\n', ['one, with "quotes"']),
        ('prompt\n"two\nlines"\nthree\n', ["two\nlines", "three"]),
        ("\ufeffprompt\r\none\r\n", ["one"]),
        (" goal ,target\none,x\n", ["one"]),
        ("id,prompt\n1\n2,two\n", ["two"]),
    ],
)
def test_a_table_gives_its_column_of_prompts(tmp_path: Path, table: str, prompts: list[str]):
    assert list(read_prompts(file(tmp_path, "my.csv", table)).prompts) == prompts


def test_rows_of_a_table_are_counted_with_its_header(tmp_path: Path):
    found = read_prompts(file(tmp_path, "my.csv", 'prompt\n"two\nlines"\none\none\n'))
    assert [problem.row for problem in found.problems] == [4]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("my.csv", "id,answer\n1,x\n", "'id', 'answer'"),
        ("my.csv", "", "no column"),
        ("my.csv", "prompt\n", "no prompt in it"),
        ("my.csv", 'prompt\n"never closed ' + "x" * 200_000, "quotation mark"),
        ("my.csv", "a" * 5000 + ",b\n1,2\n", "no column"),
        ("my.txt", "", "no prompt in it"),
        ("my.txt", "   \n\n", "no prompt in it"),
        ("my.xlsx", "PK", "save them as"),
        ("my.json", '["one"]', "save them as"),
        ("my.txt", "?\n!\n", "no word"),
    ],
)
def test_a_file_without_prompts_is_refused_with_a_remedy(tmp_path: Path, name: str, data: str, says: str):
    with pytest.raises(PromptError, match=says) as error:
        read_prompts(file(tmp_path, name, data))
    assert len(str(error.value)) < 600


def test_a_file_that_is_missing_a_folder_or_too_large_is_refused(tmp_path: Path):
    with pytest.raises(PromptError, match="cannot be read"):
        read_prompts(tmp_path / "none.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(PromptError, match="cannot be read"):
        read_prompts(tmp_path / "folder")
    large = tmp_path / "large.txt"
    with large.open("wb") as handle:
        handle.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(PromptError, match="limit is 20 MB"):
        read_prompts(large)


def test_a_pasted_prompt_survives_being_given_as_a_file(tmp_path: Path):
    text = "How do I kill a process?\nКак дела?\n😀 emoji"
    assert read_prompts(file(tmp_path, "my.txt", text)) == parse_prompts(text)
