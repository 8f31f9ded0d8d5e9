"""Errors of storage: whether another request may help, and the line for a user."""

import re

from obstore.exceptions import GenericError, NotFoundError, PermissionDeniedError, UnauthenticatedError

from eva_core.errors import EvaError

_ADDRESS = re.compile(r"\S+://\S*")
_STATUS = re.compile(r"status(?: code)?:? (\d{3})\b")
_LASTING = re.compile(
    r"redirect"  # a loop, or one to nowhere
    r"|content-range|content_range|requested \d+\.\.\d+, got"  # part of a file that is none, or another
    r"|content[- ]length|last[- ]modified|etag"
    r"|builder error|invalid peer certificate|invalidcertificate",
    re.IGNORECASE,
)
"""Words of obstore for an answer that another attempt will not change."""
_EARLY = (408, 425, 429)
"""HTTP statuses: time-out, too early, too many requests."""
_UNKNOWN = (501, 505)
"""HTTP statuses of what the server does not know: this method, this version."""
_RANGES = re.compile(r"Range request not supported")
_AGAIN = "Check the connection, then go on where this stopped."


def passes(error: Exception) -> bool:
    """Whether another attempt may fare better."""
    if not isinstance(error, GenericError | TimeoutError | OSError):
        return False
    status = _status(error)
    if status is None:
        return not _LASTING.search(_ADDRESS.sub("", str(error)))
    return status in _EARLY or (status >= 500 and status not in _UNKNOWN)


def _status(error: Exception) -> int | None:
    """HTTP status of an error; a page that came with it may say anything, so the first counts."""
    match = _STATUS.search(_ADDRESS.sub("", str(error)))
    return int(match[1]) if match else None


def failed(url: str, error: Exception) -> EvaError:
    """The error for a user, in a line."""
    reason = " ".join(str(error).split("\n\n")[0].split())[:300]
    if _status(error) == 405:  # which obstore takes for an object that is not there
        return EvaError(f"Expected permission to read {url}, but its server allows no GET (405). Check the address.")
    if isinstance(error, NotFoundError | FileNotFoundError):
        return EvaError(f"Expected an object at {url}, but there is none. Check the address.")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return EvaError(
            f"Expected permission to read {url}, but got none ({reason}). Set the credentials of its storage."
        )
    if _RANGES.search(reason):
        return EvaError(
            f"Expected a server that sends parts of files, but that of {url} sends all of it. Copy the slide to a "
            "disk or a bucket."
        )
    advice = _AGAIN if passes(error) else "Asking again does not help: check the address and its server."
    return EvaError(f"Could not read {url} ({reason}). {advice}")
