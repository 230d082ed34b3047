"""Words that several parts of the page use, and how they name sizes, times and what a job does.

The tables are in English (`TEXTS` lists them) and are translated where they are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.language import ENGLISH, number, plural, spoken, t, translated

if TYPE_CHECKING:
    from app.jobs import Job

__all__ = [
    "EXPORT_KINDS",
    "OUTCOMES",
    "STAGES",
    "TEXTS",
    "VERDICTS",
    "WHOLE_MODELS",
    "between",
    "duration",
    "job_line",
    "size",
    "written_size",
]

TITLE = "Second Take"
TAGLINE = "Some chat models refuse harmless questions. Find them here, and repair the model on your own machine."

STEP_NAMES = ("Model", "Prompts", "Tune", "Compare", "Export")
NEXT = {
    "model": "Next: Prompts",
    "prompts": "Next: Tune",
    "variants": "Next: Tune",
    "tune": "Next: Compare",
    "compare": "Next: Export",
}

PURPOSE = {
    "model": "Choose the chat model to repair. The one already chosen runs on any machine.",
    "prompts": "Paste questions that the model should answer and does not. It is asked each of them, so "
    "that you see "
    "which it really refuses.",
    "tune": "One layer of the model is adjusted so that it answers questions like yours and still "
    "refuses harmful "
    "ones. Your model's files stay as they are.",
    "compare": "Old and new answers side by side, also for questions that were not used for tuning.",
    "export": "Save the change as a small file that other programs load together with the original model, or as a "
    "whole model. Each file is loaded again to see that it does there what it did here.",
}

# What each stage of the core's work is called on the page.
STAGES = {
    "download": "Downloading the model",
    "check": "Checking the download",
    "convert": "Preparing the model (once)",
    "load": "Loading the model",
    "check prompts": "Asking the model your prompts",
    "harmfulness": "Looking for prompts that should be refused",
    "enrich": "Writing more prompts like yours",
    "answer": "Asking the model",
    "answer again": "Asking the tuned model your prompts",
    "compare": "Asking both models questions they were not tuned on",
    "try": "Asking both models",
    "read": "Reading the prompts",
    "calibrate": "Learning how this model refuses",
    "direction": "Finding what makes the model refuse",
    "layers": "Choosing the layer",
    "solve": "Computing the change",
    "train": "Training the layer",
    "strength": "Choosing the strength",
    "guard before": "Guard: asking the old model harmful prompts",
    "guard": "Guard: asking the tuned model those that the old one refused",
    "guard again": "Guard: asking the old model again what was lost, to be sure",
    "guard search": "Guard: trying smaller strengths, the smallest first",
    "export": "Writing and checking the files",
    "two changes": "Asking the model with each change",
    "push": "Sending the files to the hub",
    "perspectives": "Asking your prompts in three ways",
    "perspectives harmful": "Asking harmful prompts in three ways",
    "wordings": "Asking your prompts in other words",
    "wrappers": "Asking harmful prompts with tricks around them",
    "fetch judge": "Bringing the other judge here",
    "load judge": "Loading the other judge",
    "opinion": "Having the other judge read the replies",
}

KINDS = {
    "load": "Loading the model",
    "check": "Asking the model your prompts",
    "enrich": "Writing more prompts like yours",
    "tune": "Tuning",
    "compare": "Comparing",
    "strength": "Asking the tuned model your prompts",
    "try": "Asking both models",
    "export": "Exporting",
    "guard": "Trying smaller strengths",
    "two": "Comparing two changes",
    "push": "Sending the files to the hub",
    "perspectives": "Asking in three ways",
    "steadiness": "Asking in other words",
    "opinion": "Asking another judge",
}
STEP_OF_KIND = {
    "load": "model",
    "check": "prompts",
    "enrich": "variants",
    "tune": "tune",
    "compare": "compare",
    "strength": "compare",
    "try": "compare",
    "export": "export",
    "guard": "export",
    "two": "compare",
    "push": "export",
    "perspectives": "compare",
    "steadiness": "compare",
    "opinion": "opinion",
}
# Jobs whose progress is shown beside their own button, in the part of this name.
OWN_PANEL = ("perspectives", "steadiness")

VERDICTS = {"answered": "answered", "refused": "refused", "incoherent": "makes no sense"}
# What a button says that corrects a verdict to this one.
CORRECTED = {"answered": "Wrong: it answers", "refused": "Wrong: it refuses"}

# What was made of a person's prompt, and who wrote it.
FORMS = {
    "wording": "other words",
    "perspective": "another person asks",
    "form": "another form",
    "language": "another language",
    "twin": "to be refused",
}
WRITTEN_BY = {"rules": "a rule", "model": "the model", "you": "you"}
LINE_LOOKS_HARMFUL = (
    "It looks like a request that should be refused, so it was not used. Where that is wrong, tick it again."
)

OUTCOMES = {
    "fixed": "fixed",
    "still refused": "still refused",
    "newly refused": "newly refused",
    "newly answered": "newly answered",
    "newly incoherent": "makes no sense now",
    "unchanged": "as before",
}

PRECISIONS = [
    ("Automatic: what fits and is fast here", "auto"),
    ("16 bits (bf16)", "bf16"),
    ("16 bits (fp16), for older GPUs", "fp16"),
    ("32 bits (fp32): exact, twice the memory", "fp32"),
    ("8 bits (int8): half the memory", "int8"),
    ("4 bits (nf4): a third of the memory", "nf4"),
]
DEVICES = [
    ("Automatic", "auto"),
    ("Processor (CPU)", "cpu"),
    ("NVIDIA GPU (CUDA)", "cuda"),
    ("Apple GPU (MPS)", "mps"),
]

EXPORT_KINDS = {
    "delta": ("Second Take file", "to keep, and for your own scripts (safetensors)."),
    "peft": ("PEFT adapter", "for Python programs: Transformers, PEFT, vLLM."),
    "gguf-lora": (
        "GGUF adapter",
        "for llama.cpp and the programs built on it, beside the GGUF model that you have.",
    ),
    "merged": ("Whole model", "for programs that take no adapter (safetensors). As large as the model."),
    "merged-gguf": (
        "Whole GGUF model",
        "for LM Studio, Ollama and llama.cpp. Your GGUF file with one matrix changed, all else byte for byte.",
    ),
}
WHOLE_MODELS = ("merged", "merged-gguf")
TENSOR_TYPES = [
    ("F16: 16 bits, the default", "F16"),
    ("Q8_0: 8 bits, a little smaller", "Q8_0"),
    ("F32: 32 bits, nothing is rounded", "F32"),
]

# Of a prompt that looks harmful, in the list of step 2.
LOOKS_HARMFUL = "Looks like a request that should be refused, so it is left out of the repair."
LOOKS_HARMFUL_INCLUDED = "Looks like a request that should be refused; you have it repaired all the same."
INCLUDE = "Wrong: it is harmless, repair it"
LEAVE_OUT = "Leave it out again"
FLAGGED_IN_SPACE = (
    "This page is a Space, open to everybody: prompts that look like requests that should be refused are not repaired "
    "here. On a machine of your own you can decide otherwise."
)
# The numbers are those of `app.quota` and `app.expiry`.
PUBLIC = (
    "This page is public. It computes for each visitor for up to 30 minutes an hour, one after the other; whoever "
    "waits sees their place in the line. Files are deleted an hour after they were made: download them. Whoever was "
    "away for an hour finds nothing of theirs any more."
)

# What is typed to export in spite of the guard.
EXPORT_ANYWAY = "export anyway"
GUARD_AHEAD = (
    "Export first measures the guard: harmful prompts that were not used for tuning are asked of both models, and "
    "hardly any refusal may be lost."
)
GUARD_HELPS = (
    "What helps: a smaller strength (the button below looks for one that passes), or tuning again without those of "
    "your prompts that come close to harmful ones."
)
GUARD_NO_STRENGTH_HELPS = (
    "What helps: tuning again without those of your prompts that come close to harmful ones, or another model."
)
GUARD_TOO_FEW_HELPS = "What helps: another model."
GUARD_IN_SPACE = (
    "This page is a Space, open to everybody: what did not pass the guard is not exported here. On a machine of your "
    "own you can decide otherwise."
)
GUARD_TYPE = (
    "To export all the same, type “export anyway” below and press Export again. Each card will then say GUARD NOT "
    "PASSED, with these figures."
)

# A range whose ends are no further apart than this is told as its middle, which is then within 30 % of both.
NOT_WIDE = 1.69

FIT_MARKS = {
    "fits": "fits this machine",
    "fits with offload": "fits with offload",
    "does not fit": "does not fit",
}


TEXTS = (
    TAGLINE,
    STEP_NAMES,
    NEXT,
    PURPOSE,
    STAGES,
    KINDS,
    VERDICTS,
    CORRECTED,
    FORMS,
    WRITTEN_BY,
    LINE_LOOKS_HARMFUL,
    OUTCOMES,
    [label for label, _ in (*PRECISIONS, *DEVICES, *TENSOR_TYPES)],
    EXPORT_KINDS,
    EXPORT_ANYWAY,
    LOOKS_HARMFUL,
    LOOKS_HARMFUL_INCLUDED,
    INCLUDE,
    LEAVE_OUT,
    PUBLIC,
    GUARD_AHEAD,
    GUARD_HELPS,
    GUARD_NO_STRENGTH_HELPS,
    GUARD_TOO_FEW_HELPS,
    GUARD_IN_SPACE,
    GUARD_TYPE,
    FIT_MARKS,
)


def size(count: float) -> str:
    """Bytes in words: 23 kB, 491 MB, 3.1 GB."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            figure = count / step
            return f"{number(figure, '.1f' if figure < 10 else '.0f')} {unit}"
    return t("{count} bytes", count=f"{count:.0f}")


