"""What the program was started with, as one value."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from actor_core.fetch import default_data_dir
from actor_core.presets import DEFAULT_MODEL
from actor_core.weights.whole_files import bytes_of
from app.zerogpu import is_lent

__all__ = ["MODELS_ALLOWED", "Settings"]

MODELS_ALLOWED = "SECOND_TAKE_MODELS"  # a variable of the Space: ids of presets, with commas between


@dataclass(frozen=True)
class Settings:
    """How this process serves. ``port`` None: 7860, or the next free one; ``memory`` None: all of the model, else
    bytes of it."""

    data_dir: Path
    model: str | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    listen: bool = False
    share: bool = False
    auth: tuple[str, str] | None = None
    browser: bool = True
    device: str = "auto"
    memory: int | None = None
    offline: bool = False
    in_space: bool = False
    models: tuple[str, ...] = ()

    @property
    def allow_list(self) -> tuple[str, ...] | None:
        """Ids of the presets that may be loaded, the one that is offered first at the beginning; None: all of them.

        All visitors of a Space share the model that is loaded, so that without ``models`` it has one.
        """
        return (self.models or (DEFAULT_MODEL,)) if self.in_space else None

    @property
    def ways_to_load_allowed(self) -> bool:
        """Whether precision and device may be chosen: not where the model is everybody's."""
        return not self.in_space

    @property
    def hub_ids_allowed(self) -> bool:
        """Whether a model that is no preset may be typed. A Space offers presets only."""
        return not self.in_space

    @property
    def local_paths_allowed(self) -> bool:
        """Whether a path of this machine may be typed: only by those who sit at it."""
        return not (self.in_space or self.share or self.listen)

    @property
    def page_cache(self) -> Path:
        """The one folder whose files Gradio may serve: uploads and the downloads that were asked for."""
        return self.data_dir / "page-cache"

    @classmethod
    def from_args(cls, args: Namespace) -> Settings:
        """``args`` as ``launch.py`` parses them; what is not there has its default."""
        in_space = bool(os.environ.get("SPACE_ID"))

        def given(name: str, otherwise: object = None) -> object:
            value = getattr(args, name, None)
            return otherwise if value is None else value

        given_dir = given("data_dir")
        data_dir = Path(str(given_dir)).expanduser().resolve() if given_dir else default_data_dir()
        port = given("port")
        auth = given("auth")
        if isinstance(auth, str):
            user, _, password = auth.partition(":")
            auth = (user, password)
        listen = bool(given("listen", False)) or in_space
        host = str(given("host", "0.0.0.0" if listen else "127.0.0.1"))
        model = given("model")
        models = tuple(filter(None, map(str.strip, os.environ.get(MODELS_ALLOWED, "").split(","))))
        return cls(
            # Of its own, for what is old there is deleted.
            data_dir=data_dir / "space" if in_space else data_dir,
            model=str(model) if model else None,
            host=host,
            port=int(str(port)) if port is not None else None,
            listen=listen or host not in ("127.0.0.1", "localhost", "::1"),
            share=bool(given("share", False)) and not in_space,
            auth=auth if isinstance(auth, tuple) else None,
            browser=bool(given("browser", True)) and not in_space,
            device=str(given("device", "auto")),
            memory=bytes_of(str(memory)) if (memory := given("memory")) else None,
            offline=bool(given("offline", False)),
            in_space=in_space,
            models=models[:1] if is_lent() else models,  # the lent GPU's process has one
        )
