"""The stores of a dataset in the cache, found by what they say they hold."""

import json
from collections.abc import Iterator
from glob import escape
from pathlib import Path
from typing import Any

from eva_core.errors import EvaError
from eva_core.files.cache import cache_root
from eva_core.files.checksums import Damaged, Verified
from eva_core.files.file_names import is_name
from eva_core.identity import digest
from eva_core.store import hdf5_files
from eva_core.store.store import Kind, Store, open_store


def identity_of(path: Path) -> dict[str, Any]:
    """What the rows of a store depend on; empty where the file does not say.

    Examples:
        >>> identity_of(Path("nowhere.h5"))
        {}
    """
    try:
        hdf5_files.verify(path, Verified(Path(f"{path}.verified")))  # one that was whole before is not read again
        with hdf5_files.reading(path) as file:
            content = json.loads(hdf5_files.attributes(file)["identity"])
    except (EvaError, OSError, KeyError, TypeError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def holds(path: Path, weights: str, preprocess: str, dataset: str) -> bool:
    """Whether a store has the embeddings of a result, by the digests in its identity."""
    content = identity_of(path)
    return (
        content.get("weights_sha256") == weights
        and content.get("dataset_sha256") == dataset
        and digest(content.get("preprocess")) == preprocess
    )


def find_store(name: str, weights: str, preprocess: str, dataset: str) -> Store | None:
    """As `find_store_of`, of embeddings of images."""
    return find_store_of(Store, name, weights, preprocess, dataset)


def find_store_of(kind: type[Kind], name: str, weights: str, preprocess: str, dataset: str) -> Kind | None:
    """The store in the cache that a result was made from; None where it is gone or damaged.

    Args:
        kind: The class that reads it.
        name: Name of its folder in the cache, that of the dataset, from a result that anybody may have made.
        weights: Digest of the weights.
        preprocess: Digest of what happens to the pixels.
        dataset: Fingerprint of the dataset.
    """
    for path in _stores(name):
        if holds(path, weights, preprocess, dataset):
            try:
                return open_store(path, kind)
            except (Damaged, KeyError):
                continue
    return None


def _stores(name: str) -> Iterator[Path]:
    if is_name(name):
        yield from sorted(cache_root().glob(f"{escape(name)}/*.h5"))
