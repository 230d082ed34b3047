"""The same without a page: ``python -m actor_core tune --prompts FILE --out DIR``.

``reproduce FILE`` makes an exported change again, ``compare A B`` sets two changes of one model beside each other.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from actor_core.commands.made_before import compare, make_again
from actor_core.commands.tuning import tune_and_export
from actor_core.errors import ActorError, NothingToRepair
from actor_core.export import KINDS, SMALL_KINDS, TENSOR_TYPES
from actor_core.loading import PRECISIONS
from actor_core.presets import DEFAULT_MODEL, model_presets
from actor_core.recipe import RECIPE
from actor_core.weights.whole_files import bytes_of


def main(argv: list[str] | None = None) -> int:
    """Runs one command; 0 when it did what was asked, 1 with a message on stderr, 130 when stopped, and 3
    where nothing was exported because the guard was not passed."""
    options = _parser().parse_args(argv)
    try:
        return int(options.run(options))
    except NothingToRepair as outcome:
        print(outcome)
        return 0
    except ActorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Nothing half-written is left.", file=sys.stderr)
        return 130


def _share(text: str) -> float:
    """A share as it was typed: a wrong one is said before a model is loaded for it."""
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:  # no number is neither
        raise argparse.ArgumentTypeError(f"{text} is no share: give a number above 0 and up to 1")
    return share


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m actor_core", description=__doc__)
    commands = parser.add_subparsers(required=True)
    tuning = commands.add_parser("tune", help="tune one layer and export what was learnt")
    tuning.set_defaults(run=tune_and_export)
    _add_model(tuning, DEFAULT_MODEL)
    tuning.add_argument("--prompts", type=Path, required=True, help="wrongly refused prompts, .txt or .csv")
    tuning.add_argument("--out", type=Path, required=True, help="the folder that the exports are written into")
    tuning.add_argument("--format", nargs="+", choices=KINDS, default=list(SMALL_KINDS))
    tuning.add_argument("--rank", type=int, help="of a trained layer's adapter (default: by its error)")
    tuning.add_argument("--tensor-type", choices=TENSOR_TYPES, help="of the changed matrix in a merged GGUF")
    tuning.add_argument("--replayed", type=int, default=24, help="compared prompts that each check asks again")
    tuning.add_argument("--method", choices=("causal", "refusal vector", "published"), default="causal")
    tuning.add_argument("--layer", type=int, help="counted from 0 (default: chosen)")
    tuning.add_argument(
        "--set-share",
        type=_share,
        default=1.0,
        help="of the prompt set's prompts to learn from: 0.25 takes about half the time, and parts harmful prompts "
        "from look-alikes less well (default: 1)",
    )
    tuning.add_argument("--strength", type=float, help="of the change (default: chosen on held-out prompts)")
    tuning.add_argument("--compared", type=int, default=40, help="held-out prompts a set, for the figures")
    tuning.add_argument(
        "--accept-guard-not-passed",
        action="store_true",
        help="export even where the change may cost more refusals of harmful prompts than the guard allows",
    )
    tuning.add_argument(
        "--lower-strength",
        action="store_true",
        help="where the guard is not passed, look for the largest smaller strength that passes, and export that",
    )
    tuning.add_argument(
        "--include-flagged",
        action="store_true",
        help="tune on those of your prompts, too, that look like requests that should be refused",
    )
    tuning.add_argument(
        "--enrich",
        choices=("no", "rules", "model"),
        default="no",
        help="tune on more prompts that are made of yours: by rules alone, or by the model as well (default: no)",
    )
    tuning.add_argument("--seed", type=int, default=0)
    again = commands.add_parser("reproduce", help=f"make the change of a {RECIPE} again, and compare it bit for bit")
    again.set_defaults(run=make_again)
    again.add_argument("file", type=Path, help=f"the {RECIPE} beside an exported file")
    again.add_argument("--prompts", type=Path, help="the repaired prompts, where the file leaves them out")
    again.add_argument("--out", type=Path, help="write the delta into this new file")
    _add_model(again, None)
    both = commands.add_parser("compare", help="two exported changes of one model beside each other")
    both.set_defaults(run=compare)
    both.add_argument("changes", type=Path, nargs=2, help="a delta or PEFT adapter: its file, folder or zip")
    both.add_argument("--compared", type=int, default=40, help="held-out prompts a set")
    both.add_argument("--seed", type=int, default=0)
    _add_model(both, DEFAULT_MODEL)
    return parser


def _add_model(command: argparse.ArgumentParser, default: str | None) -> None:
    """The options that say which model is loaded, and how."""
    command.add_argument(
        "--model",
        default=default,
        help="a preset (" + ", ".join(model_presets()) + "), a hub id, a folder, or a .gguf file",
    )
    command.add_argument("--data-dir", type=Path, help="where models are kept (default: your data folder)")
    command.add_argument("--precision", choices=PRECISIONS, default="auto")
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    command.add_argument(
        "--memory",
        metavar="SIZE",
        type=bytes_of,
        help="how much of the model may be in memory at once, as 600MB or 6GB; the rest is read from the disk at each "
        "use, which is slow (default: all of it)",
    )
    command.add_argument("--offline", action="store_true", help="never use the network")


if __name__ == "__main__":
    sys.exit(main())
