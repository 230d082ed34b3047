"""How often actor_core.judge agrees with people, on labelled XSTest answers (Röttger et al. 2024, CC-BY-4.0).

    python benchmarks/judge_agreement.py --data ../shared/data [--fit] [--classifier minos-v1]

The folder holds one `xstest_completions_MODEL.csv` a model, with the columns prompt, completion and
final_label (1_full_compliance, 2_full_refusal or 3_partial_refusal; the last two count as refused). An
incoherent verdict counts as not refused. Each reply is judged whole, and cut to its first 60 words.

Each file is judged twice: with weights that were fitted to the other files only, and by the shipped judge,
whose weights were fitted to all of them. The cues themselves were revised after reading disagreements in all
files, and the files answer the same prompts, so even the first figure is kinder than new data would be.
`--fit` prints the weights to ship.

`--classifier` has another judge read the same answers: a known one (presets/judges, downloaded once), one of these that
lies in a folder (`minos-v1=FOLDER`), or any folder with a classifier. It may know these prompts from its training.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actor_core.errors import ActorError
from actor_core.events import finish
from actor_core.fetch import default_data_dir
from actor_core.generate import Reply
from actor_core.judge import BIAS, WEIGHTS, Verdict, cue_values, judge
from actor_core.presets import judge_presets
from actor_core.second_judge import Classifier, fetch_judge, load_judge, opinions

WORDS_KEPT = 60
# Set by hand before any fit; a cue that the labelled answers hardly show keeps its value.
BY_HAND = {
    "cannot_serve": 4.0, "declines": 4.0, "cannot_bare": 1.0, "lacks_access": 2.0, "judges_act": 2.0,
    "judges_topic": 1.0, "does_not_condone": 2.0, "faults_wording": 2.0, "denies_premise": 2.0,
    "other_language": 5.0, "apologises": 1.0, "speaks_as_ai": 1.0, "lectures": 1.0, "redirects": 1.0,
    "cue_share": 1.0, "agrees": -1.0, "offers": -1.0, "corrects": -1.0, "disclaims": -1.0, "asks_back": -1.0,
    "has_steps": -1.0,
}  # fmt: skip
PULL = 0.002  # of a weight towards its value by hand, against the mean log loss of an answer
LEAST = 0.5  # no weight comes nearer to 0: a cue keeps its sign
MOST = {"judges_topic": 1.0}  # "He was jailed for fraud, which is illegal" alone is no refusal


@dataclass(frozen=True)
class LabelledFile:
    """People's labels of one model's answers; the arrays have a row an answer and a column a weight."""

    model: str
    answers: list[Reply]  # with the shipped judge's verdicts on the whole of them
    refused: np.ndarray  # [n] bool
    whole: np.ndarray  # [n, len(WEIGHTS)] cue values
    cut: np.ndarray  # the same of the first WORDS_KEPT words
    shipped_whole: np.ndarray  # [n] bool, the shipped judge says refused
    shipped_cut: np.ndarray
    incoherent: int  # verdicts of the shipped judge on the whole answers


def first_words(text: str) -> str:
    words = list(re.finditer(r"\S+", text))
    return text if len(words) <= WORDS_KEPT else text[: words[WORDS_KEPT - 1].end()]


def read(path: Path) -> LabelledFile:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(row["prompt"], row["completion"], row["final_label"]) for row in csv.DictReader(file)]
    whole = [judge(prompt, reply) for prompt, reply, _ in rows]
    cut = [judge(prompt, first_words(reply), truncated=True) for prompt, reply, _ in rows]
    return LabelledFile(
        model=path.stem.removeprefix("xstest_completions_"),
        answers=[Reply(p, r, verdict, False) for (p, r, _), verdict in zip(rows, whole, strict=True)],
        refused=np.array([not label.startswith("1") for _, _, label in rows]),
        whole=np.array([list(cue_values(prompt, reply).values()) for prompt, reply, _ in rows]),
        cut=np.array([list(cue_values(p, first_words(r), truncated=True).values()) for p, r, _ in rows]),
        shipped_whole=np.array([verdict is Verdict.REFUSED for verdict in whole]),
        shipped_cut=np.array([verdict is Verdict.REFUSED for verdict in cut]),
        incoherent=sum(verdict is Verdict.INCOHERENT for verdict in whole),
    )


def fit(files: list[LabelledFile]) -> np.ndarray:
    """Logistic regression held near BY_HAND; returns [1 + len(WEIGHTS)], the bias first."""
    by_hand = np.array([BY_HAND[name] for name in WEIGHTS])
    values = np.vstack([rows for file in files for rows in (file.whole, file.cut)])
    sign = np.concatenate([np.r_[file.refused, file.refused] for file in files]) * 2.0 - 1.0

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (values @ weights[1:] + weights[0])
        slope = -sign / (1 + np.exp(margin))
        drift = weights[1:] - by_hand
        gradient = np.r_[slope.mean(), slope @ values / len(sign) + PULL * drift]
        return float(np.logaddexp(0, -margin).mean() + PULL / 2 * drift @ drift), gradient

    bounds = [(LEAST, MOST.get(name)) if BY_HAND[name] > 0 else (None, -LEAST) for name in WEIGHTS]
    return minimize(loss, np.r_[0.0, by_hand], jac=True, bounds=[(None, None), *bounds], method="L-BFGS-B").x


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z = 1.96
    middle, spread = hits + z * z / 2, z * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return (middle - spread) / (n + z * z), (middle + spread) / (n + z * z)


def table_row(file: LabelledFile, weights: str, replies: str, says_refused: np.ndarray) -> str:
    n, hits = len(file.refused), int((says_refused == file.refused).sum())
    low, high = wilson(hits, n)
    refused, false_refused = int(file.refused.sum()), int((says_refused & ~file.refused).sum())
    return (
        f"| {file.model} | {weights} | {replies} | {n} | {hits / n:.1%} ({low:.1%} to {high:.1%}) "
        f"| {false_refused} of {n - refused} | {n - hits - false_refused} of {refused} |"
    )


def load_classifier(wanted: str) -> Classifier:
    """``wanted`` is the name of a known judge, one with the folder that it lies in, or any folder."""
    name, _, folder = wanted.partition("=")
    preset = judge_presets().get(name)
    source = finish(fetch_judge(wanted if preset is None else folder or preset, default_data_dir()))
    return finish(load_judge(source, preset))


def taken_for_refusals(classifier: Classifier, answers: list[Reply]) -> np.ndarray:
    """Shape [n], bool."""
    return np.array([each.refused for each in finish(opinions(classifier, answers))])


def main() -> None:
    parser = argparse.ArgumentParser(description="Agreement of the judge with people's labels.")
    parser.add_argument("--data", type=Path, required=True, help="folder with xstest_completions_*.csv")
    parser.add_argument("--fit", action="store_true", help="print the weights fitted to all files, too")
    parser.add_argument("--classifier", help=f"another judge, too: {', '.join(judge_presets())}, or a folder")
    arguments = parser.parse_args()
    try:
        classifier = load_classifier(arguments.classifier) if arguments.classifier else None
    except ActorError as fault:
        parser.error(str(fault))
    files = [read(path) for path in sorted(arguments.data.glob("xstest_completions_*.csv"))]
    if len(files) < 2:
        parser.error(f"{arguments.data} holds {len(files)} xstest_completions_*.csv, and 2 are needed")
    print("| held-out file | weights | replies | n | agreement (95 %) | false refused | false answered |")
    print("|---|---|---|---|---|---|---|")
    for file in files:
        weights = fit([other for other in files if other is not file])
        for replies, values in (("whole", file.whole), ("first 60 words", file.cut)):
            print(table_row(file, "fitted to the others", replies, values @ weights[1:] + weights[0] > 0))
    for file in files:
        print(table_row(file, "shipped", "whole", file.shipped_whole))
        print(table_row(file, "shipped", "first 60 words", file.shipped_cut))
    if classifier is not None:
        for file in files:
            cut = [replace(answer, text=first_words(answer.text)) for answer in file.answers]
            print(table_row(file, classifier.name, "whole", taken_for_refusals(classifier, file.answers)))
            print(table_row(file, classifier.name, "first 60 words", taken_for_refusals(classifier, cut)))
    print(f"\nIncoherent by the shipped judge, whole replies: {sum(file.incoherent for file in files)}.")
    if arguments.fit:
        fitted = fit(files)
        print(f"\nBIAS = {fitted[0]:.1f} (shipped {BIAS})")
        for (name, shipped), value in zip(WEIGHTS.items(), fitted[1:], strict=True):
            print(f"{name}: {value:.1f} (shipped {shipped})")


if __name__ == "__main__":
    main()
