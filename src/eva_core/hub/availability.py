"""Whether the weights of a card are on this machine, and if not, whether and how they can be had."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Literal

from eva_core.contracts.cards import ModelCard
from eva_core.errors import EvaError
from eva_core.files.addresses import public_address
from eva_core.hub.weight_files import HUB, HUB_PAGE, held, hub_file, split_checksum, weights_address

TIMEOUT = 10.0
"""Seconds that a server has for an answer."""
State = Literal["here", "can be fetched", "needs a token", "cannot be had", "none needed", "by its arguments"]


@dataclass(frozen=True)
class Availability:
    """What is known of the weights of a model.

    Attributes:
        state: Whether they are here, and if not, what is between.
        size: Bytes; None where nobody said.
        where: The file, the address, or the reason.
    """

    state: State
    size: int | None
    where: str


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server, as the server describes it.

    Attributes:
        name: Its name there.
        size: Bytes; None where the server does not say.
        location: Address of the content, which may be signed: not to be shown.
        etag: SHA-256 of a large file of the hub, else whatever names this state of it.
        commit: Commit of the hub's repository; None elsewhere.
    """

    name: str
    size: int | None
    location: str
    etag: str | None = None
    commit: str | None = None


class Refused(EvaError):
    """A server that wants a token, or an account that was let through its form."""


def availability(cards: Mapping[str, ModelCard | None], jobs: int = 8) -> dict[str, Availability]:
    """Look for the weights of models; servers are asked for those that are not here, several at a time.

    Args:
        cards: By name; None for a model that has none.
        jobs: How many servers are asked at a time.
    """
    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(cards, pool.map(_availability, cards.values()), strict=True))


def _availability(card: ModelCard | None) -> Availability:
    """Say where the weights of a model are; no token is asked of a server that wants one."""
    from huggingface_hub import get_token

    if card is None or card.dim is None:
        return Availability("by its arguments", None, "no card says which weights" if card is None else card.source)
    address = weights_address(card)
    if address is None:
        none = card.source.startswith("none")
        return Availability("none needed" if none else "by its arguments", None, card.source)
    path = held(address)
    if path is not None:
        return Availability("here", path.stat().st_size, str(path))
    if card.gated and not get_token():
        return Availability("needs a token", None, f"ask for access at {card.source}, then set HF_TOKEN")
    try:
        remote = ask(address)
    except Refused as error:
        return Availability("needs a token", None, str(error))
    except EvaError as error:
        return Availability("cannot be had", None, str(error))
    return Availability("can be fetched", remote.size, public_address(split_checksum(address)[0]))


def ask(address: str) -> RemoteFile:
    """Ask the server of a file for its size; nothing is fetched.

    Args:
        address: `hf-hub:owner/name[@revision][/file]` or a URL.
    Raises:
        Refused: The server wants a token, or access.
        EvaError: There is no such file, or no answer.
    """
    return _ask_hub(address) if address.startswith(HUB) else _ask_server(split_checksum(address)[0])


def _ask_hub(address: str) -> RemoteFile:
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    asked = hub_file(address)
    for name in asked.candidates:
        try:
            found = get_hf_file_metadata(hf_hub_url(asked.repo, name, revision=asked.revision), timeout=TIMEOUT)
        except EntryNotFoundError:
            continue
        except GatedRepoError as error:
            token = "this token has no access yet: ask for it" if get_token() else "ask for access"
            raise Refused(
                f"{token} at {HUB_PAGE}{asked.repo}" + ("" if get_token() else ", then set HF_TOKEN")
            ) from error
        except RepositoryNotFoundError as error:
            raise EvaError(
                f"the hub has no repository {asked.repo}, or it is private and HF_TOKEN may not see it"
            ) from error
        except OfflineModeIsEnabled as error:
            raise EvaError("HF_HUB_OFFLINE is set, and the hub's cache does not have it") from error
        except Exception as error:  # the hub's client lets its HTTP library's errors through
            raise EvaError(f"no answer from the hub ({_reason(error)})") from error
        return RemoteFile(name, found.size, found.location, found.etag, found.commit_hash)
    raise EvaError(f"{asked.repo} has none of {', '.join(asked.candidates)}")


def _ask_server(url: str) -> RemoteFile:
    import huggingface_hub.constants

    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise EvaError("HF_HUB_OFFLINE is set, and the file is not here")
    name = url.partition("?")[0].rpartition("/")[2]
    headers = {"User-Agent": "eva-pathology", "Accept-Encoding": "identity"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers, method="HEAD"), timeout=TIMEOUT
        ) as answer:
            length = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        raise EvaError(f"HTTP {error.code} {error.reason} from {public_address(url)}") from error
    except (OSError, HTTPException) as error:  # urllib lets errors of three libraries through
        raise EvaError(f"no answer from {public_address(url)} ({_reason(error)})") from error
    return RemoteFile(name, int(length) if length and length.isdigit() else None, url)


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", error)).split())[:120] or type(error).__name__


def as_size(size: int | None) -> str:
    """Bytes as people say them; `?` where unknown.

    Examples:
        >>> as_size(3_250_000_000), as_size(88_000_000), as_size(712), as_size(None)
        ('3.2 GB', '88 MB', '712 bytes', '?')
    """
    if size is None:
        return "?"
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}" if size < 10 * unit else f"{size / unit:.0f} {name}"
    return f"{size} bytes"
