"""Every step of the method with the model on another device than main memory, as on a GPU, on any machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("on_second_device.py")
CHECKS = (
    "a_mixture_is_an_error",
    "replies",
    "first_tokens",
    "a_shift_and_a_change",
    "tuned_in_closed_form",
    "tuned_as_published",
    "what_else_changed",
    "the_guard",
    "which_prompts_look_harmful",
    "a_saved_change",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, str | None]:
    backend = pytest.importorskip("torch.utils.backend_registration")
    if not hasattr(backend, "_setup_privateuseone_for_python_backend"):
        pytest.skip("needs a PyTorch that lets a backend be written in Python")
    environment = {**os.environ, "PYTHONPATH": str(CHILD.parents[2])}
    command = [sys.executable, str(CHILD), str(tmp_path_factory.mktemp("second"))]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout.splitlines()[-1])


def test_all_that_was_checked_is_asked_for_here(found):
    assert tuple(found) == CHECKS


@pytest.mark.parametrize("check", CHECKS)
def test_a_model_on_another_device_does_what_it_does_in_main_memory(found, check):
    assert found[check] is None, found[check]
