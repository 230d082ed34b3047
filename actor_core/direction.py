"""The refusal vector, the direction that refusal follows, and how well layers part harmful from benign.

R (ACTOR, section 3.1) separates harmful prompts from benign ones; g, the mean gradient of the
refusal log-odds with respect to a(q), says which way to move for refusal to change most. The
two are not the same: on the models measured their cosine is about 0.2.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from actor_core.events import Event, Progress
from actor_core.finite import require_finite
from actor_core.model import LoadedModel
from actor_core.passages import gradients_after
from actor_core.refusal_odds import RefusalOdds

__all__ = ["causal_directions", "refusal_vector", "silhouette"]


def refusal_vector(harmful: Tensor, benign: Tensor) -> Tensor:
    """R = mean a(harmful) - mean a(benign), from states [n, d_model] each, shape [d_model]."""
    return harmful.mean(dim=0) - benign.mean(dim=0)


def silhouette(harmful: Tensor, benign: Tensor, *, seed: int = 0) -> float:
    """Silhouette of the two classes on the 2-D t-SNE of their states [n, d_model], in [-1, 1].

    ACTOR's score for a layer (section 4.1, after the t-SNE plots of its figure 3).
    """
    from sklearn.manifold import TSNE
    from sklearn.metrics import silhouette_score

    states = torch.cat([harmful, benign]).numpy()
    classes = [1] * len(harmful) + [0] * len(benign)
    perplexity = min(30.0, (len(states) - 1) / 3)
    plane = TSNE(2, perplexity=perplexity, init="pca", max_iter=500, random_state=seed).fit_transform(states)
    return float(silhouette_score(plane, classes))


def causal_directions(
    model: LoadedModel, prompts: Sequence[str], layers: Sequence[int], odds: RefusalOdds
) -> Generator[Event, None, dict[int, Tensor]]:
    """The mean gradient g of the refusal log-odds with respect to a(q), for each of ``layers``.

    In nats for each unit of the residual stream, fp32, shape [d_model]. One way forward and one
    back give every layer's gradient; no weight has one.
    """
    totals = {layer: torch.zeros(model.d_model) for layer in layers}
    batches = list(model.batches(prompts))
    for done, found in gradients_after(model, batches, min(layers), lambda logits: odds.log_odds(logits).sum()):
        for layer in totals.keys() & found.keys():
            totals[layer] += torch.cat([gradient[:, -1].float().cpu() for gradient in found[layer]]).sum(dim=0)
        yield Progress("direction", done, len(prompts))
    require_finite("The gradients of refusal", *totals.values())
    return {layer: total / len(prompts) for layer, total in totals.items()}
