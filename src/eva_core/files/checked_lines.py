"""Lines of JSON under a checksum each, for files that only grow: what was cut or has changed is no line."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

_CHECK = b', "check": '


def checked_line(fields: Mapping[str, Any]) -> tuple[bytes, int]:
    """A line with its checksum, and that: CRC-32 of the JSON without it."""
    text = json.dumps(fields).encode()
    check = zlib.crc32(text)
    return text[:-1] + _CHECK + f"{check}}}\n".encode(), check


def fields_of(line: bytes) -> tuple[Any, int]:
    """The fields of a line, None where it is not as it was written; and its checksum."""
    text, _, rest = line.rpartition(_CHECK)
    check = zlib.crc32(text + b"}")
    if rest != f"{check}}}\n".encode():
        return None, 0
    return json.loads(text + b"}"), check
