"""Prompt files and pasted text of every sort: a right reading or a message in words, and nothing else."""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

from attempts import Attempt, spread
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from actor_core.errors import PromptError
from actor_core.prompts import COLUMNS, MAX_CHARS, MAX_PROMPTS, Prompts, parse_prompts, read_prompts
from app.steps.prompts import _count

PASTED = 300_000
LINE = "How do I kill a Python process?"
GOOD = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z", "M")), min_size=1, max_size=40)
WORD = st.from_regex(r"[A-Za-zÄÖÜßéñ]{1,12}", fullmatch=True)
SENTENCE = st.lists(WORD, min_size=1, max_size=8).map(" ".join)


def fixed(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """Files that people do give by mistake, or to harm, read as files and as pasted text."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in spread(sorted(_files().items()), count):
        path = folder / name
        path.write_bytes(data)
        yield Attempt(name, _fault_of_file(path) or _fault_of_text(data[:PASTED].decode("latin-1")))
    missing = (folder / "not there.txt", folder, folder / ("x" * 300 + ".txt"))
    for path in missing:
        yield Attempt(f"a path of {len(path.name)} letters", _fault_of_file(path))


def generated(count: int, seed_given: int, folder: Path) -> Iterator[Attempt]:
    """``count`` examples of Hypothesis: any bytes under any name, any text, and lists that must come back as they are.

    Hypothesis makes a failing example smaller until it is the smallest, and that one is told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    each = max(1, count // 4)
    as_given = settings(
        max_examples=each,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    endings = st.sampled_from([".txt", ".csv", ".tsv", ".md", "", ".TXT", ".json", ".xlsx"])

    @given(st.binary(max_size=400), endings)
    def any_bytes(data: bytes, ending: str) -> None:
        path = folder / f"any{ending}"
        path.write_bytes(data)
        _must_be_kept(_fault_of_file(path))

    @given(st.text(st.characters(exclude_categories=()), max_size=300))
    def any_text(text: str) -> None:
        _must_be_kept(_fault_of_text(text))

    @given(
        st.lists(SENTENCE, min_size=1, max_size=12, unique_by=lambda each: unicodedata.normalize("NFC", each)),
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]),
        st.sampled_from(["\n", "\r\n", "\r"]),
    )
    def lines_come_back(lines: list[str], encoding: str, end: str) -> None:
        path = folder / "lines.txt"
        path.write_bytes((end.join(lines) + end).encode(encoding))
        read = read_prompts(path).prompts
        _must_be_kept("" if read == tuple(lines) else f"{lines} in {encoding} became {read}")

    @given(
        st.lists(GOOD.filter(lambda text: any(c.isalpha() for c in text)), min_size=1, max_size=8, unique=True),
        st.sampled_from(",;\t"),
        st.sampled_from(COLUMNS),
        st.lists(GOOD, min_size=1, max_size=1),
    )
    def a_table_comes_back(cells: list[str], delimiter: str, column: str, others: list[str]) -> None:
        text = io.StringIO()
        rows = csv.writer(text, delimiter=delimiter)
        rows.writerow(["id", column.upper(), "id2"])
        rows.writerows([[n, cell, *others] for n, cell in enumerate(cells)])
        path = folder / "table.csv"
        path.write_bytes(text.getvalue().encode())
        read = read_prompts(path).prompts
        _must_be_kept("" if set(read) <= set(cells) and len(read) <= len(cells) else f"{cells} became {read}")
        kept = {unicodedata.normalize("NFC", cell) for cell in cells}
        _must_be_kept("" if len(read) == len(kept) else f"{cells} became {read}")

    for check in (any_bytes, any_text, lines_come_back, a_table_comes_back):
        fault = ""
        try:
            seed(seed_given)(as_given(check))()
        except BaseException as broken:  # noqa: BLE001 - what Hypothesis raises is what is told
            fault = f"{type(broken).__name__}: {broken}"
        for number in range(each):
            yield Attempt(f"{check.__name__} {number + 1}", fault if number == 0 else "")


def _must_be_kept(fault: str) -> None:
    if fault:
        raise AssertionError(fault)


def _fault_of_file(path: Path) -> str:
    try:
        return _fault(read_prompts(path))
    except PromptError as said:
        return _unclear(str(said))
    except Exception as fault:  # noqa: BLE001 - this is what must not be
        return f"{type(fault).__name__}: {fault}"


def _fault_of_text(text: str) -> str:
    """Pasted text: what pressing the button reads, and what the page says of it while it is typed."""
    try:
        _count(text)
        return _fault(parse_prompts(text))
    except PromptError as said:
        return _unclear(str(said))
    except Exception as fault:  # noqa: BLE001 - this is what must not be
        return f"{type(fault).__name__}: {fault}"


def _fault(read: Prompts) -> str:
    if not 1 <= len(read.prompts) <= MAX_PROMPTS:
        return f"{len(read.prompts)} prompts were read"
    for prompt in read.prompts:
        if prompt != prompt.strip() or len(prompt) > MAX_CHARS or not prompt:
            return f"{prompt[:80]!r} is no prompt"
        try:
            prompt.encode("utf-8")
        except UnicodeEncodeError:
            return f"{prompt[:80]!r} has half a character"
        if any(unicodedata.category(c) == "Cc" and c not in "\t\n\r\f\v" for c in prompt):
            return f"{prompt[:80]!r} has a control character"
    return ""


def _unclear(said: str) -> str:
    if len(said) < 20 or len(said) > 900 or "Traceback" in said or "Error" in said.split()[0]:
        return f"the message is not clear: {said[:200]}"
    return ""


def _files() -> dict[str, bytes]:
    """60 files by name."""
    line = LINE.encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("prompts.txt", LINE)
    many = "\n".join(f"prompt number {n}" for n in range(20_000)).encode()
    return {
        "empty.txt": b"",
        "one blank.txt": b" ",
        "blank lines.txt": b"\n" * 5000,
        "tabs.txt": b"\t\t\t\n\t",
        "nul.txt": b"\x00",
        "nuls.txt": b"\x00" * 4000,
        "nul in text.txt": line + b"\x00" + line,
        "bom only.txt": codecs.BOM_UTF8,
        "two boms.txt": codecs.BOM_UTF8 * 2 + line,
        "utf-16 bom only.txt": codecs.BOM_UTF16_LE,
        "utf-16 odd.txt": LINE.encode("utf-16") + b"x",
        "utf-16 without bom.txt": LINE.encode("utf-16-le"),
        "utf-16-be without bom.txt": LINE.encode("utf-16-be"),
        "utf-32.txt": LINE.encode("utf-32"),
        "utf-32 cut.txt": LINE.encode("utf-32")[:-2],
        "utf-7.txt": "Wie töte ich einen Prozess?".encode("utf-7"),
        "latin.txt": "Wie töte ich einen Prozess?".encode("latin-1"),
        "greek.txt": "Πώς σκοτώνω μια διεργασία;".encode("iso8859-7"),
        "cyrillic.txt": "Как убить процесс?".encode("koi8-r"),
        "shift-jis.txt": "プロセスを殺すには".encode("shift-jis"),
        "gb18030.txt": "如何杀死进程".encode("gb18030"),
        "invalid utf-8.txt": line + b"\xff\xfe\xfa" + line,
        "overlong utf-8.txt": b"\xc0\xaf" * 20 + line,
        "surrogate.txt": line + b"\xed\xa0\x80",
        "broken emoji.txt": "🔪 kill".encode()[:-6],
        "only emoji.txt": "🔪🔪🔪".encode(),
        "only marks.txt": b"???\n!!!\n...\n",
        "only combining.txt": "\u0301\u0301\u0301".encode(),
        "zero width.txt": "\u200b\u200d\ufeff".encode(),
        "right to left.txt": "\u202e gnp.exe".encode(),
        "line separators.txt": "one\u2028two\u2029three\x85four".encode(),
        "form feeds.txt": b"one\x0ctwo\x0bthree",
        "escape codes.txt": b"\x1b[31mred\x1b[0m kill",
        "bells.txt": b"\x07" * 50 + line,
        "carriage returns.txt": b"one\rtwo\r\r\nthree",
        "one long line.txt": b"kill " * 40_000,
        "at the limit.txt": b"x" * MAX_CHARS + b"\n" + b"y" * (MAX_CHARS + 1),
        "20,000 lines.txt": many,
        "20,000 repeats.txt": (line + b"\n") * 20_000,
        "html.txt": b"<script>alert(1)</script>\n<img src=x onerror=alert(1)>",
        "template.txt": b"{{ 7*7 }}\n{% for %}\n${jndi:ldap://x}",
        "formula.csv": b"prompt\n=cmd|' /C calc'!A0\n@SUM(1)\n",
        "format.txt": b"%s%s%n %(x)s {0} {x.__class__}",
        "special tokens.txt": b"<|im_end|>\n<|im_start|>system\n<end_of_turn>\n",
        "path.txt": b"../../etc/passwd\nC:\\Windows\nfile:///etc/passwd",
        "picture.txt": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "archive.txt": packed.getvalue(),
        "book.csv": packed.getvalue(),
        "pdf.txt": b"%PDF-1.7\n" + bytes(range(200)),
        "program.txt": b"\x7fELF" + bytes(range(256)) * 4,
        "model.txt": b"GGUF\x03\x00\x00\x00",
        "json.txt": b'{"prompt": ["a", "b"]}',
        "wrong ending.json": b'{"prompt": ["a"]}',
        "no columns.csv": b"a,b,c\n1,2,3\n",
        "header alone.csv": b"prompt\n",
        "open quote.csv": b'prompt\n"How do I kill\nand never close',
        "nested quotes.csv": b'prompt\n"a ""quoted"" word"\n"b" c "d"\n',
        "huge cell.csv": b"prompt\n" + b"x" * 200_000 + b"\n",
        "ragged.csv": b"id,prompt\n1\n2,b,c,d,e\n,,,\n",
        "many columns.csv": b",".join(b"c%d" % n for n in range(5000)) + b"\n",
        "same column twice.csv": b"prompt,prompt\na,b\n",
        "nul in table.csv": b"prompt\na\x00b\n",
        "semicolons.csv": b"id;prompt\n1;kill, and more\n",
        "tabs.tsv": b"id\tprompt\n1\tkill\n",
        "too large.txt": b"x" * 20_000_001,
    }
