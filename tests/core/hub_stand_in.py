"""A model hub on the loopback address: the part of huggingface.co that fetching speaks to."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from actor_core.weights import hub as hub_module

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """``files`` are what it lists and gives; the other fields are how it misbehaves."""

    repo: str = "someone/tiny"
    commit: str = COMMIT
    files: dict[str, bytes] = field(default_factory=dict)
    gives_instead: dict[str, bytes] = field(default_factory=dict)
    cut_after: int | None = None
    cuts_left: int = 0
    hangs: bool = False
    gated: bool = False
    knows_ranges: bool = True
    address: str = ""
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def downloads(self, name: str) -> list[str | None]:
        """The ranges that were asked for of one file."""
        return [each for method, path, each in self.asked if method == "GET" and path.endswith("/" + name)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):  # noqa: N802
        self.do_GET()

    def do_GET(self):  # noqa: N802
        hub = self.hub
        hub.asked.append((self.command, self.path, self.headers.get("Range")))
        if hub.hangs:
            time.sleep(30)
        if self.path == "/":
            return self.reply(200, b"")
        if not self.path.startswith((f"/api/models/{hub.repo}", f"/{hub.repo}/resolve/")):
            return self.reply(404, b"{}", X_Error_Code="RepoNotFound")
        if hub.gated and "/resolve/" in self.path:
            return self.reply(403, b"", X_Error_Code="GatedRepo")
        if self.path.startswith("/api/"):
            wanted = re.search("/revision/([^?]+)", self.path)
            if wanted and wanted[1] not in (hub.commit, "main"):
                return self.reply(404, b"{}", X_Error_Code="RevisionNotFound")
            siblings = []
            for name, data in hub.files.items():
                entry = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
                if not name.endswith(".json"):
                    digest = hashlib.sha256(data).hexdigest()
                    entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
                siblings.append(entry)
            about = {"id": hub.repo, "sha": hub.commit, "siblings": siblings, "tags": [], "private": False}
            return self.reply(200, json.dumps(about).encode(), Content_Type="application/json")
        name = self.path.split(f"/resolve/{hub.commit}/")[-1]
        data = hub.gives_instead.get(name, hub.files.get(name))
        if data is None:
            return self.reply(404, b"", X_Error_Code="EntryNotFound")
        start, status = 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and hub.knows_ranges:
            start, status = int(asked[1]), 206
        body = data[start:]
        if hub.cuts_left and hub.cut_after is not None:
            hub.cuts_left -= 1
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: hub.cut_after])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return None
        return self.reply(status, body)


@contextmanager
def hub_stand_in(hub: Hub) -> Iterator[Hub]:
    """Serves ``hub`` on a free port of the loopback address while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub, token or proxy of the machine's reaches the test; a hub's address can be set after this."""
    variables = ("HF_HUB_OFFLINE", "HF_TOKEN", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub_module, "BACKOFF_SECONDS", 0.01)
