"""Keys of a bucket. Object stores allow keys that obstore refuses, and then lists nothing: those are set apart here."""

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import InvalidPathError

from eva_core.errors import EvaError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_PARTS = ("", ".", "..")
ODD = "its key has an empty part, a dot for a part or a control character; copy the object to another key"
"""Why an object cannot be read."""


def list_keys(store: Any, root: str, prefix: str) -> tuple[dict[str, int], list[str]]:
    """Bytes of the objects below a prefix by key, and keys that cannot be asked for.

    Args:
        store: The client of obstore.
        root: Scheme and bucket.
        prefix: Whole parts of keys; empty: all.

    Raises:
        EvaError: There is such a key, and only boto3 could list the others.
    """
    try:
        listed = {item["path"]: item["size"] for part in obstore.list(store, prefix or None) for item in part}
        return without_markers(listed), []
    except InvalidPathError as error:
        if not root.startswith("s3"):
            raise EvaError(
                f"Expected keys in {root} that can be listed, but {shown(str(error))}. Copy that object to another key."
            ) from error
        found = dict(_by_boto3(root, prefix))
    odd = sorted(key for key in found if is_odd(key))
    return without_markers({key: size for key, size in found.items() if not is_odd(key)}), odd


def without_markers(sizes: dict[str, int]) -> dict[str, int]:
    """Leave out the empty objects by which consoles show folders."""
    folders = {key[:at] for key in sizes for at, character in enumerate(key) if character == "/"}
    return {key: size for key, size in sizes.items() if size or key not in folders}


def is_odd(key: str) -> bool:
    """Whether obstore has no way to name this key."""
    return bool(_CONTROL.search(key)) or any(part in _NO_PARTS for part in key.split("/"))


def plain(key: str) -> str:
    """What a key would be without what is odd about it, to tell whether a pattern means it."""
    return "/".join(part for part in _CONTROL.sub("_", key).split("/") if part not in _NO_PARTS)


def shown(text: str) -> str:
    """A text in one line, with its control characters written out."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text.split("\n\n")[0])


def _by_boto3(root: str, prefix: str) -> Iterator[tuple[str, int]]:
    """All keys and bytes, but for markers of folders, by another client."""
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
    how: dict[str, Any] = {} if "AWS_ENDPOINT_URL" not in os.environ else {"s3": {"addressing_style": "path"}}
    if os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true"):
        how["signature_version"] = UNSIGNED
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    try:
        client = boto3.client("s3", region_name=region, config=Config(**how))
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=urlsplit(root).netloc, Prefix=f"{prefix}/" if prefix else ""
        )
        for page in pages:
            yield from ((item["Key"], item["Size"]) for item in page.get("Contents", ()) if item["Key"][-1] != "/")
    except (BotoCoreError, ClientError) as error:
        raise EvaError(f"Could not list {root} ({error}). Check the connection and the credentials.") from error
