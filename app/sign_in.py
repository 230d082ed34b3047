"""Signing in on a Space, with the account of the hub to which an export is then sent.

The hub offers it where the Space's front matter says ``hf_oauth: true``; Gradio keeps the token in the visitor's
cookie, and it is used for nothing but what they send.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from actor_core.errors import ExportError
from app.settings import Settings

if TYPE_CHECKING:
    from actor_core.export.push import Destination

__all__ = ["Account", "is_offered"]

NEEDED = ("authlib", "itsdangerous")  # of gradio[oauth], which a Space installs by itself


@dataclass(frozen=True)
class Account:
    """Who is signed in: their name on the hub, and what lets a program write there for them."""

    name: str
    token: str = field(repr=False)

    def destination(self, repository: str, *, private: bool, share_prompts: bool) -> Destination:
        """``repository`` (name, or owner/name) as one of this account's. Raises `ExportError` for another's."""
        from actor_core.export.push import Destination

        owner, slash, name = repository.strip().rpartition("/")
        if slash and owner != self.name:
            raise ExportError(
                "From this page only repositories of your own account are written to: name it "
                f"{self.name}/{name[:100]}."
            )
        return Destination(f"{self.name}/{name}", self.token, private=private, share_prompts=share_prompts)


def is_offered(settings: Settings) -> bool:
    """Whether visitors can sign in here."""
    return settings.in_space and bool(os.environ.get("OAUTH_CLIENT_ID")) and all(map(find_spec, NEEDED))
