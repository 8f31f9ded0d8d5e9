"""Phantom slides, and servers that misbehave on demand."""

import re
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
import tifffile

from eva_vision.synthetic.slides import phantom_tissue, write_phantom_slide


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Phantom slides by variant."""
    root = tmp_path_factory.mktemp("slides")
    made = {
        "ycbcr": dict(width=1800, height=1300, levels=2),
        "rgb": dict(width=1536, height=1024, levels=2, colour="RGB", tile=240),
        "single": dict(width=1100, height=900, levels=1, mpp=0.5),
        "odd": dict(width=1803, height=1301, levels=3, step=2, tile=128),
        "no_mpp": dict(width=600, height=500, levels=1, mpp=None),
    }
    return {name: write_phantom_slide(root / f"{name}.svs", seed=5, **how) for name, how in made.items()}


@pytest.fixture(scope="session")
def plain(slides: dict[str, Path]) -> Path:
    """A slide that OpenSlide alone reads: tiles without compression, and the mpp (0.5) in the TIFF resolution."""
    path = slides["single"].with_name("plain.tif")
    pixels = phantom_tissue(400, 300, seed=1)
    per_cm = (20_000, 20_000)
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", resolution=per_cm, resolutionunit=3)
    return path


class FileServer(ThreadingHTTPServer):
    """Files below a folder with ranges. `faults` are met by the next requests, one each; `requests` counts.

    `validators` are headers by which a version of a file is known.
    """

    daemon_threads = True
    root: Path
    latency = 0.0
    faults: deque[str]
    validators: dict[str, str]
    down_until = 0.0
    requests = 0
    sent = 0
    under_way = 0
    most_under_way = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left is no news."""


class Ranged(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer
    lock = threading.Lock()

    def do_GET(self) -> None:
        server = self.server
        with self.lock:
            server.requests += 1
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
            fault = server.faults.popleft() if server.faults and self.command == "GET" else ""
        try:
            time.sleep(server.latency)
            if time.monotonic() < server.down_until or fault == "reset":
                self.close_connection = True
                self.connection.close()
                return
            self._answer(fault)
        finally:
            with self.lock:
                server.under_way -= 1

    do_HEAD = do_GET

    def _answer(self, fault: str) -> None:
        path = self.server.root / unquote(self.path.lstrip("/"))
        if fault == "503" or not path.is_file():
            self.send_response(503 if fault else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, stop = (int(asked[1]), min(int(asked[2]) + 1, len(body))) if asked else (0, len(body))
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        part = body[start:stop]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(part)))
        for name, value in self.server.validators.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "truncate":
            self.wfile.write(part[: len(part) // 2])
            self.close_connection = True
            return
        self.server.sent += len(part)
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(slides: dict[str, Path]) -> Iterator[FileServer]:
    """The slides behind a web server of this test's own."""
    server = FileServer(("127.0.0.1", 0), Ranged)
    server.request_queue_size = 128
    server.root, server.faults = slides["ycbcr"].parent, deque()
    server.validators = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def bucket(slides: dict[str, Path], plain: Path) -> Iterator[str]:
    """A bucket with the slides in two folders, on an S3 server of the tests' own."""
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("moto.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host, port = free.getsockname()
    # a process of its own: as a thread of this one it did not always answer once other tests had run here
    argv = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        with suppress(OSError), socket.create_connection((host, port), timeout=1):
            break
        time.sleep(0.1)
    credentials = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in credentials.items():
            patch.setenv(name, value)
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="cohort")
        for key, name in {
            "a/one.svs": "ycbcr",
            "a/b/two & 3.svs": "rgb",
            "c.svs": "single",
            "a/x.txt": "single",
        }.items():
            client.upload_file(str(slides[name]), "cohort", key)
        client.upload_file(str(plain), "cohort", "plain.tif")
        yield "s3://cohort"
    server.terminate()
    server.wait()
