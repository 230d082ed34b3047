"""A chat model in memory, and prompts as it reads them.

Device, precision and quantisation are data here. Everything after this file runs the same
lines on a CPU in fp32 and on a GPU in 4 bits.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from actor_core.delta import BaseModelId
from actor_core.errors import ModelError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from actor_core.fetch import FetchedModel
    from actor_core.model_shape import Shape

__all__ = ["DTYPES", "TOKENS_AT_ONCE", "Batch", "LoadedModel", "decoder_layers", "linear_weight", "shared_start"]

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

# Padded tokens of one pass, which cannot be stopped: a processor without bf16 reads them in about two seconds.
TOKENS_AT_ONCE = 512

# Tokens of a sliding window that are left to the reply.
ROOM_FOR_REPLY = 256

# A template that prints today's date would make every day's states differ. transformers passes text to a template but
# no function, so a macro stands in for the clock of those that read it.
TEMPLATE_DATE = "01 Jan 2026"
TEMPLATE_CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format | replace('%d', '01') | replace('%m', '01') | replace('%b', 'Jan')"
    " | replace('%B', 'January') | replace('%Y', '2026') | replace('%y', '26') }}{%- endmacro +%}"
)


@dataclass(frozen=True)
class Batch:
    """Prompts as the model reads them, padded on the left, so that the last token is column -1.

    ``rows`` are the prompts' places in the list that was given. The first ``prefix`` columns, before the
    padding, are the same in every row of every batch of the list (see `prefill`).
    """

    rows: tuple[int, ...]
    input_ids: Tensor  # [batch, tokens]
    attention_mask: Tensor  # [batch, tokens], 1 where there is a token
    position_ids: Tensor  # [batch, tokens]
    prefix: int = 0

    def only(self, places: Tensor) -> Batch:
        """The rows at ``places`` [n], with the same padding."""
        columns = (self.input_ids[places], self.attention_mask[places], self.position_ids[places])
        return Batch(tuple(self.rows[place] for place in places.tolist()), *columns, self.prefix)

    def up_to(self, column: int) -> Batch:
        """The first ``column`` columns of all rows."""
        return Batch(
            self.rows, self.input_ids[:, :column], self.attention_mask[:, :column], self.position_ids[:, :column]
        )

    def inputs(self) -> dict[str, Tensor]:
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "position_ids": self.position_ids,
        }


@dataclass
class LoadedModel:
    """A causal language model, its tokenizer, and how they were loaded."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: FetchedModel
    device: torch.device
    precision: str
    reason: str
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers, in order."""
        return decoder_layers(self.model)

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def d_model(self) -> int:
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def model_type(self) -> str:
        """transformers' name of the architecture, such as ``qwen2``."""
        return str(self.model.config.get_text_config().model_type)

    @property
    def id(self) -> BaseModelId:
        return BaseModelId(self.source.name, self.source.revision, self.source.digest, self.precision)

    @cached_property
    def shape(self) -> Shape:
        """Its sizes, however its weights are packed."""
        from actor_core.model_shape import Shape

        return Shape.of_config(self.model.config)

    @cached_property
    def streamed(self) -> bool:
        """Whether part of the weights is read from the files at each use: see `passages`."""
        return any(parameter.device.type == "meta" for parameter in self.model.parameters())

    @cached_property
    def bytes_that_stay(self) -> int:
        """Of the weights, what is not read at each use."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters() if p.device.type != "meta")

    @cached_property
    def cache_name(self) -> str:
        """What transformers calls the argument with the keys and values of what was read: it has been renamed."""
        return "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"

    def token_ids(self, prompt: str, history: Sequence[Mapping[str, str]] = ()) -> list[int]:
        """One user turn in the chat template, up to where the reply begins.

        ``history`` holds the turns before it, each with its "role" ("user" or "assistant") and "content".
        """
        template = self.tokenizer.get_chat_template()
        try:
            text = self.tokenizer.apply_chat_template(
                [*map(dict, history), {"role": "user", "content": prompt}],
                chat_template=TEMPLATE_CLOCK + template if "strftime_now" in template else template,
                tokenize=False,
                add_generation_prompt=True,
                date_string=TEMPLATE_DATE,
            )
        except Exception as error:  # a template is a program, and can raise anything
            raise ModelError(
                f"{self.source.name} has a chat template that cannot be used: {first_line(error)}. Choose another "
                "model, or mend its template."
            ) from error
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def batches(
        self,
        prompts: Sequence[str],
        *,
        history: Sequence[Mapping[str, str]] = (),
        max_tokens: int = TOKENS_AT_ONCE,
        max_rows: int = 32,
        share_prefix: bool = False,
    ) -> Iterator[Batch]:
        """``prompts``, each after the turns of ``history``, as `batches_of_ids`."""
        ids = [self.token_ids(prompt, history) for prompt in prompts]
        yield from self.batches_of_ids(ids, max_tokens=max_tokens, max_rows=max_rows, share_prefix=share_prefix)

    def batches_of_ids(
        self,
        ids: Sequence[Sequence[int]],
        *,
        max_tokens: int = TOKENS_AT_ONCE,
        max_rows: int = 32,
        share_prefix: bool = False,
    ) -> Iterator[Batch]:
        """Rows of token ids as batches of like length, the longest first, each at most ``max_tokens``
        padded tokens or one row. The longest first, so that memory runs out at once or never.

        With ``share_prefix`` what all rows begin with stands before the padding and does not count.
        """
        prefix = shared_start(ids) if share_prefix and self._within_window(ids) else 0
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        while order:
            longest = len(ids[order[0]]) - prefix
            size = max(1, min(max_rows, max_tokens // longest))
            rows, order = order[:size], order[size:]
            yield self._padded(rows, [list(ids[row]) for row in rows], prefix)

    def _within_window(self, ids: Sequence[Sequence[int]]) -> bool:
        """Whether no row is long enough for a sliding window to matter: padding behind a prefix would count in it."""
        window = getattr(self.model.config.get_text_config(), "sliding_window", None)
        return window is None or max(map(len, ids), default=0) + ROOM_FOR_REPLY <= window

    def _padded(self, rows: list[int], ids: list[list[int]], prefix: int) -> Batch:
        longest = max(len(row) for row in ids)
        pad = self.tokenizer.pad_token_id
        padding = [longest - len(row) for row in ids]
        input_ids = torch.tensor([row[:prefix] + [pad] * n + row[prefix:] for row, n in zip(ids, padding, strict=True)])
        mask = torch.ones_like(input_ids)
        for row, n in enumerate(padding):
            mask[row, prefix : prefix + n] = 0
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        input_ids, mask, positions = (t.to(self.device) for t in (input_ids, mask, positions))
        return Batch(tuple(rows), input_ids, mask, positions, prefix)


def linear_weight(module: Any) -> Tensor | None:  # noqa: ANN401 - bitsandbytes' modules have no stubs
    """The weight of a linear module in fp32, written out where bitsandbytes packed it, shape [d_out, d_in].

    None for any other module.
    """
    if not (hasattr(module, "in_features") and hasattr(module, "weight")):
        return None
    if type(module.weight).__name__ in ("Params4bit", "Int8Params"):
        from transformers.integrations.bitsandbytes import dequantize_bnb_weight

        return dequantize_bnb_weight(module.weight, getattr(module, "state", None)).float()
    return module.weight.detach().float()


def shared_start(ids: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with, leaving two of each: the last one, which is measured, and one before it."""
    if len(ids) < 2:
        return 0
    first, last = min(map(list, ids)), max(map(list, ids))  # as sorted: what these two share, all share
    shared = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return max(0, min(shared, min(map(len, ids)) - 2))


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The list of decoder layers: the one module list as long as the configuration says."""
    wanted = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted and hasattr(module[0], "mlp"):
            return module
    raise ModelError(
        f"{type(model).__name__} has no list of {wanted} decoder layers with an MLP, so it cannot be tuned here. "
        "Models in the manner of Llama, Qwen, Mistral and Gemma can."
    )
