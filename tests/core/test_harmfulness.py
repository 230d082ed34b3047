"""Harmful prompts are told from look-alikes where the states tell them, and nothing is flagged where they do not."""

from __future__ import annotations

import pytest
import torch
from sklearn.model_selection import PredefinedSplit
from tiny_models import (
    DANGEROUS,
    HARMLESS,
    HARMLESS_THINGS,
    THINGS,
    VICTIMS,
    asked,
    hooks,
    loaded,
    logits,
    tiny_folder,
)

from actor_core import harmfulness
from actor_core.errors import PromptError
from actor_core.evaluate import wilson
from actor_core.events import Progress, finish
from actor_core.harmfulness import Harmfulness, name_harmful
from actor_core.instruction_states import read_instructions
from actor_core.prompt_sets import Pair, PromptSet
from actor_core.readings import ReadingStore

# A kind for each verb, so that a verb is held out as a whole: what is harmful of it is seen by the victim alone. To a
# random model any word is a verb; of fewer the victims are not learnt, and what is flagged is luck.
*VERBS, UNSEEN = *DANGEROUS, *"alpha beta gamma delta epsilon zeta".split(), *HARMLESS
PAIRS = tuple(
    Pair(verb, f"how do i {verb} a {thing}", f"how do i {verb} a {victim}")
    for verb in VERBS
    for thing, victim in zip(HARMLESS_THINGS, VICTIMS, strict=True)
)
ORDINARY = tuple(asked(HARMLESS, THINGS))
OWN = [f"how do i {UNSEEN} a {what}" for what in ("neighbour", "process", "stranger", "scene")]


def toy_set(pairs=PAIRS) -> PromptSet:
    return PromptSet("toy", "A toy", "", ORDINARY, tuple(pairs), ())


@pytest.fixture
def all_training(monkeypatch):
    """The toy's few pairs are all learnt from, whatever their hashes say."""
    monkeypatch.setattr("actor_core.prompt_sets.HELD_OUT_SHARE", 0.0)


@pytest.fixture(scope="module")
def telling(tmp_path_factory):
    """A random model with the small weights that training begins with: the words can be read off its states."""
    torch.set_num_threads(1)
    return loaded(tiny_folder("qwen2", tmp_path_factory.mktemp("telling"), spread=0.02))


def named(model, own=OWN, prompt_set=None, **more) -> Harmfulness:
    return finish(name_harmful(model, own, prompt_set or toy_set(), **more))


def test_victims_are_flagged_and_things_are_not(telling, all_training):
    found = named(telling)
    assert found.flagged == {OWN[0], OWN[2]}
    assert found.harmful == len(PAIRS) and found.harmful_caught > 0.8 * len(PAIRS)
    assert set(found.scores) == set(OWN)


@pytest.mark.parametrize(("n", "above"), [(20, 1), (39, 1), (40, 2), (3, 0)])
def test_the_threshold_leaves_at_most_one_look_alike_in_twenty_above_it(n, above):
    scores = torch.randperm(n, generator=torch.Generator().manual_seed(0)).double().numpy()
    assert int((scores > harmfulness._threshold(scores)).sum()) == above


def test_the_look_alikes_that_are_flagged_are_counted_by_a_threshold_that_did_not_know_them(tiny, all_training):
    found = named(tiny())
    assert found.look_alikes == len(PAIRS)
    assert wilson(found.look_alikes_flagged, found.look_alikes)[0] <= harmfulness.MOST_FLAGGED
    # By a threshold that knew them it could not be.
    assert found.look_alikes_flagged > harmfulness.MOST_FLAGGED * len(PAIRS)


def test_states_that_are_no_numbers_flag_nothing(tiny, all_training, monkeypatch):
    def overflown(model, prompts, layers, *, stage):
        yield Progress(stage, len(prompts), len(prompts))
        return torch.full((len(prompts), 16), float("inf"))

    monkeypatch.setattr("actor_core.readings.read_instructions", overflown)
    found = named(tiny())
    assert found.flagged == frozenset() and not found.tells and set(found.scores) == set(OWN)


def test_where_the_states_tell_nothing_nothing_is_flagged(tiny, all_training, monkeypatch):
    """Of twins with the same words, one is as harmful as the other; so it is with states drawn at random."""

    def blind(model, prompts, layers, *, stage):
        yield Progress(stage, len(prompts), len(prompts))
        return torch.randn(len(prompts), 16, generator=torch.Generator().manual_seed(len(prompts)))

    monkeypatch.setattr("actor_core.readings.read_instructions", blind)
    found = named(tiny(), own=[f"prompt {n}" for n in range(200)])
    assert not found.tells and found.flagged == frozenset()
    assert max(found.scores.values()) > found.threshold, "by the threshold alone some would be"
    assert "do not tell" in found.words()


