"""A stand-in for the Hugging Face Hub on 127.0.0.1, for the real clients `huggingface_hub` and `datasets`.

It speaks the few endpoints they ask for (repository info, file tree, file contents with ranges), refuses what is
gated, and can cut connections in the middle of a file. Point clients at it with the environment `environment()`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse

HEAD = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """One repository; `cuts` counts down, per file: so many reads of its content end in the middle."""

    files: dict[str, bytes] = field(default_factory=dict)
    sha: str = HEAD
    gated: bool = False
    cuts: dict[str, int] = field(default_factory=dict)


class Hub:
    """Repositories by (`datasets` | `models`, id), and the address they are served at."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []

    def add(self, kind: str, name: str, files: dict[str, bytes], **keys: object) -> Repository:
        self.repositories[kind, name] = Repository(files, **keys)  # type: ignore[arg-type]
        return self.repositories[kind, name]

    def environment(self, home: Path) -> dict[str, str]:
        """The process's environment, pointed at this server, with an empty home of the client."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        return clean | {
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", cut: bool = False, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(body[: len(body) // 2] if cut else body)
            if cut:
                self.close_connection = True

        def refuse(self, status: int, code: str) -> None:
            self.answer(status, code.encode(), X_Error_Code=code, X_Error_Message=f"refused: {code}")

        def answer_json(self, value: object) -> None:
            self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

        def do_HEAD(self) -> None:
            self.handle_any()

        def do_GET(self) -> None:
            self.handle_any()

        def do_POST(self) -> None:
            self.handle_any()

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlparse(self.path).path)
            hub.requests.append(f"{self.command} {self.path}")
            if found := re.fullmatch(
                r"/api/(datasets|models)/([^/]+/[^/]+)(?:/(\w[\w-]*)/([^/]+))?(?:/(.*))?", path
            ):
                kind, name, verb, revision, folder = found.groups()
            elif found := re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.*)", path):
                kind, name, revision, folder = found.groups()
                kind, verb = kind or "models", "resolve"
            else:
                return self.refuse(404, "RepoNotFound")
            repository = hub.repositories.get((kind, name))
            if repository is None:
                return self.refuse(404, "RepoNotFound")
            if repository.gated and verb != "revision" and verb is not None:
                return self.refuse(403, "GatedRepo")
            if revision not in (None, "main", repository.sha):
                return self.refuse(404, "RevisionNotFound")
            if verb in (None, "revision"):
                siblings = [{"rfilename": file} for file in repository.files]
                return self.answer_json(
                    {"id": name, "sha": repository.sha, "siblings": siblings, "gated": repository.gated}
                )
            if verb == "tree":
                return self.answer_json(
                    _tree(repository, folder or "", "recursive" in parse_qs(urlparse(self.path).query))
                )
            if verb == "paths-info":
                wanted = (
                    json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
                )
                entries = {entry["path"]: entry for entry in _tree(repository, "", True)}
                return self.answer_json([entries[one] for one in wanted if one in entries])
            return self.file(repository, folder)

        def file(self, repository: Repository, name: str) -> None:
            if name not in repository.files:
                return self.refuse(404, "EntryNotFound")
            data = repository.files[name]
            headers = {
                "ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X_Repo_Commit": repository.sha, "Accept_Ranges": "bytes",
            }  # fmt: skip
            cut = self.command == "GET" and repository.cuts.get(name, 0) > 0
            if cut:
                repository.cuts[name] -= 1
            if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(span[1]), min(int(span[2] or len(data) - 1), len(data) - 1)
                if first >= len(data):
                    return self.answer(416, Content_Range=f"bytes */{len(data)}")
                headers["Content_Range"] = f"bytes {first}-{last}/{len(data)}"
                return self.answer(206, data[first : last + 1], cut, **headers)
            return self.answer(200, data, cut, **headers)

    return Handler


def _tree(repository: Repository, folder: str, recursive: bool) -> list[dict[str, object]]:
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, object]] = {}
    for file, data in repository.files.items():
        if not file.startswith(prefix):
            continue
        parents = [str(parent) for parent in Path(file).parents if str(parent) != "."]
        for path in (*reversed(parents), file):
            if path.startswith(prefix) and (recursive or "/" not in path.removeprefix(prefix)):
                kind = (
                    {"type": "file", "size": len(data)} if path == file else {"type": "directory", "size": 0}
                )
                entries[path] = {"path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), **kind}
    return list(entries.values())


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Serve an empty Hub on a free port until the block ends."""
    hub = Hub("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
