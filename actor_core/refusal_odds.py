"""The fast verdict: how likely a reply is to refuse, read off its first token.

Which tokens begin a refusal is not written here for one model: it is learnt from replies of the
loaded model that `judge` has read. The threshold between refused and answered comes from the
same replies.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from actor_core.events import Event, Progress
from actor_core.finite import require_finite
from actor_core.model import LoadedModel
from actor_core.passages import logits_of_last, read

__all__ = ["RefusalOdds", "first_token_logits"]

# A token begins a refusal when refused replies give it this many times the probability, and this much at least.
LIKELIER = 2.0
LEAST_PROBABILITY = 0.004


@dataclass(frozen=True)
class RefusalOdds:
    """``tokens`` [k] begin refusals; log-odds above ``threshold`` (in nats) are a refusal.

    ``agreement`` is the share of the replies it was learnt from on which it gives the judge's verdict.
    """

    tokens: Tensor
    threshold: float
    agreement: float

    def log_odds(self, logits: Tensor) -> Tensor:
        """ln P(first token begins a refusal) - ln P(it does not), from logits [n, vocabulary], shape [n]."""
        logits = logits.float()
        inside = logits[:, self.tokens.to(logits.device)].logsumexp(dim=1)
        everything = logits.logsumexp(dim=1)
        # ln(1 - P) from ln P, without a second copy of logits as wide as the vocabulary.
        outside = everything + torch.log1p(-(inside - everything).exp().clamp(max=1 - 1e-6))
        odds = inside - outside
        require_finite("The model's scores of first tokens", odds.detach())
        return odds

    def refused(self, log_odds: Tensor) -> Tensor:
        """The verdicts, boolean, shape [n]."""
        return log_odds > self.threshold

    @classmethod
    def learnt(cls, logits: Tensor, refused: Tensor) -> RefusalOdds | None:
        """From first-token logits [n, vocabulary] of replies that the judge read (``refused`` [n], boolean).

        None where fewer than two of them are refused, or fewer than two are not.
        """
        if int(refused.sum()) < 2 or int((~refused).sum()) < 2:
            return None
        probabilities = logits.float().softmax(dim=1)
        of_refused, of_others = probabilities[refused].mean(0), probabilities[~refused].mean(0)
        likelier = (of_refused > LIKELIER * of_others) & (of_refused > LEAST_PROBABILITY)
        tokens = likelier.nonzero().flatten() if bool(likelier.any()) else (of_refused - of_others).topk(1).indices
        odds = cls(tokens.cpu(), 0.0, 0.0)
        return cls(tokens.cpu(), *_best_threshold(odds.log_odds(logits).cpu(), refused.cpu()))


def _best_threshold(log_odds: Tensor, refused: Tensor) -> tuple[float, float]:
    """The threshold with the highest balanced accuracy, halfway between two values, and the plain accuracy."""
    values = log_odds.sort().values
    between = (values[1:] + values[:-1]) / 2
    above = log_odds[None, :] > between[:, None]  # [n - 1, n]
    found = (above & refused).sum(1) / refused.sum()
    kept = (~above & ~refused).sum(1) / (~refused).sum()
    best = between[(found + kept).argmax()]
    return float(best), float(((log_odds > best) == refused).float().mean())


def first_token_logits(model: LoadedModel, prompts: Sequence[str]) -> Generator[Event, None, Tensor]:
    """Logits of the first token of the reply to each prompt, shape [n, vocabulary], on the CPU."""
    found: dict[int, Tensor] = {}
    batches = list(model.batches(prompts, share_prefix=True))
    yield Progress("calibrate", 0, len(prompts))
    for done, arrived in read(model, batches, model.n_layers):
        for place, logits in zip(arrived, logits_of_last(model, list(arrived.values())), strict=True):
            found.update(zip(batches[place].rows, logits.cpu(), strict=True))
        yield Progress("calibrate", done, len(prompts))
    return torch.stack([found[row] for row in range(len(prompts))])
