"""Fetches files from the model hub (huggingface.co, or what HF_ENDPOINT names) and goes on where it was cut.

Only weights as safetensors, tokenizer and configuration are ever fetched: no Python file, no
pickle. `huggingface_hub` gives the list of files, the person's token and the connection; the
bytes are written here, since its own download begins anew after every interruption.
"""

from __future__ import annotations

import fnmatch
import os
import re
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actor_core.errors import ModelError, first_line
from actor_core.events import Progress
from actor_core.weights.transfer import SourceFailed, Transfer
from actor_core.weights.whole_files import sync

__all__ = ["HubListing", "ListedFile", "answers", "download_file", "endpoint", "listing", "model_files"]

ANSWER_SECONDS = 5.0
READ_SECONDS = 30.0
ATTEMPTS = 5
BACKOFF_SECONDS = 1.0
# What a transformers model folder is made of, apart from its weights.
SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.json",
    "*.jinja",
    "model.safetensors.index.json",
)


@dataclass(frozen=True)
class ListedFile:
    """A file of a hub repository; ``sha256`` is known for the large ones."""

    name: str
    bytes: int
    sha256: str | None


@dataclass(frozen=True)
class HubListing:
    """A repository at one commit."""

    repo: str
    commit: str
    files: tuple[ListedFile, ...]

    def file(self, name: str) -> ListedFile:
        """The file called ``name``; raises SourceFailed where there is none."""
        for each in self.files:
            if each.name == name:
                return each
        raise SourceFailed(f"{self.repo} at {self.commit[:12]} has no file {name}")


def endpoint() -> str:
    """The hub's address without a slash at its end; HF_ENDPOINT names another one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def host() -> str:
    return endpoint().split("//", 1)[-1]


def answers() -> bool:
    """Whether the hub answers at all within 5 s: on many machines it is out of reach.

    In a thread, for looking up a name has no limit of its own.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    from huggingface_hub.utils import get_session

    session, reached = get_session(), []

    def probe() -> None:
        try:
            reached.append(session.head(endpoint(), timeout=ANSWER_SECONDS).status_code < 500)
        except Exception:  # noqa: BLE001 - httpx or httpx2, by the hub's version: any fault means no answer
            return

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    return bool(reached and reached[0])


def listing(repo: str, revision: str | None) -> HubListing:
    """What the repository holds at ``revision`` (None: the newest commit); raises SourceFailed in words."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    page = f"{endpoint()}/{repo}"
    try:
        about = HfApi(endpoint=endpoint()).model_info(
            repo, revision=revision, files_metadata=True, timeout=2 * ANSWER_SECONDS
        )
    except GatedRepoError as fault:
        raise SourceFailed(_access(page)) from fault
    except RepositoryNotFoundError as fault:
        raise SourceFailed(
            f"{host()} has no model {repo}, or it is private: check the name at {page}"
        ) from fault
    except RevisionNotFoundError as fault:
        raise SourceFailed(f"{repo} has no revision {revision}: look at {page}/commits") from fault
    except Exception as fault:
        raise SourceFailed(f"{host()} did not list {repo}: {first_line(fault)}") from fault
    if not re.fullmatch("[0-9a-f]{40}", str(about.sha)):
        raise SourceFailed(f"{host()} names no commit of {repo}")
    files = tuple(
        ListedFile(each.rfilename, int(each.size or 0), str(each.lfs.sha256) if each.lfs else None)
        for each in about.siblings or ()
    )
    return HubListing(repo, str(about.sha), files)


def model_files(found: HubListing) -> tuple[ListedFile, ...]:
    """The files that make up the model; raises ModelError for a repository that cannot be loaded safely."""
    top = [each for each in found.files if re.fullmatch(r"[\w+-][\w.+-]*", each.name)]
    names = {each.name for each in top}
    weights = [each for each in top if fnmatch.fnmatch(each.name, "model*.safetensors")]
    if "adapter_config.json" in names:
        raise ModelError(f"{found.repo} is an adapter and no model: give the model that it was made for.")
    if not weights and any(name.endswith(".gguf") for name in names):
        raise ModelError(
            f"{found.repo} holds GGUF files only: download the one that you want and give its path here."
        )
    if not weights and any(name.endswith((".bin", ".pt", ".pth", ".pkl")) for name in names):
        raise ModelError(
            f"{found.repo} holds its weights as pickle files only, which can run any program when read: "
            "choose a repository with .safetensors files."
        )
    if not weights or "config.json" not in names:
        raise ModelError(
            f"{found.repo} is no transformers model: it has no config.json with .safetensors files."
        )
    small = [each for each in top if any(fnmatch.fnmatch(each.name, pattern) for pattern in SMALL_FILES)]
    return tuple(small + weights)


def download_file(
    found: HubListing, wanted: ListedFile, partial: Path, transfer: Transfer, before: int = 0
) -> Generator[Progress, None, None]:
    """Brings one file into ``partial``, going on after the bytes that are there; compares no digest.

    ``before`` bytes of the whole download are done already. Raises SourceFailed when the hub
    does not give it, and OSError where the disk cannot take it.
    """
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(found.repo, wanted.name, revision=found.commit, endpoint=endpoint())
    partial.touch()
    faults = 0
    while (size := partial.stat().st_size) != wanted.bytes:
        if size > wanted.bytes:
            os.truncate(partial, 0)
            size = 0
        try:
            with partial.open("ab") as file:
                for start, chunk in _chunks(url, size):
                    if start != file.tell():
                        file.truncate(start)
                    file.write(chunk)
                    faults = 0
                    if file.tell() > wanted.bytes:
                        raise SourceFailed(
                            f"{host()} sent more than the {wanted.bytes:,} bytes listed of {wanted.name}"
                        )
                    if event := transfer.at(before + file.tell()):
                        yield event
            if partial.stat().st_size == size:
                raise ConnectionError(f"{host()} sent nothing of {wanted.name}")
        except ConnectionError as fault:
            faults += 1
            if faults >= ATTEMPTS:
                raise SourceFailed(str(fault)) from fault
            yield Progress(
                "download", before + size, transfer.total, "The connection broke: going on from there"
            )
            time.sleep(faults * BACKOFF_SECONDS)
    sync(partial)


def _chunks(url: str, start: int) -> Iterator[tuple[int, bytes]]:
    """The file's bytes from ``start`` with the place of each chunk; from 0 where the server knows no ranges.

    Raises ConnectionError for what may pass, SourceFailed for a refusal.
    """
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers: dict[str, Any] = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with get_session().stream("GET", url, headers=headers, timeout=READ_SECONDS) as response:
            hf_raise_for_status(response)
            place = start if response.status_code == 206 else 0
            for chunk in response.iter_raw():
                yield place, chunk
                place += len(chunk)
    except GatedRepoError as fault:
        raise SourceFailed(_access(url.split("/resolve/")[0])) from fault
    except HfHubHTTPError as fault:
        # 408 and 429 are a server that is busy: they pass, as its own faults do.
        if fault.response.status_code < 500 and fault.response.status_code not in (408, 429):
            raise SourceFailed(f"{host()} refused: {first_line(fault)}") from fault
        raise ConnectionError(f"{host()} failed: {first_line(fault)}") from fault
    except Exception as fault:
        raise ConnectionError(f"{host()} broke off: {first_line(fault)}") from fault


def _access(page: str) -> str:
    return (
        f"access is granted by its owners only: ask for it at {page}, then log in here with 'hf auth login'"
    )
