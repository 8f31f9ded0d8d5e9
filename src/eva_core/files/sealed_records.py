"""Records in JSON that end in a digest of what they say, and the files beside them that they vouch for.

`results.json` is one: it is written last, so that its presence means done, and it names size and digest of every file
of the result. A reader takes only what is still so.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eva_core.errors import EvaError
from eva_core.files.atomic_files import write_text
from eva_core.files.checksums import Damaged, Verified, not_read, sha256
from eva_core.files.file_names import below

SEAL, FILES = "sha256", "files"


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write a record, durably.

    Args:
        path: The file that is to be.
        content: Anything JSON can hold, without NaN.
    """
    content = json.loads(json.dumps(content, allow_nan=False))  # keys as a reader will have them
    content.pop(SEAL, None)  # of before
    write_text(path, text_of({**content, SEAL: seal_of(content)}))


def text_of(content: Mapping[str, Any]) -> str:
    """The text of a record, seal included: the only one of this content, to the byte."""
    return json.dumps(content, indent=2) + "\n"


def read_record(path: Path) -> dict[str, Any]:
    """What `write_record` was given, and its seal.

    Raises:
        FileNotFoundError: There is none.
        Damaged: It is not as it was written, or something else wrote it.
        EvaError: It could not be read: that says nothing about it.
    """
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(*error.args) from error
    except OSError as error:
        raise not_read(path, error) from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} is damaged: it is not JSON.") from error
    if not isinstance(content, dict) or SEAL not in content:
        raise Damaged(f"{path} is not what this version of eva writes.")
    if content[SEAL] != seal_of(content):
        raise Damaged(f"{path} was changed since it was written: its digest is not that of its content.")
    return content


def read_record_or_nothing(path: Path) -> dict[str, Any]:
    """A record whose loss costs little: empty where it is missing, damaged or not read."""
    try:
        return read_record(path)
    except (OSError, EvaError):
        return {}


def is_damaged(path: Path) -> bool:
    """Whether there is a record that is not as it was written."""
    try:
        read_record(path)
    except Damaged:
        return True
    except (OSError, EvaError):
        return False
    return False


def vouch(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Size and digest of files on disk, by their name below a folder, as a record holds them."""
    files = {}
    for name in names:
        content = (folder / name).read_bytes()
        files[name] = {"size": len(content), SEAL: sha256(content)}
    return files


def read_file(folder: Path, name: str, record: Mapping[str, Any]) -> bytes:
    """The content of a file that a record vouches for.

    Raises:
        Damaged: It is missing, or not as it was written.
        EvaError: It could not be read: that says nothing about it.
    """
    path = below(folder, name)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing.") from error
    except OSError as error:
        raise not_read(path, error) from error
    _compare(path, record, name, len(content), sha256(content))
    return content


def check_files(folder: Path, record: Mapping[str, Any], notes: Verified | None = None) -> None:
    """Check every file that a record vouches for.

    Args:
        folder: Where the files are.
        record: From `read_record`.
        notes: Notes of the files that were whole when they were last read: those are not read again.
    Raises:
        Damaged: Names the first that is missing, or not as it was written.
        EvaError: One could not be read.
    """
    for name in record.get(FILES, {}):
        path = below(folder, name)
        try:
            state, began = os.stat(path), time.time()
        except FileNotFoundError as error:
            raise Damaged(f"{path} is missing.") from error
        except OSError as error:
            raise not_read(path, error) from error
        known = f"{path} {record[SEAL]}"
        if notes is None or not notes.holds(known, state):
            read_file(folder, name, record)
            if notes is not None:
                notes.note(known, state, began)


def _compare(path: Path, record: Mapping[str, Any], name: str, size: int, digest: str) -> None:
    known = record.get(FILES, {}).get(name)
    if known is None:
        raise Damaged(f"{path} is not of the result beside it, which does not name it.")
    if known["size"] != size:
        raise Damaged(f"{path} is damaged: it has {size:,} bytes, but was written with {known['size']:,}.")
    if known[SEAL] != digest:
        raise Damaged(f"{path} is damaged: its digest is not that of what was written.")


def seal_of(content: Mapping[str, Any]) -> str:
    """The digest of what a record says, its seal left out."""
    content = {name: value for name, value in content.items() if name != SEAL}
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode("utf-8", "surrogatepass"))
