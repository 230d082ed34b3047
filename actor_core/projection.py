"""Where prompts lie before and after, in a plane that a person can look at: the picture of why a change works.

Across, the plane runs along what the change moves states along: the refusal vector R (ACTOR, section 4), or the
causal direction of `direction`. Upwards it runs along the first principal direction of what is left of the
reference prompts' untuned states once that is taken out. Both are measured in ‖R‖, the distance between the mean
of the harmful and the mean of the benign prompts, and 0 is the mean of the benign ones.

Nothing is read for it that was not read before, but for the published loop, whose change has no closed form.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from actor_core.activations import WRITER, LayerReading
from actor_core.delta import LayerDelta, LowRank
from actor_core.direction import refusal_vector
from actor_core.probe import Probe

__all__ = ["Kind", "PlacedPrompt", "Plane", "Projection", "project_solved", "project_trained"]

Kind = Literal["own", "pseudo-harmful", "harmful", "benign"]
# Reference prompts of each kind that the principal direction is fitted on: more do not turn it.
FITTED_ON = 256


@dataclass(frozen=True)
class PlacedPrompt:
    """(x, y) of the untuned state a(q), in ‖R‖, and how far the change as it was computed moves it."""

    prompt: str
    kind: Kind
    before: tuple[float, float]
    move: tuple[float, float]

    def at(self, strength: float) -> tuple[float, float]:
        """(x, y) with the change at ``strength``, in ‖R‖."""
        return self.before[0] + strength * self.move[0], self.before[1] + strength * self.move[1]


@dataclass(frozen=True)
class Projection:
    """``harmful`` is x of the reference prompts' harmful mean, in ‖R‖: 1 along R, less along another direction."""

    harmful: float
    prompts: tuple[PlacedPrompt, ...]


@dataclass(frozen=True)
class Plane:
    """Two unit vectors at a right angle, ``axes`` [d_model, 2], from the benign mean ``origin`` [d_model] on.

    ``unit`` is ‖R‖, and ``harmful`` x of the harmful mean in it.
    """

    origin: Tensor
    axes: Tensor
    unit: float
    harmful: float

    @classmethod
    def across(cls, harmful: Tensor, benign: Tensor, along: Tensor | None = None) -> Plane:
        """From untuned reference states [n, d_model] each; ``along`` [d_model] None is R itself."""
        r = refusal_vector(harmful, benign)
        x = r if along is None else along
        x = x / x.norm()
        y = _principal(torch.cat([_few(harmful), _few(benign)]), x)
        return cls(benign.mean(dim=0), torch.stack([x, y], dim=1), float(r.norm()), float(r @ x / r.norm()))

    def place(self, states: Tensor) -> Tensor:
        """(x, y) of ``states`` [n, d_model] in ‖R‖, shape [n, 2]."""
        return self.moves(states - self.origin)

    def moves(self, shifts: Tensor) -> Tensor:
        """How far ``shifts`` of states [n, d_model] go in the plane, in ‖R‖, shape [n, 2]."""
        return shifts @ self.axes / self.unit


def project_solved(
    plane: Plane,
    read: Sequence[tuple[Sequence[tuple[Kind, str]], LayerReading]],
    delta: LayerDelta,
    norm_weight: Tensor | None,
) -> Projection:
    """Prompts with what was read of them untuned, and where ``delta`` of the `WRITER` alone moves them.

    ΔW x(q), exactly. Where a norm with ``norm_weight`` [d_model] stands between the matrix and the stream it is
    that to first order, as in the solve.
    """
    change = delta.changes[WRITER]
    assert isinstance(change, LowRank)
    placed: list[PlacedPrompt] = []
    for named, reading in read:
        written = (reading.inputs @ change.a.T) @ change.b.T  # [n, d_model]
        shifts = reading.gains[:, None] * (written if norm_weight is None else written * norm_weight)
        placed += _placed(plane, named, reading.outputs, shifts)
    return Projection(plane.harmful, tuple(placed))


@torch.inference_mode()
def project_trained(
    plane: Plane, probes: Sequence[tuple[Sequence[tuple[Kind, str]], Probe]], delta: LayerDelta, strength: float
) -> Projection:
    """Prompts under a ``delta`` of any matrices, which is looked at where it is: at ``strength``.

    At other strengths a prompt is shown on the line through the two states seen, which is not exact.
    """
    placed: list[PlacedPrompt] = []
    for named, probe in probes:
        untuned = probe.reading().outputs
        with delta.applied(probe.model, strength):
            tuned = probe.reading().outputs
        placed += _placed(plane, named, untuned, (tuned - untuned) / strength)
    return Projection(plane.harmful, tuple(placed))


def _placed(
    plane: Plane, named: Sequence[tuple[Kind, str]], states: Tensor, shifts: Tensor
) -> Iterator[PlacedPrompt]:
    places, moves = plane.place(states).tolist(), plane.moves(shifts).tolist()
    for (kind, prompt), (x, y), (dx, dy) in zip(named, places, moves, strict=True):
        yield PlacedPrompt(prompt, kind, (x, y), (dx, dy))


def _few(states: Tensor) -> Tensor:
    """Up to `FITTED_ON` of ``states`` [n, d_model], evenly: the sets lie in order of their kinds."""
    return states[:: -(-len(states) // FITTED_ON)]


def _principal(states: Tensor, x: Tensor) -> Tensor:
    """The first principal direction of ``states`` [n, d_model] across the unit vector ``x``, shape [d_model].

    From the kernel of the rows, which are fewer than the columns. Its sign is free: its largest part is positive.
    """
    centred = states - states.mean(dim=0)
    rest = (centred - (centred @ x)[:, None] * x).double()
    _, vectors = torch.linalg.eigh(rest @ rest.T)
    y = rest.T @ vectors[:, -1]
    y = (y * y[y.abs().argmax()].sign()).float()
    y = y - (y @ x) * x
    return y / y.norm()
