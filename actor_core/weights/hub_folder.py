"""Fetches a transformers folder from the hub: at a pinned commit, or the newest one, which is recorded."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

from actor_core.events import Progress
from actor_core.presets import WholeFile
from actor_core.weights import hub
from actor_core.weights.model_folder import check_folder
from actor_core.weights.model_home import FetchedModel, not_here, nothing_gave
from actor_core.weights.transfer import SourceFailed, Transfer
from actor_core.weights.whole_files import (
    Stamp,
    digest_of_folder,
    disk_faults,
    hashed,
    put_folder,
    require_room,
)

__all__ = ["hub_answers", "hub_folder"]


def hub_answers() -> Generator[Progress, None, None]:
    """Raises SourceFailed when the hub does not answer within 5 s."""
    yield Progress("download", 0, 0, f"Asking {hub.host()}")
    if not hub.answers():
        raise SourceFailed(f"{hub.host()} does not answer (or HF_HUB_OFFLINE is set)")


def hub_folder(
    repo: str, revision: str | None, pinned: tuple[WholeFile, ...], home: Path, offline: bool
) -> Generator[Progress, None, FetchedModel]:
    """The model ``repo`` at ``revision`` (None: the commit that was current at the first download).

    ``pinned`` are files whose digests are known beforehand; the hub's own list gives those of the
    other large ones. Raises FetchError, and ModelError for what cannot be loaded safely.
    """
    folder, stamp_file = home / "weights", home / "weights.json"
    stamp = yield from Stamp.verified(stamp_file, folder)
    if stamp and revision in (None, stamp.facts.get("commit"), stamp.facts.get("asked")):
        check_folder(folder)
        return FetchedModel(folder, None, repo, stamp.facts["commit"], digest_of_folder(stamp.digests))
    if offline:
        raise not_here(repo)
    try:
        yield from hub_answers()
        found = hub.listing(repo, revision)
        with disk_faults(home):
            digests = yield from _download(found, pinned, home)
            check_folder(home / _unfinished(found))
            stamp_file.unlink(missing_ok=True)
            put_folder(home / _unfinished(found), folder)
            facts = {"repo": repo, "commit": found.commit, "asked": revision or ""}
            Stamp.of(folder, digests, facts).write(stamp_file)
            for leftover in home.glob("*.partial"):
                shutil.rmtree(leftover)
    except SourceFailed as fault:
        raise nothing_gave(repo, [str(fault)]) from fault
    return FetchedModel(folder, None, repo, found.commit, digest_of_folder(digests))


def _unfinished(found: hub.HubListing) -> str:
    return f"{found.commit}.partial"


def _download(
    found: hub.HubListing, pinned: tuple[WholeFile, ...], home: Path
) -> Generator[Progress, None, dict[str, str]]:
    """Every file of the model into its unfinished folder, compared; their digests by name."""
    wanted = hub.model_files(found)
    expected = {each.name: each.sha256 for each in wanted}
    expected |= {each.name: each.sha256 for each in pinned}
    unfinished = home / _unfinished(found)
    unfinished.mkdir(exist_ok=True)
    total = sum(each.bytes for each in wanted)
    there = sum(path.stat().st_size for path in unfinished.iterdir())
    require_room(home, max(0, total - there), found.repo)
    transfer, before = Transfer(total, hub.host()), 0
    digests: dict[str, str] = {}
    for each in wanted:
        path = unfinished / each.name
        yield from hub.download_file(found, each, path, transfer, before)
        before += each.bytes
        digests[each.name] = yield from hashed(path, f"Comparing {each.name} with its digest")
        if expected[each.name] not in (None, digests[each.name]):
            path.unlink()
            raise SourceFailed(f"{hub.host()} gave a wrong {each.name}; it was deleted")
    return digests
