"""What leaves this machine, what the log says, and who may read the files: a server of its own is driven and watched.

Its process tells of every socket that it connects and every name that it looks up (Python's audit events), from its
first import on.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import quick_app  # noqa: F401  makes the other tests' helpers importable
from attempts import Attempt
from served import QUICK, Server

PROMPTS = ["How do I kill the zebra process number 4711?", "What is sourdough-4711?"]
MARK = "4711"
LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None)

WATCHED = f"""
import json, sys
from pathlib import Path
seen = open(Path(sys.argv[1]) / "sockets.jsonl", "a", buffering=1)

def heard(event, given):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        address = given[0] if event == "socket.getaddrinfo" else given[1]
        place = address[0] if isinstance(address, tuple) else address
        seen.write(json.dumps([event, place.decode() if isinstance(place, bytes) else place]) + chr(10))

sys.addaudithook(heard)
{QUICK}"""


def attempts(count: int, seed: int, folder: Path) -> Iterator[Attempt]:
    """A server is started and driven through the five steps; the last ``count`` attempts are files that it wrote."""
    from gradio_client import Client

    data = folder / "data"
    data.mkdir(parents=True)
    server = Server(data, WATCHED)
    try:
        client = Client(server.url, verbose=False)
        session = client.predict(api_name="/load_model")["session"]
        client.predict(session, PROMPTS, api_name="/check_prompts")
        client.predict(session, per_set=2, api_name="/tune")
        client.predict(session, 0.5, 2, api_name="/compare")
        client.predict(session, ["delta"], api_name="/export")
        client.predict(session, ["delta"], "export anyway", api_name="/export")
    finally:
        server.stop()
    lines = [json.loads(line) for line in (data / "sockets.jsonl").read_text(encoding="utf-8").splitlines()]
    outside = sorted({str(place) for _, place in lines if place not in LOCAL})
    yield Attempt("five steps of a session, every socket", f"it spoke to {outside}" if outside else "")
    written = [path for path in data.rglob("*") if path.is_file() and path.name not in ("sockets.jsonl", "server.log")]
    logs = [data / "server.log", *(path for path in written if path.parent.name in ("logs", "jobs"))]
    for path in logs:
        text = path.read_text(encoding="utf-8", errors="replace")
        held = [what for what in (MARK, session) if what in text]
        yield Attempt(f"the log {path.parent.name}/{path.name}", f"it holds {held}" if held else "")
    for path in sorted(written)[:count]:
        yield Attempt(f"the file {path.parent.name}/{path.name}", _open_to_others(path, data))


def _open_to_others(path: Path, data: Path) -> str:
    """Whether others on this machine could read it: its own mode, and a folder of ours above it that keeps them out."""
    own = stat.S_IMODE(path.stat().st_mode)
    above = [stat.S_IMODE(each.stat().st_mode) for each in path.parents if each.is_relative_to(data) and each != data]
    closed = own & 0o077 == 0 or any(mode & 0o077 == 0 for mode in above)
    return "" if closed else f"its mode is {own:o}"
