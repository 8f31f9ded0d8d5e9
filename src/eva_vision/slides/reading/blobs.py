"""Slides in blob storage and on web servers, by ranged requests through obstore."""

import io
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import HTTPStore, ObjectStore, from_url
from typing_extensions import override

from eva_core.errors import EvaError, UsageError
from eva_core.files.addresses import public_address
from eva_vision.slides.reading.bucket_keys import Object, list_keys
from eva_vision.slides.reading.logins import headers, take_login
from eva_vision.slides.reading.storage_errors import failed, passes

if TYPE_CHECKING:
    from obstore import ObjectMeta

IN_FLIGHT = 64
PATIENCE = 60.0
"""Seconds after which a request that keeps failing is given up."""
_AHEAD = 128
"""Patches whose bytes are asked for before the first is used: 59 kB each."""
_SHORT = 3
"""Attempts at a body that is whole by its own account, but shorter than asked: the file is, then."""
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
_HEAD = 2**18
_FIRST = 2**16
_BLOCK = 2**20
_TAIL = 2**22
_KEPT = 2**27
"""Bytes of a header in memory; directories of a slide take some megabytes, those of a malicious file any number."""
WEB = ("http", "https")
_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", *WEB)

Span = tuple[int, int]
"""First byte, and the one after the last."""
Answer = TypeVar("Answer")


class _Client:
    """Whether obstore's threads, of which a process has one set, were started here, or were lost in a fork."""

    started = False
    lost = False

    @classmethod
    def forked(cls) -> None:
        cls.lost = cls.started


os.register_at_fork(after_in_child=_Client.forked)


def is_url(path: str | Path) -> bool:
    """Whether this is a place that only a network reaches."""
    return isinstance(path, str) and path.partition("://")[0].lower() in _SCHEMES and "://" in path


def list_objects(root: str, prefix: str) -> dict[str, Object]:
    """List the objects below a prefix, by key."""
    return find_keys(root, prefix)[0]


def find_keys(root: str, prefix: str) -> tuple[dict[str, Object], list[str]]:
    """List the objects below a prefix by key, and keys that cannot be asked for."""
    try:
        return list_keys(_store(root, os.getpid()), root, prefix)
    except EvaError:
        raise
    except Exception as error:
        raise failed(f"{root}/{prefix}", error) from error


