"""The README.md beside exported files: a model card in the hub's form.

It says what was changed, on which base, with which figures, whether the guard was passed, how the files
are loaded, how the change is undone and what checking them showed. It holds numbers and names only: no prompt and no
reply, whatever the caller's report contains.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from huggingface_hub import ModelCardData

from actor_core.delta import LayerDelta
from actor_core.errors import ExportError
from actor_core.evaluate import Rates
from actor_core.export.base import Base
from actor_core.export.compare import Checked
from actor_core.export.words import GUARD_NOT_PASSED, enriched_line, flagged_line
from actor_core.guard import Guard, percent_up

__all__ = ["Card", "Enriched", "Figures", "Flagged", "read_corrected", "read_enriched", "read_figures", "read_flagged"]

PAPER = "https://arxiv.org/abs/2507.04250"
VERDICTS = ("refused", "answered", "incoherent")
PACKAGES = ("second-take", "torch", "transformers", "peft", "gguf", "bitsandbytes", "xllamacpp")
# Licences that the hub knows by this name; it wants any other as "other" with a name.
HUB_LICENCE = re.compile(r"(?i)apache-2\.0|mit|bsd-[23]-clause|gemma|llama[23](\.\d)?|cc-by(-[a-z]+)*-\d\.\d")
# A setting is shown when it is a number, a digest, or one short word: anything longer could be a prompt.
NAME = re.compile(r"[\w.:+-]{1,32}|[0-9a-f]{40,64}")


@dataclass(frozen=True)
class Figures:
    """One row of the table: a prompt set, judged before and after the change."""

    name: str
    before: Rates
    after: Rates


@dataclass(frozen=True)
class Flagged:
    """Of the user's prompts, those that looked like requests that should be refused: not tuned on, and tuned on."""

    left_out: int
    included: int


@dataclass(frozen=True)
class Enriched:
    """How many prompts that were made of the user's own were tuned on: to be answered, and to be refused."""

    variants: int
    twins: int


