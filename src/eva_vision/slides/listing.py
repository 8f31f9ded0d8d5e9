"""Finding slides by a pattern, on disk and in blob storage."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from eva_core.errors import EvaError, UsageError, some
from eva_core.files.walk import Walk, walk
from eva_core.progress import say
from eva_vision.slides.patterns import Pattern, is_pattern, parted
from eva_vision.slides.reading.blobs import WEB, find_keys, is_url, split_address
from eva_vision.slides.reading.bucket_keys import ODD, plain, shown


@dataclass(frozen=True)
class Listing:
    """The slides that a pattern finds.

    Attributes:
        root: The fixed part of the pattern: what its wildcards stand for lies below.
        paths: Files or objects, each once, sorted.
        failed: What could not be looked at, or cannot be read -> why.
    """

    root: str
    paths: list[str]
    failed: dict[str, str]


def find_slides(pattern: str) -> Listing:
    """Find files or objects by a pattern (see `Pattern`). A path that exists is itself, whatever is in its name.

    Every file is there once: links are followed, and what they lead to counts by what it is, not by its names.

    Raises:
        UsageError: Nothing matches, or wildcards in a web address: web servers list nothing.
        EvaError: The storage does not answer, or nothing is found where something could not be looked at.
    """
    listing = _objects(pattern) if is_url(pattern) else _files(str(Path(pattern).expanduser()))
    if not listing.paths and listing.failed:
        named = some(f"{path} ({reason})" for path, reason in listing.failed.items())
        raise EvaError(f"Expected slides at {pattern}, but found none, and could not look at {named}. Allow it.")
    if not listing.paths:
        raise UsageError(f"Expected slides at {pattern}, but nothing matches. Quote the pattern, and check the path.")
    return listing


def list_slides(pattern: str) -> list[str]:
    """The files or objects that `find_slides` finds, sorted. What it could not look at is said."""
    listing = find_slides(pattern)
    for path, reason in listing.failed.items():
        say(f"{path}: {reason}")
    return listing.paths


def _files(pattern: str) -> Listing:
    if not is_pattern(pattern) or os.path.isfile(pattern):
        return Listing(os.path.dirname(pattern), [pattern] * os.path.isfile(pattern), {})
    root, wild = parted(pattern)
    selection = Pattern(wild)
    below = walk(root, selection.matches, selection.leads) if os.path.isdir(root or ".") else Walk()
    failed = {os.path.join(root, path): reason for path, reason in below.failed.items()}
    return Listing(root, sorted(os.path.join(root, path) for path in below.files), failed)


def _objects(pattern: str) -> Listing:
    root, key = split_address(pattern)
    fixed, wild = parted(key)
    base = f"{root}/{fixed}" if fixed else root
    if not is_pattern(key):
        return Listing(base, [pattern], {})
    if urlsplit(pattern).scheme in WEB:
        raise UsageError(f"Expected an address without wildcards, but got {pattern}. Web servers list nothing.")
    selection = Pattern(f"{fixed}/{wild}" if fixed else wild)
    listed, odd = find_keys(root, fixed)
    failed = {f"{root}/{shown(path)}": ODD for path in odd if selection.matches(plain(path))}
    return Listing(base, sorted(f"{root}/{path}" for path in listed if selection.matches(path)), failed)
