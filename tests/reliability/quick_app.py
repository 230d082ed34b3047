"""The app over the quick stand-ins of tests/app, served in this process, for whoever wants to do it harm."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
for folder in ("tests/app", "tests/core", "tests/browser"):
    if str(ROOT / folder) not in sys.path:
        sys.path.append(str(ROOT / folder))

from quick_core import take_the_place_of_the_core  # noqa: E402

from app.settings import Settings  # noqa: E402
from app.studio import Studio  # noqa: E402


@contextmanager
def quick_core(pause: float = 0.0) -> Iterator[pytest.MonkeyPatch]:
    """Within it the core's slow parts are the quick ones."""
    with pytest.MonkeyPatch.context() as patch:
        take_the_place_of_the_core(patch.setattr, pause)
        yield patch


@dataclass(frozen=True)
class Served:
    """``address`` has no slash at its end; ``blocks`` is Gradio's."""

    studio: Studio
    address: str
    blocks: Any


@contextmanager
def served(data_dir: Path, pause: float = 0.0, **settings: object) -> Iterator[Served]:
    """The app in this process; each prompt takes ``pause`` seconds."""
    from app.create_app import create_app
    from app.serve import CALLS_AT_ONCE, MAX_WAITING, launch_options

    given = Settings(data_dir=data_dir, browser=False, **settings)
    with quick_core(pause) as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(given.page_cache))
        patch.delenv("SPACE_ID", raising=False)
        studio = Studio(given)
        blocks = create_app(studio)
        blocks.queue(max_size=MAX_WAITING, default_concurrency_limit=CALLS_AT_ONCE)
        _, address, _ = blocks.launch(**launch_options(given), prevent_thread_lock=True)
        try:
            yield Served(studio, address.rstrip("/"), blocks)
        finally:
            blocks.close()
