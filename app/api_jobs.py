"""How an endpoint of `app.api` waits for the job that it started, and how what goes wrong reaches its caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Any

import gradio as gr

from app import api_results, words
from app.api_types import Running
from app.errors import Notice, explain
from app.jobs import Job
from app.session import Session
from app.studio import Studio

__all__ = ["Told", "followed"]

SECONDS_BETWEEN_LOOKS = 0.2


class Told:
    """Turns what is raised in a ``with`` into `gr.Error`, in the words that the page would show."""

    def __init__(self, studio: Studio) -> None:
        self.with_paths = studio.settings.local_paths_allowed

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, gr.Error):
            raise _error(explain(error, with_paths=self.with_paths)) from error


async def followed(
    studio: Studio,
    session: Session,
    step: str,
    press: Callable[[], None],
    result: Callable[[Studio, Session, str, str], Any],
) -> AsyncGenerator[Any, None]:
    """Presses a button and waits until nothing runs for ``session``: progress, then what ``result`` makes of it.

    A caller that cancels or goes away closes this generator, which stops the job.
    """
    told: Running | None = None
    seen: list[Job] = []
    over = False
    with Told(studio):
        await asyncio.to_thread(press)
    try:
        while (job := studio.job(session)) is not None:
            if job not in seen:
                seen.append(job)
            now = api_results.running(studio, job)
            if now != told:
                told = now
                yield {"session": session.id, "running": now}
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        over = True
    finally:
        if not over:
            studio.stop(session)
    said = _said(session, {step, *(words.STEP_OF_KIND[job.kind] for job in seen)})
    ended = "stopped" if seen and seen[-1].state == "stopped" else "done"
    with Told(studio):
        answer = await asyncio.to_thread(result, studio, session, ended, said)
    yield answer


def _said(session: Session, steps: Collection[str]) -> str:
    """What stands on ``steps`` after their jobs; an error is raised."""
    notices = [session.notices[step] for step in sorted(steps) if step in session.notices]
    for notice in notices:
        if notice.kind == "error":
            raise _error(notice)
    return "\n".join(notice.text for notice in notices)


def _error(notice: Notice) -> gr.Error:
    return gr.Error(notice.whole(), print_exception=False)
