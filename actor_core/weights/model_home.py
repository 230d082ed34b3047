"""Where the weights of one model lie, and what is known of them once they are there.

models/<preset>/            one folder a model, in the user's data folder
    <file>.gguf, gguf.json  what was downloaded, and its stamp
    weights/, weights.json  the transformers folder, and its stamp
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from actor_core.errors import FetchError
from actor_core.events import Progress
from actor_core.weights.whole_files import disk_faults

__all__ = ["FetchedModel", "default_data_dir", "models_dir", "not_here", "nothing_gave", "one_at_a_time"]

WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class FetchedModel:
    """Weights on the disk. ``folder`` is loaded by `from_pretrained`.

    ``gguf`` is the file it was made from, if any; ``revision`` a commit of the hub, the wheel it
    came in, or empty for a local model. ``digest`` is the SHA-256 of the GGUF, or of the sorted
    list of the folder's file digests.
    """

    folder: Path
    gguf: Path | None
    name: str
    revision: str
    digest: str


def default_data_dir() -> Path:
    """The folder that SECOND_TAKE_DATA_DIR names, else the user's data folder: downloads, journals and
    exports live there, never in the clone."""
    named = os.environ.get("SECOND_TAKE_DATA_DIR")
    return Path(named).expanduser().resolve() if named else user_data_path("second-take", appauthor=False)


def models_dir(data_dir: Path) -> Path:
    """Where the weights lie below the user's data folder."""
    return data_dir.expanduser().absolute() / "models"


def one_at_a_time(home: Path, stack: contextlib.ExitStack) -> Generator[Progress, None, None]:
    """Makes ``home`` and keeps a second process, or thread, from fetching the same model meanwhile."""
    from filelock import FileLock, Timeout

    with disk_faults(home):
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / ".lock", thread_local=False)
        while True:
            try:
                stack.enter_context(lock.acquire(timeout=0))
                return
            except Timeout:
                yield Progress(
                    "download", 0, 0, "Another window of this program is fetching this model: waiting for it"
                )
                time.sleep(WAIT_SECONDS)


def not_here(what: str) -> FetchError:
    return FetchError(
        f"{what} is not on this machine, and --offline forbids fetching it: start once without --offline."
    )


def nothing_gave(what: str, failures: list[str]) -> FetchError:
    """The error for a model that no source gave, each with its reason."""
    reasons = " ".join(f"({number}) {reason}." for number, reason in enumerate(failures, start=1))
    return FetchError(
        f"{what} could not be fetched. {reasons} Check the network and start again "
        "(what is already downloaded is kept), or give the path of a model on this machine."
    )
