"""A second opinion on the verdicts: a classifier of the hub, or in a folder, that tells refusals from other replies.

The verdicts of this program are `actor_core.judge`'s, and every figure is made with them. A classifier that others
trained on other data errs elsewhere: where the two differ, a person looks. It knows no incoherent replies.

It is a second model in memory, and whoever loads one lets go of it after the work. The known ones are in
``presets/judges``; a folder is looked at like that of a chat model before it is loaded, and runs no code of its own.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from actor_core.errors import ModelError, OutOfMemory
from actor_core.events import Event, Progress
from actor_core.fetch import local_model
from actor_core.loading import told_in_words, weights_of
from actor_core.memory import Machine, bytes_of_weights
from actor_core.model import DTYPES, TOKENS_AT_ONCE
from actor_core.presets import JudgePreset
from actor_core.weights.hub_folder import hub_folder
from actor_core.weights.model_home import FetchedModel, models_dir, one_at_a_time

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from actor_core.generate import Reply

__all__ = ["Classifier", "Opinion", "SecondOpinion", "fetch_judge", "load_judge", "opinions", "refusal_label"]

ROWS_AT_ONCE = 32
# Beside its weights: what reading a batch takes, and what loading does.
ROOM = 1.2
# Of a folder that is none of the known ones, tokens that are read at most: a refusal shows in the first of them.
TOKENS_OF_OTHERS = 512
# Positions that RoBERTa's kind keeps for itself.
RESERVED_POSITIONS = 2
MEANS_REFUSAL = ("refus", "rejection", "declin")
NEGATIONS = {"non", "not", "no", "un", "without"}


@dataclass(frozen=True)
class Opinion:
    """Whether a reply is taken for a refusal, and the probability that is given to that, from 0 to 1."""

    refused: bool
    probability: float


@dataclass(frozen=True)
class SecondOpinion:
    """What the classifier called ``judge`` says: by list and prompt, of the reply before and of that after."""

    judge: str
    lists: Mapping[str, Mapping[str, tuple[Opinion, Opinion]]]


@dataclass(frozen=True)
class Classifier:
    """A sequence classifier in memory. ``refusal`` is the place of the label that means refusal.

    It reads ``form`` with the reply in the place of {reply} and the prompt in that of {prompt}, of which the first
    ``max_tokens`` count.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    refusal: int
    form: str
    max_tokens: int
    device: torch.device

    def token_ids(self, reply: Reply) -> list[int]:
        """The reply, or prompt and reply, as it is read; cut at the end where it is too long."""
        said = {"{prompt}": reply.prompt, "{reply}": reply.text}
        text = re.sub(r"\{(?:prompt|reply)\}", lambda place: said[place[0]], self.form)
        ids = self.tokenizer(text, truncation=True, max_length=self.max_tokens)["input_ids"]
        return list(ids) or [self.tokenizer.pad_token_id]


def fetch_judge(
    wanted: JudgePreset | str, data_dir: Path, *, offline: bool = False
) -> Generator[Progress, None, FetchedModel]:
    """A known judge from the hub where it is not on the disk yet, or the folder that a person typed.

    Raises FetchError where the hub does not give it, ModelError for what is no folder or cannot be loaded safely.
    """
    if isinstance(wanted, str):
        typed = wanted.strip().strip("\"'").strip()
        if not typed or not _is_folder(typed):
            raise ModelError(
                f"There is no folder {typed[:200]!r} on this machine: give the one that holds the config.json and the "
                ".safetensors file of a classifier."
            )
        return (yield from local_model(typed, data_dir))
    home = models_dir(data_dir) / f"judge--{wanted.id}"
    with contextlib.ExitStack() as stack:
        yield from one_at_a_time(home, stack)
        return (yield from hub_folder(wanted.repo, wanted.revision, (), home, offline))


