"""How large each kind of export is, and how far the program that it is for agrees with what was seen here.

    python benchmarks/export_sizes.py --precision fp32

Tunes the model with a few prompts as the user's own (or opens the saved change that --change names), exports every
kind (the merged GGUF with each type that the changed matrix can be stored as), and prints what each check found:
first tokens and scores on the check's own prompts, and verdicts and first tokens on held-out prompts that were
answered here before.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from argparse import Namespace
from pathlib import Path

from real_model import arguments, load, machine, own_prompts, timed, tuning_prompts

from actor_core.delta import LayerDelta
from actor_core.evaluate import spread
from actor_core.events import finish
from actor_core.export import KINDS, TENSOR_TYPES, Exported, export, open_change
from actor_core.generate import answer
from actor_core.model import LoadedModel
from actor_core.presets import PromptSet, prompt_sets
from actor_core.tune import TuneSettings, tune
from actor_core.weights.whole_files import in_words

OWN = 8
TOKENS = 40


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--replayed", type=int, default=24, help="held-out prompts that each check asks again")
    parser.add_argument("--change", type=Path, help="a delta or adapter that was exported, instead of tuning")
    parser.add_argument("--out", type=Path, help="a file for the figures, as JSON")
    options = parser.parse_args()
    model = load(options)
    everyday = next(iter(prompt_sets().values()))
    delta, strength = change(model, everyday, options)
    held_out = everyday.held_out()
    groups = (held_out.pseudo_harmful, held_out.harmful, held_out.benign)
    asked = [prompt for group in groups for prompt in spread(group, options.replayed // len(groups))]
    seen = finish(answer(model, asked, delta=delta, strength=strength, max_new_tokens=TOKENS))
    print(f"{model.source.name}, {model.precision}, layer {delta.layer}, strength {strength:g}; {machine()}\n")
    print("| export | size | check | first token, of 6 | differs by | verdicts | first tokens | s |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            for tensor_type in TENSOR_TYPES if kind == "merged-gguf" else (None,):
                work = export(
                    model,
                    delta,
                    kind,
                    Path(folder) / kind,
                    strength=strength,
                    seen=seen,
                    tensor_type=tensor_type,
                )
                result, seconds = timed(work)
                name = f"{kind} {tensor_type or ''}".strip()
                print(row(name, result, seconds), flush=True)
                rows.append({"export": name, "bytes": result.bytes, "seconds": seconds, **result.figures})
                rows[-1]["check"] = result.check_words
                shutil.rmtree(result.path)
    if options.out:
        about = {"model": model.source.name, "precision": model.precision, "machine": machine(), "exports": rows}
        options.out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def change(model: LoadedModel, everyday: PromptSet, options: Namespace) -> tuple[LayerDelta, float]:
    """What is exported, and at which strength."""
    if options.change:
        delta = open_change(options.change)
        delta.require_base(model.id)
        return delta, 1.0
    own = own_prompts(model, everyday, OWN)
    tuned = finish(tune(model, tuning_prompts(own), TuneSettings(seed=options.seed)))
    return tuned.delta, tuned.strength or 1.0


def row(name: str, result: Exported, seconds: float) -> str:
    figures = result.figures
    verdict = "passed" if result.checked else "FAILED" if result.failed else "read back"
    differs = "–"
    if "max_logit_difference" in figures:
        differs = f"{figures['max_logit_difference']:.1e} of {figures['max_logit_effect']:.2g} (score)"
    elif "shift_nats" in figures:
        differs = f"{figures['shift_error_nats']:.2g} of {figures['shift_nats']:.2g} (nats)"
    agreed = [f"{figures.get(key, '–')}/{figures.get('replayed', '–')}" for key in ("same_verdict", AGREED_TOKENS)]
    first = figures.get("same_first_token", "–")
    cells = [name, in_words(result.bytes), verdict, str(first), differs, *agreed, f"{seconds:.0f}"]
    return "| " + " | ".join(cells) + " |"


AGREED_TOKENS = "same_first_token_replayed"

if __name__ == "__main__":
    main()