class Blob:
    """An object, as bytes by range. Connections belong to a process and are made when it first reads."""

    def __init__(self, url: str) -> None:
        """Keep the address; nothing is asked yet."""
        self.url = take_login(url)
        self.root, self.key = split_address(self.url)

    def size(self) -> int:
        """Bytes of the object.

        Raises:
            EvaError: There is none, or it cannot be reached.
        """
        return self.described().size

    def described(self) -> Object:
        """Size and version of the object.

        Some web servers answer HEAD with an error, or without a length, for what they send; these are asked for a byte.

        Raises:
            EvaError: There is none, or it cannot be reached.
        """
        try:
            answer = self._patiently(lambda: obstore.head(_store(self.root, os.getpid()), self.key))
        except EvaError as error:
            cause = error.__cause__
            if not self.root.startswith(WEB) or not isinstance(cause, Exception) or passes(cause):
                raise
            answer = self._patiently(self._first_byte)
        if not answer["size"] and self.root.startswith(WEB):
            with suppress(EvaError):  # it is empty indeed
                answer = self._patiently(self._first_byte)
        return Object.from_answer(answer["size"], answer["e_tag"], answer["last_modified"])

    def _first_byte(self) -> "ObjectMeta":
        """Ask for one byte; the answer tells of all."""
        return obstore.get(_store(self.root, os.getpid()), self.key, options={"range": (0, 1)}).meta

    def ranges(self, spans: Sequence[Span]) -> list[bytes]:
        """The bytes of each span, asked for at once.

        Raises:
            EvaError: The object ends before, or the storage does not answer within `PATIENCE`.
        """
        if len(spans) == 1:
            return [self._get(spans[0])]
        return next(self.many([spans]))

    def many(self, batches: Iterable[Sequence[Span]]) -> Iterator[list[bytes]]:
        """`ranges` of each batch, while up to `IN_FLIGHT` requests for later ones are under way."""
        pool = _pool(os.getpid())
        waiting: deque[list[Future[bytes]]] = deque()
        try:
            for spans in batches:
                waiting.append([pool.submit(self._get, span) for span in spans])
                if len(waiting) >= _AHEAD:
                    yield [part.result() for part in waiting.popleft()]
            while waiting:
                yield [part.result() for part in waiting.popleft()]
        finally:
            for parts in waiting:
                for part in parts:
                    part.cancel()

    def close(self) -> None:
        """Do nothing: connections are shared, and stay."""

    def _get(self, span: Span) -> bytes:
        start, stop = span
        for _ in range(_SHORT):
            data: bytes = self._patiently(
                lambda: obstore.get_range(_store(self.root, os.getpid()), self.key, start=start, end=stop).to_bytes()
            )
            if len(data) == stop - start:
                return data
        raise EvaError(
            f"Expected {stop - start} bytes at {start} of {self.url}, but got {len(data)}: the file is cut. "
            "Upload the slide again."
        )

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Ask until it works; what cannot get better fails at once."""
        until = time.monotonic() + PATIENCE
        for attempt in range(10**6):
            try:
                return ask()
            except EvaError:
                raise
            except Exception as error:
                pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
                if not passes(error) or time.monotonic() + pause > until:
                    raise failed(self.url, error) from error
                time.sleep(pause)
        raise AssertionError


def head(path: str, size: int) -> bytes:
    """Read the first 64 kB of a file or an object of `size` bytes.

    Raises:
        EvaError: The storage does not give them.
        OSError: The disk does not.
    """
    if is_url(path):
        return Blob(path).ranges([(0, min(_FIRST, size))])[0]
    with open(path, "rb") as file:
        return file.read(_FIRST)


def remote_file(url: str) -> io.BufferedReader:
    """An object as a file, for parsing headers: few large requests rather than many small ones."""
    return io.BufferedReader(Remembered(Blob(url)), 2**13)


class Remembered(io.RawIOBase):
    """A file that is read in blocks, of which the last are kept: (first byte, bytes)."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._size = blob.size()
        self._at = 0
        self.blocks: list[tuple[int, bytes]] = []

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    @override
    def tell(self) -> int:
        return self._at

    @override
    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        for start, block in self.blocks:
            if start <= self._at < start + len(block):
                part = block[self._at - start : self._at - start + length]
                break
        else:
            start, stop = self._block(length)
            block = self._blob.ranges([(start, stop)])[0]
            self.blocks.append((start, block))
            while len(self.blocks) > 1 and sum(len(data) for _, data in self.blocks) > _KEPT:
                self.blocks.pop(0)
            part = block[self._at - start : self._at - start + length]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _block(self, length: int) -> Span:
        """Choose what to ask for: more of the head than of the middle, and the whole tail, where directories gather."""
        if self._at + length <= _HEAD:
            return 0, min(_HEAD, self._size)
        if self._at >= self._size - _TAIL:
            return max(0, min(self._at, self._size - _BLOCK)), self._size
        return self._at, min(self._at + max(length, _BLOCK), self._size)


def split_address(url: str) -> tuple[str, str]:
    """The store's address, and the key in it."""
    parts = urlsplit(url, allow_fragments=False)
    if parts.scheme in WEB and parts.query:
        raise UsageError(
            f"Expected an address without '?', but got {public_address(url)} with one. Signed ones do not work; use "
            "s3:// with credentials."
        )
    key = url.split("://", 1)[1].partition("/")[2]
    return f"{parts.scheme}://{parts.netloc}", unquote(key) if parts.scheme in WEB else key


@lru_cache(64)
def _store(root: str, _process: int) -> ObjectStore:
    """The client for a bucket or server, another one in each process: obstore's threads do not survive a fork."""
    if _Client.lost:  # it would wait for ever
        raise EvaError(
            "Expected a process that starts afresh, but got one forked after storage was read. "
            "Start workers with the method spawn or forkserver."
        )
    _Client.started = True
    common: dict[str, Any] = {
        "client_options": {"allow_http": True, "connect_timeout": "5s", "timeout": "60s"},
        "retry_config": {"max_retries": 2, "retry_timeout": timedelta(seconds=PATIENCE)},
    }
    try:
        if urlsplit(root).scheme in WEB:
            common["client_options"]["default_headers"] = headers(root)
            return HTTPStore(root, **common)
        if root.startswith("s3") and "AWS_PROFILE" in os.environ and "AWS_ACCESS_KEY_ID" not in os.environ:
            from obstore.auth.boto3 import Boto3CredentialProvider

            common["credential_provider"] = Boto3CredentialProvider()
        return from_url(root, **common)
    except ImportError as error:
        raise UsageError(
            "Expected boto3, which AWS_PROFILE needs, but there is none. Run pip install boto3."
        ) from error
    except Exception as error:
        raise UsageError(f"Expected the address of a bucket or server, but got {root} ({error}). Check it.") from error


@lru_cache(1)
def _pool(_process: int) -> ThreadPoolExecutor:
    """Threads for requests, others in each process: they do not survive a fork."""
    return ThreadPoolExecutor(IN_FLIGHT, "slides")