def load_judge(
    source: FetchedModel, preset: JudgePreset | None = None, *, device: str = "auto", precision: str = "fp32"
) -> Generator[Event, None, Classifier]:
    """Loads the folder of ``source`` as what ``preset`` says of it; without one it reads the reply alone.

    ``device`` is cpu, cuda, or auto (the GPU where it has room), ``precision`` one of `DTYPES`. Raises `ModelError`
    for a folder that is no classifier of refusals, `OutOfMemory` where it does not fit.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    yield Progress("load judge", 0, 1)
    too_large = f"{source.name} does not fit into memory: close other programs."
    with told_in_words(f"{source.name} cannot be loaded as a classifier", too_large):
        config = AutoConfig.from_pretrained(source.folder, trust_remote_code=False)
        refusal = refusal_label(config.id2label or {}, source.name)
        place = _place(device, _bytes_in_memory(source.folder, config, precision), source.name)
        tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
        model = weights_of(
            AutoModelForSequenceClassification,
            source,
            config=config,
            dtype=DTYPES[precision],
            device_map={"": place},
        )
    if tokenizer.pad_token_id is None:
        raise ModelError(f"{source.name} has a tokenizer without a padding token: take another classifier.")
    most = _max_tokens(config, tokenizer, preset.max_tokens if preset else TOKENS_OF_OTHERS)
    form = preset.form if preset else "{reply}"
    yield Progress("load judge", 1, 1)
    return Classifier(_name(source, preset), model, tokenizer, refusal, form, most, torch.device(place))


def refusal_label(labels: Mapping[int, str], name: str) -> int:
    """Which of a configuration's ``labels`` (``id2label``) means refusal, by its words: "REJECTION", "Refusal".

    Raises `ModelError` where none does, or more than one, or there is no other label.
    """
    found = [place for place, label in labels.items() if _means_refusal(str(label))]
    if len(found) == 1 and len(labels) > 1:
        return int(found[0])
    said = ", ".join(str(label)[:40] for label in list(labels.values())[:10]) or "none"
    raise ModelError(
        f"{name} has the labels {said}. It takes one that means refusal, such as Refusal or REJECTION, and others that "
        "do not: take another classifier, or name its labels in 'id2label' of its config.json."
    )


def opinions(
    classifier: Classifier, replies: Sequence[Reply], *, tokens_at_once: int = TOKENS_AT_ONCE
) -> Generator[Progress, None, list[Opinion]]:
    """What ``classifier`` takes each of ``replies`` for, in their order.

    In batches of like length, the longest first, each at most ``tokens_at_once`` padded tokens or one row; between two
    of them it can be stopped. Raises `ModelError` where numbers come out that are not finite.
    """
    ids = [classifier.token_ids(reply) for reply in replies]
    waiting = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
    found: dict[int, Opinion] = {}
    yield Progress("opinion", 0, len(ids))
    while waiting:
        size = max(1, min(ROWS_AT_ONCE, tokens_at_once // max(1, len(ids[waiting[0]]))))
        rows, waiting = waiting[:size], waiting[size:]
        chances = _read(classifier, [ids[row] for row in rows])
        refused = chances.argmax(dim=1) == classifier.refusal
        for row, says, chance in zip(rows, refused.tolist(), chances[:, classifier.refusal].tolist(), strict=True):
            found[row] = Opinion(says, chance)
        yield Progress("opinion", len(found), len(ids))
    return [found[row] for row in range(len(ids))]


@torch.inference_mode()
def _read(classifier: Classifier, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """The probabilities of the labels, shape [batch, labels], fp32 on the processor."""
    longest, pad = max(map(len, ids)), classifier.tokenizer.pad_token_id
    input_ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in ids], device=classifier.device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=classifier.device)
    logits = classifier.model(input_ids=input_ids, attention_mask=mask).logits.float().cpu()
    if not bool(logits.isfinite().all()):
        raise ModelError(
            f"{classifier.name} gave numbers that are not finite (NaN or infinity): its files are damaged. Download it "
            "again, or take another classifier."
        )
    return logits.softmax(dim=1)


def _name(source: FetchedModel, preset: JudgePreset | None) -> str:
    """What it is called; of a known one that lies in a folder of somebody's, that folder too."""
    if preset is None:
        return source.name
    return preset.title if source.name == preset.repo else f"{preset.title}, from {source.name}"


def _means_refusal(label: str) -> bool:
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", label)]
    return any(word.startswith(MEANS_REFUSAL) for word in words) and not NEGATIONS & set(words)


def _max_tokens(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, wanted: int) -> int:
    """``wanted``, or as many as tokenizer and positions allow."""
    positions = getattr(config, "max_position_embeddings", None) or wanted + RESERVED_POSITIONS
    return max(1, min(wanted, int(tokenizer.model_max_length), positions - RESERVED_POSITIONS))


def _bytes_in_memory(folder: Path, config: PreTrainedConfig, precision: str) -> int:
    """What the weights take as ``precision``; they lie in the files as the configuration says, or in fp32."""
    stored = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32
    return bytes_of_weights(folder) * DTYPES[precision].itemsize // stored.itemsize


def _place(wanted: str, needed: int, name: str) -> str:
    """Where ``needed`` bytes of weights go. Raises `OutOfMemory` where there is no room for them."""
    machine = Machine.look()
    if wanted == "auto":
        wanted = "cuda" if ROOM * needed < machine.gpu_free else "cpu"
    if ROOM * needed > machine.free_bytes(wanted):
        raise OutOfMemory(
            f"{name} takes {ROOM * needed / 1e9:.1f} GB beside the model that is loaded, and does not fit into "
            f"{machine.words(wanted)}: close other programs, or take a smaller one."
        )
    return wanted


def _is_folder(typed: str) -> bool:
    try:
        return Path(typed).expanduser().is_dir()
    except (OSError, ValueError):
        return False
