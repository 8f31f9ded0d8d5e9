"""Between a terminal and the commands: words that mean a home folder, and signs that a log cannot hold."""

import codecs
import os
import sys
from io import TextIOWrapper

_PLAIN = {"±": "+-", "µ": "u", "μ": "u", "×": "x", "–": "-", "—": "-", "…": "...", "≥": ">=", "≤": "<=", "→": "->"}
_HANDLER = "eva.plain"


def home_expanded(words: list[str]) -> list[str]:
    """Give `~` its meaning where no shell did: in `--flag=~/folder`, and in quotes."""
    return [_expanded(word) for word in words]


def _expanded(word: str) -> str:
    flag, equals, value = word.partition("=")
    if flag.startswith("--") and equals:
        return f"{flag}={os.path.expanduser(value)}"
    return os.path.expanduser(word)


def write_what_can_be_written() -> None:
    """Let stdout and stderr take any text: signs that their encoding lacks are spelled out, so that no job fails."""
    codecs.register_error(_HANDLER, _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape", "backslashreplace"):
            stream.reconfigure(errors=_HANDLER)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end
