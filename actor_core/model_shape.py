"""How much memory loading and tuning take, from a model's shape alone: before a byte of it is downloaded.

What is counted is what is largest at one time, part by part of `tune`: batches, caches and matrices have the sizes
that those parts give them. Beside the weights it is the keys and values of the held-out prompts that grow with the
model, and the system of equations with the width of its MLP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from actor_core.presets import ModelPreset

__all__ = ["BYTES_PER_WEIGHT", "Needs", "Shape"]

BYTES_PER_WEIGHT = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.1, "nf4": 0.6}

# Python with torch, transformers, the tokenizer and what they allocate once.
PROGRAM = 510_000_000
# On a GPU, what CUDA takes there before anything is put on it.
CUDA = 500_000_000

# Of a tuning with the program's own prompt set: prompts of the set that are read, other tokens that are kept
# beside them, and held-out prompts. A prompt has about so many tokens in its chat template.
SET_PROMPTS = 4_830
OTHER_TOKENS = 2_450
HELD_OUT_PROMPTS = 352
TOKENS_OF_PROMPT = 46
CALIBRATION_PROMPTS = 80
# Replies are written in batches of up to so many, and so many tokens long.
ROWS, TOKENS_OF_REPLY = 96, 64
# The causal direction keeps the states of a batch of so many tokens after each layer, and for the way back through one
# layer at a time, of each token, so many numbers of each width.
TOKENS_OF_GRADIENT = 512
KEPT_OF_MODEL_WIDTH, KEPT_OF_MLP_WIDTH = 10, 4


@dataclass(frozen=True)
class Needs:
    """Bytes where the model is: ``loading`` at most while it is loaded, ``tuning`` at most from then on.

    Part of the former is the file, mapped, which the system takes back when memory is short.
    """

    loading: int
    tuning: int

    @property
    def peak(self) -> int:
        return max(self.loading, self.tuning)


@dataclass(frozen=True)
class Shape:
    """``embedding``, ``head`` (0 where it is the embedding's) and ``layer`` (one of ``layers``) count weights.

    ``kv_width`` is how many numbers a layer keeps of one token as its keys, and as many as its values; ``stored`` the
    precision of the file.
    """

    layers: int
    d_model: int
    d_in: int
    kv_width: int
    vocabulary: int
    embedding: int
    head: int
    layer: int
    stored: str

    @classmethod
    def of_preset(cls, preset: ModelPreset) -> Shape:
        embedding = preset.vocabulary * preset.d_model
        head = 0 if preset.tied else embedding
        layer = (preset.parameters - embedding - head) // preset.layers
        sizes = (preset.layers, preset.d_model, preset.d_in, preset.kv_width, preset.vocabulary)
        return cls(*sizes, embedding, head, layer, preset.stored)

    @classmethod
    def of_config(cls, config: PreTrainedConfig) -> Shape:
        """Counted on the model itself, built without memory (torch's meta device)."""
        import torch
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            return cls.of(AutoModelForCausalLM.from_config(config))

    @classmethod
    def of(cls, model: PreTrainedModel) -> Shape:
        text: Any = model.config.get_text_config()
        embedding: Any = model.get_input_embeddings().weight
        head: Any = model.get_output_embeddings().weight
        of_head = 0 if head is embedding else head.numel()
        rest = sum(p.numel() for p in model.parameters()) - embedding.numel() - of_head
        head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        return cls(
            text.num_hidden_layers,
            text.hidden_size,
            text.intermediate_size,
            heads * head_width,
            text.vocab_size,
            embedding.numel(),
            of_head,
            rest // text.num_hidden_layers,
            "fp16" if str(model.config.dtype) == "torch.float16" else "bf16",
        )

    def weights(self, precision: str, device: str = "cpu") -> int:
        """Bytes of the weights; bitsandbytes leaves embeddings and head as wide as it computes."""
        outside = max(BYTES_PER_WEIGHT[precision], _number(precision, device))
        return int((self.embedding + self.head) * outside + self.layers * self.layer * BYTES_PER_WEIGHT[precision])

    def needs(self, precision: str, device: str, own_prompts: int = 100) -> Needs:
        """What loading, and tuning for ``own_prompts`` of a person, take on ``device`` (cpu, cuda or mps)."""
        number = _number(precision, device)
        weights = self.weights(precision, device)
        parts = [self._direction(number), self._replies(number), self._held_out(number)]
        if device == "cuda":  # what is read, and the system of equations, lie in main memory
            return Needs(CUDA + weights, CUDA + weights + max(parts))
        parts += [self._calibration(), self._solving(SET_PROMPTS + own_prompts)]
        # A file whose numbers are used as they are is mapped, and comes into memory as it is used.
        loading = 0 if precision == self.stored else weights + self.weights(self.stored)
        return Needs(PROGRAM + loading, PROGRAM + weights + max(parts))

    def largest_piece(self, precision: str) -> int:
        """Bytes of what is read at a time of a model whose layers are read from its files."""
        return int(BYTES_PER_WEIGHT[precision] * max(self.embedding, self.layer))

    def streamed(self, precision: str, device: str, own_prompts: int = 100) -> int:
        """Bytes that tuning takes at most on ``device`` where no layer stays there: see `passages`."""
        number, prompts = _number(precision, device), SET_PROMPTS + own_prompts
        states = number * prompts * TOKENS_OF_PROMPT * self.d_model
        if device == "cuda":
            return CUDA + self.largest_piece(precision) + max(states, self._held_out(number))
        states += 4 * prompts * (self.d_in + self.d_model)
        parts = (states, self._held_out(number), self._calibration(), self._solving(prompts))
        return PROGRAM + self.largest_piece(precision) + max(parts)

    def _calibration(self) -> int:
        """Logits of first tokens, and two copies of them on the way to probabilities."""
        return 3 * 4 * CALIBRATION_PROMPTS * self.vocabulary

    def _direction(self, number: int) -> int:
        """The states after each layer from the first candidate on, which stands after the first third, and what
        autograd keeps of one layer."""
        of_one = KEPT_OF_MODEL_WIDTH * self.d_model + KEPT_OF_MLP_WIDTH * self.d_in
        return number * TOKENS_OF_GRADIENT * (2 * self.layers // 3 * self.d_model + of_one)

    def _keys_and_values(self, tokens: int, number: int) -> int:
        return 2 * number * self.layers * self.kv_width * tokens

    def _replies(self, number: int) -> int:
        return self._keys_and_values(ROWS * (TOKENS_OF_PROMPT + TOKENS_OF_REPLY), number)

    def _held_out(self, number: int) -> int:
        return self._keys_and_values(HELD_OUT_PROMPTS * TOKENS_OF_PROMPT, number)

    def _solving(self, prompts: int) -> int:
        """The reading, other tokens and all rows once more in fp32; and a square system four times in fp64."""
        reading = prompts * (self.d_in + self.d_model) + 2 * OTHER_TOKENS * self.d_in
        rows = (prompts + OTHER_TOKENS) * self.d_in
        return 4 * (reading + rows) + 4 * 8 * min(prompts + OTHER_TOKENS, self.d_in) ** 2


def _number(precision: str, device: str) -> int:
    """Bytes of a number that is computed; a processor computes quantised weights in fp32."""
    return 4 if precision == "fp32" or (device == "cpu" and precision in ("nf4", "int8")) else 2
