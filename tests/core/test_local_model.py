"""What a person types as a model: told apart, looked at before it is loaded, read once."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest
from hub_stand_in import COMMIT, Hub, hub_stand_in, no_hub
from safetensors.numpy import save

from actor_core.errors import FetchError, ModelError
from actor_core.events import finish
from actor_core.fetch import local_model
from actor_core.weights import gguf_source

np = pytest.importorskip("numpy")


def tiny_files() -> dict[str, bytes]:
    """A transformers folder in all but sense."""
    return {
        "config.json": json.dumps({"model_type": "llama", "num_hidden_layers": 2}).encode(),
        "generation_config.json": b"{}",
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
        "model.safetensors": save({"a": np.zeros((4, 4), np.float32)}),
    }


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hub(monkeypatch)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    unwanted = {"modeling_evil.py": b"raise SystemExit", "pytorch_model.bin": b"pickle", "README.md": b"#"}
    with hub_stand_in(Hub(files={**tiny_files(), **unwanted, "sub/model.safetensors": b"x"})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


def test_a_local_folder_is_used_where_it_lies(tmp_path: Path):
    folder = lay(tmp_path / "my model", tiny_files())
    found = finish(local_model(str(folder), tmp_path / "data"))
    assert (found.folder, found.gguf, found.name, found.revision) == (folder, None, "my model", "")
    assert finish(local_model(f' "{folder}/" ', tmp_path / "data", offline=True)) == found
    assert sorted(path.name for path in folder.iterdir()) == sorted(tiny_files())


def test_a_folders_digest_follows_its_bytes(tmp_path: Path):
    folder = lay(tmp_path / "model", tiny_files())
    first = finish(local_model(str(folder), tmp_path / "data")).digest
    (folder / "README.md").write_text("not part of the model")
    assert finish(local_model(str(folder), tmp_path / "data")).digest == first
    (folder / "model.safetensors").write_bytes(save({"a": np.ones((4, 4), np.float32)}))
    assert finish(local_model(str(folder), tmp_path / "data")).digest != first


EVIL_CONFIGS = [
    {"auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}},
    {"text_config": {"auto_map": {"AutoConfig": "x.Y"}}},
    {"_attn_implementation_internal": "someone/kernel"},
    {"nested": [{"something_internal": 1}]},
    {"_attn_implementation": "someone/kernel"},
    {"attn_implementation": {"text_config": "someone/kernel:main"}},
    {"experts_implementation": "someone/kernel"},
]


@pytest.mark.parametrize("evil", EVIL_CONFIGS)
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_folder_that_could_run_code_is_refused(tmp_path: Path, evil: dict, name: str):
    folder = lay(
        tmp_path / "model", tiny_files() | {name: json.dumps({"model_type": "llama", **evil}).encode()}
    )
    with pytest.raises(ModelError, match="code"):
        finish(local_model(str(folder), tmp_path / "data"))


def test_an_ordinary_attention_implementation_is_let_be(tmp_path: Path):
    config = json.dumps({"model_type": "llama", "_attn_implementation": "sdpa", "auto_map": None}).encode()
    finish(
        local_model(str(lay(tmp_path / "model", tiny_files() | {"config.json": config})), tmp_path / "data")
    )


def without(*names: str) -> dict[str, bytes]:
    return {name: data for name, data in tiny_files().items() if name not in names}


WEIGHTS = tiny_files()["model.safetensors"]
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "no config.json"),
        (without("config.json"), "no config.json"),
        (without("tokenizer.json"), "no tokenizer"),
        (without("model.safetensors"), "no weights"),
        (without("model.safetensors") | {"pytorch_model.bin": b"x"}, "pickle"),
        (without("model.safetensors") | {"model.pt": b"x"}, "pickle"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": WEIGHTS}, "adapter"),
        ({"model.gguf": b"GGUF"}, "give the file itself"),
        (tiny_files() | {"config.json": b"{not json"}, "cannot be read"),
        (tiny_files() | {"config.json": b"[1]"}, "no configuration"),
        (tiny_files() | {"config.json": b"[" * 100_000}, "cannot be read"),
        (tiny_files() | {"model.safetensors": WEIGHTS[:-1]}, "should have"),
        (tiny_files() | {"model.safetensors": WEIGHTS[:20]}, "cut short"),
        (tiny_files() | {"model.safetensors": b""}, "cut short"),
        (tiny_files() | {"model.safetensors": b"PK\x03\x04" + b"0" * 100}, "cut short"),
        (tiny_files() | {"model.safetensors": struct.pack("<Q", 2**62) + b"{}"}, "cut short"),
        (tiny_files() | {"model.safetensors": struct.pack("<Q", 4) + b"null"}, "cut short"),
        (
            tiny_files() | {INDEX: b'{"weight_map": {"a": "model-2.safetensors"}}'},
            "model-2.safetensors is missing",
        ),
        (tiny_files() | {INDEX: b'{"weight_map": {"a": "../../x.safetensors"}}'}, "no .safetensors file of"),
        (tiny_files() | {INDEX: b'{"weight_map": {"a": "evil.bin"}}'}, "no .safetensors file of"),
        (tiny_files() | {INDEX: b'{"weight_map": [1]}'}, "names no weights"),
        (without("model.safetensors") | {"model-1.safetensors": WEIGHTS}, "is missing"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_named_as_such(tmp_path: Path, files: dict[str, bytes], says: str):
    folder = lay(tmp_path / "model", files)
    with pytest.raises(ModelError, match=says):
        finish(local_model(str(folder), tmp_path / "data"))


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "No model is given"),
        ("   ", "No model is given"),
        ("/no/such/folder", "no file or folder"),
        ("model.gguf", "no file or folder"),
        ("C:\\models\\x", "no file or folder"),
        ("just-a-word", "no file or folder"),
        ("a/b/c", "no file or folder"),
        ("x" * 5000, "no file or folder"),
        ("null\x00byte", "no file or folder"),
        ("owner/-name", "no file or folder"),
    ],
)
def test_what_is_neither_path_nor_name_is_said(tmp_path: Path, typed: str, says: str):
    with pytest.raises(ModelError, match=says):
        finish(local_model(typed, tmp_path))


def test_only_safetensors_tokenizer_and_configuration_come_from_the_hub(hub: Hub, tmp_path: Path):
    found = finish(local_model("someone/tiny", tmp_path))
    assert sorted(path.name for path in found.folder.iterdir()) == sorted(tiny_files())
    assert (found.name, found.revision) == ("someone/tiny", COMMIT)
    assert not any("modeling_evil" in path or "pytorch_model" in path for _, path, _ in hub.asked)


def test_a_hub_model_keeps_its_first_commit_and_is_found_without_the_hub(hub: Hub, tmp_path: Path):
    found = finish(local_model("someone/tiny", tmp_path))
    hub.commit = "f" * 40
    asked = len(hub.asked)
    assert finish(local_model("someone/tiny", tmp_path, offline=True)) == found
    assert len(hub.asked) == asked


@pytest.mark.parametrize(
    "typed", ["https://huggingface.co/someone/tiny", f"someone/tiny@{COMMIT}", "someone/tiny@main"]
)
def test_a_page_or_a_revision_can_be_typed_too(hub: Hub, tmp_path: Path, typed: str):
    assert finish(local_model(typed, tmp_path)).revision == COMMIT


def test_a_wrong_file_from_the_hub_is_deleted_and_said(hub: Hub, tmp_path: Path):
    hub.gives_instead["model.safetensors"] = save({"a": np.ones((4, 4), np.float32)})
    with pytest.raises(FetchError, match="wrong model.safetensors; it was deleted"):
        finish(local_model("someone/tiny", tmp_path))
    hub.gives_instead.clear()
    finish(local_model("someone/tiny", tmp_path))


def test_a_hub_model_that_could_run_code_is_never_put_in_place(hub: Hub, tmp_path: Path):
    hub.files["config.json"] = json.dumps(EVIL_CONFIGS[0]).encode()
    with pytest.raises(ModelError, match="code"):
        finish(local_model("someone/tiny", tmp_path))
    assert not list(tmp_path.rglob("weights"))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (without("model.safetensors") | {"pytorch_model.bin": b"x"}, "pickle"),
        ({"model.Q4_K_M.gguf": b"x"}, "GGUF files only"),
        (without("config.json") | {"adapter_config.json": b"{}"}, "adapter"),
        ({"data.csv": b"x"}, "no transformers model"),
    ],
)
def test_a_repository_that_cannot_be_loaded_is_refused_before_the_download(
    hub: Hub, tmp_path: Path, files, says: str
):
    hub.files = files
    with pytest.raises(ModelError, match=says):
        finish(local_model("someone/tiny", tmp_path))
    assert not any("/resolve/" in path for _, path, _ in hub.asked)


@pytest.mark.parametrize(
    ("typed", "says"),
    [("someone/else", "has no model someone/else"), (f"someone/tiny@{'e' * 40}", "has no revision")],
)
def test_a_name_that_the_hub_does_not_know_is_said(hub: Hub, tmp_path: Path, typed: str, says: str):
    with pytest.raises(FetchError, match=says):
        finish(local_model(typed, tmp_path))


def test_without_the_hub_a_hub_model_says_so(tmp_path: Path):
    with pytest.raises(FetchError, match="does not answer"):
        finish(local_model("someone/tiny", tmp_path))


def tiny_gguf(path: Path) -> Path:
    """A Qwen2 of two layers and 26 tokens."""
    gguf = pytest.importorskip("gguf")
    rng = np.random.default_rng(0)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdefghijklmnopqrst", "Ġ", "ab", "cd"]
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["a b", "c d"])
    writer.add_eos_token_id(2)
    writer.add_bos_token_id(0)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}")
    shapes = {
        "token_embd.weight": (len(tokens), 32),
        "output_norm.weight": (32,),
        "output.weight": (len(tokens), 32),
    }
    for layer in range(2):
        block = f"blk.{layer}."
        shapes |= {block + name + ".weight": (32,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {
            block + "attn_q.weight": (32, 32),
            block + "attn_q.bias": (32,),
            block + "attn_output.weight": (32, 32),
        }
        shapes |= {block + name + ".weight": (16, 32) for name in ("attn_k", "attn_v")}
        shapes |= {block + name + ".bias": (16,) for name in ("attn_k", "attn_v")}
        shapes |= {block + name + ".weight": (64, 32) for name in ("ffn_gate", "ffn_up")}
        shapes |= {block + "ffn_down.weight": (32, 64)}
    for name, shape in shapes.items():
        writer.add_tensor(name, rng.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_becomes_a_transformers_folder_once(tmp_path: Path, monkeypatch):
    path = tiny_gguf(tmp_path / "tiny model.gguf")
    found = finish(local_model(str(path), tmp_path / "data"))
    assert (found.gguf, found.name) == (path, "tiny model")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(found.folder, dtype=torch.float32)
    assert model.config.num_hidden_layers == 2 and not getattr(model.config, "quantization_config", None)
    assert "im_start" in AutoTokenizer.from_pretrained(found.folder).chat_template
    kept = torch.tensor(np.random.default_rng(0).standard_normal((26, 32)), dtype=torch.float32)
    assert torch.allclose(model.model.embed_tokens.weight, kept, atol=2e-3)
    monkeypatch.setattr(gguf_source, "_convert", None)
    assert finish(local_model(str(path), tmp_path / "data", offline=True)) == found


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no GGUF file"),
        (b"GGUF", "no GGUF file"),
        (b"GGUF\x01\x00\x00\x00" + b"\x00" * 64, "version 2 or 3"),
        (b"PK\x03\x04" * 10, "no GGUF file"),
        (b"GGUF\x03\x00\x00\x00" + b"\xff" * 64, "it promises 18,446,744,073,709,551,615 tensors"),
    ],
)
def test_a_damaged_gguf_is_named_as_such(tmp_path: Path, data: bytes, says: str):
    (tmp_path / "bad.gguf").write_bytes(data)
    with pytest.raises(ModelError, match=says) as error:
        finish(local_model(str(tmp_path / "bad.gguf"), tmp_path / "data"))
    assert "ownload" in str(error.value) and len(str(error.value)) < 700


def test_a_truncated_gguf_is_named_as_such(tmp_path: Path):
    path = tiny_gguf(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelError, match="ends behind the end of the file"):
        finish(local_model(str(path), tmp_path / "data"))
    assert not list((tmp_path / "data").rglob("weights*"))


def test_a_parser_that_hangs_is_ended_after_its_limit(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(gguf_source, "time_limit", lambda size: 0.5)
    with pytest.raises(ModelError, match="was stopped"):
        finish(local_model(str(tiny_gguf(tmp_path / "tiny.gguf")), tmp_path / "data"))


def test_a_parser_that_wants_all_memory_is_refused_it(tmp_path: Path, monkeypatch):
    if sys.platform != "linux":
        pytest.skip("only Linux holds to the limit")
    monkeypatch.setattr(gguf_source, "memory_limit", lambda size: 500_000_000)
    with pytest.raises(ModelError, match="address space|cannot be read"):
        finish(local_model(str(tiny_gguf(tmp_path / "tiny.gguf")), tmp_path / "data"))


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    with pytest.raises(ModelError, match="no .gguf file"):
        finish(local_model(str(tmp_path / "model.safetensors"), tmp_path / "data"))