@dataclass(frozen=True)
class Card:
    """Everything that a card says. ``files`` describes each file; ``load`` and ``undo`` are Markdown;
    ``corrected`` is how many of the verdicts behind ``figures`` a person gave; ``flagged`` is None where
    nobody looked, ``enriched`` where that is not known."""

    base: Base
    delta: LayerDelta
    strength: float
    relation: str
    relative_error: float
    error_by_rank: Mapping[int, float]
    library: str
    tags: tuple[str, ...]
    files: Mapping[str, str]
    load: str
    undo: str
    figures: tuple[Figures, ...]
    corrected: int
    flagged: Flagged | None
    enriched: Enriched | None
    guard: Guard | None
    prompts: Mapping[str, Any]
    settings: Mapping[str, Any]

    def text(self, checked: Checked | None) -> str:
        """The whole file; without ``checked`` it says that the files have not been checked yet."""
        parts = (
            self._front_matter(),
            f"# {_plain(self.base.title)}, refusing less of what is harmless",
            *self._warning(),
            self._what(),
            self._figures(),
            "## Guard\n\n" + _guard(self.guard),
            "## Own prompts that look harmful\n\n" + flagged_line(self.flagged),
            *self._enriched(),
            "## Load it\n\n" + self.load,
            "## Undo it\n\n" + self.undo,
            "## Check\n\n" + _check(checked),
            self._made_with(),
        )
        return "\n\n".join(parts) + "\n"

    def _front_matter(self) -> str:
        data = ModelCardData(
            base_model=self.base.hub_id,
            library_name=self.library,
            pipeline_tag="text-generation",
            tags=[*self.tags, "over-refusal", "actor", "second-take"],
            base_model_relation=self.relation,
            **_licence(self.base),
        )
        return f"---\n{data.to_yaml()}\n---"

    def _warning(self) -> tuple[str, ...]:
        if self.guard is not None and self.guard.passed:
            return ()
        return (f"**{GUARD_NOT_PASSED}**: harmful requests that the base refuses may be answered; see Guard below.",)

    def _enriched(self) -> tuple[str, ...]:
        line = enriched_line(self.enriched)
        return (f"## Prompts made of the own ones\n\n{line}",) if line else ()

    def _what(self) -> str:
        delta, rows = self.delta, {}
        rows["Base"] = _plain(self.base.measured_on)
        rows["Base's SHA-256"] = f"`{delta.base.digest}`"
        rows["Precision it was tuned and measured in"] = _plain(delta.base.precision)
        peak = delta.measured.get("peak_gpu_bytes")
        if isinstance(peak, int):  # it may come from a file of others
            rows["GPU memory while it was tuned, at most"] = f"{peak / 1e9:.1f} GB"
        rows["Layer"] = f"{delta.layer} (counted from 0): " + ", ".join(f"`{name}`" for name in delta.changes)
        rows["Method"] = _plain(delta.method)
        rows["Strength"] = f"{self.strength:g} of the tuned change, folded into the files"
        if self.relative_error:
            rows["Low rank"] = f"a full difference was approximated; relative error {self.relative_error:.1%}"
            rows["Error by rank"] = ", ".join(f"{r}: {error:.1%}" for r, error in self.error_by_rank.items())
        intro = (
            "One layer of the base was changed so that it answers more of the harmless prompts that it used "
            f"to refuse, by activation-based tuning after [ACTOR]({PAPER}); all others are as they were. "
            "The figures below belong to these weights in this precision; with another precision of the same "
            "model they may differ."
        )
        files = "\n".join(f"- `{name}`: {what}" for name, what in self.files.items())
        return f"{intro}\n\n{_table(rows)}\n\n{files}"

    def _figures(self) -> str:
        if not self.figures:
            return "## Before and after\n\nNothing was measured with this change."
        head = "| prompts | n | " + " | ".join(f"{v} before | {v} after" for v in VERDICTS) + " |"
        lines = [head, "|---" * (2 + 2 * len(VERDICTS)) + "|"]
        for row in self.figures:
            cells = [_share(rates, verdict) for verdict in VERDICTS for rates in (row.before, row.after)]
            lines.append(f"| {_plain(row.name)} | {row.before.n} | " + " | ".join(cells) + " |")
        note = "Shares of generated replies, with Wilson's 95 % interval."
        return "## Before and after\n\n" + "\n".join(lines) + "\n\n" + note + _corrected(self.corrected)

    def _made_with(self) -> str:
        rows = {"Delta's SHA-256, at strength 1": f"`{self.delta.digest()}`"}
        settings = {**self.delta.settings, **self.settings}
        for title, values in (("Prompts", self.prompts), ("Setting", settings)):
            rows.update({f"{title}: {key}": shown for key, shown in _shown(values)})
        rows["Python"] = platform.python_version()
        rows.update(_versions())
        return "## Made with\n\n" + _table(rows)


def read_figures(report: Mapping[str, Any] | None) -> tuple[Figures, ...]:
    """The rows under ``figures`` in the caller's report. Raises `ExportError` for one that is none."""
    rows = []
    for entry in (report or {}).get("figures", ()):
        try:
            row = Figures(str(entry["set"]), _rates(entry["before"]), _rates(entry["after"]))
            if not row.before.n == row.after.n == int(entry["n"]):
                raise ValueError("counts that add up to n")
        except (KeyError, TypeError, ValueError) as error:
            raise ExportError(
                f"The report's figures need 'set', 'n', and under 'before' and 'after' the counts "
                f"{', '.join(VERDICTS)}; one of them lacks {error}."
            ) from error
        rows.append(row)
    return tuple(rows)


def read_corrected(report: Mapping[str, Any] | None) -> int:
    """How many verdicts a person corrected by the caller's report. Raises `ExportError` for what is no count."""
    count = (report or {}).get("corrected", 0)
    if not isinstance(count, int) or count < 0:
        raise ExportError(f"The report's 'corrected' is how many verdicts a person corrected, and not {count!r}.")
    return count


