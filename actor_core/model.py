"""A chat model in memory: the one file that knows how transformers and bitsandbytes load one.

Device, precision and quantisation are data here. Everything after this file runs the same
lines on a CPU in fp32 and on a GPU in 4 bits.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from actor_core.delta import BaseModelId
from actor_core.errors import ModelError, OutOfMemory, is_out_of_memory
from actor_core.events import Event, Progress
from actor_core.freed_memory import give_back, giving_back_at_once
from actor_core.memory import Machine, bytes_of_weights
from actor_core.model_shape import Shape

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from actor_core.fetch import FetchedModel

__all__ = ["PRECISIONS", "TOKENS_AT_ONCE", "Batch", "LoadedModel", "linear_weight", "load_model", "shared_start"]

PRECISIONS = ("auto", "bf16", "fp16", "fp32", "nf4", "int8")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

# Padded tokens of one pass, which cannot be stopped: a processor without bf16 reads them in about two seconds.
TOKENS_AT_ONCE = 512

# Of main memory that is free, what layers may take that a GPU does not hold.
SHARE_OF_MEMORY = 0.8

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
    padding, are the same in every row of every batch of the list (see `prefix`).
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
        return _decoder_layers(self.model)

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
    def streamed(self) -> bool:
        """Whether part of the weights is read from the files at each use: see `layer_by_layer`."""
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
                f"{self.source.name} has a chat template that cannot be used: {_first_line(error)}. Choose another "
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


def load_model(
    source: FetchedModel, *, precision: str = "auto", device: str = "auto", memory: int | None = None
) -> Generator[Event, None, LoadedModel]:
    """Loads the folder of ``source``. ``precision`` is one of `PRECISIONS`, ``device`` auto, cpu, cuda or mps.

    ``memory`` is how many bytes of weights may be on the device at once: what is more is read from the files, layer
    by layer, at each use. Not with 4 or 8 bits.

    Raises `ModelError` for a model that cannot be used here (no chat template, an architecture
    without decoder layers), `OutOfMemory` where the weights do not fit.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    yield Progress("load", 0, 1, f"Loading {source.name}")
    machine = Machine.look()
    place = _device(device, machine)
    if memory is not None and precision == "auto":  # 4 bits, its other answer to too little memory, are none here
        machine = replace(machine, memory_free=sys.maxsize, gpu_free=sys.maxsize)
    chosen, reason = _precision(precision, place, machine, bytes_of_weights(source.folder))
    try:
        config = AutoConfig.from_pretrained(source.folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
        _require_chat_template(tokenizer, source.name)
        with giving_back_at_once():
            both: Any = AutoModelForCausalLM.from_pretrained(  # a pair, as output_loading_info says
                source.folder,
                config=config,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                device_map=_places(config, chosen, place, memory, machine),
                **_weights_as(chosen, place),
            )
        model, found = both
    except ModelError:
        raise
    except Exception as error:  # files of others make the libraries raise anything
        if is_out_of_memory(error):
            give_back()
            raise OutOfMemory(
                f"{source.name} does not fit into {machine.words(place)} as {chosen}. "
                "Choose 4 bits (nf4) under 'How to load it', or a smaller model."
            ) from error
        raise ModelError(f"{source.name} cannot be loaded: {_first_line(error)}") from error
    _require_all_weights(sorted(found["missing_keys"]), source.name)
    model.eval().requires_grad_(False)
    _keep_four_bits_readable(model)
    _decoder_layers(model)
    model.get_output_embeddings().register_forward_pre_hook(_contiguous)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    loaded = LoadedModel(model, tokenizer, source, torch.device(place), chosen, reason)
    loaded.token_ids("What is bread?")  # a template that cannot be used is said now
    yield Progress("load", 1, 1, f"{source.name} is loaded: {reason}")
    return loaded


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


def _places(
    config: PreTrainedConfig, precision: str, place: str, memory: int | None, machine: Machine
) -> dict[str, str | int]:
    """Where each module of the model goes: to ``place``, or as much of it there as ``memory`` bytes hold beside what
    is read at each use, and the rest to main memory where that is another, and to the disk."""
    from accelerate import infer_auto_device_map
    from transformers import AutoModelForCausalLM

    if memory is None:
        return {"": place}
    if precision not in DTYPES:
        raise ModelError(
            f"With --memory the model is loaded in 16 or 32 bits, and {precision} was chosen: choose bf16 or fp32."
        )
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, dtype=DTYPES[precision])
    empty.tie_weights()
    read_at_a_time = Shape.of(empty).largest_piece(precision)
    if memory < read_at_a_time:
        raise OutOfMemory(
            f"{memory / 1e6:.0f} MB are too little: what is read at a time takes {read_at_a_time / 1e6:.0f} MB in "
            f"{precision}. Give more, or a smaller model."
        )
    on_device: str | int = 0 if place == "cuda" else place
    rooms: dict[str | int, int] = {on_device: memory}  # accelerate leaves room in it for the largest piece
    if place == "cuda":
        rooms["cpu"] = int(SHARE_OF_MEMORY * machine.memory_free)
    found = infer_auto_device_map(
        empty, max_memory=rooms, no_split_module_classes=empty._no_split_modules, dtype=DTYPES[precision]
    )
    return dict(found)


