"""The method on two devices, in a process of its own: writes as JSON what went wrong with each check, or null.

    PYTHONPATH=. python tests/core/on_second_device.py FOLDER

See `second_device` for what the second one is.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import second_device
import torch

second_device.begin()

import test_harmfulness as naming  # noqa: E402 - these make tensors, which the second device is to see
import test_tune as tuning  # noqa: E402
from tiny_models import loaded, refusing_folder  # noqa: E402

from actor_core.divergence import measure_divergence  # noqa: E402
from actor_core.events import finish  # noqa: E402
from actor_core.export import export  # noqa: E402
from actor_core.generate import answer  # noqa: E402
from actor_core.guard import measure_guard  # noqa: E402
from actor_core.harmfulness import name_harmful  # noqa: E402
from actor_core.probe import prepare_probe  # noqa: E402
from actor_core.refusal_odds import RefusalOdds, first_token_logits  # noqa: E402
from actor_core.tune import Tuned, tune  # noqa: E402

PROMPTS = [*tuning.HELD_OUT.pseudo_harmful[:4], *tuning.ORDINARY[:3]]
TURNS = [{"role": "user", "content": "alpha beta"}, {"role": "assistant", "content": "gamma"}]


class Checks:
    """Each public method is a check: the two models are to do the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        toy = refusing_folder(folder / "toy")
        self.here, self.there = loaded(toy), second_device.moved(loaded(toy))
        self.tuned = finish(tune(self.here, tuning.PROMPTS, tuning.SETTINGS))

    def a_mixture_is_an_error(self) -> None:
        weight = self.there.layers[0].mlp.down_proj.weight
        assert weight.device.type == "second"
        for mix in (lambda: weight + torch.ones(2, 1), lambda: torch.zeros(weight.shape).index_put_((), weight)):
            try:
                mix()
            except second_device.Mixed:
                continue
            raise AssertionError("tensors of two devices were mixed")

    def replies(self) -> None:
        for more in ({}, {"delta": self.tuned.delta}, {"delta": self.tuned.delta, "strength": 0.5}, {"history": TURNS}):
            here, there = (finish(answer(m, PROMPTS, max_new_tokens=12, **more)) for m in (self.here, self.there))
            assert here == there, (here, there)

    def first_tokens(self) -> None:
        here, there = (finish(first_token_logits(m, PROMPTS)) for m in (self.here, self.there))
        torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)

    def a_shift_and_a_change(self) -> None:
        odds, layer = RefusalOdds(torch.tensor([3, 5]), 0.0, 1.0), self.tuned.delta.layer
        here, there = (finish(prepare_probe(m, PROMPTS, odds, layer)) for m in (self.here, self.there))
        shift = torch.randn(self.here.d_model, generator=torch.Generator().manual_seed(0))
        for look in (
            lambda probe: probe.untuned,
            lambda probe: probe.shifted(shift),
            lambda probe: probe.log_odds(self.tuned.delta, 0.5),
            lambda probe: probe.reading().inputs,
        ):
            torch.testing.assert_close(look(here), look(there), rtol=1e-3, atol=1e-3)

    def tuned_in_closed_form(self) -> None:
        self._same(self.tuned, finish(tune(self.there, tuning.PROMPTS, tuning.SETTINGS)))

    def tuned_as_published(self) -> None:
        # The layer is given: of two with nearly the same silhouette, t-SNE finds the one or the other.
        settings = replace(tuning.SETTINGS, method="published", layer=self.tuned.delta.layer)
        self._same(*(finish(tune(m, tuning.PROMPTS, settings)) for m in (self.here, self.there)))

    def what_else_changed(self) -> None:
        replies = finish(answer(self.here, PROMPTS, max_new_tokens=12))
        here, there = (finish(measure_divergence(m, self.tuned.delta, 1.0, replies)) for m in (self.here, self.there))
        assert abs(here.kl - there.kl) < 1e-4 and abs(here.perplexity_tuned - there.perplexity_tuned) < 1e-3

    def the_guard(self) -> None:
        asked = tuning.HARMFUL[:12]
        here, there = (finish(measure_guard(m, self.tuned.delta, 1.0, asked)) for m in (self.here, self.there))
        assert here == there and here.refused_before == len(asked)

    def which_prompts_look_harmful(self) -> None:
        here, there = (finish(name_harmful(m, naming.OWN, naming.toy_set())) for m in (self.here, self.there))
        assert here.flagged == there.flagged and here.harmful_caught == there.harmful_caught
        assert all(abs(here.scores[prompt] - there.scores[prompt]) < 1e-3 for prompt in naming.OWN)

    def a_saved_change(self) -> None:
        seen = finish(answer(self.there, PROMPTS, delta=self.tuned.delta, max_new_tokens=8))
        made = finish(export(self.there, self.tuned.delta, "delta", self.folder / "delta", prompts=PROMPTS, seen=seen))
        assert made.checked, made.check_words

    @staticmethod
    def _same(here: Tuned, there: Tuned) -> None:
        assert (here.delta.layer, here.strength) == (there.delta.layer, there.strength)
        for name, change in here.delta.changes.items():
            ours, theirs = (
                each if isinstance(each, torch.Tensor) else each.full() for each in (change, there.delta.changes[name])
            )
            assert theirs.device.type == "cpu", "a change is kept in main memory"
            assert float((ours - theirs).norm() / ours.norm()) < 0.01
        assert here.projection is not None and there.projection is not None


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    checks = Checks(Path(sys.argv[1]))
    found = {name: _fault(getattr(checks, name)) for name in vars(Checks) if not name.startswith("_")}
    sys.stdout.write(json.dumps(found) + "\n")


def _fault(check: Callable[[], None]) -> str | None:
    try:
        check()
    except Exception:
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    main()
