"""Answers of web servers: which are asked for again, and which fail at once."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from obstore.exceptions import GenericError

from eva_core.errors import EvaError
from eva_vision.slides import open_slide
from eva_vision.slides.reading import blobs
from eva_vision.slides.reading.blobs import Blob
from eva_vision.slides.reading.storage_errors import passes

BODY = bytes(range(256)) * 400


class Answers(ThreadingHTTPServer):
    """A server that answers as `how` says: (status, headers, body) from the method and the range asked for."""

    daemon_threads = True
    how: Callable[[str, tuple[int, int] | None], tuple[int, dict[str, str], bytes]]
    requests = 0


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Answers

    def do_GET(self) -> None:
        self.server.requests += 1
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        status, headers, body = self.server.how(self.command, (int(asked[1]), int(asked[2]) + 1) if asked else None)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value.replace("HERE", self.path))
        if "Content-Length" not in headers:
            self.close_connection = True
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def good(method, span):
    """What a proper server answers."""
    body = BODY if span is None else BODY[slice(*span)]
    headers = {"Content-Length": str(len(body))}
    if span is not None:
        headers["Content-Range"] = f"bytes {span[0]}-{span[0] + len(body) - 1}/{len(BODY)}"
    return 200 if span is None else 206, headers, body


def ranges(**changed):
    """Proper, but for headers of partial answers; None takes one away."""

    def how(method, span):
        status, headers, body = good(method, span)
        if span is not None:
            headers |= {name.replace("_", "-"): value for name, value in changed.items()}
        return status, {name: value for name, value in headers.items() if value is not None}, body

    return how


def status_of(number, method="", **headers):
    """One status, for one method or all."""

    def how(asked, span):
        if method in ("", asked):
            return number, {"Content-Length": "0"} | headers, b""
        return good(asked, span)

    return how


def whole(method, span):
    """Ranges are passed over."""
    return good(method, None)


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Answers, Blob]]]:
    server = Answers(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def begin(how, name="a.svs"):
        server.how, server.requests = how, 0
        return server, Blob(f"http://127.0.0.1:{server.server_port}/{name}")

    yield begin
    server.shutdown()
    server.server_close()
    thread.join()


LASTING = {
    "no Content-Range": ranges(Content_Range=None),
    "another range": ranges(Content_Range="bytes 7-106/102400"),
    "a range without numbers": ranges(Content_Range="bytes of it"),
    "a range of an unknown whole": ranges(Content_Range="bytes 100-199/*"),
    "all of it": whole,
    "a loop": status_of(302, Location="HERE"),
    "a growing loop": status_of(301, Location="HEREx"),
    "a redirection to nowhere": status_of(302),
    "a page in place of a part": lambda method, span: (200, {"Content-Length": "5"}, b"<html"),
} | {str(number): status_of(number) for number in (400, 401, 403, 404, 405, 410, 414, 416, 451, 501, 505)}


@pytest.mark.parametrize("kind", LASTING)
def test_an_answer_that_stays_wrong_fails_at_once(serve, kind):
    server, blob = serve(LASTING[kind], f"{kind}.svs")
    began = time.monotonic()
    with pytest.raises(EvaError) as told:
        blob.ranges([(100, 200)])
    with pytest.raises(EvaError):
        open_slide(blob.url)
    assert time.monotonic() - began < 3
    assert server.requests < 60  # obstore follows ten redirections, and repeats a 501 by itself
    assert "\n" not in str(told.value)
    assert "Check the connection" not in str(told.value)


@pytest.mark.parametrize("number", [408, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("name", ["a.svs", "status 450 redirect Content-Range.svs"])
def test_an_answer_that_passes_is_asked_for_again(serve, number, name):
    left = 4

    def how(method, span):
        nonlocal left
        left -= 1
        return status_of(number)(method, span) if left > 0 else good(method, span)

    _, blob = serve(how, name.replace(" ", "%20"))
    assert blob.ranges([(100, 200)]) == [BODY[100:200]]


def test_what_passes_is_told_as_such(serve, monkeypatch):
    monkeypatch.setattr(blobs, "PATIENCE", 0.2)
    _, blob = serve(status_of(503))
    with pytest.raises(EvaError, match="Check the connection, then go on"):
        blob.ranges([(0, 4)])


HEADLESS = {
    "no length": lambda method, span: (200, {}, b"") if method == "HEAD" else good(method, span),
    "a negative length": lambda m, s: (200, {"Content-Length": "-1"}, b"") if m == "HEAD" else good(m, s),
    "a length of none": lambda m, s: (200, {"Content-Length": "0"}, b"") if m == "HEAD" else good(m, s),
} | {str(number): status_of(number, "HEAD") for number in (400, 403, 404, 405, 501)}


@pytest.mark.parametrize("kind", HEADLESS)
def test_a_server_that_does_not_answer_head_is_asked_for_a_byte(serve, kind):
    """As addresses that are signed for GET alone."""
    server, blob = serve(HEADLESS[kind])
    began = time.monotonic()
    assert blob.size() == len(BODY)
    assert time.monotonic() - began < 3
    assert server.requests <= 4


def test_an_empty_object_has_no_bytes(serve):
    def how(method, span):
        return (200, {"Content-Length": "0"}, b"") if span is None else (416, {"Content-Length": "0"}, b"")

    _, blob = serve(how)
    assert blob.size() == 0


def test_messages_name_what_is_wrong(serve):
    for how, message in (
        (whole, "Expected a server that sends parts of files"),
        (status_of(405), "allows no GET"),
        (status_of(404), "there is none"),
        (status_of(403), "Expected permission to read"),
    ):
        _, blob = serve(how)
        with pytest.raises(EvaError, match=message):
            blob.ranges([(0, 10)])


def test_a_slide_that_comes_compressed_is_told(serve):
    def how(method, span):
        status, headers, body = good(method, span)
        return status, headers | {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08\0" + body[4:]

    _, blob = serve(how)
    with pytest.raises(EvaError, match=r"compressed by gzip.*Content-Encoding"):
        open_slide(blob.url)


def test_addresses_are_no_answers():
    assert passes(GenericError("Error performing GET http://redirect/status%20404%20Content-Length in 3ms - reset"))
    assert passes(GenericError("status code: 503 Slow Down: <html>redirect, Content-Length, status 404</html>"))
    assert not passes(GenericError("HTTP error: error following redirect"))
    assert not passes(ValueError("whatever"))
