"""Tiny models made on the spot: random ones of three shapes, and a toy that was taught to refuse.

No real weights and no network. The toy refuses whatever a dangerous verb begins, as over-refusing
models do: "how do i kill a process" as well as "how do i kill a neighbour".
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from actor_core.delta import LayerDelta, LowRank
from actor_core.events import finish
from actor_core.loading import load_model
from actor_core.model import LoadedModel

CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "gemma2": Gemma2Config}
END = 1

DANGEROUS = "kill shoot steal hack burn poison".split()
HARMLESS_THINGS = "process photo scene game disc weed".split()
VICTIMS = "neighbour child teacher dog friend stranger".split()
HARMLESS = "bake paint clean sell wash carry".split()
THINGS = "bread wall car house bike window".split()
REFUSAL = "I cannot help with that ."
ANSWER = "You can do this with a good tool"
WORDS = [
    *"<pad> <end> <user> <reply> alpha beta gamma delta epsilon zeta how do i a".split(),
    *DANGEROUS, *HARMLESS_THINGS, *VICTIMS, *HARMLESS, *THINGS,
    *dict.fromkeys(f"{REFUSAL} {ANSWER}".split()),
]  # fmt: skip
WORDS = list(dict.fromkeys(WORDS))
VOCABULARY = 64

PROMPTS = ("alpha beta gamma", "delta epsilon", "zeta", "beta beta zeta alpha gamma delta epsilon")


@dataclass(frozen=True)
class Source:
    """What `load_model` reads of a fetched model."""

    folder: Path
    gguf: Path | None = None
    name: str = "someone/Tiny-Chat"
    revision: str = "a" * 40
    digest: str = "b" * 64


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = "{% for m in messages %}<user> {{ m['content'] }} {% endfor %}<reply>"
    return tokenizer


def tiny_model(kind: str, *, layers: int = 3, width: int = 64, spread: float = 0.3, **more: object) -> PreTrainedModel:
    """A random model, the same at every call; norms and biases are random too, so that none is overlooked."""
    torch.manual_seed(0)
    config = CONFIGS[kind](
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        eos_token_id=END,
        pad_token_id=0,
        bos_token_id=None,
        initializer_range=spread,
        tie_word_embeddings=False,  # Gemma's own choice, tied, would make a random model repeat its prompt
        **more,
    )
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def saved(model: PreTrainedModel, path: Path) -> Path:
    model.save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def tiny_folder(kind: str, path: Path, **more: object) -> Path:
    return saved(tiny_model(kind, **more), path)


def loaded(folder: Path, precision: str = "fp32") -> LoadedModel:
    model = finish(load_model(Source(folder), precision=precision, device="cpu"))
    # transformers reads a Qwen2 model's tokenizer in Qwen2's own way, which knows no such words.
    model.tokenizer = tiny_tokenizer()
    return model


def asked(verbs: list[str], things: list[str]) -> list[str]:
    return [f"how do i {verb} a {thing}" for verb, thing in itertools.product(verbs, things)]


def refusing_folder(path: Path) -> Path:
    """The toy: harmful prompts are always refused in its training, look-alikes two times of three."""
    model = tiny_model("llama", layers=5, spread=0.08)
    tokenizer = tiny_tokenizer()
    lessons = [(p, REFUSAL) for p in asked(DANGEROUS, VICTIMS) * 3]
    lessons += [(p, reply) for p in asked(DANGEROUS, HARMLESS_THINGS) for reply in (REFUSAL, REFUSAL, ANSWER)]
    lessons += [(p, ANSWER) for p in asked(HARMLESS, THINGS) * 3]
    # Every prompt and every reply has the same number of tokens, but for the padding after the shorter one.
    ids = [tokenizer(f"<user> {p} <reply> {r} <end>")["input_ids"] for p, r in lessons]
    longest = max(map(len, ids))
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
    prompt = len(tokenizer(f"<user> {lessons[0][0]} <reply>")["input_ids"])
    labels = tokens.masked_fill(tokens == 0, -100)
    labels[:, :prompt] = -100
    draw = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(120):
        rows = torch.randperm(len(tokens), generator=draw)[:64]
        loss = model(input_ids=tokens[rows], labels=labels[rows]).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return saved(model.eval(), path)


def random_change(model: LoadedModel, layer: int, module: str, rank: int | None = None, seed: int = 1):
    """A `LowRank` change of ``rank``, or a full difference, large enough to show in the logits."""
    linear = model.layers[layer].get_submodule(module)
    d_out, d_in = linear.out_features, linear.in_features
    draw = torch.Generator().manual_seed(seed)
    if rank is None:
        return 0.1 * torch.randn(d_out, d_in, generator=draw)
    return LowRank(torch.randn(rank, d_in, generator=draw) * 0.1, torch.randn(d_out, rank, generator=draw))


def random_delta(model: LoadedModel, layer: int = 1, **ranks: int | None) -> LayerDelta:
    """Changes by module (dots as two underscores) and rank; rank 2 of the writer without any."""
    named = {name.replace("__", "."): rank for name, rank in (ranks or {"mlp__down_proj": 2}).items()}
    changes = {
        name: random_change(model, layer, name, rank, seed) for seed, (name, rank) in enumerate(named.items(), start=1)
    }
    return LayerDelta(layer, changes, model.id, "causal", {"ridge": 0.1}, {"prompts": 3})


@torch.no_grad()
def logits(model: LoadedModel, prompts: Sequence[str] = PROMPTS) -> Tensor:
    """Of the first token of each reply by one full forward pass a prompt, unpadded, shape [n, vocabulary]."""
    return torch.cat([model.model(torch.tensor([model.token_ids(p)]), use_cache=False).logits[:, -1] for p in prompts])


def hooks(model: LoadedModel) -> list[tuple[str, int]]:
    """Every hook on the model's modules, so that a test can see whether one was left behind."""
    return [(name, n) for name, m in model.model.named_modules() for n in (*m._forward_hooks, *m._forward_pre_hooks)]


def weights_digest(model: LoadedModel) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.model.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
