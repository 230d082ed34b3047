"""The versions in `benchmarks/results/bounds.md` are those that pyproject.toml's bounds ask for: the short form of a
promise whose attempts need two environments of their own."""

from __future__ import annotations

from both_ends import RESULT, needed
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name


def test_each_bound_was_tried_as_it_is_now():
    lines = RESULT.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    tried = {name: (SpecifierSet(bounds), versions) for name, bounds, *versions in rows[1:]}
    asked = {canonicalize_name(each.name): each for each in map(Requirement, needed())}
    again = "run benchmarks/reliability.py bounds again"
    assert {name: bounds for name, (bounds, _) in tried.items()} == {n: a.specifier for n, a in asked.items()}, again
    for name, (bounds, versions) in tried.items():
        if not asked[name].marker:
            assert all(bounds.contains(version.split("+")[0]) for version in versions), f"{name}: {again}"
