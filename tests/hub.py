"""A hub of a test's own: as much of the Hugging Face protocol as downloads, uploads and commits need."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

COMMIT = "0" * 40
TOKEN = "hf_of_a_test"

OF_ITS_OWN = "api/agent-harnesses"
"""What huggingface-hub 2.4 asks for once a process, whatever is wanted of it."""


class Hub(ThreadingHTTPServer):
    """What the hub holds, and who may do what.

    Attributes:
        files: Contents by `owner/name/file`, those of datasets by `datasets/owner/name/file`.
        gated: Repositories behind a form, `owner/name`.
        owners: Users and organisations whose repositories `TOKEN` may write.
        private: Repositories that were made private.
        commits: What was committed: repository, revision, summary, paths, and whether it is a pull request.
        asked: Method and path of every request, but for what the client asks for of its own accord.
        cut_after: Bytes after which a download breaks off; never unless given.
    """

    files: dict[str, bytes]
    gated: set[str]
    owners: set[str]
    private: set[str]
    commits: list[dict[str, Any]]
    asked: list[str]
    cut_after: int | None
    uploaded: dict[str, bytes]

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"

    def has(self, repo: str) -> bool:
        """Whether there is such a repository."""
        return any(key.startswith(f"{repo}/") for key in self.files)


class Answers(BaseHTTPRequestHandler):
    """One connection to the hub."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        """Answer for a file, or for a page of the interface."""
        path = self.path.partition("?")[0].strip("/")
        if path == OF_ITS_OWN:
            return self._send(404, {"error": "Not found"})
        self.server.asked.append(f"{self.command} /{path}")
        if path.startswith("api/"):
            return self._info(path)
        kind, path = ("datasets/", path.removeprefix("datasets/")) if path.startswith("datasets/") else ("", path)
        owner, name, _, revision, file = [*path.split("/", 4), "", "", "", ""][:5]
        repo, code, error = f"{kind}{owner}/{name}", 200, ""
        body = self.server.files.get(f"{repo}/{file}", b"")
        if repo in self.server.gated:
            code, error, body = 403, "GatedRepo", b""
        elif not self.server.has(repo):
            code, error = 404, "RepoNotFound"
        elif f"{repo}/{file}" not in self.server.files:
            code, error = 404, "EntryNotFound"
        self._send_file(code, error, repo, revision, body)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Make a repository, say how files are to be sent, or take a commit."""
        path, body = self.path.partition("?")[0], self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(f"POST {path}")
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/(.+)", path):
            repo, what, revision = match.groups()
            if not self.server.has(repo) and repo.partition("/")[0] not in self.server.owners:
                return self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return self._preupload(json.loads(body)) if what == "preupload" else self._commit(repo, revision, body)
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        return self._send(404, {"error": "no such page"})

    def do_PUT(self) -> None:
        """Take the content of a large file."""
        self.server.uploaded[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(200, {})

    def _info(self, path: str) -> None:
        repo = path.removeprefix("api/models/").partition("/revision/")[0]
        code = 200 if self.server.has(repo) else 404
        self._send(
            code, {"id": repo, "sha": COMMIT, "siblings": []}, {} if code == 200 else {"X-Error-Code": "RepoNotFound"}
        )

    def _create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] not in self.server.owners:
            return self._send(
                403, {"error": f"You don't have the rights to create a model under {asked['organization']}"}
            )
        if self.server.has(repo):
            return self._send(
                409, {"error": "You already created this model repo", "url": f"{self.server.endpoint}/{repo}"}
            )
        if asked.get("visibility") == "private" or asked.get("private"):
            self.server.private.add(repo)
        self.server.files[f"{repo}/.gitattributes"] = b""
        return self._send(200, {"url": f"{self.server.endpoint}/{repo}", "name": repo})

    def _validate(self, readme: str) -> None:
        _, head, _ = readme.split("---", 2)
        wrong = [] if isinstance(yaml.safe_load(head), dict) else [{"message": "no mapping"}]
        self._send(400 if wrong else 200, {"errors": wrong, "warnings": []})

    def _preupload(self, asked: dict[str, Any]) -> None:
        large = (".safetensors", ".bin", ".pt")
        modes = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(large) else "regular", "shouldIgnore": False}
            for f in asked["files"]
        ]
        self._send(200, {"files": modes})

    def _batch(self, asked: dict[str, Any]) -> None:
        places = [
            {**o, "actions": {"upload": {"href": f"{self.server.endpoint}/lfs/{o['oid']}"}}} for o in asked["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": places}, {"Content-Type": "application/vnd.git-lfs+json"})

    def _commit(self, repo: str, revision: str, body: bytes) -> None:
        is_request = "create_pr=1" in self.path
        if repo.partition("/")[0] not in self.server.owners and not is_request:
            return self._send(403, {"error": "You do not have write access"})
        summary, *operations = [json.loads(line) for line in body.decode().splitlines()]
        files = {}
        for operation in operations:
            value = operation["value"]
            small = operation["key"] == "file"
            files[value["path"]] = base64.b64decode(value["content"]) if small else self.server.uploaded[value["oid"]]
        if not is_request:
            self.server.files |= {f"{repo}/{path}": content for path, content in files.items()}
        commit = {"repo": repo, "revision": revision, "summary": summary["value"]["summary"]}
        self.server.commits.append({**commit, "files": files, "pull_request": is_request})
        pull = {"pullRequestUrl": f"{self.server.endpoint}/{repo}/discussions/1"} if is_request else {}
        oid = hashlib.sha1(body).hexdigest()
        return self._send(200, {"commitUrl": f"{self.server.endpoint}/{repo}/commit/{oid}", "commitOid": oid, **pull})

    def _send_file(self, code: int, error: str, repo: str, revision: str, body: bytes) -> None:
        begin = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range", ""))
        rest, total = body[int(begin[1]) :] if begin else body, len(body)
        self.send_response(206 if begin and code == 200 else code)
        if error:
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", f"{error} of {repo}")
        elif begin:
            self.send_header("Content-Range", f"bytes {begin[1]}-{total - 1}/{total}")
        self.send_header("X-Repo-Commit", revision if len(revision) == 40 else COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.command == "GET":
            cut = self.server.cut_after
            self.wfile.write(rest if cut is None else rest[:cut])
            self.close_connection = self.close_connection or cut is not None

    def _send(self, code: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that answers, empty, on a port of its own."""
    server = Hub(("127.0.0.1", 0), Answers)
    server.files, server.gated, server.owners, server.private = {}, set(), {"me"}, set()
    server.commits, server.asked, server.cut_after, server.uploaded = [], [], None, {}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
