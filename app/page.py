"""What the five steps share: the parts of the page by name, and how a click becomes a new view.

The page is drawn from the session: a handler changes the session or starts a job, then the view of
the steps is sent. Nothing that a person types is sent back over what they are typing, but after a
reload.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import gradio as gr

from app import render, words
from app.errors import explain
from app.jobs import Job
from app.language import later, spoken, t, translated, wanted_by
from app.session import STEPS, Session
from app.sign_in import Account
from app.studio import Studio

__all__ = ["SCROLL_UP", "Page", "View", "step_label"]

View = dict[str, Any]
# A look costs the server and the browser a tenth of a second of a processor, which the work itself could use: often at
# first, and where something is written or moved that a person watches; of a longer job less often.
SECONDS_BETWEEN_LOOKS = 0.8
SECONDS_BETWEEN_CALM_LOOKS = 2.5
CALM_AFTER_SECONDS = 15.0
# What a button runs in the browser that leads to another step.
SCROLL_UP = "(...values) => { window.scrollTo({top: 0}); return values; }"
# Shown by page.js while something runs; the browser is asked for its permission only when it is ticked.
TELL_ME = later("Tell me when it is done")


def step_label(name: str, *, done: bool) -> str:
    number = STEPS.index(name) + 1
    return f"{'✓' if done else number} {t(words.STEP_NAMES[number - 1])}"


def tell_me() -> gr.HTML:
    """The box beside a Stop."""
    text = f"<label><input type='checkbox'> <span>{t(TELL_ME)}</span></label>"
    return gr.HTML(text, elem_classes="st-slot st-tell")


def panel_of(job: Job) -> str:
    """The part that shows the job's progress."""
    if job.quick:
        return "quick_job"
    return f"{job.kind if job.kind in words.OWN_PANEL else words.STEP_OF_KIND[job.kind]}_job"


def _age(job: Job | None) -> float:
    """For how many seconds ``job`` has run."""
    return time.time() - job.started if job is not None and job.started else 0.0


@contextmanager
def spoken_with(session: Session, request: gr.Request | None) -> Iterator[None]:
    """Within it the page speaks the language that the visitor's browser asks for; without ``request`` as before."""
    if request is not None:
        session.language = wanted_by(request.headers.get("accept-language"))
    with spoken(session.language):
        yield


