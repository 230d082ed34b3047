"""LoRA by PEFT (arXiv 2106.09685) on examples of replies: what sft, poft and mosr share but for their loss.

The base stays as it is loaded (bf16 where that is fast), the adapter is trained in fp32. PEFT only trains: its
modules are taken out again, and what was learnt becomes a `LayerDelta` a layer, applied like any other change.
Settings are ours: the LoRA paper's are for other models and far more text. Rank 8 on every linear module of the
decoder layers, α = 2r, AdamW at 2e-4 (as QLoRA, arXiv 2305.14314), one epoch in batches of 8; replies are cut
to 32 tokens so that some 200 examples take under three minutes on two cores.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from actor_core.delta import LayerDelta, LowRank
from actor_core.errors import ModelError
from actor_core.model import Batch, LoadedModel
from baselines.answers import Example

__all__ = ["AnswerBatch", "LoraSettings", "answer_batches", "mean_log_likelihood", "trained_adapter"]


@dataclass(frozen=True)
class LoraSettings:
    """``reply_tokens`` is where replies are cut, their end token included."""

    rank: int = 8
    alpha: int = 16
    learning_rate: float = 2e-4
    epochs: int = 1
    batch_size: int = 8
    reply_tokens: int = 32


@dataclass(frozen=True)
class AnswerBatch:
    """Prompts with their replies, padded on the left; the masks are boolean, shape [batch, tokens]."""

    batch: Batch
    rows: tuple[int, ...]  # places in the list of examples
    learnt: Tensor  # tokens of the answer
    prefix: Tensor  # tokens of the reply that come before the answer

    @property
    def reply_columns(self) -> int:
        """How many columns from the right hold every token that is learnt."""
        return int(self.learnt.any(dim=0).flip(0).nonzero().max()) + 1


def answer_batches(
    model: LoadedModel, examples: Sequence[Example], settings: LoraSettings, seed: int
) -> Iterator[AnswerBatch]:
    """``examples`` once, in random order, `settings.batch_size` at a time."""
    order = random.Random(seed).sample(range(len(examples)), len(examples))
    for start in range(0, len(order), settings.batch_size):
        rows = order[start : start + settings.batch_size]
        parts = [_ids(model, examples[row], settings.reply_tokens) for row in rows]
        (batch,) = model.batches_of_ids([sum(part, []) for part in parts], max_tokens=10**9, max_rows=len(rows))
        columns = torch.arange(batch.input_ids.shape[1], device=model.device)
        from_right = columns.flip(0)[None]  # [1, tokens], 0 is the last
        answers = torch.tensor([len(parts[n][2]) for n in batch.rows], device=model.device)[:, None]
        replies = answers + torch.tensor([len(parts[n][1]) for n in batch.rows], device=model.device)[:, None]
        learnt = from_right < answers
        yield AnswerBatch(batch, tuple(rows[n] for n in batch.rows), learnt, (from_right < replies) & ~learnt)


def mean_log_likelihood(model: LoadedModel, answers: AnswerBatch) -> Tensor:
    """ln p(answer | prompt, prefix) by token, averaged over the tokens of each answer, in nats, shape [batch]."""
    batch, width = answers.batch, answers.reply_columns
    logits = model.model(**batch.inputs(), use_cache=False, logits_to_keep=width + 1).logits[:, :-1].float()
    learnt = answers.learnt[:, -width:]
    loss = nn.functional.cross_entropy(logits.transpose(1, 2), batch.input_ids[:, -width:], reduction="none")
    return -(loss * learnt).sum(dim=1) / learnt.sum(dim=1)


def trained_adapter(
    model: LoadedModel,
    examples: Sequence[Example],
    loss_of: Callable[[AnswerBatch], Tensor],
    settings: LoraSettings,
    *,
    seed: int,
) -> list[LayerDelta]:
    """What minimising ``loss_of`` over ``examples`` teaches the layers. The model is as before afterwards.

    Raises `ModelError` where the loss is no longer a number.
    """
    with model.lock, _adapted(model, settings, seed):
        weights = [p for p in model.model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(weights, lr=settings.learning_rate)
        steps = settings.epochs * -(-len(examples) // settings.batch_size)
        decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1 / steps, total_iters=steps)
        for epoch in range(settings.epochs):
            for batch in answer_batches(model, examples, settings, seed + epoch):
                loss = loss_of(batch)
                if not bool(torch.isfinite(loss)):
                    raise ModelError("The loss is no longer a number: choose a smaller learning rate.")
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                decay.step()
        return _deltas(model, settings)


def _ids(model: LoadedModel, example: Example, reply_tokens: int) -> tuple[list[int], list[int], list[int]]:
    """The tokens of the prompt in its template, of the prefix, and of the answer with its end."""
    tokenizer = model.tokenizer
    prefix = list(tokenizer(example.prefix, add_special_tokens=False)["input_ids"]) if example.prefix else []
    answer = list(tokenizer(example.answer, add_special_tokens=False)["input_ids"]) + [tokenizer.eos_token_id]
    return model.token_ids(example.prompt), prefix, answer[:reply_tokens]


@contextmanager
def _adapted(model: LoadedModel, settings: LoraSettings, seed: int) -> Iterator[None]:
    """The model with a new adapter in it, which is taken out again."""
    from peft import LoraConfig, get_peft_model

    within = {id(module) for layer in model.layers for module in layer.modules()}
    linear = [name for name, m in model.model.named_modules() if id(m) in within and hasattr(m, "in_features")]
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=linear)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        adapted = get_peft_model(model.model, config)
        try:
            yield
        finally:
            adapted.unload()
            if hasattr(model.model, "peft_config"):
                del model.model.peft_config


def _deltas(model: LoadedModel, settings: LoraSettings) -> list[LayerDelta]:
    """The adapter that is in the model now, as a change of each layer."""
    from peft.tuners.lora import LoraLayer

    deltas = []
    for n, layer in enumerate(model.layers):
        changes: dict[str, LowRank | Tensor] = {}
        for name, module in layer.named_modules():
            if isinstance(module, LoraLayer):
                a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
                changes[name] = LowRank(
                    a.detach().float().clone(), module.scaling["default"] * b.detach().float()
                )
        delta = LayerDelta(n, changes, model.id, "lora", asdict(settings), {})
        delta.require_finite()
        deltas.append(delta)
    return deltas
