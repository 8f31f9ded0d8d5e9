"""Server of the part of S3 that reading needs, in a process of its own, with a wait before each answer."""

import multiprocessing
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path


class Objects(BaseHTTPRequestHandler):
    """Requests: `/bucket/name` is a file of the folder, for any bucket; `/counted` gives requests and bytes so far."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder: Path
    latency: float
    requests = sent = 0

    def do_GET(self) -> None:
        if self.path == "/counted":
            return self._answer(200, f"{Objects.requests} {Objects.sent}".encode())
        time.sleep(self.latency)
        path = self.folder / self.path.rpartition("/")[2].partition("?")[0]
        if not path.is_file():
            return self._answer(404, b"")
        size = path.stat().st_size
        first, last = 0, size - 1
        if requested := self.headers.get("Range"):
            begin, _, end = requested.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or last), last)
        body = b""
        if self.command == "GET":
            with path.open("rb") as file:
                file.seek(first)
                body = file.read(last - first + 1)
        Objects.requests += 1
        Objects.sent += len(body)
        self._answer(206 if requested else 200, body, size, (first, last) if requested else None)

    do_HEAD = do_GET

    def _answer(self, code: int, body: bytes, size: int = 0, part: tuple[int, int] | None = None) -> None:
        self.send_response(code)
        if part:
            self.send_header("Content-Range", f"bytes {part[0]}-{part[1]}/{size}")
        self.send_header("Content-Length", str(size if self.command == "HEAD" else len(body)))
        for name, value in (
            ("ETag", '"0"'),
            ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ("Accept-Ranges", "bytes"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def serve(folder: Path, latency: float, tell: Connection) -> None:
    Objects.folder, Objects.latency = folder, latency
    server = Server(("127.0.0.1", 0), Objects)
    tell.send(server.server_port)
    server.serve_forever()


class Storage:
    """Context in which the server runs: `with Storage(folder, latency=0.03) as storage`."""

    def __init__(self, folder: Path, latency: float) -> None:
        listen, tell = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(folder, latency, tell), daemon=True
        )
        self._listen = listen

    def __enter__(self) -> "Storage":
        self._process.start()
        self.address = f"http://127.0.0.1:{self._listen.recv()}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def counted(self) -> tuple[int, int]:
        """Count the requests so far, and the bytes sent."""
        with urllib.request.urlopen(f"{self.address}/counted") as answer:
            requests, sent = answer.read().split()
        return int(requests), int(sent)
