"""Fetching public files over a connection that may break, and unpacking archives that may be hostile."""

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from eva_core.contracts.cards import DatasetCard
from eva_core.errors import EvaError, UsageError, some
from eva_core.files.addresses import public_address
from eva_core.files.atomic_files import FULL, READ_ONLY, not_written, sync_folder
from eva_core.files.cache import locked
from eva_core.progress import Bar, say
from eva_vision.impostors import faulty_archive

ATTEMPTS = 5
BACKOFF = 1.0
TIMEOUT = 60.0
_BLOCK = 2**20
_TEMPORARY = {408, 429, 500, 502, 503, 504}


class Remote(NamedTuple):
    """A public file.

    Attributes:
        url: Where it is; the last part of its path is the file's name.
        gives: What is below the dataset's root once the file has been fetched and unpacked.
        checksum: `md5:...` or `sha256:...`; None where no published one is known for certain.
    """

    url: str
    gives: str
    checksum: str | None = None

    @property
    def name(self) -> str:
        """Name of the file on its server."""
        return PurePosixPath(urllib.parse.urlsplit(self.url).path).name


def obtain(card: DatasetCard, remotes: Iterable[Remote], root: Path, tell: Callable[[str], None] = say) -> None:
    """Fetch and unpack what is not there yet; archives go once they are unpacked.

    Args:
        card: Its licence and citation are shown before anything is fetched.
        remotes: The files.
        root: The dataset's root.
        tell: Receives lines for the user.
    Raises:
        EvaError: From `fetch` and `unpack`.
    """
    if root.name in {remote.gives for remote in remotes} and root.is_dir():
        root = root.parent
    missing = [remote for remote in remotes if not (root / remote.gives).exists()]
    if missing:
        tell(f"{card.name}: licence {card.licence}; cite {card.citation}.")
    for remote in missing:
        archive = root / remote.name
        with locked(root / f".{remote.name}", tell):
            if (root / remote.gives).exists():  # another process was here first
                continue
            is_downloaded = not archive.exists()  # what a user put there stays
            kind = "".join(archive.suffixes[-1:])
            if not is_downloaded and (impostor := faulty_archive(archive, kind, whole=False)):
                raise EvaError(f"Expected {remote.name} in {root}, but it is {impostor}. Delete it and run again.")
            fetch(remote.url, archive, remote.checksum, tell, partial(faulty_archive, suffix=kind))
            if remote.gives != remote.name:
                unpack(archive, root)
                if is_downloaded:
                    archive.unlink()
        if not (root / remote.gives).exists():
            raise EvaError(f"Expected {remote.gives} in {remote.name}, but it is not. See what {root} holds now.")