class Page:
    """The parts of one page (``parts``) over one studio, and the wiring of its events."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.parts: dict[str, Any] = {}
        self.views: dict[str, Callable[[Studio, Session], View]] = {}
        # What grows while a job runs: a part with what draws it, and the kind of job.
        self.growing: dict[str, tuple[str, Callable[[Session], str]]] = {}
        self.visitor = gr.BrowserState(None, storage_key="second-take", secret="second-take")
        self.seen = gr.State(-1)
        self.timer = gr.Timer(SECONDS_BETWEEN_LOOKS, active=False)
        # Gradio's own progress, which this page does not show, runs a clock for each part that it belongs to, unseen
        # ones too, sixty times a second and a part of a core in all: it belongs to one that draws nothing.
        self.unseen: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": self.seen}

    def add(self, name: str, part: Any) -> Any:  # noqa: ANN401
        self.parts[name] = part
        return part

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """The frame of a step: its heading and purpose."""
        number = STEPS.index(name) + 1
        with gr.Tab(step_label(name, done=False), id=number, interactive=number <= 2) as part:
            self.add(f"{name}_step", part)
            # Two parts, for the browser translates one text in each.
            gr.HTML(f"<h2 class='st-heading'>{t(words.STEP_NAMES[number - 1])}</h2>", elem_classes="st-slot st-head")
            gr.HTML(f"<p class='st-purpose'>{t(words.PURPOSE[name])}</p>", elem_classes="st-slot")
            yield

    def action(self, name: str, label: str) -> None:
        """The step's primary button with its Stop, progress and messages."""
        with gr.Row(elem_classes="st-actions"):
            self.add(
                f"{name}_go",
                # The first view opens it: a press before the page knows its visitor would be another visitor's.
                gr.Button(
                    label, variant="primary", elem_id=f"{name}-go", interactive=False, scale=0, min_width=285
                ),
            )
            self.add(
                f"{name}_stop",
                gr.Button(t("Stop"), variant="stop", elem_id=f"{name}-stop", scale=0, min_width=90, visible=False),
            )
            tell_me()
        self.add(f"{name}_hint", gr.HTML("", elem_classes="st-slot"))
        self.add(f"{name}_job", gr.HTML("", elem_id=f"{name}-job", elem_classes="st-slot"))
        self.add(f"{name}_notice", gr.HTML("", elem_id=f"{name}-notice", elem_classes="st-slot"))

    def next(self, name: str) -> None:
        """The button to the step after this one."""
        with gr.Row(elem_classes="st-next"):
            part = gr.Button(t(words.NEXT[name]), elem_id=f"{name}-next", interactive=False, scale=0, min_width=200)
            self.add(f"{name}_next", part)

    # Drawing

    def acting(self, session: Session, name: str, *, ready: bool, done: bool, hint: str = "") -> View:
        """What `action` laid out. ``ready``: its button can be pressed; ``done``: it need not be."""
        job = self.studio.job(session)
        mine = job is not None and words.STEP_OF_KIND[job.kind] == name
        view: View = {
            f"{name}_notice": render.notice(session.notices.get(name)),
            f"{name}_job": self.panel(job) if job is not None and mine else "",
        }
        if f"{name}_go" in self.parts:
            busy = "" if job is None or mine else t("“{job}” is still running.", job=t(words.KINDS[job.kind]))
            said = "" if mine else escape(busy or translated(hint))
            view[f"{name}_hint"] = f"<p class='st-hint'>{said}</p>" if said else ""
            view[f"{name}_go"] = gr.Button(
                interactive=ready and job is None, variant="secondary" if done else "primary"
            )
            view[f"{name}_stop"] = gr.Button(visible=mine, interactive=job is not None and job.state != "stopping")
        return view

    def frame(self, session: Session, name: str, *, ready: bool, done: bool, hint: str = "") -> View:
        """What every step has. ``ready``: its button can be pressed; ``done``: the next step can be used."""
        view = self.acting(session, name, ready=ready, done=done, hint=hint)
        if f"{name}_next" in self.parts:
            view[f"{name}_next"] = gr.Button(interactive=done, variant="primary" if done else "secondary")
        open_now = STEPS.index(name) < 2 or self.opened(session, name)
        view[f"{name}_step"] = gr.Tab(label=step_label(name, done=done), interactive=open_now)
        return view

    def panel(self, job: Job) -> str:
        return render.job_panel(job, self.studio.runner.ahead(job))

    def now(self, session: Session) -> str:
        job = self.studio.job(session)
        return render.now(job, self.studio.runner.ahead(job)) if job else ""

    def busy(self, session: Session) -> bool:
        return any(self.studio.job(session, quick=quick) for quick in (False, True))

    def _seconds_between_looks(self, session: Session) -> float:
        job, quick = self.studio.job(session), self.studio.job(session, quick=True)
        watched = quick is not None or job is None or job.kind in {kind for kind, _ in self.growing.values()}
        return SECONDS_BETWEEN_LOOKS if watched or _age(job) < CALM_AFTER_SECONDS else SECONDS_BETWEEN_CALM_LOOKS

    def opened(self, session: Session, name: str) -> bool:
        """Whether a step after the second has something to work on or to show."""
        if name == "tune":
            return bool(session.chosen)
        return session.tuned is not None or (name == "export" and bool(session.exports))

    def view(self, session: Session) -> View:
        """Everything that the steps and what is below them show now, but for what is typed or chosen."""
        view: View = {}
        with session.lock:
            for draw in self.views.values():
                view |= draw(self.studio, session)
        return view

    def answer(self, session: Session, extra: View | None = None, *, new: bool = False) -> dict[Any, Any]:
        """The view and ``extra`` as Gradio takes them, with the timer on while there is a job to follow."""
        # Both before the view: what changes while it is drawn is then drawn by the next look.
        seen, busy = session.version, self.busy(session)
        view = self.view(session) | (extra or {})
        updates: dict[Any, Any] = {self.parts[name]: value for name, value in view.items()}
        updates[self.timer] = gr.Timer(self._seconds_between_looks(session), active=busy)
        updates[self.seen] = seen
        updates[self.parts["now"]] = self.now(session)
        if new:
            updates[self.visitor] = session.id
        return updates

    # Wiring

    @property
    def outputs(self) -> list[Any]:
        return [self.visitor, self.seen, self.timer, *self.parts.values()]

    def on(
        self,
        trigger: Callable[..., Any],
        step: str,
        handle: Callable[..., View | None],
        inputs: Sequence[str] = (),
        *,
        with_data: bool = False,
        with_account: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Calls ``handle(session, *inputs)`` on ``trigger`` and draws the page; errors go to ``step``.

        ``with_data``: ``handle`` also gets, last, what the browser sent with the event; ``with_account``: the
        `Account` that is signed in, or None. Gives Gradio's dependency, so that something can follow.
        """

        def handler(request: gr.Request, visitor: object, *values: object) -> dict[Any, Any]:
            session = self.studio.sessions.get(visitor)
            new = session is None
            session = session or self.studio.sessions.new()
            extra: View | None = None
            with spoken_with(session, request):
                try:
                    extra = handle(session, *values)
                except Exception as error:  # the one boundary: whatever it is becomes words
                    session.say(step, explain(error, with_paths=self.studio.settings.local_paths_allowed))
                self.studio.keep_results(session)
                return self.answer(session, extra, new=new)

        def handler_with_data(
            data: gr.EventData, request: gr.Request, visitor: object, *values: object
        ) -> dict[Any, Any]:
            return handler(request, visitor, *values, data._data)

        def handler_with_account(
            profile: gr.OAuthProfile | None,
            token: gr.OAuthToken | None,
            request: gr.Request,
            visitor: object,
            *values: object,
        ) -> dict[Any, Any]:
            account = Account(profile.username, token.token) if profile and token else None
            return handler(request, visitor, *values, account)

        return trigger(
            handler_with_account if with_account else handler_with_data if with_data else handler,
            inputs=[self.visitor, *(self.parts[name] for name in inputs)],
            outputs=self.outputs,
            **{**self.unseen, "api_visibility": "private", **options},
        )

    def quiet(
        self,
        trigger: Callable[..., Any],
        handle: Callable[..., View | None],
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        with_data: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """As `on`, for what changes little: only the ``outputs`` are drawn, as ``handle`` gives them, which raises
        nothing."""

        def handler(request: gr.Request, visitor: object, *values: object) -> dict[Any, Any]:
            session = self.studio.sessions.get(visitor)
            if session is None:
                return {}
            with spoken_with(session, request):
                found = handle(session, *values) or {}
            return {self.parts[name]: value for name, value in found.items()}

        def handler_with_data(
            data: gr.EventData, request: gr.Request, visitor: object, *values: object
        ) -> dict[Any, Any]:
            return handler(request, visitor, *values, data._data)

        return trigger(
            handler_with_data if with_data else handler,
            inputs=[self.visitor, *(self.parts[name] for name in inputs)],
            outputs=[self.parts[name] for name in outputs],
            **{**self.unseen, "api_visibility": "private", **options},
        )

    def look(self, visitor: object, seen: int, request: gr.Request | None = None) -> dict[Any, Any]:
        """What the timer asks for: the progress alone while nothing else is new."""
        session = self.studio.sessions.get(visitor)
        if session is None:
            return {self.timer: gr.Timer(active=False)}
        with spoken_with(session, request):
            return self._news(session, seen)

    def _news(self, session: Session, seen: int) -> dict[Any, Any]:
        jobs = [self.studio.job(session), self.studio.job(session, quick=True)]
        if session.version != seen or not any(jobs):
            return self.answer(session)
        panels = {panel_of(job): self.panel(job) for job in jobs if job is not None}
        panels["now"] = self.now(session)
        kinds = {job.kind for job in jobs if job is not None}
        panels |= {name: draw(session) for name, (kind, draw) in self.growing.items() if kind in kinds}
        news: dict[Any, Any] = {self.parts[name]: shown for name, shown in panels.items()}
        if CALM_AFTER_SECONDS <= _age(jobs[0]) < CALM_AFTER_SECONDS + 2 * SECONDS_BETWEEN_CALM_LOOKS:
            news[self.timer] = gr.Timer(self._seconds_between_looks(session))
        return news
