"""Names that become parts of paths: they come from datasets, models and exports, and so from anybody."""

import re
from pathlib import Path, PurePosixPath

from eva_core.errors import EvaError, UsageError

LONGEST = 150
"""Bytes of a name: a hash, a suffix and the number of a part still fit into the 255 of a file system."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_MARKS = frozenset('/\\:*?"<>|')


def check_name(name: str, what: str, remedy: str = "Rename it") -> None:
    """Refuse a name that is not one file's or folder's, here and on other systems.

    Args:
        name: One part of a path.
        what: Whose name it is, for the message: `a run's name`.
        remedy: What to do, for the message.
    Raises:
        UsageError: It is empty, would lead elsewhere, or is none on some system.
    """
    if not isinstance(name, str) or not is_name(name):
        said = ascii(name)  # whatever it holds, it is shown without effect
        raise UsageError(
            f"Expected {what} that can be a file's name, but got {said if len(said) <= 80 else said[:77] + '...'}. "
            f"{remedy}: letters, digits, spaces and -_.,=+() are safe."
        )


def is_name(name: str) -> bool:
    """Whether a text is the name of one file or folder on every system."""
    return (
        name.isprintable()
        and not _MARKS & set(name)
        and not name.startswith("~")
        and name.rstrip(" .") == name != ""
        and len(name.encode()) <= LONGEST
        and not _RESERVED.fullmatch(name)
    )


def as_name(text: str) -> str:
    """A text as a part of a file's name, what does not belong there as `_`; several texts may give one name.

    Examples:
        >>> as_name("hf-hub:owner/model"), as_name("aux")
        ('hf-hub_owner_model', '_aux')
    """
    safe = re.sub(r"[^\w .,=()+@-]+", "_", text)[:LONGEST]
    while len(safe.encode()) > LONGEST:
        safe = safe[:-1]
    safe = safe.strip(" .")
    return safe if is_name(safe) else f"_{safe[: LONGEST // 4]}"


def below(folder: Path, name: str) -> Path:
    """A path below a folder, of a name that may have folders in it, as the id of an image has.

    Raises:
        EvaError: It would lead out of the folder.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise EvaError(f"Expected a name that stays below {folder}, but got {name!a}. Rename it in its dataset.")
    return folder / path
