"""What storage answers: whether asking again may help, and what a user is told."""

import re

from obstore.exceptions import GenericError, NotFoundError, PermissionDeniedError, UnauthenticatedError

from eva_core.errors import EvaError

_ADDRESS = re.compile(r"\S+://\S*")
_LASTING = re.compile(
    r"status(?: code)?:? (?:3\d\d|4(?!08|25|29)\d\d|501|505)"  # but time-out, too early, too many requests
    r"|redirect"  # a loop, or one to nowhere
    r"|content-range|content_range|requested \d+\.\.\d+, got"  # part of a file that is none, or another
    r"|content[- ]length|last[- ]modified|etag"
    r"|builder error|invalid peer certificate|invalidcertificate",
    re.IGNORECASE,
)
"""What obstore says of an answer that another attempt will not change."""
_RANGES = re.compile(r"Range request not supported")
_REFUSED = re.compile(r"status(?: code)?:? 405")
_AGAIN = "Check the connection, then go on where this stopped."


def passes(error: Exception) -> bool:
    """Whether another attempt may fare better."""
    return isinstance(error, GenericError | TimeoutError | OSError) and not _LASTING.search(
        _ADDRESS.sub("", str(error))
    )


def failed(url: str, error: Exception) -> EvaError:
    """The error for a user, in a line."""
    said = " ".join(str(error).split("\n\n")[0].split())[:300]
    if _REFUSED.search(_ADDRESS.sub("", said)):  # which obstore takes for an object that is not there
        return EvaError(f"Expected leave to read {url}, but its server allows no GET (405). Check the address.")
    if isinstance(error, NotFoundError | FileNotFoundError):
        return EvaError(f"Expected an object at {url}, but there is none. Check the address.")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return EvaError(f"Expected leave to read {url}, but got none ({said}). Set the credentials of its storage.")
    if _RANGES.search(said):
        return EvaError(
            f"Expected a server that sends parts of files, but that of {url} sends all of it. Copy the slide to a "
            "disk or a bucket."
        )
    advice = _AGAIN if passes(error) else "Asking again does not help: check the address and its server."
    return EvaError(f"Could not read {url} ({said}). {advice}")
