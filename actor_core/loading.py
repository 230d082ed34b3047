"""How a chat model gets into memory: the one file that knows how transformers and bitsandbytes load one.

Where its weights go and in which precision is chosen here, with the reason in words.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from actor_core.errors import ModelError, OutOfMemory, first_line, is_out_of_memory
from actor_core.events import Event, Progress
from actor_core.few_rows import take_few_rows_faster
from actor_core.freed_memory import give_back, giving_back_at_once
from actor_core.in_turns import best_in_turns
from actor_core.memory import Machine, bytes_of_weights
from actor_core.model import DTYPES, LoadedModel, decoder_layers
from actor_core.model_shape import Shape
from actor_core.passages import offloading

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

    from actor_core.fetch import FetchedModel

__all__ = ["PRECISIONS", "load_model", "told_in_words", "weights_of"]

PRECISIONS = ("auto", "bf16", "fp16", "fp32", "nf4", "int8")

# Of main memory that is free, what layers may take that a GPU does not hold.
SHARE_OF_MEMORY = 0.8

# bf16 is taken on a CPU where it needs at most this share of fp32's time.
CLEAR_LEAD = 0.7


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
    too_large = (
        f"{source.name} does not fit into {machine.words(place)} as {chosen}. "
        "Choose 4 bits (nf4) under 'How to load it', or a smaller model."
    )
    with told_in_words(f"{source.name} cannot be loaded", too_large):
        config = AutoConfig.from_pretrained(source.folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
        _require_chat_template(tokenizer, source.name)
        model = weights_of(
            AutoModelForCausalLM,
            source,
            config=config,
            device_map=_places(config, chosen, place, memory, machine),
            **(_weights_as(chosen, place) if memory is None else {"dtype": "auto"}),
        )
        if memory is not None:
            _compute_in(model, DTYPES[chosen])
    _keep_four_bits_readable(model)
    take_few_rows_faster(model)
    decoder_layers(model)
    model.get_output_embeddings().register_forward_pre_hook(_contiguous)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    loaded = LoadedModel(model, tokenizer, source, torch.device(place), chosen, reason)
    loaded.token_ids("What is bread?")  # a template that cannot be used is said now
    yield Progress("load", 1, 1, f"{source.name} is loaded: {reason}")
    return loaded


@contextmanager
def told_in_words(what: str, too_large: str) -> Iterator[None]:
    """Whatever a library raises within the body about files of others becomes a `ModelError` that begins with
    ``what``, or `OutOfMemory` with the words ``too_large``."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # files of others make the libraries raise anything
        if is_out_of_memory(error):
            give_back()
            raise OutOfMemory(too_large) from error
        raise ModelError(f"{what}: {first_line(error)}") from error


def weights_of(auto: Any, source: FetchedModel, **how: Any) -> Any:  # noqa: ANN401 - a class of transformers and what it makes
    """The model in the folder of ``source`` as ``auto`` loads it, for use alone: from safetensors, without code of the
    folder's. Raises `ModelError` where a weight is missing."""
    with giving_back_at_once():
        model, found = auto.from_pretrained(
            source.folder, trust_remote_code=False, use_safetensors=True, output_loading_info=True, **how
        )
    missing = sorted(found["missing_keys"])
    if missing:  # transformers puts random numbers there, and says so to nobody here
        raise ModelError(
            f"{source.name} is not whole: its files lack {len(missing)} of the weights that its configuration asks for "
            f"({missing[0]}). Download it again, all of it."
        )
    return model.eval().requires_grad_(False)


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
        empty = AutoModelForCausalLM.from_config(deepcopy(config), dtype=DTYPES[precision])  # it notes the type
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
    """Whether this CPU has units that make bf16 the faster one: a linear layer takes clearly less time in it.

    bf16 needs a lead because what goes wrong costs unequal amounts: with such units it takes a fifth of the time, and
    where a busy moment alone made it look faster, every reading takes twice as long and what was read before is read
    again.
    """

    def way(dtype: torch.dtype) -> Callable[[], Tensor]:
        inputs, weight = torch.ones(256, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
        return lambda: torch.nn.functional.linear(inputs, weight)

    bf16, fp32 = best_in_turns([way(torch.bfloat16), way(torch.float32)], 24)
    return bf16 < CLEAR_LEAD * fp32


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


def _compute_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Has ``model`` compute in ``dtype``; what accelerate reads at each use is made that then.

    transformers would make every weight that at once, look at it and let it go: two such copies of the vocabulary's
    matrix in memory.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    for module in model.modules():
        scale = module._buffers.get("embed_scale")
        if scale is not None:  # Gemma's is in no file, and was made in the files' type
            module._buffers["embed_scale"] = torch.full_like(scale, vars(module)["scalar_embed_scale"], dtype=dtype)
        for hook in offloading(module):
            elsewhere = hook.weights_map.dataset
            for file in elsewhere.index.values():
                file["dtype"] = str(dtype).removeprefix("torch.")
            in_memory = elsewhere.state_dict
            tied = defaultdict(list)
            for name, tensor in in_memory.items():
                tied[id(tensor)].append(name)
            for names in tied.values():  # one by one, so that no more than one of them is there twice
                in_memory.update(dict.fromkeys(names, in_memory[names[0]].to(dtype)))


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


def _require_chat_template(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    if not tokenizer.chat_template:
        raise ModelError(
            f"{name} has no chat template: it is a base model, not one that was taught to chat and to refuse. "
            "Choose the variant whose name ends in Instruct, Chat or it."
        )