def _device(wanted: str, machine: Machine) -> str:
    if wanted == "auto":
        return "cuda" if machine.gpu_bytes else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted == "cuda" and not machine.gpu_bytes:
        raise ModelError("No CUDA GPU was found. Choose 'cpu' or 'auto' as the device, or see launch.py --doctor.")
    return wanted


def _precision(wanted: str, device: str, machine: Machine, weights_16_bit: int) -> tuple[str, str]:
    """The precision to load in, and why, in words. ``weights_16_bit`` in bytes."""
    if wanted != "auto":
        return wanted, f"{wanted} on {device}, as asked"
    free = machine.free_bytes(device)
    if device == "cpu":
        fast = "bf16" if _bf16_is_fast() else "fp32"
        needed = weights_16_bit * (1 if fast == "bf16" else 2)
        why = (
            "this processor computes bf16 faster than fp32"
            if fast == "bf16"
            else "this processor computes fp32 faster than bf16"
        )
    else:
        fast = "bf16" if device == "mps" or torch.cuda.is_bf16_supported() else "fp16"
        needed, why = weights_16_bit, "it fits as it is"
    if needed * 1.25 < free:
        return fast, f"{fast} on {device}, because {why}"
    return "nf4", f"4 bits (nf4) on {device}, because {fast} needs {needed / 1e9:.1f} GB of {free / 1e9:.1f} GB free"


def _bf16_is_fast() -> bool:
    """Whether a linear layer takes less time in bf16 than in fp32 on this CPU.

    The two are timed in turns, and the best of each counts: other work on the machine then slows both, where one
    after the other it once decided the precision, and with it what had to be read again.
    """
    dtypes = (torch.bfloat16, torch.float32)
    operands = {dtype: (torch.ones(256, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)) for dtype in dtypes}
    best = dict.fromkeys(dtypes, float("inf"))
    for _ in range(12):  # the first of them warms up
        for dtype, (inputs, weight) in operands.items():
            start = time.perf_counter()
            torch.nn.functional.linear(inputs, weight)
            best[dtype] = min(best[dtype], time.perf_counter() - start)
    return best[torch.bfloat16] < best[torch.float32]


def _weights_as(precision: str, device: str) -> dict[str, Any]:
    if precision in DTYPES:
        return {"dtype": DTYPES[precision]}
    from transformers import BitsAndBytesConfig

    compute = torch.float32 if device == "cpu" and not _bf16_is_fast() else torch.bfloat16
    four_bits = precision == "nf4"
    config = BitsAndBytesConfig(
        load_in_4bit=four_bits,
        load_in_8bit=not four_bits,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=four_bits,
        bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=["lm_head"],
    )
    return {"quantization_config": config, "dtype": compute}


def _decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The list of decoder layers: the one module list as long as the configuration says."""
    wanted = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted and hasattr(module[0], "mlp"):
            return module
    raise ModelError(
        f"{type(model).__name__} has no list of {wanted} decoder layers with an MLP, so it cannot be tuned here. "
        "Models in the manner of Llama, Qwen, Mistral and Gemma can."
    )


def _keep_four_bits_readable(model: nn.Module) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights at their first use on a CPU with AVX512-BF16: what is
    repacked passes no gradient back and is written out by `linear_weight` in the wrong order."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - no attribute mypy knows


def _contiguous(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The last token's states as a block of their own: for a slice of a longer tensor torch copies the
    whole vocabulary's matrix once for every row of the batch (ten times slower, gigabytes)."""
    return (inputs[0].contiguous(), *inputs[1:])


def _require_all_weights(missing: Sequence[str], name: str) -> None:
    """transformers puts random numbers where a weight is missing, and says so to nobody here."""
    if missing:
        raise ModelError(
            f"{name} is not whole: its files lack {len(missing)} of the weights that its configuration asks for "
            f"({missing[0]}). Download it again, all of it."
        )


def _require_chat_template(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    if not tokenizer.chat_template:
        raise ModelError(
            f"{name} has no chat template: it is a base model, not one that was taught to chat and to refuse. "
            "Choose the variant whose name ends in Instruct, Chat or it."
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__

