"""The published loop (ACTOR, algorithm 1): one layer trained by gradient to move a(q) along R.

What enters the layer never changes while it is trained, so every prompt is read once and the
loop runs the one layer alone. States, targets, loss and the trained copy of the weights are in
fp32 whatever the model is loaded in: at the published α the gradient is lost in 16 bits.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from actor_core.delta import LayerDelta
from actor_core.direction import refusal_vector
from actor_core.errors import ModelError
from actor_core.events import Event, Progress, Step
from actor_core.model import LoadedModel, linear_weight
from actor_core.passages import read
from actor_core.targets import TrainingRows

__all__ = ["PublishedSettings", "actor_loss", "actor_targets", "train"]

STEPS_BETWEEN_REPORTS = 20
ANCHORS = 64
# Of what a layer is called with, what a batch that is trained on does without.
OF_THE_CACHE = ("cache", "past_key_values", "use_cache")


@dataclass(frozen=True)
class PublishedSettings:
    """Section 5.1 of the paper: ``alpha`` is its value for Llama-2-7b-chat; ``refresh`` is K, the steps between
    two computations of R, which is not published. ``centred``: projections are measured from the benign
    mean, without which |cos| shrinks and not the refusal component."""

    alpha: float = 0.0015
    learning_rate: float = 1e-5
    epochs: int = 3
    batch_size: int = 8
    refresh: int = 50
    centred: bool = True


@dataclass(frozen=True)
class _EnteringBatch:
    """What entered the layer for some rows, fp32, and the other arguments of its call."""

    rows: tuple[int, ...]
    hidden_states: Tensor  # [batch, tokens, d_model]
    arguments: dict[str, Any]


def actor_targets(a: Tensor, r: Tensor, signs: Tensor, alpha: float, centre: Tensor) -> Tensor:
    """t(q) = a + sign · α · Proj_R(a - centre), with Proj_R(v) = (R·v / ‖R‖²) R (equations 2 to 4).

    ``a`` [n, d_model]; ``signs`` [n] is -1 for prompts that are to be answered and +1 for those to be
    refused; ``centre`` [d_model] is 0 as published, or the benign mean.
    """
    along = ((a - centre) @ r) / r.dot(r)  # [n]
    return a + alpha * signs[:, None] * along[:, None] * r


def actor_loss(a: Tensor, targets: Tensor) -> Tensor:
    """1 - cos(a, t), averaged over the batch (equation 5); in fp64, where 1 - cos is not rounded to 0."""
    return (1 - nn.functional.cosine_similarity(a.double(), targets.double(), dim=1)).mean()


def train(
    model: LoadedModel,
    layer: int,
    rows: TrainingRows,
    settings: PublishedSettings,
    *,
    seed: int,
    optimiser_of: Callable[[Sequence[Tensor]], torch.optim.Optimizer] | None = None,
) -> Generator[Event, None, LayerDelta]:
    """Trains the linear modules of ``layer``; yields a `Step` with what is learnt every few updates.

    Norms and biases are held. ``optimiser_of`` makes another update rule than AdamW for the weights it is
    given. Raises `ModelError` where the loss is no longer a number, or the layer is read from the files at each use.
    """
    if model.streamed:
        raise ModelError(
            "The published method trains a layer that stays in memory, and this model's are read as they are used: "
            "choose the causal method, or give more --memory."
        )
    entering = yield from _read_entering(model, rows, layer, settings.batch_size)
    master = _fp32_copy(model.layers[layer])
    trained = {name: m for name, m in master.named_modules() if isinstance(m, nn.Linear)}
    start = {name: m.weight.detach().clone() for name, m in trained.items()}
    weights = [m.weight for m in trained.values()]
    optimiser = optimiser_of(weights) if optimiser_of else torch.optim.AdamW(weights, lr=settings.learning_rate)
    signs = torch.where(rows.are("harmful", "twin"), 1.0, -1.0)
    anchors = {kind: _anchor_batches(entering, rows, kind) for kind in ("harmful", "benign")}
    order = random.Random(seed)
    total, step, recent = settings.epochs * len(entering), 0, []
    r = centre = torch.zeros(model.d_model)

    def learnt() -> LayerDelta:
        changes = {name: (m.weight.detach() - start[name]).cpu() for name, m in trained.items()}
        about = asdict(settings) | {"seed": seed}
        return LayerDelta(layer, {**changes}, model.id, "published", about, {"steps": step})

    for _epoch in range(settings.epochs):
        for batch in order.sample(entering, len(entering)):
            if step % settings.refresh == 0:
                with torch.no_grad():
                    benign = torch.cat([_outputs(master, b) for b in anchors["benign"]])
                    harmful = torch.cat([_outputs(master, b) for b in anchors["harmful"]])
                r = refusal_vector(harmful, benign)
                centre = benign.mean(0) if settings.centred else torch.zeros_like(r)
            a = _outputs(master, batch)
            of_batch = signs[list(batch.rows)].to(a.device)
            targets = actor_targets(a.detach(), r, of_batch, settings.alpha, centre)
            loss = actor_loss(a, targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            recent.append(float(loss.detach()))
            if not torch.isfinite(loss):
                raise ModelError(
                    f"The loss is no longer a number after {step} updates: choose a smaller learning rate "
                    f"(it was {settings.learning_rate:g}) or a smaller alpha ({settings.alpha:g})."
                )
            if step % STEPS_BETWEEN_REPORTS == 0 or step == total:
                yield Step(step, total, sum(recent) / len(recent), learnt())
                recent = []
            yield Progress("train", step, total)
    return learnt()


def _outputs(layer: nn.Module, batch: _EnteringBatch) -> Tensor:
    """a(q) of the batch, shape [batch, d_model]."""
    return layer(batch.hidden_states, **batch.arguments)[:, -1]


def _read_entering(
    model: LoadedModel, rows: TrainingRows, layer: int, batch_size: int
) -> Generator[Event, None, list[_EnteringBatch]]:
    """Each prompt once through the layers before ``layer``, kept in the batches it is trained in."""
    batches = list(model.batches(rows.prompts, max_rows=batch_size))
    kept: list[_EnteringBatch] = []
    for done, arrived in read(model, batches, layer):
        for place, passage in arrived.items():
            _, arguments = passage.arguments[layer]
            named = {name: _in_fp32(value) for name, value in arguments.items() if name not in OF_THE_CACHE}
            kept.append(_EnteringBatch(batches[place].rows, passage.hidden.float(), named))
        yield Progress("read", done, len(rows.prompts))
    return kept


def _in_fp32(value: Any) -> Any:  # noqa: ANN401 - the arguments of a decoder layer
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.float()
    if isinstance(value, tuple):
        return tuple(_in_fp32(part) for part in value)
    return value


def _fp32_copy(layer: nn.Module) -> nn.Module:
    """A copy of ``layer`` in fp32, quantised modules written out, its linear weights ready to be trained."""
    master = copy.deepcopy(layer)
    for name, module in list(layer.named_modules()):
        weight = linear_weight(module)
        if weight is None:
            continue
        bias = getattr(module, "bias", None)
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device=weight.device)
        linear.weight.data.copy_(weight)
        if bias is not None:
            linear.bias.data.copy_(bias.float())
        parent, _, last = name.rpartition(".")
        setattr(master.get_submodule(parent), last, linear)
    master = master.float()
    master.requires_grad_(False)
    for module in master.modules():
        if isinstance(module, nn.Linear):
            module.weight.requires_grad_(True)
    return master


def _anchor_batches(entering: list[_EnteringBatch], rows: TrainingRows, kind: str) -> list[_EnteringBatch]:
    """Up to `ANCHORS` rows of ``kind``, in batches of that kind alone."""

    def parts() -> Iterator[_EnteringBatch]:
        left = ANCHORS
        wanted = rows.are(kind)
        for batch in entering:
            places = [n for n, row in enumerate(batch.rows) if wanted[row]][:left]
            left -= len(places)
            if places:
                yield _EnteringBatch(
                    tuple(batch.rows[n] for n in places),
                    batch.hidden_states[places],
                    {name: _rows(value, places, len(batch.rows)) for name, value in batch.arguments.items()},
                )

    return list(parts())


def _rows(value: Any, places: list[int], batch: int) -> Any:  # noqa: ANN401 - the arguments of a decoder layer
    if isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == batch:
        return value[places]
    if isinstance(value, tuple):
        return tuple(_rows(part, places, batch) for part in value)
    return value
