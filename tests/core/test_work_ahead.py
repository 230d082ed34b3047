"""The work that a tuning says lies ahead is the work that it then does."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from test_tune import PROMPTS, SETTINGS

from actor_core.events import Ahead, Progress
from actor_core.generate import answer
from actor_core.readings import NOTHING_KEPT, ReadingStore
from actor_core.train import PublishedSettings
from actor_core.tune import tune
from actor_core.work_ahead import generating


def parts(ahead: Ahead) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = defaultdict(float)
    for part in ahead.parts:
        found[part.stage, part.kind] += part.work
    return found


@pytest.fixture
def counted(refusing):
    """Weights applied to tokens so far, by every layer and by the head."""
    work, handles = [0.0], []
    per_layer = sum(m.weight.numel() for m in refusing.layers[0].modules() if hasattr(m, "in_features"))
    head = refusing.model.get_output_embeddings()

    def note(weights):
        def add(_module, inputs, _output):
            work[0] += inputs[0].shape[0] * inputs[0].shape[1] * weights

        return add

    for layer in refusing.layers:
        handles.append(layer.register_forward_hook(note(per_layer)))
    handles.append(head.register_forward_hook(note(head.weight.numel())))
    yield work
    for handle in handles:
        handle.remove()


def done_by_stage(model, work, settings, store=NOTHING_KEPT):
    """What a tuning did in each stage, and what it said lies ahead, first and once the layer was chosen."""
    found: dict[str, float] = defaultdict(float)
    said, before = [], work[0]
    for event in tune(model, PROMPTS, settings, store):
        if isinstance(event, Ahead):
            said.append(parts(event))
        elif isinstance(event, Progress):
            found[event.stage] += work[0] - before
            before = work[0]
    return found, said


@pytest.mark.parametrize("method", ["causal", "published"])
def test_what_is_read_is_what_was_said_to_lie_ahead(refusing, counted, method):
    settings = replace(SETTINGS, method=method, published=PublishedSettings(epochs=1))
    done, (first, calibrated, then) = done_by_stage(refusing, counted, settings)
    assert then["read", "read"] == pytest.approx(done["read"], rel=0.25)
    assert then["strength", "read"] == pytest.approx(done["strength"], rel=0.25)
    assert first["layers", "read"] == pytest.approx(done["layers"], rel=0.25)
    assert first["layers", "score"] == 2
    assert calibrated["direction", "read"] == pytest.approx(done["direction"], rel=0.4)
    assert first["calibrate", "read"] + first["calibrate", "generate"] > 0
    assert ("train", "train") in then if method == "published" else then["solve", "solve"] > 0
    assert first["strength", "read"] == pytest.approx(then["strength", "read"], rel=0.4)  # for a likely layer


def test_what_was_read_before_does_not_lie_ahead_again(refusing, counted, tmp_path):
    store = ReadingStore(tmp_path)
    done, (_, _, first) = done_by_stage(refusing, counted, SETTINGS, store)
    done_again, (_, _, again) = done_by_stage(refusing, counted, SETTINGS, store)
    assert done_again["read"] < 0.8 * done["read"]
    assert done_again["strength"] < 0.8 * done["strength"]
    assert again["strength", "read"] == pytest.approx(done_again["strength"], rel=0.25)
    assert done_again["calibrate"] < 0.5 * done["calibrate"] and done_again["layers"] == 0 < done["layers"]
    assert again["read", "read"] == pytest.approx(done_again["read"], rel=0.25)
    assert first["read", "read"] == pytest.approx(done["read"], rel=0.25)


def test_replies_lie_ahead_with_their_number_and_length(refusing, counted):
    one, more = generating(refusing, "answer", 8, 12), generating(refusing, "answer", 8, 24)
    assert more.work == 2 * one.work
    before = counted[0]
    list(answer(refusing, PROMPTS.harmful[:8], max_new_tokens=6))
    # The weights are fetched too, which is no application of them: the work counts it as that to more rows.
    assert 0.3 * generating(refusing, "answer", 8, 6).work < counted[0] - before
