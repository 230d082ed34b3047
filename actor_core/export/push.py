"""Puts an exported folder on the model hub, as one commit to a repository that its owner names.

The token is used for these requests and then forgotten: it is written to no file, no log and no message. What
belongs to this machine or to its user alone stays here: paths in the Modelfile, and the user's prompts in the
recipe unless they are to be shared.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from actor_core.errors import ExportError
from actor_core.events import Event, Progress
from actor_core.recipe import RECIPE, read_recipe

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

__all__ = ["Destination", "push"]

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
ABSOLUTE_BASE = re.compile(r"^FROM (?:/|[A-Za-z]:).*?([^/\\]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Destination:
    """``repository`` (owner/name) is made where it does not exist. ``share_prompts``: the user's own go with it."""

    repository: str
    token: str = field(repr=False)
    private: bool = True
    share_prompts: bool = False


def push(folder: Path, to: Destination) -> Generator[Event, None, str]:
    """Puts the files of ``folder`` on the hub and gives the address of the commit.

    Raises `ExportError` for a name or token that is none, where the hub cannot be reached or refuses, and where
    the repository is public already and ``to`` asks for a private one.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if not REPOSITORY.fullmatch(to.repository):
        raise ExportError(
            f"{to.repository[:100]!r} is no name of a repository: write owner/name, as in someone/my-model-repaired."
        )
    if not to.token.strip():
        raise ExportError("A token that may write is needed: make one in the settings of your account on the hub.")
    api = HfApi(token=to.token.strip(), library_name="second-take")
    yield Progress("push", 0, 2, f"Making {to.repository}")
    try:
        _require_repository(api, to)
        yield Progress("push", 1, 2, f"Sending the files to {to.repository}")
        commit = api.create_commit(to.repository, list(_operations(folder, to)), commit_message="Files of Second Take")
    except OfflineModeIsEnabled as fault:
        raise ExportError(
            "The hub is switched off here (HF_HUB_OFFLINE is set), so nothing was sent. The files are on this machine."
        ) from fault
    except HfHubHTTPError as fault:
        raise ExportError(_refused(fault, to)) from None  # its context holds the request, and the token in it
    except ExportError:
        raise
    except Exception as fault:  # noqa: BLE001 - httpx or httpx2, by the hub's version: any fault means not sent
        reason = _without(to.token, " ".join(str(fault).split())[:200] or type(fault).__name__)
        raise ExportError(
            f"The hub could not be reached or did not take the files ({reason}). They are on this machine still: look "
            "at the connection, and push again."
        ) from None
    yield Progress("push", 2, 2, f"Sent to {to.repository}")
    return str(commit.commit_url)


def _require_repository(api: HfApi, to: Destination) -> None:
    """Makes the repository, or sees to it that one that is there is no more public than was asked for."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api.create_repo(to.repository, private=to.private)
    except HfHubHTTPError as fault:
        if fault.response is None or fault.response.status_code != 409:
            raise
        if to.private and not api.model_info(to.repository).private:
            raise ExportError(
                f"{to.repository} exists and is public, so nothing was sent. Choose another name, or untick 'private'."
            ) from None


def _operations(folder: Path, to: Destination) -> Iterator[CommitOperationAdd]:
    from huggingface_hub import CommitOperationAdd

    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content: Path | bytes = path
        if path.name == "Modelfile":
            content = ABSOLUTE_BASE.sub(r"FROM ./\1", path.read_text(encoding="utf-8")).encode()
        elif path.name == RECIPE and not to.share_prompts:
            content = read_recipe(path).without_prompts().text().encode()
        yield CommitOperationAdd(path.relative_to(folder).as_posix(), content)


def _refused(fault: object, to: Destination) -> str:
    response = getattr(fault, "response", None)
    code = getattr(response, "status_code", None)
    if code in (401, 403):
        return (
            f"The hub does not let this token write to {to.repository} (status {code}). Make a token that may write, "
            "and name a repository of your own."
        )
    said = _without(to.token, " ".join(str(getattr(fault, "server_message", "") or "").split())[:200])
    return f"The hub refused the files (status {code}{': ' + said if said else ''}). They are on this machine still."


def _without(token: str, text: str) -> str:
    return text.replace(token.strip(), "…")
