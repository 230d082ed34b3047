"""Checks a PEFT adapter by loading it with PEFT on the model that is in memory already.

PEFT puts modules of its own in the place of the layer's. They are taken out again whatever
happens, and what is left is compared with what was there before.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from actor_core.events import Event, Progress, finish
from actor_core.export.compare import Checked, last_logits
from actor_core.export.replay import asked_again, with_replay
from actor_core.export.request import Request
from actor_core.generate import Reply
from actor_core.model import LoadedModel

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["TOLERANCE", "check_peft"]

# The largest difference of a score that the precision's rounding explains (scores are around 20).
TOLERANCE = {"fp32": 1e-3, "fp16": 0.1, "bf16": 0.5, "nf4": 0.5, "int8": 0.5}

# Between so many replies the work can be stopped, and other work done.
PROMPTS_A_LOAD = 8

# What bitsandbytes sets on a 4-bit weight's quantisation state while it is packed for the CPU.
PACKED = "packing_format_for_cpu"


def check_peft(request: Request, folder: Path, error: float) -> Generator[Event, None, Checked]:
    """Loads ``folder`` with PEFT, compares the first token's scores with the delta's, and replays what was seen.

    ``error`` is the relative error of the files' low rank, which the comparison allows for. At every event,
    and afterwards, the model is as before.
    """
    model, prompts = request.model, request.prompts
    if model.streamed:
        return Checked(
            None,
            "Only read back: PEFT takes a model that is in memory as a whole, and this one's layers are read from the "
            "disk as they are used.",
        )
    with model.lock:
        before = _Traces.of(model.model)
        base = last_logits(model, prompts)  # [prompts, vocabulary]
        with request.delta.applied(model, request.strength):
            ours = last_logits(model, prompts)
        with _loaded(model, folder) as adapted:
            theirs = last_logits(model, prompts, through=adapted)
    replies: list[Reply] = []
    for start in range(0, len(request.seen), PROMPTS_A_LOAD):
        # Others may use the model between two events, so PEFT's modules are never in it then.
        yield Progress("export", 2, 4, f"Asking PEFT again: {start} of {len(request.seen)} prompts")
        with model.lock, _loaded(model, folder):
            replies += finish(asked_again(model, request.seen[start : start + PROMPTS_A_LOAD], "PEFT"))
    with model.lock:
        left = before.differences(_Traces.of(model.model))
        restored = not left and torch.equal(base, last_logits(model, prompts))
    if not restored:
        what = ", ".join(left[:3]) or "its scores"
        return Checked(False, f"PEFT left something behind in the loaded model ({what}): load the model again.")
    checked = _compared(base, ours, theirs, TOLERANCE[model.precision], error)
    return with_replay(checked, request.seen, replies, "PEFT")


@contextmanager
def _loaded(model: LoadedModel, folder: Path) -> Iterator[PeftModel]:
    """The adapter in ``folder`` on the model in memory, whose own modules PEFT's replace meanwhile."""
    from peft import PeftModel

    with _put_back(model.model):
        with _kept_packed(model.model):
            adapted = PeftModel.from_pretrained(model.model, str(folder), torch_device=str(model.device))
        yield adapted
        adapted.unload()


def _compared(base: Tensor, ours: Tensor, theirs: Tensor, tolerance: float, error: float) -> Checked:
    import peft

    n = len(ours)
    effect = float((ours - base).abs().max())
    difference = float((theirs - ours).abs().max())
    allowed = tolerance + 3 * error * effect
    same = int((theirs.argmax(-1) == ours.argmax(-1)).sum())
    best = ours.topk(2).values  # [prompts, 2]
    differing = theirs.argmax(-1) != ours.argmax(-1)
    clear = int((differing & (best[:, 0] - best[:, 1] > 2 * allowed)).sum())
    figures = {
        "prompts": n,
        "same_first_token": same,
        "max_logit_difference": difference,
        "max_logit_effect": effect,
        "allowed": allowed,
        "peft": peft.__version__,
    }
    words = (
        f"PEFT {peft.__version__} loaded it on the model in memory: {same} of {n} replies begin with "
        f"the same token as here, and no token's score differs by more than {difference:.2g} (the change "
        f"itself moves scores by up to {effect:.2g}; {allowed:.2g} is allowed for rounding)."
    )
    if difference > allowed or clear:
        return Checked(False, f"The adapter does not do in PEFT what the delta does here. {words}", figures)
    return Checked(True, words, figures)


@dataclass(frozen=True)
class _Traces:
    """What PEFT could leave behind: which modules and parameters there are, and what hangs on them."""

    modules: dict[str, tuple[Any, ...]]
    parameters: dict[str, tuple[int, int, bool]]
    attributes: frozenset[str]

    @classmethod
    def of(cls, model: nn.Module) -> _Traces:
        return cls(
            {name: (id(m), m.training, *(len(h) for h in _hooks(m))) for name, m in model.named_modules()},
            {name: (id(p), p.data_ptr(), p.requires_grad) for name, p in model.named_parameters()},
            frozenset(vars(model)),
        )

    def differences(self, later: _Traces) -> list[str]:
        """The names of modules, parameters and attributes that are not as they were."""
        names: set[str] = set(self.attributes ^ later.attributes)
        for now, then in ((self.modules, later.modules), (self.parameters, later.parameters)):
            names.update(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
        return sorted(names)


def _hooks(module: nn.Module) -> tuple[Any, ...]:
    return (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )


@contextmanager
def _kept_packed(model: nn.Module) -> Iterator[None]:
    """Keeps bitsandbytes from unpacking the model's 4-bit weights, which loses precision.

    On a CPU it packs them anew when they are first used, and undoes that, with other roundings,
    whenever the model is asked for its ``state_dict``, as PEFT asks while it loads.
    """
    weights = (getattr(module, "weight", None) for module in model.modules())
    states = (getattr(weight, "quant_state", None) for weight in weights)
    packed = [state for state in states if state is not None and getattr(state, PACKED, False)]
    for state in packed:
        setattr(state, PACKED, False)
    try:
        yield
    finally:
        for state in packed:
            setattr(state, PACKED, True)


@contextmanager
def _put_back(model: nn.Module) -> Iterator[None]:
    """Afterwards every module, training flag and requires_grad of ``model`` is what it was.

    PEFT's own ``unload`` does that where it gets so far; a file that it refuses half-way leaves
    its modules in.
    """
    children = [(parent, *child) for parent in model.modules() for child in parent.named_children()]
    training = [(module, module.training) for module in model.modules()]
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    attributes = dict(vars(model))
    try:
        yield
    finally:
        for parent, name, child in children:
            if parent._modules.get(name) is not child:
                parent._modules[name] = child
        for module, was in training:
            module.training = was
        for parameter, was in trainable:
            parameter.requires_grad_(was)
        for name in vars(model).keys() - attributes.keys():
            delattr(model, name)
