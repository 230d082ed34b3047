"""A page that is open to others: without the password, with wrong ones, and by addresses of files of others."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from attempts import Attempt
from quick_app import Served, served

from app.gate import FREE_TRIES, MOST_SECONDS, TRIES_A_MINUTE, WITHOUT_PASSWORD, Tries

AUTH = ("anna", "a long password")
SECRET = "The prompt that nobody else may read"
FILES = (b"root:x:", b"SHA256", SECRET.encode(), b"[build-system]")


def without_password(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """Each of Gradio's routes with each of its methods, as it stands in the app that runs."""
    with served(folder, listen=True, auth=AUTH) as app:
        asked = list(_routes(app.blocks.app.routes))
        random.Random(seed).shuffle(asked)
        with httpx.Client(timeout=5) as client:
            for method, path in asked[:count]:
                yield Attempt(f"{method} {path}", _answered(client, method, app.address + path))


def _routes(routes: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """The method and the path of each route, with x for what varies in it."""
    for route in _flat(routes):
        path = re.sub(r"\{(\w+)(:path)?\}", "x", route.path)
        for method in sorted(getattr(route, "methods", None) or ()):
            yield method, path
    for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/queue/data?session_hash=x", "/docs", "/openapi.json"):
        yield "GET", path


def _flat(routes: Sequence[Any]) -> Iterator[Any]:
    for route in routes:
        included = getattr(route, "original_router", None)  # as FastAPI holds a router since 0.120 or so
        if included is not None:
            yield from _flat(included.routes)
        elif hasattr(route, "path"):
            yield route


def _answered(client: httpx.Client, method: str, url: str) -> str:
    """What was wrong with the answer to one who has no password."""
    path = httpx.URL(url).path.rstrip("/") or "/"
    with client.stream(method, url, json={} if method == "POST" else None) as answer:
        status = answer.status_code
        body = b"" if status == 200 and "event-stream" in answer.headers.get("content-type", "") else answer.read()
    if status in (401, 404, 405):
        return ""
    if path in WITHOUT_PASSWORD or path.startswith(("/assets/", "/static/", "/svelte/")):
        return "it gives the page's content" if b'"dependencies":[{' in body else ""
    return f"it was answered with {status}"


def wrong_passwords(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """``count`` tries at once are answered only as far as the limit; the right one is let in where it may try."""
    draw = random.Random(seed)
    with served(folder, listen=True, auth=AUTH) as app, httpx.Client(timeout=10) as client:
        looked_at = 0
        for _ in range(count):
            typed = "".join(draw.choices("abcdefgh12345678 ", k=draw.randint(0, 20)))
            answer = client.post(f"{app.address}/login", data={"username": "anna", "password": typed or "x"})
            looked_at += "retry-after" not in answer.headers
            yield Attempt(f"password {typed!r}", "" if answer.status_code == 400 else f"status {answer.status_code}")
        if looked_at > FREE_TRIES + 3:
            yield Attempt("all of them in a row", f"{looked_at} were looked at")
    yield from _clocked()


def _clocked() -> Iterator[Attempt]:
    """The waits themselves, by the counter alone: a day of guessing from one address, and from very many."""
    now = [1000.0]
    real = time.monotonic
    time.monotonic = lambda: now[0]
    try:
        for what, addresses, most in (
            ("a day of guessing from one address", ["10.0.0.1"], 86_400 / MOST_SECONDS + 20),
            ("an hour of guessing from 100,000", map(str, itertools.cycle(range(100_000))), 60 * TRIES_A_MINUTE + 30),
        ):
            tries, end, looked_at = Tries(), now[0] + (86_400 if "day" in what else 3600), 0
            address = iter(addresses if not isinstance(addresses, list) else itertools.cycle(addresses))
            while now[0] < end:
                each = next(address)
                wait = tries.wait(each)
                now[0] += max(wait, 0.01)
                if not wait:
                    tries.begin(each)
                    looked_at += 1
            yield Attempt(what, "" if looked_at <= most else f"{looked_at} passwords were looked at")
    finally:
        time.monotonic = real


def crafted_addresses(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """One who has the password asks for files of the machine and of another visitor: by address, as the value of a
    part that takes files, and as a session's id."""
    data = folder / "data"
    with served(data, listen=True, auth=AUTH) as app, httpx.Client(timeout=10) as client:
        other = app.studio.sessions.new()
        other.prompts_text = SECRET
        app.studio.sessions.keep(other)
        kept = data / "sessions" / f"{other.key}.json"
        assert SECRET in kept.read_text(encoding="utf-8")
        private = data / "exports" / other.key / "README.md"
        private.parent.mkdir(parents=True)
        private.write_text(SECRET, encoding="utf-8")
        client.post(f"{app.address}/login", data={"username": AUTH[0], "password": AUTH[1]}).raise_for_status()
        cases = list(_crafted([kept, private, Path("/etc/passwd"), Path(__file__).parents[2] / "pyproject.toml"], data))
        random.Random(seed).shuffle(cases)
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        for path in cases[:count]:
            yield Attempt(path, _leaked(app, cookie, path))
        for path in (kept, private):
            fault = _posted(client, app, path) or ("" if path.is_file() else "the file is gone")
            yield Attempt(f"the value of an upload is {path.name}", fault)


def _crafted(targets: list[Path], data: Path) -> Iterator[str]:
    """Addresses of ``targets``, absolute, relative, encoded, in the ways that file servers were fooled before."""
    routes = (
        "/gradio_api/file=",
        "/gradio_api/file/",
        "/file=",
        "/static/",
        "/assets/",
        "/svelte/",
        "/gradio_api/proxy=",
    )
    for target in targets:
        absolute = target.resolve().as_posix()
        up = "../" * 12 + absolute.lstrip("/")
        inside = "/" + target.relative_to(data).as_posix() if target.is_relative_to(data) else up
        spelled = [
            absolute,
            "/" + absolute,
            up,
            up.replace("../", "..\\"),
            up.replace("../", "....//"),
            quote(absolute, safe=""),
            quote(up, safe=""),
            up.replace("../", "%2e%2e%2f"),
            up.replace("../", "%252e%252e%252f"),
            absolute + "%00.png",
            f"{data.as_posix()}/page-cache/..{inside}",
            f"file://{absolute}",
            f"\\\\127.0.0.1{absolute}",
        ]
        for route, path in itertools.product(routes, spelled):
            yield route + path
    for host in ("127.0.0.1:9", "169.254.169.254", "localhost", "[::1]", "0.0.0.0", "2130706433"):
        yield f"/gradio_api/file=http://{host}/latest"
        yield f"/gradio_api/proxy=http://{host}/"


def _leaked(app: Served, cookie: str, path: str) -> str:
    """What is wrong with the answer; the path is sent as it stands, which httpx would not do."""
    connection = http.client.HTTPConnection(urlsplit(app.address).netloc, timeout=20)
    try:
        connection.request("GET", path, headers={"Cookie": cookie})
        answer = connection.getresponse()
        body = answer.read(100_000)
    except ConnectionError:
        return ""  # refused as no HTTP at all
    finally:
        connection.close()
    if any(mark in body for mark in FILES):
        return f"it gave the file ({answer.status})"
    return "" if answer.status >= 300 else f"it was answered with {answer.status}: {body[:80]!r}"


def _posted(client: httpx.Client, app: Served, path: Path) -> str:
    """Gives each event that takes a file the file at ``path``, as if it had been uploaded."""
    value = {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}
    for number, fn in app.blocks.fns.items():
        kinds = [type(part).__name__ for part in fn.inputs]
        if not any(kind in ("UploadButton", "File") for kind in kinds):
            continue
        data = []
        for part in fn.inputs:
            many = getattr(part, "file_count", "") == "multiple"
            is_file = type(part).__name__ in ("UploadButton", "File")
            data.append(([value] if many else value) if is_file else None)
        body = {"data": data, "fn_index": number, "session_hash": "crafted", "trigger_id": None}
        client.post(f"{app.address}/gradio_api/queue/join", json=body)
        with client.stream("GET", f"{app.address}/gradio_api/queue/data", params={"session_hash": "crafted"}) as answer:
            for line in answer.iter_lines():
                if SECRET in line:
                    return f"event {number} read it"
                if '"msg":"process_completed"' in line.replace(" ", ""):
                    if json.loads(line[5:]).get("success"):
                        return f"event {number} took it"
                    break
    return ""