def fetch(
    url: str,
    path: Path,
    checksum: str | None = None,
    tell: Callable[[str], None] = say,
    faulty: Callable[[Path], str | None] = lambda _: None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Download a file; what has arrived lies in `<path>.part`, and the next call goes on from there.

    Args:
        url: http or https.
        path: Where the whole, checked file goes. If it exists, it is only checked.
        checksum: `md5:...` or `sha256:...`; None: the length that the server states is all there is to check.
        tell: Receives lines for the user.
        faulty: Says what is wrong with what came, where it is not what was wanted: then it is not kept.
        headers: Sent along, such as a token; to no other server that this one may point to.
    Raises:
        EvaError: No such file, another thing in its place, no connection after several attempts, no room, or another
            checksum.
    """
    if path.exists():
        mismatch = _mismatch(path, checksum)
        if mismatch:
            raise EvaError(f"Expected {checksum} in {path}, but got {mismatch}. Delete the file and run again.")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    public = public_address(url)
    tell(f"Downloading {public} to {path.parent}.")
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(url, part, headers or {})
            break
        except (OSError, HTTPException) as error:  # urllib lets errors of three libraries through
            if isinstance(error, urllib.error.HTTPError) and error.code not in _TEMPORARY:
                raise EvaError(
                    f"Cannot get {public}: HTTP {error.code} {error.reason}. Check it in a browser."
                ) from error
            if isinstance(error, OSError) and error.errno in FULL | READ_ONLY:
                raise not_written(part, error) from error
            if part.exists() and part.stat().st_size > before:
                failures = 0
            failures += 1
            if failures >= ATTEMPTS:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise EvaError(
                    f"Cannot get {public} after {ATTEMPTS} attempts ({reason}). Run again: it goes on from {part.name}."
                ) from error
            time.sleep(min(60.0, BACKOFF * 2 ** (failures - 1)))
    _refuse_wrong(part, public, checksum, faulty)
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(path)
    sync_folder(path.parent)


def _refuse_wrong(part: Path, public: str, checksum: str | None, faulty: Callable[[Path], str | None]) -> None:
    """Delete what came, and say why, where it is not what was wanted.

    Args:
        part: What came.
        public: The address, as users may read it.
        checksum: `md5:...` or `sha256:...`; None where none is known.
        faulty: Says what is wrong with a file.
    Raises:
        EvaError: It has another checksum, or `faulty` names what it is.
    """
    mismatch = _mismatch(part, checksum)
    if mismatch:
        part.unlink()  # going on from it would never end well
        raise EvaError(f"Expected {checksum} of {public}, but got {mismatch}. The download was deleted: run again.")
    if checksum is None and (impostor := faulty(part)) is not None:
        part.unlink()
        raise EvaError(
            f"Expected the file of {public}, but what came is {impostor}. It was not kept: log in, or run again."
        )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip, .tar, .tar.gz, .tgz or .gz; each entry of its top level appears in the folder whole or not at all.

    Args:
        archive: The file; stays.
        folder: Where its entries go.
    Raises:
        EvaError: The archive is damaged, or holds what could write outside the folder: absolute paths, `..`, links,
            devices.
        UsageError: Something of that name is there already.
    """
    work = folder / f".{archive.name}.unpacking"
    shutil.rmtree(work, ignore_errors=True)  # left by a kill
    try:
        work.mkdir(parents=True)
        if not archive.stat().st_size:
            raise EOFError("it is empty")
        with Bar(f"unpacking {archive.name}", 0, "files") as bar:
            for name, stream in _members(archive):
                target = work / _safe(name, archive)
                if stream is None:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with stream, target.open("wb") as handle:
                    shutil.copyfileobj(stream, handle, _BLOCK)
                bar.update(bar.done + 1, bar.done + 1)
        existing = [entry.name for entry in work.iterdir() if (folder / entry.name).exists()]
        if existing:
            raise UsageError(f"Expected room for {some(sorted(existing))} in {folder}, but it exists. Move it away.")
        for entry in sorted(work.iterdir()):
            entry.rename(folder / entry.name)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        reason = " ".join(str(error).split())
        raise EvaError(f"Cannot unpack {archive} ({reason}). Make room, or delete it and get it again.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _receive(url: str, part: Path, more: Mapping[str, str]) -> None:
    """One attempt: append what is missing; an early end is an error."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "eva-pathology", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        for name, value in more.items():
            request.add_unredirected_header(name, value)
        response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and _total(error.headers.get("Content-Range")) == have:
            return  # all of it had arrived before the cut
        if error.code == 416:
            part.unlink()
            raise ConnectionError("the server has another file than before") from error
        raise
    with response:
        if response.status != 206:
            have = 0  # the server sends everything from the start
        elif not (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
            raise ConnectionError("the server sent another part than asked for")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        with part.open("ab" if have else "wb") as handle, Bar(part.stem, (total or 0) // _BLOCK, "MB") as bar:
            while block := response.read(_BLOCK):
                handle.write(block)
                bar.update(handle.tell() // _BLOCK, (total or handle.tell()) // _BLOCK)
            arrived = handle.tell()
    if total is not None and arrived != total:
        raise ConnectionError(f"cut after {arrived:,} of {total:,} bytes")


def _total(content_range: str | None) -> int | None:
    """`bytes */123` -> 123."""
    size = (content_range or "").rpartition("/")[2]
    return int(size) if size.isdigit() else None


def _mismatch(path: Path, checksum: str | None) -> str | None:
    """Say what the file has instead of `md5:...` or `sha256:...`; None where it is right, or nothing is known."""
    if checksum is None:
        return None
    algorithm = checksum.partition(":")[0]
    with path.open("rb") as handle:
        actual = f"{algorithm}:{hashlib.file_digest(handle, algorithm).hexdigest()}"
    return None if actual == checksum else actual


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes] | gzip.GzipFile | None]]:
    """Name and content of each file, None for a folder; nothing else is let through."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or info.flag_bits & 1:
                    raise _refusal(info.filename, archive)
                yield info.filename, None if info.is_dir() else opened.open(info)
    elif archive.name.endswith((".tar", ".tar.gz", ".tgz")):
        opens = archive.open if archive.suffix == ".tar" else partial(gzip.open, archive)
        with opens("rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if not (member.isreg() or member.isdir()):
                    raise _refusal(member.name, archive)
                yield member.name, None if member.isdir() else tar.extractfile(member)
            while stream.read(_BLOCK):  # to the very end, where gzip checks what it gave; tarfile stops before
                pass
    elif archive.suffix == ".gz":
        with gzip.open(archive) as stream:
            yield archive.stem, stream
    else:
        raise UsageError(f"Expected a .zip, .tar, .tar.gz, .tgz or .gz, but got {archive}.")


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise _refusal(name, archive)
    return path


def _refusal(name: str, archive: Path) -> EvaError:
    return EvaError(f"Refused {archive}: {name!r} is a link, a device, encrypted or outside the folder. Delete it.")
