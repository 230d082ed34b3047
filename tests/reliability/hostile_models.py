"""Model folders and files that were made to harm: none may run code, hang, or take memory that it has no use for.

What counts as kept: the model is refused in words, or loaded, within the limits of `limited` and without the mark that
the code in it would leave.
"""

from __future__ import annotations

import json
import pickle
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import quick_app  # noqa: F401  makes the other tests' helpers importable
import torch
from attempts import Attempt, spread
from limited import in_limits
from safetensors.torch import save
from test_local_model import tiny_gguf
from tiny_models import tiny_folder

from actor_core.errors import ActorError
from actor_core.events import finish
from actor_core.fetch import local_model
from actor_core.loading import load_model
from actor_core.weights.gguf_header import read_header
from actor_core.weights.model_folder import check_folder

MARK = "code-was-run"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
# The classes of Python that a template reaches for when it wants out of its sandbox.
OUT = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
Files = dict[str, bytes | None]  # what is put over a whole model's files; None takes one away


def folders(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """Whole model folders but for one thing, each looked at and loaded."""
    torch.set_num_threads(1)
    tiny_folder("llama", folder / "whole")
    mark = folder / MARK
    cases = {}
    for name, files in spread(list(_hostile(folder / "whole", mark).items()), count):
        place = folder / name
        place.mkdir()
        for path in (folder / "whole").iterdir():
            (place / path.name).write_bytes(path.read_bytes())
        for file, data in files.items():
            (place / file).unlink(missing_ok=True)
            if data is not None:
                (place / file).write_bytes(data)
        cases[name] = place

    def load(name: str) -> str:
        try:
            model = finish(load_model(finish(local_model(str(cases[name]), folder / "data")), precision="fp32"))
            model.token_ids("What is bread?")
        except ActorError:
            return ""
        return ""

    for name, fault in in_limits(list(cases), load):
        yield Attempt(name, "its code was run" if mark.exists() else fault)


def _hostile(whole: Path, mark: Path) -> dict[str, Files]:
    """At least 30 ways to harm, by name."""
    config = json.loads((whole / "config.json").read_text(encoding="utf-8"))
    tokens = json.loads((whole / "tokenizer_config.json").read_text(encoding="utf-8"))
    code = f"open({str(mark)!r}, 'w').close()\n".encode()

    class Evil:
        def __reduce__(self) -> tuple:
            return exec, (code.decode(),)

    def with_config(**more: object) -> Files:
        return {"config.json": json.dumps({**config, **more}).encode(), "modeling_evil.py": code}

    def with_tokens(**more: object) -> Files:
        return {"tokenizer_config.json": json.dumps({**tokens, **more}).encode(), "tokenization_evil.py": code}

    def with_template(text: str) -> Files:
        return {"chat_template.jinja": text.encode()}

    def with_header(header: bytes, data: bytes = b"") -> Files:
        return {"model.safetensors": struct.pack("<Q", len(header)) + header + data}

    evil_map = {"AutoModelForCausalLM": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}
    return {
        "auto_map": with_config(auto_map=evil_map),
        "auto_map with a repository": with_config(auto_map={"AutoModelForCausalLM": "someone/code--modeling_evil.E"}),
        "auto_map within": with_config(text_config={"auto_map": evil_map}),
        "tokenizer auto_map": with_tokens(auto_map={"AutoTokenizer": ["tokenization_evil.Evil", None]}),
        "unknown model_type": with_config(model_type="modeling_evil"),
        "model_type as a path": with_config(model_type="../../modeling_evil"),
        "architectures": with_config(architectures=["modeling_evil.Evil", "__import__('os')"]),
        "tokenizer class": with_tokens(tokenizer_class="tokenization_evil.Evil"),
        "kernel from a repository": with_config(_attn_implementation="someone/kernel"),
        "kernel hidden in a field": with_config(_attn_implementation_internal="someone/kernel:main"),
        "experts from a repository": with_config(experts_implementation="someone/kernel"),
        "quantiser that is not there": with_config(quantization_config={"quant_method": "evil", "code": "x"}),
        "quantiser with a module": with_config(quantization_config={"quant_method": "auto-round", "backend": "evil:x"}),
        "dtype as code": with_config(dtype="__import__('os').system('true')", torch_dtype="load"),
        "a pickle for weights": {"model.safetensors": None, "pytorch_model.bin": pickle.dumps(Evil())},
        "a pickle beside weights": {
            "pytorch_model.bin": pickle.dumps(Evil()),
            "training_args.bin": pickle.dumps(Evil()),
        },
        "a pickle named safetensors": {"model.safetensors": pickle.dumps(Evil())},
        "a pickle as vocabulary": {"tokenizer.json": None, "tokenizer.model": pickle.dumps(Evil())},
        "a header of 2^62 bytes": {"model.safetensors": struct.pack("<Q", 2**62) + b"{}"},
        "a header of 90 MB": with_header(b"{" + b" " * 90_000_000 + b"}"),
        "a header of nested lists": with_header(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
        "a tensor behind the end": with_header(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,99]}}', b"x" * 36),
        "an unknown dtype": with_header(b'{"a":{"dtype":"F99","shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "a shape of 2^60": with_header(
            b'{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}', b"1234"
        ),
        "a negative shape": with_header(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"1234"),
        "weights of whole numbers": {
            "model.safetensors": save({"model.norm.weight": torch.ones(64, dtype=torch.int64)})
        },
        "a billion layers": with_config(num_hidden_layers=10**9),
        "a width of a billion": with_config(hidden_size=10**9, intermediate_size=10**9),
        "a billion words": with_config(vocab_size=10**9),
        "infinitely many layers": {
            "config.json": json.dumps(config).replace('"num_hidden_layers": 3', '"num_hidden_layers": 1e400').encode()
        },
        "negative sizes": with_config(hidden_size=-64, num_attention_heads=-4),
        "no sizes": with_config(hidden_size=0, num_attention_heads=0),
        "sizes as text": with_config(hidden_size="64; import os", num_hidden_layers=[3]),
        "configuration of nested lists": {"config.json": b"[" * 100_000},
        "configuration of 60 MB": {"config.json": b'{"a": "' + b"x" * 60_000_000 + b'"}'},
        "an index outside the folder": {"model.safetensors.index.json": b'{"weight_map": {"a": "../../etc/passwd"}}'},
        "template that loops": with_template(LOOP),
        "template that loops in its configuration": {**with_tokens(chat_template=LOOP), "chat_template.jinja": None},
        "template that loops under a name": {
            **with_tokens(chat_template=[{"name": "default", "template": LOOP}]),
            "chat_template.jinja": None,
        },
        "template that fills memory": with_template(
            "{% set ns = namespace(a='x' * 99) %}" + "{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}"
        ),
        "template of one large string": with_template("{{ 'x' * 10**11 }}"),
        "template of a large number": with_template("{{ 9 ** 9 ** 9 }}"),
        "template that reaches for classes": with_template(OUT),
        "template that opens a file": with_template("{% include '/etc/passwd' %}" + f"{{{{ open('{mark}', 'w') }}}}"),
        "template that imports": with_template(
            "{{ cycler.__init__.__globals__.os.popen('touch " + str(mark) + "') }}"
            "{{ lipsum.__globals__['os'].popen('touch " + str(mark) + "') }}"
        ),
        "template of 2 MB": with_template("{{ 1 }}" * 300_000),
        "template that is broken": with_template("{% for %}"),
        "tokenizer of nested lists": {"tokenizer.json": b"[" * 100_000},
        "tokenizer that is none": {"tokenizer.json": b'{"model": {"type": "Evil"}}'},
    }


