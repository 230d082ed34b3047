"""Many visitors at once, visitors who leave or stop at any moment, and a server that is killed: over one stand-in
model, so that it is the line of jobs and the sessions that are tried."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from attempts import Attempt
from quick_app import quick_core
from quick_core import Model

from actor_core.tune import TuneSettings
from app.session import Session
from app.settings import Settings
from app.studio import Studio

SECONDS = 60.0
STOP_SECONDS = 5.0


def at_once(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """Rounds of eight visitors who ask, tune and compare at the same time, each with prompts of their own."""
    with quick_core(pause=0.001):
        for number in range(max(1, count // 8)):
            alone = {who: _alone(folder / f"{number} {who}", who) for who in range(8)}
            studio = _studio(folder / str(number))
            sessions = [studio.sessions.new() for _ in range(8)]
            line: set[int] = set()
            threads = [threading.Thread(target=_path, args=(studio, s, who)) for who, s in enumerate(sessions)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                line |= {studio.runner.ahead(job) for s in sessions if (job := studio.job(s))}
                time.sleep(0.001)
            for who, session in enumerate(sessions):
                others = [prompt for other in range(8) if other != who for prompt in _prompts(other)]
                found = _result(session)
                fault = "" if found == alone[who] else f"{found} instead of {alone[who]}"
                if any(prompt in repr(found) for prompt in others):
                    fault = "it has prompts of another visitor"
                yield Attempt(f"visitor {who} of round {number}", fault)
            yield Attempt(f"the line of round {number}", "" if max(line, default=0) >= 3 else f"it never grew: {line}")


def _studio(data: Path) -> Studio:
    studio = Studio(Settings(data_dir=data))
    studio.model = Model()
    return studio


def _prompts(who: int) -> list[str]:
    return [f"How do I kill the process of visitor {who}?", f"What is bread, asks visitor {who}?"]


def _path(studio: Studio, session: Session, who: int) -> None:
    studio.check(session, "\n".join(_prompts(who)))
    _done(studio, session)
    studio.tune(session, TuneSettings(), 2)
    _done(studio, session)


def _alone(data: Path, who: int) -> object:
    studio = _studio(data)
    session = studio.sessions.new()
    _path(studio, session, who)
    return _result(session)


def _result(session: Session) -> object:
    after = {at: [(r.prompt, r.text, r.verdict) for r in replies] for at, replies in session.after.items()}
    held_out = {at: {n: [row.after.verdict for row in rows] for n, rows in g.items()} for at, g in session.sets.items()}
    return [(r.prompt, r.text, r.verdict) for r in session.checked], session.chosen, after, held_out


def _done(studio: Studio, session: Session) -> None:
    end = time.monotonic() + SECONDS
    while studio.job(session) or studio.job(session, quick=True):
        if time.monotonic() > end:
            raise TimeoutError("the visitor's jobs do not end")
        time.sleep(0.002)


def stops(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """Stop at a random moment of loading, asking, tuning, comparing and a strength, until the line is empty; then the
    same action again."""
    draw = random.Random(seed)
    with quick_core(pause=0.01):
        studio = _studio(folder)
        session = studio.sessions.new()
        _path(studio, session, 0)
        actions: dict[str, Callable[[], None]] = {
            "asking": lambda: studio.check(session, "\n".join(f"How do I kill {n}?" for n in range(40))),
            "tuning": lambda: studio.tune(session, TuneSettings(), 30, recipe),
            "comparing": lambda: studio.compare(session, 60),
            "a strength": lambda: studio.set_strength(session, round(draw.uniform(0.1, 1.4), 2)),
            "loading": lambda: studio.load(session, studio.first_preset, "", "auto", "auto"),
        }
        assert session.recipe is not None
        recipe = replace(session.recipe, own=tuple(_prompts(0)))
        before = threading.active_count()
        for number in range(count):
            name = list(actions)[number % len(actions)]
            if session.tuned is None and name in ("comparing", "a strength"):
                _path(studio, session, 0)
            actions[name]()
            time.sleep(draw.uniform(0, 0.15))
            begun = time.monotonic()
            while studio.runner.waiting():
                studio.stop(session)
                if time.monotonic() - begun > STOP_SECONDS:
                    break
                time.sleep(0.002)
            fault = "" if time.monotonic() - begun < STOP_SECONDS else f"it took more than {STOP_SECONDS:.0f} s"
            if not fault and threading.active_count() > before + 1:
                fault = f"{threading.active_count() - before} threads are left"
            yield Attempt(f"{name}, stop {number}", fault)


def killed(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """The process is killed at random moments of a visitor's path, and the next one opens what it left."""
    draw = random.Random(seed)
    with quick_core(pause=0.002):
        data = folder / "data"
        first = _studio(data)
        session = first.sessions.new()
        _path(first, session, 0)
        id, name, runs = session.id, session.prompts_text, 1
        for number in range(count):
            child = os.fork()
            if child == 0:
                try:
                    studio = _studio(data)
                    found = studio.sessions.get(id)
                    assert found is not None
                    while True:
                        _path(studio, found, 0)
                finally:
                    os._exit(1)
            time.sleep(draw.uniform(0.02, 0.8))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            studio = _studio(data)
            after = studio.sessions.get(id)
            if after is None:
                yield Attempt(f"kill {number}", "the visitor's session is lost")
                continue
            studio.note_interrupted(after)
            assert studio.history is not None
            shelf = studio.history.shelf(after)
            lines = shelf.lines
            fault = "" if after.prompts_text == name else f"the prompts are {after.prompts_text[:80]!r}"
            if shelf.damaged or len(lines) < runs:
                fault = f"{shelf.damaged} is damaged; there were {runs} runs and are {len(lines)}"
            runs = len(lines)
            yield Attempt(f"kill {number}", fault)


def leaving(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """A script goes away at a random moment of a call; its job ends, and the next visitor is served."""
    from gradio_client import Client
    from quick_app import served

    draw = random.Random(seed)
    with served(folder / "data", pause=0.01) as app:
        patience = {"timeout": SECONDS}  # a busy machine takes longer than httpx waits for an answer
        staying = Client(app.address, verbose=False, httpx_kwargs=patience)
        for number in range(count):
            client = Client(app.address, verbose=False, httpx_kwargs=patience)
            session = client.predict(api_name="/load_model")["session"]
            work = client.submit(session, [f"How do I kill {n}?" for n in range(300)], api_name="/check_prompts")
            time.sleep(draw.uniform(0.05, 0.5))
            work.cancel()
            client.close()
            mine = app.studio.sessions.get(session)
            assert mine is not None
            end = time.monotonic() + 3 * STOP_SECONDS
            while app.studio.job(mine) and time.monotonic() < end:
                time.sleep(0.02)
            fault = "its job goes on" if app.studio.job(mine) else ""
            staying.predict(
                staying.predict(api_name="/load_model")["session"], ["What is bread?"], api_name="/check_prompts"
            )
            yield Attempt(f"leaving {number}", fault)
