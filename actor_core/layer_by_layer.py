"""Takes many batches through a model one layer after the other, so that each layer's weights are read once.

For a model that is larger than the memory it may take: accelerate has placed what fits, and reads the rest from the
files for the moment that it is used (`load_model`). A pass for each batch would read all of it once a batch; here all
batches pass through a layer while it is in memory, and only their states are carried on to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, SequentialHook
from torch import Tensor, nn

from actor_core.model import LoadedModel

__all__ = ["Around", "Passage", "enter", "gradients_after", "held", "logits_of_last", "pass_through"]

# Given a layer and a batch's place in the list, what surrounds that layer's work on that batch.
Around = Callable[[int, int], AbstractContextManager[Any]]


@dataclass
class Passage:
    """A batch between two layers: ``hidden`` [batch, tokens, d_model], and what each layer is given beside it."""

    hidden: Tensor
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]]


class _Entered(Exception):
    """Raised in the place of the last layer: nothing after it is wanted."""


@contextmanager
def held(module: nn.Module) -> Iterator[None]:
    """Keeps ``module``'s weights in memory within the body, those that are otherwise read at each use."""
    offloading = [(part, hook) for part in module.modules() for hook in _hooks(part) if hook.offload]
    try:
        for part, hook in offloading:
            hook.pre_forward(part)
            hook.offload = False
        yield
    finally:
        for part, hook in offloading:
            hook.offload = True
            hook.post_forward(part, None)


def _hooks(module: nn.Module) -> list[AlignDevicesHook]:
    hook = getattr(module, "_hf_hook", None)
    hooks = hook.hooks if isinstance(hook, SequentialHook) else (hook,)
    return [each for each in hooks if isinstance(each, AlignDevicesHook)]


def enter(model: LoadedModel, calls: Sequence[Mapping[str, Any]]) -> list[Passage]:
    """What would enter the first layer for each of ``calls``, which are arguments of the model's forward pass."""
    passages = []
    with torch.no_grad(), model.lock, held(model.model.get_input_embeddings()):
        for call in calls:
            first: list[Tensor] = []
            arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

            def note(
                hidden_states: Tensor,
                *args: Any,  # noqa: ANN401
                first: list[Tensor] = first,
                arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = arguments,
                **kwargs: Any,  # noqa: ANN401
            ) -> Tensor:
                first[:] = first or [hidden_states]
                arguments.append((args, kwargs))
                if len(arguments) == model.n_layers:
                    raise _Entered
                return hidden_states

            with _in_place_of_layers(model, [note] * model.n_layers):
                try:
                    model.model(**call)
                except _Entered:
                    pass
            passages.append(Passage(first[0], arguments))
    return passages


def pass_through(
    model: LoadedModel,
    passages: Sequence[Passage],
    layers: range,
    around: Around = lambda layer, place: nullcontext(),
) -> Iterator[int]:
    """Takes ``passages`` through ``layers``; gives each layer's number when all have passed it."""
    for layer in layers:
        module = model.layers[layer]
        with torch.no_grad(), model.lock, held(module):
            for place, passage in enumerate(passages):
                args, kwargs = passage.arguments[layer]
                with around(layer, place):
                    passage.hidden = module(passage.hidden, *args, **kwargs)
        yield layer


def logits_of_last(model: LoadedModel, passages: Sequence[Passage]) -> list[Tensor]:
    """Logits after the last token of ``passages`` that have passed all layers, [batch, vocabulary] each."""
    last = model.n_layers - 1
    found = []
    with model.lock, ExitStack() as stack:
        stack.enter_context(held(model.model.get_output_embeddings()))
        for passage in passages:
            hidden = passage.hidden[:, -1:]
            with _in_place_of_layers(model, [*[_unchanged] * last, lambda *_, hidden=hidden, **__: hidden]):
                found.append(model.model(inputs_embeds=hidden, use_cache=False, logits_to_keep=1).logits[:, -1])
    return found


def gradients_after(
    model: LoadedModel, calls: Sequence[Mapping[str, Any]], first: int, objective: Callable[[Tensor], Tensor]
) -> Iterator[tuple[int, list[Tensor]]]:
    """The gradient of ``objective(logits of the last token)`` with respect to what each layer from the last down to
    ``first`` gives out, [batch, tokens, d_model] for each of ``calls``. Each layer runs once forward and once back."""
    passages = enter(model, calls)
    given: dict[int, list[Tensor]] = {}
    for layer in pass_through(model, passages, range(model.n_layers)):
        if layer >= first:
            given[layer] = [passage.hidden for passage in passages]
    gradients: list[Tensor] = []
    with torch.enable_grad():
        for passage in passages:
            passage.hidden = passage.hidden.detach().requires_grad_(True)
            (logits,) = logits_of_last(model, [passage])
            gradients += torch.autograd.grad(objective(logits), passage.hidden)
    for layer in reversed(range(first, model.n_layers)):
        yield layer, gradients
        if layer == first:
            return
        module = model.layers[layer]
        with torch.enable_grad(), model.lock, held(module):
            for place, (passage, before) in enumerate(zip(passages, given.pop(layer - 1), strict=True)):
                entering = before.detach().requires_grad_(True)
                args, kwargs = passage.arguments[layer]
                (gradients[place],) = torch.autograd.grad(module(entering, *args, **kwargs), entering, gradients[place])


def _unchanged(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:  # noqa: ANN401
    return hidden_states


@contextmanager
def _in_place_of_layers(model: LoadedModel, steps: Sequence[Callable[..., Tensor]]) -> Iterator[None]:
    """Runs the body with ``steps`` for the layers' forward passes: all else of the model is as it is."""
    before = [vars(layer).get("forward") for layer in model.layers]
    try:
        for layer, step in zip(model.layers, steps, strict=True):
            layer.forward = step
        yield
    finally:
        for layer, forward in zip(model.layers, before, strict=True):
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward
