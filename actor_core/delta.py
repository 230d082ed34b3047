"""What tuning learnt, as a value: the change of a few matrices of one decoder layer.

A `LayerDelta` never edits the model. `applied` lays it over the running model with forward
hooks, at any strength, and takes it off again; so one loaded model serves before and after,
and a layer quantised by bitsandbytes needs no dequantising. It knows nothing of how it was
found (`solve`, `train`) nor of other programs' file formats (`export`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from actor_core.errors import DeltaError
from actor_core.weights.steady_header import steady_bytes
from actor_core.weights.whole_files import put_file

if TYPE_CHECKING:
    from actor_core.model import LoadedModel

__all__ = ["BaseModelId", "LayerDelta", "LowRank"]

FORMAT = "second-take.layer-delta.1"


@dataclass(frozen=True)
class BaseModelId:
    """The weights a delta was measured on: ``digest`` is the SHA-256 of their file or files."""

    name: str
    revision: str
    digest: str
    precision: str


@dataclass(frozen=True)
class LowRank:
    """A change of low rank: W' = W + b @ a, both in fp32."""

    a: Tensor  # [r, d_in]
    b: Tensor  # [d_out, r]

    def full(self) -> Tensor:
        """The change written out, shape [d_out, d_in]."""
        return self.b @ self.a


@dataclass(frozen=True)
class LayerDelta:
    """The change of decoder layer ``layer`` (counted from 0).

    ``changes`` maps a linear module's name inside the layer, such as ``mlp.down_proj``, to its
    change: `LowRank`, or the full difference in fp32, shape [d_out, d_in]. ``settings`` and
    ``measured`` are JSON-able: what it was made with and what was measured with it.
    """

    layer: int
    changes: dict[str, LowRank | Tensor]
    base: BaseModelId
    method: str
    settings: dict[str, Any]
    measured: dict[str, Any]

    @contextmanager
    def applied(self, model: LoadedModel, strength: float | Tensor = 1.0) -> Iterator[None]:
        """Runs the body with the model's layer changed by ``strength`` times this delta.

        ``strength`` is one number, or a tensor of shape [batch] with one for each row of the
        batches run in the body. The model's lock is held meanwhile.

        Raises `DeltaError` where the model's layer has no such module or another shape.
        """
        with model.lock, ExitStack() as hooks:
            for name, change in self.changes.items():
                module = self._module(model, name, change)
                handle = module.register_forward_hook(_adder(change, strength, model.device))
                hooks.callback(handle.remove)
            yield

    def _module(self, model: LoadedModel, name: str, change: LowRank | Tensor) -> nn.Module:
        if not 0 <= self.layer < model.n_layers:
            raise DeltaError(
                f"This change belongs to layer {self.layer}; {model.source.name} has layers 0 to "
                f"{model.n_layers - 1}. Load the model it was made on: {self.base.name}."
            )
        try:
            module = model.layers[self.layer].get_submodule(name)
        except AttributeError:
            module = None
        wanted = tuple(change.shape) if isinstance(change, Tensor) else (change.b.shape[0], change.a.shape[1])
        found = (getattr(module, "out_features", None), getattr(module, "in_features", None))
        if found != wanted:
            raise DeltaError(
                f"This change needs {name} of shape {wanted} in layer {self.layer}; {model.source.name} has "
                f"{found if module is not None else 'no such module'}. It was made on {self.base.name}."
            )
        assert module is not None
        return module

    def require_base(self, base: BaseModelId) -> None:
        """Raises `DeltaError`, naming both digests, where ``base`` is not what this was made on."""
        if base.digest != self.base.digest:
            raise DeltaError(
                f"This change was made on {self.base.name} (digest {self.base.digest[:12]}), and the model "
                f"loaded is {base.name} (digest {base.digest[:12]}). Load {self.base.name} first."
            )

    def scaled(self, strength: float) -> LayerDelta:
        """The same change at ``strength``, which becomes the new 1.0."""
        changes: dict[str, LowRank | Tensor] = {
            name: c * strength if isinstance(c, Tensor) else LowRank(c.a, c.b * strength)
            for name, c in self.changes.items()
        }
        return replace(self, changes=changes)

    def low_rank(self, rank: int) -> tuple[LayerDelta, float]:
        """Every full difference replaced by its best approximation of ``rank`` (truncated SVD).

        Gives the new delta and the largest relative error over the matrices, in Frobenius norm.
        """
        changes: dict[str, LowRank | Tensor] = {}
        worst = 0.0
        for name, change in self.changes.items():
            if isinstance(change, LowRank):
                changes[name] = change
                continue
            u, s, vh = torch.linalg.svd(change.float(), full_matrices=False)
            changes[name] = LowRank(vh[:rank].contiguous(), (u[:, :rank] * s[:rank]).contiguous())
            if s.norm() > 0:
                worst = max(worst, float(s[rank:].norm() / s.norm()))
        return replace(self, changes=changes), worst

    def require_finite(self) -> None:
        """Raises `DeltaError` where a number is NaN or infinite: such a delta must not leave memory."""
        for key, tensor in self._tensors().items():
            if not bool(torch.isfinite(tensor).all()):
                raise DeltaError(
                    f"The change of {key} holds numbers that are not finite, so it is not used. "
                    "Tune again with a smaller strength or learning rate."
                )

    def digest(self) -> str:
        """SHA-256 over the names and the bytes of the numbers, as hex."""
        digest = hashlib.sha256(str(self.layer).encode())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, change in self.changes.items():
            if isinstance(change, Tensor):
                tensors[f"{name}.difference"] = change
            else:
                tensors[f"{name}.a"], tensors[f"{name}.b"] = change.a, change.b
        return tensors

    def described(self) -> dict[str, Any]:
        """All but the numbers, JSON-able: what a file's header says."""
        return {
            "layer": self.layer,
            "base": asdict(self.base),
            "method": self.method,
            "settings": self.settings,
            "measured": self.measured,
        }

    @classmethod
    def of(cls, described: Mapping[str, Any], changes: dict[str, LowRank | Tensor]) -> LayerDelta:
        """``changes`` with what `described` gave. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            layer=int(described["layer"]),
            changes=changes,
            base=BaseModelId(**described["base"]),
            method=str(described["method"]),
            settings=dict(described["settings"]),
            measured=dict(described["measured"]),
        )

    def save(self, path: Path) -> None:
        """Writes one safetensors file, whole or not at all, the same bytes for the same delta; all but the numbers
        goes into its header as JSON."""
        self.require_finite()
        tensors = {name: t.detach().float().contiguous().cpu() for name, t in self._tensors().items()}
        put_file(path, steady_bytes(tensors, {"format": FORMAT, "delta": json.dumps(self.described())}))

    @classmethod
    def load(cls, path: Path) -> LayerDelta:
        """Reads what `save` wrote. Raises `DeltaError` where ``path`` is something else or cut short."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}
            if metadata.get("format") != FORMAT:
                raise DeltaError(f"{path.name} is no layer delta of this program (no {FORMAT} in its header).")
            delta = cls.of(json.loads(metadata["delta"]), _changes(tensors))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DeltaError(f"{path.name} cannot be read as a layer delta: {error}.") from error
        delta.require_finite()
        return delta


def _changes(tensors: dict[str, Tensor]) -> dict[str, LowRank | Tensor]:
    changes: dict[str, LowRank | Tensor] = {}
    for key, tensor in tensors.items():
        name, _, part = key.rpartition(".")
        if part == "difference":
            changes[name] = tensor
        elif part == "a":
            changes[name] = LowRank(tensor, tensors[f"{name}.b"])
    return changes


def _adder(change: LowRank | Tensor, strength: float | Tensor, device: torch.device) -> Any:  # noqa: ANN401
    """A forward hook that adds ``strength`` times the change's product with the module's input."""
    parts = [change] if isinstance(change, Tensor) else [change.a, change.b]
    parts = [part.to(device) for part in parts]
    scale = strength.to(device).view(-1, 1, 1) if isinstance(strength, Tensor) else strength

    def add(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added = inputs[0].float()  # [batch, tokens, d_in]
        for part in parts:
            added = added @ part.T
        return output + (scale * added).to(output.dtype)

    return add
