"""A hub on this machine: models and data sets from directories, by the calls that `huggingface_hub` makes.

``Hub(folder)`` serves ``folder/models/org/name`` and ``folder/datasets/org/name``; every repository has one commit
(`SHA`). ``gated`` and ``asked`` (paths in order) are a test's to set and to read.
"""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.gated: set[str] = set()
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *words: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        self.answer()

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.asked.append(path)
        words = path.split("/")
        if words[0] == "api":
            kind, name, rest = words[1], "/".join(words[2:4]), words[4:]
        elif words[0] == "datasets":
            kind, name, rest = "datasets", "/".join(words[1:3]), words[3:]
        else:
            kind, name, rest = "models", "/".join(words[:2]), words[2:]
        folder = self.server.folder / kind / name
        if not folder.is_dir():
            self.refuse(404, "RepoNotFound")
        elif name in self.server.gated and self.headers.get("authorization") is None:
            self.refuse(403, "GatedRepo")
        elif words[0] == "api":
            self.describe(folder, name, rest)
        else:
            self.hand_over(folder / "/".join(rest[2:]))

    def describe(self, folder: Path, name: str, rest: list[str]) -> None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        entries: list[dict[str, Any]] = []
        for path in files:
            said = {"path": str(path.relative_to(folder)), "size": path.stat().st_size, "oid": stamp(path)}
            entries.append({"type": "file", **said})
        if rest[:1] in (["tree"], ["paths-info"]):
            wanted = set(self.body.get("paths", ())) if rest[0] == "paths-info" else None
            below = "/".join(rest[2:])
            found = [e for e in entries if (wanted is None or e["path"] in wanted) and str(e["path"]).startswith(below)]
            self.say(found)
            return
        if rest[:1] == ["revision"] and rest[1] not in ("main", SHA):
            self.refuse(404, "RevisionNotFound")
            return
        siblings = [{"rfilename": entry["path"]} for entry in entries]
        self.say({"id": name, "sha": SHA, "siblings": siblings, "private": False, "gated": False, "tags": []})

    def hand_over(self, file: Path) -> None:
        if not file.is_file():
            self.refuse(404, "EntryNotFound")
            return
        data = file.read_bytes()
        self.send(200, data, {"etag": f'"{stamp(file)}"', "accept-ranges": "bytes"})

    def say(self, body: Any) -> None:
        self.send(200, json.dumps(body).encode(), {"content-type": "application/json"})

    def refuse(self, status: int, code: str) -> None:
        self.send(status, json.dumps({"error": code}).encode(), {"x-error-code": code, "x-error-message": code})

    def send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "x-repo-commit": SHA, "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def stamp(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
