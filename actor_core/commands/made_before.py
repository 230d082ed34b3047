"""``reproduce`` and ``compare``: exported changes, made again or set beside each other."""

from __future__ import annotations

import argparse

from actor_core.commands.options import held_out, load
from actor_core.commands.terminal import followed, tell
from actor_core.export import open_change
from actor_core.export.base import describe_base
from actor_core.presets import prompt_sets
from actor_core.prompts import read_prompts
from actor_core.recipe import read_recipe, reproduce
from actor_core.two_changes import alike, ask_both

__all__ = ["compare", "make_again"]


def make_again(options: argparse.Namespace) -> int:
    recipe = read_recipe(options.file)
    own = tuple(read_prompts(options.prompts).prompts) if options.prompts else None
    for difference in recipe.differences():
        tell(f"Not as it was then: {difference}.")
    base = describe_base(recipe.base)
    options.model = options.model or base.preset or base.loadable
    options.precision, options.device = recipe.base.precision, recipe.device
    model = load(options)
    tuned = followed(reproduce(recipe, model, prompt_sets()[recipe.prompt_set], own))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        tuned.delta.save(options.out)
    digest = tuned.delta.digest()
    if digest == recipe.delta_digest:
        print(f"The same change, bit for bit (SHA-256 {digest}).")
        return 0
    print(f"Another change: SHA-256 {digest} instead of {recipe.delta_digest}.")
    tell("The same machine, versions and number of threads give the same bits; others nearly the same.")
    return 1


def compare(options: argparse.Namespace) -> int:
    first, second = (open_change(path) for path in options.changes)
    likeness = alike(first, second)
    model = load(options)
    sets = held_out(next(iter(prompt_sets().values())), options)
    rows = followed(ask_both(model, ((first, 1.0), (second, 1.0)), sets))
    if not likeness:
        print(f"They change different matrices: layer {first.layer} and layer {second.layer}.")
    for each in likeness:
        print(f"{each.module}: cosine {each.cosine:.3f}, norms {each.norms[0]:.4g} and {each.norms[1]:.4g}")
    for row in rows:
        shares = ["{:.3f} ({:.3f}-{:.3f})".format(*rates.share("refused")) for rates in (row.first, row.second)]
        print(f"{row.name}, n = {row.first.n}: refused {shares[0]} and {shares[1]}, same verdict {row.same_verdict}")
    return 0