def written_size(count: float) -> str:
    """As `size`, within a sentence that is kept in English and translated where it is shown."""
    with spoken(ENGLISH):
        return size(count)


def duration(seconds: float) -> str:
    """Seconds in words, no finer than is known."""
    if seconds < 5:
        return t("a few seconds")
    if seconds < 50:
        return t("about {count} seconds", count=max(5, round(seconds / 5) * 5))
    if seconds < 90:
        return t("about a minute")
    if seconds < 3600:
        return t("about {count} minutes", count=round(seconds / 60))
    return t("about {count} hours", count=number(seconds / 3600, ".1f"))


def between(least: float, most: float) -> str:
    """A range of seconds in words: one figure where it is not wide."""
    low, high = duration(least), duration(most)
    if most <= NOT_WIDE * least or low == high:
        return duration((least * most) ** 0.5)
    return t("{least} to {most}", least=low, most=high.removeprefix(t("about {time}", time="")))


def job_line(job: Job, ahead: int) -> tuple[str, str, float | None]:
    """A running job in words: what it does, how far and how long, and the share done (None: not known)."""
    title = t(KINDS.get(job.kind, job.kind))
    if job.state == "waiting" and ahead:
        line = plural(
            "Waits for its turn: another job runs before it.",
            "Waits for its turn: {count} other jobs run before it.",
            ahead,
        )
        return title, line, None
    progress = job.progress
    if progress is None:
        return title, t("Starting …"), None
    title = t(STAGES.get(progress.stage, progress.stage.capitalize()))
    share = progress.done / progress.total if progress.total else None
    said = [translated(progress.note)] if progress.note else []
    if job.state == "stopping":
        said.append(t("stopping …"))
        return title, " · ".join(said), share
    whole, stage = job.pace.left(), job.pace.stage_left()
    if whole is not None:
        said.append(t("{time} left", time=between(*whole)))
    elif stage is not None:
        said.append(t("{time} left in this part", time=duration(stage)))
    return title, " · ".join(said), share
