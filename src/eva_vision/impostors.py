"""Impostors that servers send for a file: login pages, error messages, pointers; and files that are cut short."""

import gzip
import json
import zipfile
from pathlib import Path

_HEAD = 4096
_SHOWN = 60
_ARCHIVES = {".zip": b"PK", ".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b"}


def impostor(path: Path) -> str | None:
    """Say what a file is that should be binary: in words, with its first letters; None where it is not a text."""
    with path.open("rb") as handle:
        head = handle.read(_HEAD)
    if not head:
        return "an empty file"
    if b"\0" in head or (text := _text(head)) is None:
        return None
    lower = text.lower()
    if lower.startswith("version https://git-lfs"):
        return "a pointer of Git LFS, not the file that it points to"
    kinds = {("<!doctype html", "<html", "<head", "<body"): "a web page", ("<?xml", "<error", "<"): "a message in XML"}
    kind = next((name for beginnings, name in kinds.items() if lower.startswith(beginnings)), "a text")
    if kind == "a web page" or (kind != "a text" and "<html" in lower):
        kind = "a web page, such as a login,"
    shown = ascii(" ".join(text.split())[:_SHOWN])[1:-1]
    return f"{kind} that begins with {shown!r}"


def faulty_weights(path: Path, whole: bool = True) -> str | None:
    """Say what is wrong with a file of weights, in words; None where it is one, or nobody can say.

    Args:
        path: The file, whatever its name.
        whole: Read all of it, so that every checksum is tried.
    """
    if (other := impostor(path)) is not None:
        return other
    with path.open("rb") as handle:
        head = handle.read(9)
    if head[:2] == b"PK":
        return _faulty_zip(path, whole)
    if head[8:9] == b"{":  # safetensors: the length of a header in JSON, then the header
        return _faulty_safetensors(path, int.from_bytes(head[:8], "little"))
    return None


def faulty_archive(path: Path, suffix: str, whole: bool = True) -> str | None:
    """Say what is wrong with an archive or a gzip file of this suffix, in words; a table must not be a page."""
    if suffix in (".csv", ".txt", ".tsv", ".json", ".xml"):
        return None if path.stat().st_size and not (impostor(path) or "").startswith("a web page") else impostor(path)
    if (other := impostor(path)) is not None:
        return other
    with path.open("rb") as handle:
        head = handle.read(2)
    if suffix in _ARCHIVES and head != _ARCHIVES[suffix]:
        return f"no {suffix} file: it begins with {head!r}"
    if suffix == ".zip":
        return _faulty_zip(path, whole=False)  # its checksums are tried as it is unpacked
    return _faulty_gzip(path) if suffix in _ARCHIVES and whole else None


def _text(head: bytes) -> str | None:
    """The beginning of a file as text, None where it is none."""
    for cut in range(4):  # a letter may be cut at the end
        try:
            text = head[: len(head) - cut].decode("utf-8-sig").lstrip()
        except UnicodeDecodeError:
            continue
        strange = sum(not (c.isprintable() or c.isspace()) for c in text)
        return text if strange == 0 else None
    return None


def _faulty_zip(path: Path, whole: bool) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip() if whole else None
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        return f"a zip archive that is cut short ({error})"
    return None if bad is None else f"a zip archive in which {bad!r} is damaged"


def _faulty_gzip(path: Path) -> str | None:
    try:
        with gzip.open(path) as stream:
            while stream.read(2**20):
                pass
    except (EOFError, OSError) as error:
        return f"a gzip file that is cut short ({error})"
    return None


def _faulty_safetensors(path: Path, length: int) -> str | None:
    size = path.stat().st_size
    try:
        with path.open("rb") as handle:
            handle.seek(8)
            header = json.loads(handle.read(length)) if length < size else {}
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None  # no safetensors
    expected = 8 + length + max(ends, default=0)
    return None if expected == size else f"a safetensors file of {size:,} bytes in place of {expected:,}"