def headers(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """GGUF and safetensors files with bytes of their headers changed, half of each, read as the program reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    torch.set_num_threads(1)
    gguf = tiny_gguf(folder / "whole.gguf").read_bytes()
    tiny_folder("llama", folder / "folder")
    weights = (folder / "folder" / "model.safetensors").read_bytes()
    gguf_header, weights_header = gguf.index(b"output_norm.weight") + 4000, 8 + struct.unpack("<Q", weights[:8])[0]
    target, weights_target = folder / "it.gguf", folder / "folder" / "model.safetensors"

    def read(case: tuple[str, int]) -> str:
        kind, number = case
        draw = random.Random(number)
        if kind == "gguf":
            target.write_bytes(mutated(gguf, min(gguf_header, len(gguf)), draw))
            try:
                read_header(target)
            except ActorError:
                return ""
            import gguf as library

            try:
                library.GGUFReader(target)
            except Exception:  # noqa: BLE001 - the child process that reads it in earnest says it in words
                return ""
            return ""
        weights_target.write_bytes(mutated(weights, weights_header, draw))
        try:
            check_folder(folder / "folder")
            from safetensors import SafetensorError, safe_open

            try:
                with safe_open(weights_target, "pt") as file:
                    for name in file.keys():
                        file.get_tensor(name)
            except SafetensorError:
                return ""
        except ActorError:
            return ""
        return ""

    cases = [("gguf" if n % 2 else "safetensors", draw.getrandbits(48)) for n in range(count)]
    for (kind, number), fault in in_limits(cases, read):
        yield Attempt(f"{kind} header {number}", fault)


LENGTHS = (0, 1, 2**16, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)


def mutated(data: bytes, header: int, draw: random.Random) -> bytes:
    """``data`` with one to eight changes in its first ``header`` bytes, or cut, or with some of it twice."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        place = draw.randrange(max(1, min(header, len(changed) - 8)))
        kind = draw.randrange(5)
        if kind == 0:
            changed[place] = draw.randrange(256)
        elif kind == 1:
            changed[place : place + 8] = struct.pack("<Q", draw.choice(LENGTHS))
        elif kind == 2:
            changed[place : place + 4] = struct.pack("<I", draw.choice(LENGTHS) & 0xFFFFFFFF)
        elif kind == 3:
            end = place + draw.randint(1, 64)
            changed[place:end] = changed[place:end] * 2
        elif draw.random() < 0.2:
            del changed[draw.randrange(100, len(changed)) :]
        else:
            del changed[place : place + draw.randint(1, 64)]
        changed.extend(bytes(max(0, 16 - len(changed))))
    return bytes(changed)


def conversions(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """Mutated GGUF files that pass the look at their header, converted in earnest."""
    from actor_core.weights import gguf_source

    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    torch.set_num_threads(1)
    whole = tiny_gguf(folder / "whole.gguf").read_bytes()
    header = min(whole.index(b"output_norm.weight") + 4000, len(whole))
    cases: list[Path] = []
    while len(cases) < count:
        path = folder / f"{len(cases)}.gguf"
        path.write_bytes(mutated(whole, header, random.Random(draw.getrandbits(48))))
        try:
            read_header(path)
        except ActorError:
            continue
        cases.append(path)

    def convert(path: Path) -> str:
        try:
            gguf_source.main(path, path.with_suffix(""), 64 << 30)
        except Exception:  # noqa: BLE001 - the program says it in words where the child process ends
            return ""
        return ""

    for path, fault in in_limits(cases, convert):
        yield Attempt(f"conversion of {path.name}", fault)
