"""Logins of web servers: used to read, and part of no index, result or message.

They come with an address, `https://user:password@host/...`, or from `~/.netrc`, as for curl.
"""

import netrc
from base64 import b64encode
from contextlib import suppress
from urllib.parse import quote, unquote, urlsplit

_KNOWN: dict[str, str] = {}
"""`user:password`, as an address has it, by the public address of a server."""


def take_login(address: str) -> str:
    """Remember the login of an address in this process; returns the address without it."""
    parts = urlsplit(address)
    login, separator, host = parts.netloc.rpartition("@")
    if not separator:
        return address
    _KNOWN[f"{parts.scheme}://{host}"] = login
    return address.replace(parts.netloc, host, 1)


def logins() -> dict[str, str]:
    """The logins that this process knows, for processes that it starts."""
    return dict(_KNOWN)


def take_logins(others: dict[str, str]) -> None:
    """Take over those of the process that started this one."""
    _KNOWN.update(others)


def headers(root: str) -> dict[str, str]:
    """The headers that tell a server who asks, where a login is known."""
    login = _KNOWN.get(root) or _from_netrc(urlsplit(root).hostname or "")
    return {"authorization": f"Basic {b64encode(unquote(login).encode()).decode()}"} if login else {}


def _from_netrc(host: str) -> str:
    with suppress(OSError, netrc.NetrcParseError):
        login = netrc.netrc().hosts.get(host)
        if login is not None:
            return f"{quote(login[0], safe='')}:{quote(login[2] or '', safe='')}"
    return ""
