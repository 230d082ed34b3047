"""What else a delta changed: how far the tuned model would say other things than the untuned one.

Both models are led along the untuned model's own greedy replies to ordinary prompts, and their
next-token distributions are compared there. A delta acts on every token, of the prompt and of
the reply, as it does when the model answers (`generate`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor
from torch.nn import functional

from actor_core.delta import LayerDelta
from actor_core.errors import PromptError
from actor_core.events import Event, Progress
from actor_core.generate import Reply
from actor_core.model import Batch, LoadedModel

__all__ = ["Divergence", "measure_divergence"]

# A vocabulary has 150,000 words and more: this many tokens a batch keep both models' logits under 200 MB.
TOKENS_A_BATCH = 256
POSITIONS_AT_ONCE = 32


@dataclass(frozen=True)
class Divergence:
    """The tuned model against the untuned one, along the untuned one's replies.

    ``kl`` is KL(untuned ‖ tuned) of the next-token distribution in nats, averaged over the first tokens
    of a reply and then over the replies; ``kl_first`` the same at the first token alone. The
    perplexities (1 or more, no unit) are of all ``tokens`` of the ``replies`` together, end tokens among
    them, under either model.
    """

    kl: float
    kl_first: float
    perplexity_untuned: float
    perplexity_tuned: float
    replies: int
    tokens: int


@dataclass(frozen=True)
class _Measured:
    """One reply: KL at its first tokens in nats, shape [n], and the nats of all its tokens in sum."""

    kl: Tensor
    nats_untuned: float
    nats_tuned: float


def measure_divergence(
    model: LoadedModel,
    delta: LayerDelta,
    strength: float,
    replies: Sequence[Reply],
    *,
    tokens: int = 16,
    history: Sequence[Mapping[str, str]] = (),
) -> Generator[Event, None, Divergence]:
    """Compares the model with and without ``strength`` times ``delta`` along ``replies``.

    ``replies`` are what `answer` gave without a delta, after the turns of ``history``; KL is taken over the
    first ``tokens`` of each, or all of a shorter one. Logits are compared in fp32.

    Raises `PromptError` where no reply has a token.
    """
    spoken = [reply for reply in replies if reply.tokens]
    if not spoken:
        raise PromptError(
            f"None of {len(replies)} replies has a token, so there is nothing to compare the models on: "
            "give the model's replies to at least one ordinary prompt."
        )
    # The last token is predicted and never read.
    ids = [[*model.token_ids(reply.prompt, history), *reply.tokens[:-1]] for reply in spoken]
    measured: list[_Measured] = []
    for batch in model.batches_of_ids(ids, max_tokens=TOKENS_A_BATCH):
        said = [spoken[row].tokens for row in batch.rows]
        kept = max(map(len, said))
        untuned = _last_logits(model, batch, kept)
        tuned = _last_logits(model, batch, kept, delta, strength)
        measured += [
            _compared(before[-len(reply) :], after[-len(reply) :], reply, tokens)
            for before, after, reply in zip(untuned, tuned, said, strict=True)
        ]
        yield Progress("divergence", len(measured), len(spoken))
    n_tokens = sum(len(reply.tokens) for reply in spoken)
    return Divergence(
        kl=sum(float(each.kl.mean()) for each in measured) / len(measured),
        kl_first=sum(float(each.kl[0]) for each in measured) / len(measured),
        perplexity_untuned=exp(sum(each.nats_untuned for each in measured) / n_tokens),
        perplexity_tuned=exp(sum(each.nats_tuned for each in measured) / n_tokens),
        replies=len(spoken),
        tokens=n_tokens,
    )


@torch.inference_mode()
def _last_logits(
    model: LoadedModel, batch: Batch, kept: int, delta: LayerDelta | None = None, strength: float = 1.0
) -> Tensor:
    """Logits after the last ``kept`` tokens of each row, shape [batch, kept, vocabulary].

    With the padding on the left, a reply of k tokens is predicted by the last k of them.
    """
    with model.lock, delta.applied(model, strength) if delta else nullcontext():
        return model.model(**batch.inputs(), use_cache=False, logits_to_keep=kept).logits


@torch.inference_mode()
def _compared(untuned: Tensor, tuned: Tensor, reply: Sequence[int], tokens: int) -> _Measured:
    """``untuned`` and ``tuned`` are the logits, [k, vocabulary], that predict the k tokens of ``reply``."""
    p, q = (logits[:tokens].float().log_softmax(dim=1) for logits in (untuned, tuned))
    kl = (p.exp() * (p - q)).sum(dim=1).clamp(min=0.0)  # rounding may leave a little less than 0
    wanted = torch.tensor(reply, device=untuned.device)
    return _Measured(kl.cpu(), _nats(untuned, wanted), _nats(tuned, wanted))


def _nats(logits: Tensor, wanted: Tensor) -> float:
    """-ln P(``wanted`` [k]) in sum, from logits [k, vocabulary], a few positions at a time."""
    parts = zip(logits.split(POSITIONS_AT_ONCE), wanted.split(POSITIONS_AT_ONCE), strict=True)
    return sum(float(functional.cross_entropy(part.float(), words, reduction="sum")) for part, words in parts)
