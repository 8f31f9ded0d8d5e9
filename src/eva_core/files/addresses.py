"""Addresses without what opens them: a signature or a password is of no result, board, index, log or screen."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/{1,2}[^\s'\"<>|^`{}]+", re.IGNORECASE)
_CLOSING = ".,;:!?)]"
_HARMLESS = frozenset({"download", "dl", "format", "raw", "ref", "rev", "revision", "version", "versionid"})
"""Parameters that choose what is sent and open nothing."""
_CHECKSUM = re.compile("(md5|sha256)=[0-9a-f]+")
_SECRET = re.compile(
    r"x-(amz|goog|oss|ms|obs|cos)-.*|.*(access-?_?key|accessid|signature|token|credential|password|passwd|secret).*"
    r"|q-.*|sig|expires?|policy|key-pair-id|auth.*|api[-_]?key|key|pwd|jwt|session.*|code|hdn(ts|ea)"
    r"|s[eiprtv]|spr|sip|ss|srt|sk(oid|tid|t|e|s|v)|sdd|saoid|suoid|scid|st",
    re.IGNORECASE,
)
"""Parameters by which storage of several makers is opened: of Amazon, Google, Microsoft, Alibaba, Tencent, Akamai."""


def public_address(address: str) -> str:
    """An address as it may be shown and kept: without user, password and every parameter that may open something.

    A checksum after `#` stays. What is no address is given back as it is.

    Examples:
        >>> public_address("https://user:password@host/model.pth?X-Amz-Signature=0a1b&download=1")
        'https://host/model.pth?download=1'
    """
    return _rewritten(address, lambda name: name.lower() in _HARMLESS)


def address_of(address: str) -> str:
    """What tells one address from another: the same before and after a signature is renewed. Not to be shown."""
    return _rewritten(address, _opens_nothing).partition("#")[0]


def is_address(text: str) -> bool:
    """Whether a text is one address, such as `https://host/file` or `s3://bucket/key`."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE) is not None


def without_secrets(text: str) -> str:
    """A text with every address in it as `public_address` has it."""
    return _ADDRESS.sub(_shown, text) if ":/" in text else text


def free_of_secrets(value: Any) -> Any:
    """A value whose texts, in lists and mappings and keys included, are as `without_secrets` gives them."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {free_of_secrets(k): free_of_secrets(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(free_of_secrets(v) for v in value)
    return value


def stable(value: Any) -> Any:
    """A configuration in which each address is what stays when its signature is renewed: for keys, not to be shown."""
    if isinstance(value, str):
        return address_of(value) if is_address(value) else value
    if isinstance(value, dict):
        return {k: stable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(stable(v) for v in value)
    return value


def _shown(match: re.Match[str]) -> str:
    address = match[0].rstrip(_CLOSING)
    return public_address(address) + match[0][len(address) :]


def _rewritten(address: str, keep: Callable[[str], bool]) -> str:
    try:
        parts = urlsplit(address)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:  # it looks like an address and is none: nobody knows what of it is secret
        return re.split(r"[?#@]", address)[0]
    if not re.match(r"[a-z][a-z0-9+.-]*:/", address, re.IGNORECASE):
        return address
    if parts.scheme not in ("http", "https"):  # in the key of a bucket `?` is a letter, or a wildcard
        keep = _opens_nothing
    harmless = [(name, value) for name, value in query if keep(name)]
    fragment = parts.fragment if _CHECKSUM.fullmatch(parts.fragment) else ""
    if (len(harmless), fragment) == (len(query), parts.fragment) and "@" not in parts.netloc:
        return address  # to the letter
    start = address.partition(":")[0] + ":" + ("//" if address.partition(":")[2].startswith("//") else "")
    netloc = parts.netloc.rpartition("@")[2]
    path = parts.path if parts.netloc else _without_user(parts.path)
    return start + SplitResult("", "", netloc + path, urlencode(harmless), fragment).geturl()


def _opens_nothing(parameter: str) -> bool:
    return not _SECRET.fullmatch(parameter)


def _without_user(path: str) -> str:
    """Take the user out of an address that lost a slash: `http:/user:password@host/file`."""
    first, slash, rest = path.lstrip("/").partition("/")
    return "/" + first.rpartition("@")[2] + slash + rest
