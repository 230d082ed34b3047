"""Each promise withstands a few of the attempts that `benchmarks/reliability.py` makes in full."""

from __future__ import annotations

import pytest
from attempts import SEED
from promises import PROMISES


@pytest.mark.parametrize("promise", [each for each in PROMISES if each.short], ids=lambda promise: promise.name)
def test_the_promise_is_kept(promise, tmp_path):
    made = list(promise.attempts(promise.short, SEED, tmp_path))
    assert len(made) >= min(promise.short, 2), "too few attempts to say anything"
    assert [attempt for attempt in made if attempt.fault] == []
