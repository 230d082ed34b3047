"""Surgical (Wang et al. 2025, arXiv 2410.03415): single vector ablation of false refusal.

The false refusal vector w, mean state of pseudo-harmful prompts that are refused less that of harmless ones, is
made orthogonal to the true one r (harmful less harmless) of the same layer, w' = w - λ (w·r̂) r̂, and whatever lies
along it is taken out of what enters every layer and of what attention and MLP write, at every token.

The paper's: 128 training prompts a kind, of which those are kept that the refusal score puts on the right side;
32 more of a kind to choose by; λ 1; of the candidates in the first 80 % of the layers whose KL on harmless prompts
is at most 0.2, the one that leaves the lowest refusal score on pseudo-harmful ones. Ours: prompts from this
project's set; the refusal score is `RefusalOdds`; vectors are taken at the last token alone, where the paper
tries each of the template's last tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from actor_core.activations import read_activations
from actor_core.direction import refusal_vector
from actor_core.errors import NothingToRepair
from actor_core.events import finish
from actor_core.layer_choice import calibrate
from actor_core.model import LoadedModel
from actor_core.refusal_odds import RefusalOdds, first_token_logits
from actor_core.targets import TuningPrompts, drawn
from actor_core.tune_settings import TuneSettings
from baselines.system import PAPER, Prepared, System

__all__ = ["SYSTEM", "ablated", "orthogonal"]

TRAINING, CHOOSING = 128, 32
KL_AT_MOST = 0.2
LAYERS_KEPT = 0.8
LAMBDA = 1.0
LEAST = 4


def orthogonal(false_refusal: Tensor, refusal: Tensor, strength: float = LAMBDA) -> Tensor:
    """The unit vector of w - λ (w·r̂) r̂, shape [d_model]; orthogonal to r where λ (``strength``) is 1."""
    r = refusal / refusal.norm()
    left = false_refusal - strength * (false_refusal @ r) * r
    return left / left.norm()


@contextmanager
def ablated(model: LoadedModel, direction: Tensor) -> Iterator[None]:
    """Runs the body with nothing along the unit vector ``direction`` [d_model] in any layer."""
    with model.lock, ExitStack() as hooks:
        for layer in model.layers:
            handle = layer.register_forward_pre_hook(partial(_without_entering, direction), with_kwargs=True)
            hooks.callback(handle.remove)
            for module in (layer.self_attn, layer.mlp):
                hooks.callback(module.register_forward_hook(partial(_without, direction)).remove)
        yield


def prepare(model: LoadedModel, prompts: TuningPrompts, seed: int) -> Prepared:
    """One vector."""
    odds = finish(calibrate(model, prompts, TuneSettings(seed=seed))).odds
    kinds = {
        "pseudo-harmful": list(dict.fromkeys([*prompts.own, *prompts.pseudo_harmful])),
        "harmful": list(prompts.harmful),
        "harmless": list(prompts.benign),
    }
    both = {kind: drawn(group, TRAINING + CHOOSING, seed) for kind, group in kinds.items()}
    choosing = {kind: group[: len(group) * CHOOSING // (TRAINING + CHOOSING)] for kind, group in both.items()}
    training = {kind: group[len(choosing[kind]) :] for kind, group in both.items()}
    candidates = _candidates(model, training, odds)
    layer, kl, score = _chosen(model, candidates, choosing["pseudo-harmful"], choosing["harmless"], odds)
    note = f"vector of layer {layer}, KL {kl:.2f} on harmless prompts, refusal log-odds left {score:.1f}"
    if kl > KL_AT_MOST:
        note += f"; no candidate's KL is at most {KL_AT_MOST}, so the smallest was taken"
    return Prepared(partial(ablated, model, candidates[layer]), note=note)


def _candidates(model: LoadedModel, training: dict[str, list[str]], odds: RefusalOdds) -> dict[int, Tensor]:
    """w' of each layer in the first `LAYERS_KEPT`, from the prompts that the refusal score puts where they belong."""
    everything = [prompt for group in training.values() for prompt in group]
    log_odds = odds.log_odds(finish(first_token_logits(model, everything)))
    refused = dict(zip(everything, odds.refused(log_odds).tolist(), strict=True))
    kept = {
        kind: [p for p in group if refused[p] == (kind != "harmless")] for kind, group in training.items()
    }
    few = {kind: len(group) for kind, group in kept.items() if len(group) < LEAST}
    if few:
        raise NothingToRepair(f"Too few prompts on the right side of the refusal score: {few}, {LEAST} are needed.")
    layers = range(int(model.n_layers * LAYERS_KEPT))
    found = {}
    states = finish(read_activations(model, [p for group in kept.values() for p in group], layers, other_tokens=0))
    for layer in layers:
        sizes = [len(group) for group in kept.values()]
        pseudo_harmful, harmful, harmless = states[layer].outputs.split(sizes)
        found[layer] = orthogonal(
            refusal_vector(pseudo_harmful, harmless), refusal_vector(harmful, harmless)
        )
    return found


def _chosen(
    model: LoadedModel,
    candidates: dict[int, Tensor],
    pseudo_harmful: list[str],
    harmless: list[str],
    odds: RefusalOdds,
) -> tuple[int, float, float]:
    """The layer of the candidate to take, its KL in nats and the mean refusal log-odds it leaves."""
    before = finish(first_token_logits(model, harmless)).float().log_softmax(dim=1)
    found = []
    for layer, direction in candidates.items():
        with ablated(model, direction):
            logits = finish(first_token_logits(model, [*pseudo_harmful, *harmless]))
        after = logits[len(pseudo_harmful) :].float().log_softmax(dim=1)
        kl = float((before.exp() * (before - after)).sum(dim=1).mean())
        found.append((layer, kl, float(odds.log_odds(logits[: len(pseudo_harmful)]).mean())))
    allowed = [each for each in found if each[1] <= KL_AT_MOST]
    return min(allowed, key=lambda each: each[2]) if allowed else min(found, key=lambda each: each[1])


def _remaining(direction: Tensor, states: Tensor) -> Tensor:
    along = direction.to(states.device)
    wide = states.float()
    return (wide - (wide @ along)[..., None] * along).to(states.dtype)


def _without(direction: Tensor, _module: nn.Module, _inputs: Any, output: Any) -> Any:  # noqa: ANN401
    if isinstance(output, tuple):
        return (_remaining(direction, output[0]), *output[1:])
    return _remaining(direction, output)


def _without_entering(
    direction: Tensor, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args:
        return (_remaining(direction, args[0]), *args[1:]), kwargs
    return args, kwargs | {"hidden_states": _remaining(direction, kwargs["hidden_states"])}


SYSTEM = System("surgical", "Surgical", PAPER, prepare)
