"""Addresses of published weights, and the place of each file once it is on this machine."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from eva_core.contracts.cards import ModelCard
from eva_core.errors import UsageError
from eva_core.files.addresses import address_of
from eva_core.files.file_names import as_name

HUB = "hf-hub:"
HUB_PAGE = "https://huggingface.co/"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Files of weights that are looked for in a repository of the hub, in this order."""
RELEASE = ("https://", "http://")


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the hub.

    Attributes:
        repo: `owner/name`.
        revision: Commit, branch or tag; None for the main branch.
        file: Path in the repository; empty for the first of `HUB_FILES` that is there.
    """

    repo: str
    revision: str | None
    file: str

    @property
    def candidates(self) -> tuple[str, ...]:
        """Paths that may be meant."""
        return (self.file,) if self.file else HUB_FILES


def hub_file(address: str) -> HubFile:
    """Take apart `hf-hub:owner/name[@revision][/file]`.

    Examples:
        >>> hub_file("hf-hub:owner/fm@v1/teacher.safetensors")
        HubFile(repo='owner/fm', revision='v1', file='teacher.safetensors')

    Raises:
        UsageError: It names no repository.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not in its __all__

    owner, _, path = address.removeprefix(HUB).partition("/")
    name, _, file = path.partition("/")
    name, _, revision = name.partition("@")
    try:
        validate_repo_id(f"{owner}/{name}")
    except HFValidationError as error:
        raise UsageError(f"Expected {HUB}owner/name or {HUB}owner/name/file, but got {address!r}.") from error
    return HubFile(f"{owner}/{name}", revision or None, file)


def weights_address(card: ModelCard) -> str | None:
    """Say where the weights of a card are, as `--model.checkpoint` takes it; None where its source is no page.

    Examples:
        >>> weights_address(ModelCard("fm", source="https://huggingface.co/owner/fm", revision="v1"))
        'hf-hub:owner/fm@v1'
        >>> weights_address(ModelCard("fm", source="https://github.com/owner/fm", revision="v1", file="fm.pth"))
        'https://github.com/owner/fm/releases/download/v1/fm.pth'
    """
    if card.source.startswith(HUB_PAGE):
        revision = "" if card.revision == "unknown" else f"@{card.revision}"
        repository = f"{HUB}{card.source.removeprefix(HUB_PAGE)}{revision}"
        return f"{repository}/{card.file}" if card.file else repository
    if card.source.startswith(RELEASE) and card.file:
        return f"{card.source}/releases/download/{card.revision}/{card.file}"
    return None


def split_checksum(address: str) -> tuple[str, str | None]:
    """Take `https://...#md5=...` apart: the URL, and the checksum as `md5:...`.

    Examples:
        >>> split_checksum("https://host/fm.pth#md5=0a1b")
        ('https://host/fm.pth', 'md5:0a1b')
    """
    url, _, checksum = address.partition("#")
    return url, checksum.replace("=", ":") if re.fullmatch("(md5|sha256)=[0-9a-f]+", checksum) else None


def release_path(url: str) -> Path:
    """The file in our cache for what somebody published under a URL; the same before and after it is signed anew."""
    from eva_core.files.cache import cache_root  # which imports what listing names has no need of

    name = as_name(PurePosixPath(urlsplit(url).path).name)
    return cache_root() / "weights" / f"{hashlib.sha256(address_of(url).encode()).hexdigest()[:12]}-{name}"


def held(address: str) -> Path | None:
    """The file of weights on this machine: in the hub's cache, in ours, or the path that the address is.

    Args:
        address: What `weights_address` gives, or a path.
    """
    if address.startswith(HUB):
        return held_by_hub_cache(hub_file(address))
    path = release_path(split_checksum(address)[0]) if address.startswith(RELEASE) else Path(address)
    return path if path.is_file() else None


def held_by_hub_cache(asked: HubFile) -> Path | None:
    """The file that the hub's cache has of a repository; of several the one that is looked for first."""
    from huggingface_hub import try_to_load_from_cache

    paths = (try_to_load_from_cache(asked.repo, file, revision=asked.revision) for file in asked.candidates)
    return next((Path(path) for path in paths if isinstance(path, str)), None)
