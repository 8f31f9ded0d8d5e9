"""Exports of `eva pretrain` in repositories of the Hugging Face hub: their files, fetched as data."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from eva_core.errors import EvaError, UsageError
from eva_core.hub.weight_files import HUB, held_by_hub_cache, hub_file
from eva_vision.models.weights import from_hub


@dataclass(frozen=True)
class HubExport:
    """An export that lies in the hub's cache.

    Attributes:
        folder: Where its files are.
        repo: `owner/name`.
        commit: The commit that they are of.
    """

    folder: Path
    repo: str
    commit: str


def fetch_export(address: str, needed: Sequence[str], optional: Sequence[str] = ()) -> HubExport:
    """Download the files of an export, all of one commit; without a network the cache answers.

    Args:
        address: `hf-hub:owner/name[@revision]`.
        needed: Names of the files, the card first.
        optional: Names of those that may be missing.
    Raises:
        UsageError: It names no repository, or one without an export.
        EvaError: A file cannot be had.
    """
    asked = hub_file(address)
    if asked.file:
        raise UsageError(f"Expected {HUB}owner/name[@revision] of an export, but got {address}: leave the file out.")
    revision = f"@{asked.revision}" if asked.revision else ""
    try:
        card = from_hub(f"{HUB}{asked.repo}{revision}/{needed[0]}")
    except EvaError as error:
        # where there is no network, weights that the cache has without a card are those of a network of timm
        if _is_absent(error) or held_by_hub_cache(asked) is not None:
            raise UsageError(
                f"Expected an export of `eva pretrain` in {HUB}{asked.repo}{revision}, but it has no {needed[0]}. "
                f"For weights of timm: --model timm_model --model.arch {HUB}{asked.repo}."
            ) from error
        raise
    commit = card.parent.name  # the hub's cache names snapshots by commit
    for file in needed[1:]:
        from_hub(f"{HUB}{asked.repo}@{commit}/{file}")
    for file in optional:
        with suppress(EvaError):
            from_hub(f"{HUB}{asked.repo}@{commit}/{file}")
    return HubExport(card.parent, asked.repo, commit)


def _is_absent(error: EvaError) -> bool:
    """Whether the hub said that there is no such file."""
    return isinstance(error.__cause__, EntryNotFoundError) and not isinstance(error.__cause__, LocalEntryNotFoundError)
