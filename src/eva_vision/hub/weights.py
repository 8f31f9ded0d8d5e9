"""Files of weights, fetched ahead: they go on where they were stopped, and are held against what the server said."""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub.constants
from huggingface_hub import get_token, hf_hub_download, hf_hub_url
from huggingface_hub.file_download import repo_folder_name

from eva_core.errors import EvaError
from eva_core.files.cache import locked
from eva_core.hub.availability import RemoteFile, as_size, ask
from eva_core.hub.weight_files import HUB, HubFile, held, hub_file, split_checksum
from eva_core.progress import say
from eva_vision.download import fetch
from eva_vision.impostors import faulty_weights
from eva_vision.models.weights import find

_SHA256 = re.compile("[0-9a-f]{64}")


def fetch_weights(address: str) -> str:
    """Fetch a file of weights, unless it is here, and check it.

    Args:
        address: `hf-hub:owner/name[@revision][/file]`, or the `https://...[#md5=...]` of a file.
    Returns:
        A line on what is there now, and how it was checked.
    Raises:
        EvaError: It cannot be had, or is not what the server said.
    """
    path = held(address)
    if path is None and address.startswith(HUB):
        _into_hub_cache(hub_file(address), ask(address))
    path = find(address)  # the same way that a model takes
    return f"{path} ({as_size(path.stat().st_size)}, {_checked(address, path)})"


def _into_hub_cache(asked: HubFile, remote: RemoteFile) -> None:
    """Fetch a large file of the hub to where its client looks, so that a download that was stopped goes on.

    The client itself begins anew in each process. The folders of its cache are documented at
    https://huggingface.co/docs/huggingface_hub/guides/manage-cache. What is no large file is left to the client.
    """
    if not _SHA256.fullmatch(remote.etag or "") or remote.commit is None:
        return
    root = Path(huggingface_hub.constants.HF_HUB_CACHE) / repo_folder_name(repo_id=asked.repo, repo_type="model")
    blob, link = root / "blobs" / str(remote.etag), root / "snapshots" / remote.commit / remote.name
    page = hf_hub_url(asked.repo, remote.name, revision=asked.revision)
    with locked(blob, say):
        fetch(remote.location, blob, f"sha256:{remote.etag}", headers=_headers(remote.location, page))
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(os.path.relpath(blob, link.parent))
    if asked.revision != remote.commit:
        hf_hub_download(asked.repo, remote.name, revision=asked.revision)  # notes which commit the branch is at


def _headers(location: str, page: str) -> dict[str, str]:
    """The token, for the hub itself and no other server: elsewhere the address is signed."""
    token = get_token()
    same = urlsplit(location).netloc == urlsplit(page).netloc
    return {"Authorization": f"Bearer {token}"} if token and same else {}


def _checked(address: str, path: Path) -> str:
    """Say how a file is known to be whole.

    Raises:
        EvaError: It is not.
    """
    checksum = split_checksum(address)[1]
    expected = path.resolve().name if address.startswith(HUB) else (checksum or "").removeprefix("sha256:")
    if _SHA256.fullmatch(expected):
        with path.open("rb") as handle:
            actual = hashlib.file_digest(handle, "sha256").hexdigest()
        if actual != expected:
            raise EvaError(
                f"Expected SHA-256 {expected[:12]} of {path.resolve()}, but got {actual[:12]}. Delete it and run again."
            )
        return f"SHA-256 {expected[:12]} as on the server"
    if checksum is not None:
        return f"{checksum[:16]} as published"  # `find` held it against that
    if (fault := faulty_weights(path)) is not None:
        raise EvaError(f"Expected a file of weights, but {path} is {fault}. Delete it and run again.")
    return "whole; no checksum is published"