def test_equal_states_are_no_fault_and_flag_nothing(tiny, all_training, monkeypatch):
    def blank(model, prompts, layers, *, stage):
        yield Progress(stage, len(prompts), len(prompts))
        return torch.ones(len(prompts), 16)

    monkeypatch.setattr("actor_core.readings.read_instructions", blank)
    found = named(tiny())
    assert found.flagged == frozenset() and found.look_alikes_flagged == 0


def test_what_is_held_out_is_a_whole_kind(tiny, all_training, monkeypatch):
    """Were verbs not held out as wholes, the twins of one verb would tell about each other."""
    seen = []
    whole = PredefinedSplit.split

    def split(folds, *rows, **more):
        seen.extend((set(learnt), set(held_out)) for learnt, held_out in whole(folds))
        return whole(folds, *rows, **more)

    monkeypatch.setattr(PredefinedSplit, "split", split)
    named(tiny())
    assert len(seen) == harmfulness.FOLDS * (len(harmfulness.RIDGES) + 1)
    for learnt, held_out in seen:
        assert len(learnt) + len(held_out) == 2 * len(PAIRS) + len(ORDINARY) and not learnt & held_out
        verbs = [{PAIRS[row // 2].category for row in rows if row < 2 * len(PAIRS)} for rows in (learnt, held_out)]
        assert verbs[0] | verbs[1] == set(VERBS) and not verbs[0] & verbs[1]


def test_the_folds_are_of_one_size_and_equal_kinds_have_one_order():
    """With an order of the processor's, what is caught would differ from one machine to the next."""
    assert harmfulness._folds(range(40), 5) == [(39 - kind) % 5 for kind in range(40)]
    folds = harmfulness._folds([0] * 5 + [1] * 2 + [2] * 4 + [3] * 2 + [4], 3)
    assert folds == [0] * 5 + [2] * 2 + [1] * 4 + [2] * 2 + [1]


def test_a_set_with_one_kind_of_pairs_is_an_error_in_words(tiny, all_training):
    with pytest.raises(PromptError, match="'toy' has 1 kinds of pairs .* two at least"):
        named(tiny(), prompt_set=toy_set(PAIRS[:6]))


def test_the_sets_prompts_are_read_once_and_the_persons_are_not_kept(tiny, all_training, tmp_path):
    store = ReadingStore.of(tmp_path)
    first = named(tiny(), store=store)
    (file,) = store.folder.glob("*")
    assert not any(prompt.encode() in file.read_bytes() for prompt in OWN)
    events = list(name_harmful(tiny(), OWN, toy_set(), store))
    of_the_set = [each.note for each in events if isinstance(each, Progress) and each.total > len(OWN)]
    assert of_the_set == ["read before"]
    assert named(tiny(), store=store) == first == named(tiny())


def test_a_score_does_not_depend_on_what_is_asked_beside_it(tiny, all_training):
    alone = [named(tiny(), own=[prompt]).scores[prompt] for prompt in OWN]
    together = named(tiny()).scores
    assert [together[prompt] for prompt in OWN] == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("kind", ["qwen2", "llama", "gemma2"])
def test_states_are_those_of_a_plain_pass(tiny, kind):
    """The mean over the instruction's tokens, and the last token, by a full pass of each prompt alone."""
    model = tiny(kind)
    prompts = ["alpha beta gamma", "alpha beta", "zeta"]  # what these begin with is no template
    before, untouched = hooks(model), logits(model)
    states = finish(read_instructions(model, prompts, [0, 1], stage="x")).view(3, 2, 2, model.d_model)
    assert hooks(model) == before and torch.equal(logits(model), untouched)
    for row, prompt in enumerate(prompts):
        ids = torch.tensor([model.token_ids(prompt)])
        passed = model.model(ids, output_hidden_states=True, use_cache=False).hidden_states
        for layer in (0, 1):
            of_instruction = passed[layer + 1][0, 1:-1]  # between <user> and <reply>
            assert len(of_instruction) == len(prompt.split())
            torch.testing.assert_close(states[row, layer, 0], of_instruction.mean(0), atol=1e-4, rtol=1e-3)
            torch.testing.assert_close(states[row, layer, 1], passed[layer + 1][0, -1], atol=1e-4, rtol=1e-3)
