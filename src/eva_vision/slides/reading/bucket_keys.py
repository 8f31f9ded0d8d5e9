"""Keys of a bucket. Object stores allow keys that obstore refuses, and then lists nothing: those are set apart here."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import InvalidPathError
from obstore.store import ObjectStore

from eva_core.errors import EvaError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_PARTS = ("", ".", "..")
ODD = "its key has an empty part, a dot for a part or a control character; copy the object to another key"
"""Why an object cannot be read."""


@dataclass(frozen=True)
class Object:
    """An object as storage tells of it.

    Attributes:
        size: Its bytes.
        version: What changes when it is overwritten (ETag, time of modification); empty where storage tells neither.
    """

    size: int
    version: str = ""

    @classmethod
    def from_answer(cls, size: int, etag: str | None, modified: datetime) -> "Object":
        """Make one from the fields of an answer; obstore has 1970 for a time that is missing."""
        return cls(size, " ".join([etag or "", str(modified.timestamp()) if modified.timestamp() else ""]).strip())


def list_keys(store: ObjectStore, root: str, prefix: str) -> tuple[dict[str, Object], list[str]]:
    """List the objects below a prefix by key, and keys that cannot be asked for.

    Args:
        store: The client of obstore.
        root: Scheme and bucket.
        prefix: Whole parts of keys; empty: all.

    Raises:
        EvaError: There is such a key, and only boto3 could list the others.
    """
    try:
        listed = [item for part in obstore.list(store, prefix or None) for item in part]
        objects = {n["path"]: Object.from_answer(n["size"], n["e_tag"], n["last_modified"]) for n in listed}
        return without_markers(objects), []
    except InvalidPathError as error:
        if not root.startswith("s3"):
            raise EvaError(
                f"Expected keys in {root} that can be listed, but {shown(str(error))}. Copy that object to another key."
            ) from error
        objects = dict(_by_boto3(root, prefix))
    odd = sorted(key for key in objects if is_odd(key))
    return without_markers({key: item for key, item in objects.items() if not is_odd(key)}), odd


def without_markers(objects: Mapping[str, Object]) -> dict[str, Object]:
    """Leave out the empty objects by which consoles show folders."""
    folders = {key[:place] for key in objects for place, character in enumerate(key) if character == "/"}
    return {key: item for key, item in objects.items() if item.size or key not in folders}


def is_odd(key: str) -> bool:
    """Whether obstore has no way to name this key."""
    return bool(_CONTROL.search(key)) or any(part in _NO_PARTS for part in key.split("/"))


def plain(key: str) -> str:
    """Write a key without what is odd about it, to tell whether a pattern means it."""
    return "/".join(part for part in _CONTROL.sub("_", key).split("/") if part not in _NO_PARTS)


def shown(text: str) -> str:
    """A text in one line, with its control characters written out."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text.split("\n\n")[0])


def _by_boto3(root: str, prefix: str) -> Iterator[tuple[str, Object]]:
    """List all keys and objects, but for markers of folders, by another client."""
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise EvaError(
            f"Expected boto3 to list {root}, which has keys with empty parts, dots or control characters, but there "
            "is none. Run pip install boto3, or copy these objects to other keys."
        ) from error
    settings: dict[str, Any] = {} if "AWS_ENDPOINT_URL" not in os.environ else {"s3": {"addressing_style": "path"}}
    if os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true"):
        settings["signature_version"] = UNSIGNED
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    try:
        client = boto3.client("s3", region_name=region, config=Config(**settings))
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=urlsplit(root).netloc, Prefix=f"{prefix}/" if prefix else ""
        )
        for page in pages:
            for item in page.get("Contents", ()):
                if item["Key"][-1] != "/":
                    yield item["Key"], Object.from_answer(item["Size"], item.get("ETag"), item["LastModified"])
    except (BotoCoreError, ClientError) as error:
        raise EvaError(f"Could not list {root} ({error}). Check the connection and the credentials.") from error
