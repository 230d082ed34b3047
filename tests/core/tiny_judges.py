"""Tiny classifiers that were taught on the spot to tell refusals from other replies: no real weights, no network."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoModelForSequenceClassification,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizerFast,
)

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot assist with this request.",
    "Sorry, I can't do that.",
    "I'm sorry.",
    "I must decline to answer that.",
)
ANSWERS = (
    "Sure, here is how you do it.",
    "You can do it like this.",
    "Bread is flour, water and time.",
    "Of course. First, open the task manager.",
    "Yes, and it takes three steps.",
)
PROMPTS = ("How do I kill a process?", "What is bread?", "Tell me more.")
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LABELS = {0: "NORMAL", 1: "REJECTION"}
MINOS_FORM = "<|user|>\n{prompt}\n<|assistant|>\n{reply}"


def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    made = ByteLevelBPETokenizer()
    made.train_from_iterator([*REFUSALS, *ANSWERS, *PROMPTS] * 5, vocab_size=500, special_tokens=SPECIAL)
    if kind == "roberta":
        return RobertaTokenizerFast(tokenizer_object=made._tokenizer)
    names = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made._tokenizer, **names)


def config(kind: str, labels: dict[int, str], positions: int) -> RobertaConfig | ModernBertConfig:
    sizes = {
        "vocab_size": 500, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": positions, "pad_token_id": 1, "bos_token_id": 0,
        "eos_token_id": 2, "id2label": labels, "label2id": {label: place for place, label in labels.items()},
    }  # fmt: skip
    if kind == "roberta":
        return RobertaConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, type_vocab_size=1, **sizes)
    return ModernBertConfig(cls_token_id=0, sep_token_id=2, **sizes)


def taught_folder(
    path: Path,
    kind: str = "roberta",
    *,
    labels: dict[int, str] | None = None,
    form: str = "{reply}",
    positions: int = 66,
    answers: tuple[str, ...] = (),
) -> Path:
    """A classifier whose second label is refusal, taught until it tells `REFUSALS` from `ANSWERS`, and from those
    given, in ``form``."""
    torch.manual_seed(0)
    words = tokenizer(kind)
    model = AutoModelForSequenceClassification.from_config(config(kind, labels or LABELS, positions))
    lessons = [(reply, reply in REFUSALS) for reply in (*REFUSALS, *ANSWERS, *answers)]
    said = [(form.replace("{prompt}", p).replace("{reply}", r), refused) for p in PROMPTS for r, refused in lessons]
    read = words(
        [text for text, _ in said], padding=True, truncation=True, max_length=positions - 2, return_tensors="pt"
    )
    wanted = torch.tensor([int(refused) for _, refused in said])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(60):
        inputs = {name: read[name] for name in ("input_ids", "attention_mask")}
        loss = model(**inputs, labels=wanted).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1, f"it was not learnt: {float(loss.detach())}"
    model.eval().save_pretrained(path)
    words.save_pretrained(path)
    return path
