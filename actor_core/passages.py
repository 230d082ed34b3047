"""Takes prompts through a model's layers: only through those that matter, each prompt once and each layer once.

One way for two kinds of model. Of one that is in memory, each batch goes through the layers before the next begins.
Of one that is larger than the memory it may take, accelerate has placed what fits and reads the rest from the files
for the moment that it is used (`load_model`): there all batches pass through a layer while it is in memory, and only
their states are carried on to the next.

What all prompts begin with is read once, before them: on short ones the chat template's system turn is half of all
tokens. Its keys and values are lent to each batch, one layer at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, SequentialHook
from torch import Tensor, nn
from transformers import DynamicCache

from actor_core.model import Batch, LoadedModel
from actor_core.prefill import copied

__all__ = [
    "PREFIX",
    "Around",
    "Passage",
    "bare",
    "begin",
    "gradients_after",
    "held",
    "logits_of",
    "logits_of_last",
    "offloading",
    "read",
    "rows_of",
    "sweep",
]

# The place of what all prompts begin with, which is read as a batch of one row.
PREFIX = -1

# Given a layer and a batch's place in the list, what surrounds that layer's work on that batch.
Around = Callable[[int, int], AbstractContextManager[Any]]


@dataclass
class Passage:
    """A batch between two layers: ``hidden`` [batch, tokens, d_model], and what each layer is given beside it.

    ``lent`` are keys and values of the tokens before these, and stay as they are; each of their rows is lent to so
    many ``times`` rows. ``cache`` is what the layers see of them. It keeps what it grows to where ``keeps`` says so.
    """

    hidden: Tensor
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]]
    cache: DynamicCache | None
    lent: DynamicCache | None
    times: int
    keeps: bool

    def pass_through(self, layer: int, module: nn.Module) -> None:
        args, kwargs = self.arguments[layer]
        if self.cache is not None and self.lent is not None:
            own: Any = copy(self.lent.layers[layer])
            if self.times > 1:
                own.batch_repeat_interleave(self.times)
            self.cache.layers[layer] = own
        self.hidden = module(self.hidden, *args, **kwargs)
        if self.cache is not None and self.lent is not None and not self.keeps:
            self.cache.layers[layer] = self.lent.layers[layer]


def bare(_layer: int, _place: int) -> AbstractContextManager[None]:
    """Surrounds a layer's work on a batch with nothing."""
    return nullcontext()


class _Entered(Exception):
    """Raised in the place of the last layer: nothing after it is wanted."""


def read(
    model: LoadedModel,
    batches: Sequence[Batch],
    layers: int,
    around: Around = bare,
    *,
    end: int | None = None,
    keeps: bool = False,
) -> Iterator[tuple[int, Mapping[int, Passage]]]:
    """Reads ``batches``, up to column ``end`` (None: all), through the first so many ``layers``; see `sweep`.

    What they all begin with comes first, in ``around`` as `PREFIX`, and is not among what arrives.
    """
    prefix: DynamicCache | None = None
    if batches and batches[0].prefix:
        prefix = DynamicCache(config=model.model.config)
        row = batches[0].only(torch.tensor([0])).up_to(batches[0].prefix)
        for _ in sweep(model, {PREFIX: 0}, lambda _: begin(model, row, cache=prefix), range(layers), around):
            yield 0, {}

    def start(place: int) -> Passage:
        batch = batches[place]
        grown = DynamicCache(config=model.model.config) if keeps and prefix is None else None
        columns, times = slice(batch.prefix, end), len(batch.rows)
        return begin(model, batch, columns, cache=grown, lent=prefix, times=times, keeps=keeps)

    yield from sweep(model, rows_of(batches), start, range(layers), around)


def rows_of(batches: Sequence[Batch]) -> dict[int, int]:
    """How many rows each of ``batches`` has, under its place."""
    return {place: len(batch.rows) for place, batch in enumerate(batches)}


def sweep(
    model: LoadedModel,
    rows: Mapping[int, int],
    start: Callable[[int], Passage],
    layers: range,
    around: Around = bare,
) -> Iterator[tuple[int, Mapping[int, Passage]]]:
    """Takes the batches at the places of ``rows``, which says how many rows each has, through ``layers``.

    ``start`` gives each as it enters the first of them. Gives after every piece of work how many rows that is as
    good as done, and the passages that have arrived with it; those are not held any longer.
    """
    done = 0
    for group in [list(rows)] if model.streamed else [[place] for place in rows]:
        entering = held(model.model.get_input_embeddings()) if layers.start == 0 else nullcontext()
        with model.lock, entering:
            passages = {place: start(place) for place in group}
        of_group = sum(rows[place] for place in group)
        for layer in layers:
            _pass(model, layer, passages, around)
            if model.streamed and layer != layers[-1]:
                yield done + of_group * (layer + 1 - layers.start) // len(layers), {}
        done += of_group
        yield done, passages
        passages = {}


def _pass(model: LoadedModel, layer: int, passages: Mapping[int, Passage], around: Around) -> None:
    module = model.layers[layer]
    with torch.no_grad(), model.lock, held(module):
        for place, passage in passages.items():
            with around(layer, place):
                passage.pass_through(layer, module)


