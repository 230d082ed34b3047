"""Tests on the real model compute with all of the machine, whatever the quick ones before them left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

AT_THE_START = torch.get_num_threads()  # before any test runs


@pytest.fixture(autouse=True, scope="module")
def all_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(AT_THE_START)
    yield
    torch.set_num_threads(before)
