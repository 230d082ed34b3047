"""Checks a merged model by loading its folder with transformers, beside the model that is in memory.

Where that one is quantised to 4 or 8 bits, the merged one is not: the figures that the user saw belong to the
quantised base, and the replay says what the merged one does.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import torch

from actor_core.errors import ExportError
from actor_core.events import Event, Progress
from actor_core.export.check_peft import TOLERANCE
from actor_core.export.compare import Checked, last_logits
from actor_core.export.merged import merged_matrices, stored_tensor
from actor_core.export.replay import asked_again, with_replay
from actor_core.export.request import Request
from actor_core.loading import load_model
from actor_core.memory import Machine, bytes_of_weights
from actor_core.model import DTYPES
from actor_core.model_shape import BYTES_PER_WEIGHT
from actor_core.weights.model_home import FetchedModel
from actor_core.weights.whole_files import in_words

__all__ = ["check_merged"]


def check_merged(request: Request, folder: Path) -> Generator[Event, None, Checked]:
    """Loads ``folder`` with transformers, compares first tokens' scores, and replays what was seen."""
    import transformers

    for key, wanted in merged_matrices(request).items():
        try:
            found = stored_tensor(folder, key)
        except ExportError as error:
            return Checked(False, str(error))
        if not torch.equal(found, wanted):
            return Checked(False, f"{key} was not written as it should be: export again.")
    model = request.model
    quantised = model.precision not in DTYPES
    precision = "auto" if quantised else model.precision
    needed = bytes_of_weights(folder) * BYTES_PER_WEIGHT["bf16" if quantised else precision] / 2 * 1.3
    free = Machine.look().free_bytes(model.device.type)
    if free < needed:
        return Checked(
            None,
            f"Only read back, and the changed matrices are as they should be: loading the merged model beside the one "
            f"in memory needs {in_words(needed)}, and {in_words(free)} are free.",
        )
    yield Progress("export", 2, 4, "Loading the merged model with transformers")
    source = FetchedModel(folder, None, "the merged model", "", "")
    merged = yield from load_model(source, precision=precision, device=model.device.type)
    program = f"transformers {transformers.__version__}, in {merged.precision}"
    if quantised:
        checked = Checked(
            True,
            f"Transformers loaded it as a model of its own, in {merged.precision}. What you compared was the base in "
            f"{model.precision}: the figures above belong to that one, and what this one does can differ a little.",
            {"precision": merged.precision, "measured_in": model.precision},
        )
    else:
        checked = _compared(request, last_logits(merged, request.prompts), program)
    there = yield from asked_again(merged, request.seen, "the merged model")
    return with_replay(checked, request.seen, there, program)


def _compared(request: Request, theirs: torch.Tensor, program: str) -> Checked:
    model, prompts = request.model, request.prompts
    base = last_logits(model, prompts)
    with request.delta.applied(model, request.strength):
        ours = last_logits(model, prompts)  # [prompts, vocabulary]
    difference, effect = float((theirs - ours).abs().max()), float((ours - base).abs().max())
    allowed = TOLERANCE[model.precision]
    same = int((theirs.argmax(-1) == ours.argmax(-1)).sum())
    figures = {
        "prompts": len(prompts),
        "same_first_token": same,
        "max_logit_difference": difference,
        "max_logit_effect": effect,
        "allowed": allowed,
    }
    words = (
        f"Loaded as a model of its own by {program}: {same} of {len(prompts)} replies begin with the same token as "
        f"here, and no token's score differs by more than {difference:.2g} (the change itself moves scores by up to "
        f"{effect:.2g}; {allowed:.2g} is allowed for rounding)."
    )
    if difference > allowed:
        return Checked(False, f"The merged model does not do what the change does here. {words}", figures)
    return Checked(True, words, figures)