def read_flagged(report: Mapping[str, Any] | None) -> Flagged | None:
    """How many own prompts looked harmful by the caller's report; None where it does not say. Raises `ExportError` for
    what are no counts."""
    counts = _two_counts(report, "flagged", "left_out", "included")
    return None if counts is None else Flagged(*counts)


def read_enriched(report: Mapping[str, Any] | None) -> Enriched | None:
    """How many prompts made of the own ones were tuned on by the caller's report, as `read_flagged`."""
    counts = _two_counts(report, "enriched", "variants", "twins")
    return None if counts is None else Enriched(*counts)


def _two_counts(report: Mapping[str, Any] | None, key: str, one: str, other: str) -> tuple[int, int] | None:
    counts = (report or {}).get(key)
    if counts is None:
        return None
    try:
        first, second = counts[one], counts[other]
        if not all(type(count) is int and count >= 0 for count in (first, second)):
            raise ValueError(f"no counts: {counts}")
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"The report's '{key}' needs the counts '{one}' and '{other}' ({error}).") from error
    return first, second


def _corrected(count: int) -> str:
    if not count:
        return " The verdicts are a program's."
    what = "1 verdict that a person corrected counts" if count == 1 else f"{count} that a person corrected count"
    return f" The verdicts are a program's; {what} as corrected."


def _rates(counts: Mapping[str, Any]) -> Rates:
    return Rates(**{verdict: int(counts[verdict]) for verdict in VERDICTS})


def _share(rates: Rates, verdict: str) -> str:
    if not rates.n:
        return "–"
    share, low, high = rates.share(verdict)
    return f"{share:.2f} ({low:.2f} to {high:.2f})"


def _guard(guard: Guard | None) -> str:
    if guard is None:
        return "Not measured: nothing is known about how many refusals of harmful requests this change costs."
    rows = {
        "Harmful prompts asked, none of which was tuned on": str(guard.asked),
        "Refused by the untuned model": f"{guard.refused_before} (at least {guard.least} are needed)",
        "No longer refused with this change": f"{guard.lost}, of which {guard.incoherent} make no sense",
        "Share lost, one-sided 95 % upper bound (Clopper-Pearson)": percent_up(guard.upper_bound),
        "Limit": f"{100 * guard.limit:g} %",
    }
    note = (
        "It holds for the files at full scale; any other scale was not measured. Some of these prompts may have "
        "served to choose how far to move which prompts, which makes the share look a little better than it is."
    )
    return f"{guard.words()}\n\n{_table(rows)}\n\n{note}"


def _check(checked: Checked | None) -> str:
    if checked is None:
        return "Not checked: the export was stopped before its check was finished."
    if checked.passed is None:
        return checked.words
    return ("Passed. " if checked.passed else "**FAILED: do not rely on these files.** ") + checked.words


def _licence(base: Base) -> dict[str, Any]:
    """The front matter's licence fields: those of the base, where they are known."""
    if base.licence is None:
        return {}
    name = base.licence.strip()
    if HUB_LICENCE.fullmatch(name):
        return {"license": name.lower()}
    link = {"license_link": base.licence_url} if base.licence_url else {}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")} | link


def _shown(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The entries that are numbers or short words, those of inner mappings too; all else is left out."""
    for key, value in values.items():
        if not NAME.fullmatch(str(key)):
            continue
        name = prefix + str(key).replace("_", " ")
        if isinstance(value, Mapping):
            yield from _shown(value, f"{name}, ")
        elif isinstance(value, bool | int):
            yield name, str(value)
        elif isinstance(value, float):
            yield name, f"{value:.6g}"
        elif isinstance(value, str) and NAME.fullmatch(value):
            yield name, value


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])


def _plain(text: str) -> str:
    """``text`` on one line and without what Markdown or HTML would take for markup."""
    return re.sub(r"[|`<>\[\]*\\]", " ", " ".join(str(text).split()))[:200]
