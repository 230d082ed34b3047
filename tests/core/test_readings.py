"""A set's prompts are read once for each model and layer, and a person's own are never kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import PROMPTS

from actor_core import readings
from actor_core.activations import read_activations, read_reply_tokens
from actor_core.events import Progress, finish
from actor_core.generate import answer
from actor_core.readings import NOTHING_KEPT, ReadingStore

OF_THE_SET, OWN = list(PROMPTS[:3]), "How do I kill time at the station?"
ROWS = [OWN, OF_THE_SET[2], OF_THE_SET[0]]
LAYER = 1


def rows_of(store, model, prompts=ROWS, of_the_set=OF_THE_SET, layer=LAYER, tokens=12):
    """The reading, and how many prompts were really read for it."""
    work = store.read_rows(model, prompts, of_the_set, layer, other_tokens=tokens, seed=0)
    read = 0
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return end.value, read
        if isinstance(event, Progress) and event.done == event.total and not event.note:
            read += event.total


def same(one, other) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in readings.TENSORS)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_second_reading_comes_from_the_disk_and_is_the_same_to_the_bit(tiny, tmp_path, precision):
    model, store = tiny("qwen2", precision), ReadingStore.of(tmp_path)
    first, read = rows_of(store, model)
    assert read == len(OF_THE_SET) + 1
    second, read = rows_of(store, model)
    assert read == 1  # the person's own
    assert same(first, second) and same(first, rows_of(NOTHING_KEPT, model)[0])


def test_rows_are_what_a_plain_reading_gives_in_their_order(tiny):
    model = tiny()
    found, _ = rows_of(NOTHING_KEPT, model)
    plain = finish(read_activations(model, ROWS, [LAYER], other_tokens=0))[LAYER]
    torch.testing.assert_close(found.inputs, plain.inputs, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.outputs, plain.outputs, atol=1e-5, rtol=1e-4)


def test_what_is_kept_depends_neither_on_the_persons_prompts_nor_holds_them(tiny, tmp_path):
    store = ReadingStore.of(tmp_path)
    rows_of(store, tiny())
    (file,) = store.folder.glob("*")
    assert OWN.encode() not in file.read_bytes()
    rows_of(store, tiny(), prompts=["Something else?", OF_THE_SET[1]])
    assert list(store.folder.glob("*")) == [file]


def test_another_layer_set_or_model_is_read_anew(tiny, tmp_path):
    store = ReadingStore.of(tmp_path)
    rows_of(store, tiny())
    assert rows_of(store, tiny(), layer=LAYER + 1)[1] == 4
    assert rows_of(store, tiny(), prompts=[OWN], of_the_set=OF_THE_SET[:2])[1] == 3
    model = tiny()
    other = replace(model, source=replace(model.source, digest="c" * 64))
    assert rows_of(store, other)[1] == 4


@pytest.mark.parametrize("spoilt", [b"", b"\x10\x00\x00\x00\x00\x00\x00\x00not a header", None])
def test_a_damaged_file_only_costs_the_time_of_reading(tiny, tmp_path, spoilt):
    store = ReadingStore.of(tmp_path)
    first, _ = rows_of(store, tiny())
    (file,) = store.folder.glob("*")
    file.write_bytes(file.read_bytes()[:-4] if spoilt is None else spoilt)
    again, read = rows_of(store, tiny())
    assert read == 4 and same(first, again)
    assert rows_of(store, tiny())[1] == 1  # mended by the reading


def test_a_folder_that_cannot_be_written_is_no_fault(tiny, tmp_path):
    (tmp_path / "readings").write_text("a file where the folder should be")
    assert rows_of(ReadingStore.of(tmp_path), tiny())[1] == 4


def test_the_oldest_files_make_room(tiny, tmp_path):
    store = ReadingStore.of(tmp_path)
    for n in range(readings.KEPT_FILES + 2):
        rows_of(store, tiny(), prompts=OF_THE_SET, tokens=10 + n)
    assert len(list(store.folder.glob("*"))) == readings.KEPT_FILES
    assert rows_of(store, tiny(), prompts=OF_THE_SET, tokens=10 + n)[1] == 0


def test_a_file_that_would_push_out_the_others_is_not_kept(tiny, tmp_path, monkeypatch):
    store = ReadingStore.of(tmp_path)
    rows_of(store, tiny(), prompts=OF_THE_SET)
    (file,) = store.folder.glob("*")
    monkeypatch.setattr(readings, "KEPT_BYTES", 3 * file.stat().st_size)
    rows_of(store, tiny(), prompts=OF_THE_SET, layer=LAYER + 1)
    assert list(store.folder.glob("*")) == [file]
    assert not store.has(tiny(), OF_THE_SET, LAYER + 1, 12, 0)


def test_files_that_are_large_make_room_sooner(tiny, tmp_path, monkeypatch):
    store = ReadingStore.of(tmp_path)
    rows_of(store, tiny(), prompts=OF_THE_SET, tokens=10)
    (file,) = store.folder.glob("*")
    monkeypatch.setattr(readings, "KEPT_BYTES", 4.9 * file.stat().st_size)
    for n in range(7):
        rows_of(store, tiny(), prompts=OF_THE_SET, tokens=11 + n)
    assert len(list(store.folder.glob("*"))) == 4
    for n in (3, 4, 5, 6):
        assert rows_of(store, tiny(), prompts=OF_THE_SET, tokens=11 + n)[1] == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_replies_to_the_sets_prompts_are_asked_for_once_and_are_the_same(tiny, tmp_path, precision):
    model, store = tiny("qwen2", precision), ReadingStore.of(tmp_path)
    assert not store.has_asked(model, PROMPTS, 6)
    first, logits = finish(store.ask(model, PROMPTS, 6, stage="asked"))
    assert store.has_asked(model, PROMPTS, 6) and not store.has_asked(model, PROMPTS, 7)
    assert first == finish(answer(model, PROMPTS, max_new_tokens=6))
    events = list(store.ask(model, PROMPTS, 6, stage="asked"))
    assert [event.note for event in events] == ["read before"]
    again, same_logits = finish(store.ask(model, PROMPTS, 6, stage="asked"))
    assert again == first and torch.equal(logits, same_logits)


def test_states_at_layers_and_at_the_tokens_of_replies_are_read_once(tiny, tmp_path):
    model, store, layers = tiny(), ReadingStore.of(tmp_path), [0, LAYER]
    own = finish(answer(model, [OWN], max_new_tokens=6))
    replies = finish(answer(model, PROMPTS, max_new_tokens=6))
    plain = finish(read_activations(model, PROMPTS, layers, other_tokens=0))
    spoken = finish(read_reply_tokens(model, [*replies, *own], LAYER))
    for _ in range(2):
        outputs = finish(store.read_outputs(model, PROMPTS, layers, stage="layers"))
        for layer, states in zip(layers, outputs, strict=True):
            assert torch.equal(states, plain[layer].outputs)
        found = finish(store.read_reply_tokens(model, own, replies, LAYER))
        assert found.shape == spoken.shape
        torch.testing.assert_close(found.norm(dim=1).sort().values, spoken.norm(dim=1).sort().values)
        assert store.has_outputs(model, PROMPTS, layers) and store.has_reply_tokens(model, replies, LAYER)
    assert not store.has_reply_tokens(model, replies[1:], LAYER)
    other = ReadingStore(tmp_path / "of another person")
    finish(other.read_outputs(model, PROMPTS, layers, stage="layers"))
    finish(other.read_reply_tokens(model, finish(answer(model, ["Something else?"], max_new_tokens=6)), replies, LAYER))
    kept, of_another = ({file.name: file.read_bytes() for file in s.folder.glob("*")} for s in (store, other))
    assert kept == of_another and len(kept) == 2