def begin(
    model: LoadedModel,
    batch: Batch,
    columns: slice = slice(None),
    *,
    cache: DynamicCache | None = None,
    lent: DynamicCache | None = None,
    times: int = 1,
    keeps: bool = False,
) -> Passage:
    """``batch`` at ``columns`` as it enters the first layer.

    With ``cache`` keys and values of these columns are kept in it; with ``lent`` they go on from those of the
    columns before, see `Passage`.
    """
    cache = copied(lent) if lent is not None else cache
    call: dict[str, Any] = {
        "input_ids": batch.input_ids[:, columns],
        "attention_mask": batch.attention_mask[:, : columns.stop],
        "position_ids": batch.position_ids[:, columns],
        "use_cache": cache is not None,
    }
    if cache is not None:
        call[model.cache_name] = cache
    hidden: list[Tensor] = []
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def note(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        hidden[:] = hidden or [hidden_states]
        arguments.append((args, kwargs))
        if len(arguments) == model.n_layers:
            raise _Entered
        return hidden_states

    with torch.no_grad(), model.lock, _in_place_of_layers(model, [note] * model.n_layers):
        try:
            model.model(**call)
        except _Entered:
            pass
    return Passage(hidden[0], arguments, cache, lent, times, keeps)


def logits_of_last(model: LoadedModel, passages: Sequence[Passage]) -> Iterator[Tensor]:
    """Logits after the last token of each of ``passages`` that have passed all layers, [batch, vocabulary]."""
    return logits_of(model, [passage.hidden[:, -1:] for passage in passages])


def logits_of(model: LoadedModel, states: Sequence[Tensor]) -> Iterator[Tensor]:
    """Logits of each of ``states`` [batch, 1, d_model] that have passed all layers, [batch, vocabulary]."""
    last = model.n_layers - 1
    with model.lock, held(model.model.get_output_embeddings()):
        for hidden in states:
            with _in_place_of_layers(model, [*[_unchanged] * last, lambda *_, hidden=hidden, **__: hidden]):
                logits = model.model(inputs_embeds=hidden, use_cache=False, logits_to_keep=1).logits[:, -1]
            yield logits


def gradients_after(
    model: LoadedModel, batches: Sequence[Batch], first: int, objective: Callable[[Tensor], Tensor]
) -> Iterator[tuple[int, Mapping[int, Sequence[Tensor]]]]:
    """The gradient of ``objective(logits of the last token)`` with respect to what each layer from the last down to
    ``first`` gives out, [batch, tokens, d_model] for each batch, under the layer's number.

    Each layer runs forward, and once more with its way back: no more than one layer's is kept. Gives what `sweep`
    does, reading and going back being half of the work each.
    """
    before = 0
    for done, passages in read(model, batches, first + 1):
        yield (before + done) // 2, {}
        if passages:
            for share, layer, gradients in _back(model, passages, first, objective):
                yield (before + done + round(share * (done - before))) // 2, {layer: gradients}
            before = done


def _back(
    model: LoadedModel, passages: Mapping[int, Passage], first: int, objective: Callable[[Tensor], Tensor]
) -> Iterator[tuple[float, int, list[Tensor]]]:
    """`gradients_after` of ``passages`` that have passed layer ``first``, each layer with the share of work done."""
    given = {first: [passage.hidden for passage in passages.values()]}
    for layer in range(first + 1, model.n_layers):
        _pass(model, layer, passages, bare)
        given[layer] = [passage.hidden for passage in passages.values()]
    gradients: list[Tensor] = []
    with torch.enable_grad():
        for passage in passages.values():
            passage.hidden = passage.hidden.detach().requires_grad_(True)
            (logits,) = logits_of_last(model, [passage])
            gradients += torch.autograd.grad(objective(logits), passage.hidden)
    for layer in reversed(range(first, model.n_layers)):
        yield (model.n_layers - layer) / (model.n_layers - first), layer, gradients
        if layer == first:
            return
        module = model.layers[layer]
        with torch.enable_grad(), model.lock, held(module):
            for place, (passage, entering) in enumerate(zip(passages.values(), given.pop(layer - 1), strict=True)):
                passage.hidden = entering.detach().requires_grad_(True)
                entered = passage.hidden
                passage.pass_through(layer, module)
                (gradients[place],) = torch.autograd.grad(passage.hidden, entered, gradients[place])


@contextmanager
def held(module: nn.Module) -> Iterator[None]:
    """Keeps ``module``'s weights in memory within the body, those that are otherwise read at each use."""
    found = [(part, hook) for part in module.modules() for hook in offloading(part)]
    try:
        for part, hook in found:
            hook.pre_forward(part)
            hook.offload = False
        yield
    finally:
        for part, hook in found:
            hook.offload = True
            hook.post_forward(part, None)


def offloading(module: nn.Module) -> list[AlignDevicesHook]:
    """accelerate's hooks that bring the weights of ``module`` into memory at each use."""
    hook = getattr(module, "_hf_hook", None)
    hooks = hook.hooks if isinstance(hook, SequentialHook) else (hook,)
    return [each for each in hooks if isinstance(each, AlignDevicesHook) and each.offload]


def _unchanged(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:  # noqa: ANN401
    return hidden_states


@contextmanager
def _in_place_of_layers(model: LoadedModel, steps: Sequence[Callable[..., Tensor]]) -> Iterator[None]:
    """Runs the body with ``steps`` for the layers' forward passes, without their hooks: no layer runs.

    All else of the model is as it is.
    """
    names = ("forward", "_forward_hooks", "_forward_pre_hooks")
    before = [{name: vars(layer)[name] for name in names if name in vars(layer)} for layer in model.layers]
    try:
        for layer, step in zip(model.layers, steps, strict=True):
            vars(layer).update(forward=step, _forward_hooks={}, _forward_pre_hooks={})
        yield
    finally:
        for layer, old in zip(model.layers, before, strict=True):
            vars(layer).pop("forward")
            vars(layer).update(old)
