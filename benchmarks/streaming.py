"""Reading prompts with a model whose layers are read from its files, beside the same model in memory.

    python benchmarks/streaming.py --precision fp32 --memory 600MB
    python benchmarks/streaming.py --precision bf16 --memory 2GB --folder FOLDER --prompts 16

Each in a process of its own: seconds of loading and of reading up to the middle layer; the most memory that loading
took over what there was before, and reading over the process without the model, both without the files' pages that
the system takes back when it needs them; and the most with them. The bound is two layers (or the embeddings, where
they are larger) and the states of all prompts, and a tenth, and holds for reading.
--random SHAPE FOLDER makes a model of that shape first, whose weights are random: there is nothing to tune in it.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from peak_memory import PeakMemory, measured_apart
from real_model import arguments, finish, machine
from safetensors.torch import save_file

from actor_core.activations import read_activations
from actor_core.fetch import fetch
from actor_core.freed_memory import give_back
from actor_core.loading import load_model
from actor_core.model import DTYPES
from actor_core.model_shape import BYTES_PER_WEIGHT, Shape
from actor_core.presets import model_presets, prompt_sets
from actor_core.weights.model_home import FetchedModel
from actor_core.weights.whole_files import bytes_of

# Of the models' own config.json files: d_model, d_in, layers, heads, key and value heads.
SHAPES = {"qwen2.5-7b": (3584, 18944, 28, 28, 4)}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--memory", default="600MB", help="for the weights, of the one that is streamed")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--layer", type=int, help="up to which prompts are read (default: half of them)")
    parser.add_argument("--folder", type=Path, help="of a model, instead of a preset's")
    parser.add_argument("--random", nargs=2, metavar=("SHAPE", "FOLDER"), help=f"one of {', '.join(SHAPES)}")
    parser.add_argument("--only", choices=("streamed", "in memory"), help="leave out the other one")
    parser.add_argument("--here", type=Path, help="measure --only in this process, and write the states there")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.random:
        make_random(SHAPES[options.random[0]], Path(options.random[1]), options)
        return
    if options.here:
        print(json.dumps(measure(options)))
        return
    rows = [
        "| model | loading s | reading s | loading GB | reading GB | bound GB | with pages of files GB |",
        "|---|---|---|---|---|---|---|",
    ]
    states = {}
    for how in (options.only,) if options.only else ("in memory", "streamed"):
        with TemporaryDirectory() as folder:
            place = Path(folder) / "states.pt"
            m = measured_apart([*sys.argv, "--only", how, "--here", str(place)])
            states[how] = torch.load(place)
        rows.append(
            f"| {how} | {m['loading']:.1f} | {m['reading']:.1f} | {m['held_loading'] / 1e9:.2f} | "
            f"{m['held_reading'] / 1e9:.2f} | "
            + (f"{m['bound'] / 1e9:.2f} | " if how == "streamed" else "| ")
            + f"{m['mapped'] / 1e9:.2f} |"
        )
        print(rows[-1], flush=True)
    if len(states) == 2:
        difference = float((states["streamed"] - states["in memory"]).abs().max() / states["in memory"].abs().max())
        rows += ["", f"Largest difference of a state, of the largest state: {difference:.1e}."]
    name = options.folder.name if options.folder else options.model
    about = f"{name}, {options.precision}, --memory {options.memory}"
    text = "\n".join([f"{about}, {options.prompts} prompts; {machine()}; {time.strftime('%Y-%m-%d')}", "", *rows])
    print(f"\n{text}")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def measure(options: Namespace) -> dict[str, float]:
    """Seconds, and bytes over what the process had before it loaded the model."""
    import transformers  # noqa: F401 - part of what it has before

    if options.folder:
        source = FetchedModel(options.folder, None, options.folder.name, "", "0" * 64)
    else:
        source = finish(fetch(model_presets()[options.model], options.data_dir))
    prompts = list(prompt_sets()["everyday"].training().pseudo_harmful)[: options.prompts]
    memory = bytes_of(options.memory) if options.only == "streamed" else None
    start = time.perf_counter()
    with PeakMemory() as while_loading:
        model = finish(load_model(source, precision=options.precision, device="cpu", memory=memory))
    loaded = time.perf_counter()
    layer = model.n_layers // 2 if options.layer is None else options.layer
    give_back()
    with PeakMemory() as while_reading:
        reading = finish(read_activations(model, prompts, [layer]))[layer]
    read = time.perf_counter()
    torch.save(reading.outputs, options.here)
    shape, number = Shape.of(model.model), BYTES_PER_WEIGHT[options.precision]
    tokens = sum(batch.input_ids.numel() for batch in model.batches(prompts, share_prefix=True))
    states = number * tokens * shape.d_model + 4 * sum(getattr(reading, n).numel() for n in ("inputs", "others"))
    return {
        "loading": loaded - start,
        "reading": read - loaded,
        "held_loading": while_loading.held,
        "held_reading": while_reading.held + (model.bytes_that_stay if options.precision != shape.stored else 0),
        "mapped": max(while_loading.added, while_reading.added),
        "bound": 1.1 * (number * max(2 * shape.layer, shape.embedding) + states),
    }


def make_random(shape: tuple[int, ...], folder: Path, options: Namespace) -> None:
    """A Qwen2 model of ``shape`` in bf16 with the tokenizer of --model; every layer has the same random weights."""
    from transformers import AutoTokenizer, Qwen2Config

    source = finish(fetch(model_presets()[options.model], options.data_dir))
    d_model, d_in, layers, heads, kv_heads = shape
    width = d_model // heads
    folder.mkdir(parents=True)
    AutoTokenizer.from_pretrained(source.folder).save_pretrained(folder)
    for file in source.folder.glob("chat_template*"):
        shutil.copy(file, folder)
    config = Qwen2Config(
        vocab_size=152_064,
        hidden_size=d_model,
        intermediate_size=d_in,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=False,
        dtype=DTYPES["bf16"],
        architectures=["Qwen2ForCausalLM"],
    )
    config.save_pretrained(folder)
    draw = torch.Generator().manual_seed(options.seed)

    def random(*size: int) -> torch.Tensor:
        return (0.02 * torch.randn(*size, generator=draw)).bfloat16()

    one = {
        "input_layernorm.weight": torch.ones(d_model).bfloat16(),
        "post_attention_layernorm.weight": torch.ones(d_model).bfloat16(),
        "mlp.gate_proj.weight": random(d_in, d_model),
        "mlp.up_proj.weight": random(d_in, d_model),
        "mlp.down_proj.weight": random(d_model, d_in),
        "self_attn.o_proj.weight": random(d_model, d_model),
        "self_attn.q_proj.weight": random(d_model, d_model),
        "self_attn.q_proj.bias": random(d_model),
    }
    for name in ("k_proj", "v_proj"):
        one |= {f"self_attn.{name}.weight": random(kv_heads * width, d_model)}
        one |= {f"self_attn.{name}.bias": random(kv_heads * width)}
    ends = {"model.embed_tokens.weight": random(152_064, d_model), "model.norm.weight": torch.ones(d_model).bfloat16()}
    ends["lm_head.weight"] = ends["model.embed_tokens.weight"]
    places = {}
    for n in range(layers):
        tensors = {f"model.layers.{n}.{name}": tensor for name, tensor in one.items()}
        save_file(tensors, folder / f"layer-{n}.safetensors", metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, f"layer-{n}.safetensors")
    for name, tensor in ends.items():
        save_file({name: tensor}, folder / f"{name}.safetensors", metadata={"format": "pt"})
        places[name] = f"{name}.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


if __name__ == "__main__":
    main()
