"""One thread for tiny networks, and a hub of one's own."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from eva_core.classification.gradient_head import threads


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Waking more costs more than they save, the more so where tests run side by side."""
    with threads(1):
        yield


class Hub(ThreadingHTTPServer):
    """As much of the hub's protocol as a download needs. `files` by `owner/name/file`; `gated` by `owner/name`."""

    files: dict[str, bytes]
    gated: set[str]


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        owner, name, _, revision, file = [*self.path.partition("?")[0].strip("/").split("/", 4), "", "", "", ""][:5]
        repo, code, error = f"{owner}/{name}", 200, ""
        body = self.server.files.get(f"{repo}/{file}", b"")
        if repo in self.server.gated:
            code, error, body = 403, "GatedRepo", b""
        elif not any(key.startswith(f"{repo}/") for key in self.server.files):
            code, error = 404, "RepoNotFound"
        elif f"{repo}/{file}" not in self.server.files:
            code, error = 404, "EntryNotFound"
        self.send_response(code)
        if error:
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", f"{error} of {repo}")
        self.send_header("X-Repo-Commit", revision if len(revision) == 40 else "0" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub of this test's own, empty, with an empty cache."""
    server = Hub(("127.0.0.1", 0), Answers)
    server.files, server.gated = {}, set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, hub: Hub):
    """A function after which nothing answers, and nobody waits between attempts."""

    def cut() -> None:
        hub.files.clear()
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    return cut
