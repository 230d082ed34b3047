"""The part of the model hub's HTTP interface that pushing speaks to, on the loopback address.

It keeps what it was sent, so that a test can look at a commit's files byte for byte and at every header.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_" + "Test" * 8
LARGE = (".safetensors", ".gguf")


@dataclass
class PushHub:
    """``repositories`` maps owner/name to whether it is private; ``files`` what was committed there."""

    repositories: dict[str, bool] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0
    fails_at: str = ""
    address: str = ""
    asked: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: PushHub

    def log_message(self, *_):
        pass

    def reply(self, status: int, values: object = None) -> None:
        body = json.dumps(values if values is not None else {}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answered(self) -> None:
        hub, data = self.hub, self.body()
        path = self.path.split("?")[0]
        hub.asked.append(f"{self.command} {path}")
        if hub.fails_at and hub.fails_at in path:
            return self.reply(500, {"error": f"no, {self.headers.get('Authorization')}"})
        if path.startswith("/blob/"):  # where LFS objects go: an address of its own, without the token
            hub.blobs[path.removeprefix("/blob/")] = data
            return self.reply(200)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply(401, {"error": "Invalid credentials"})
        values = json.loads(data) if data[:1] == b"{" and b"\n{" not in data else {}
        if path == "/api/repos/create":
            name = f"{values['organization']}/{values['name']}" if values.get("organization") else values["name"]
            if name.startswith("another/"):
                return self.reply(403, {"error": "Forbidden"})
            if name in hub.repositories:
                return self.reply(409, {"error": "You already created this model repo"})
            hub.repositories[name] = bool(values.get("private") or values.get("visibility") == "private")
            return self.reply(200, {"url": f"{hub.address}/{name}", "id": name})
        if path == "/api/validate-yaml":
            return self.reply(200, {"errors": [], "warnings": []})
        name = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2]).removesuffix(".git")
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{hub.address}/blob/{each['oid']}"}}}
                for each in values["objects"]
            ]
            return self.reply(200, {"transfer": "basic", "objects": objects})
        if "/preupload/" in path:
            files = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for each in values["files"]
            ]
            return self.reply(200, {"files": files})
        if "/commit/" in path:
            return self.committed(name, [json.loads(line) for line in data.splitlines()])
        if name in hub.repositories:
            about = {"id": name, "sha": "0" * 40, "private": hub.repositories[name], "tags": [], "siblings": []}
            return self.reply(200, about)
        return self.reply(404, {"error": "Repository not found"})

    def committed(self, name: str, lines: list[dict]) -> None:
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                blob = self.hub.blobs[value["oid"]]
                assert hashlib.sha256(blob).hexdigest() == value["oid"]
                files[value["path"]] = blob
        self.hub.files[name] = files
        self.hub.commits += 1
        self.reply(200, {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.hub.address}/{name}/commit/1"})

    do_GET = do_POST = do_PUT = do_HEAD = answered  # noqa: N815


@contextmanager
def push_stand_in(hub: PushHub) -> Iterator[PushHub]:
    """Serves ``hub`` on a free port of the loopback address while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
