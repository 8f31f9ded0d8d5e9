"""Stores are found by what they say they hold, and by nothing that a result says of paths."""

from pathlib import Path

import h5py
import pytest

from eva_core.config.protocols import load_protocol
from eva_core.extraction.embed import extract, store_key
from eva_core.extraction.settings import Extraction
from eva_core.identity import digest
from eva_core.store.finding import find_store, identity_of
from eva_vision.datasets.folder import Folder
from eva_vision.models.baselines import colour_stats


@pytest.fixture
def parts(tree: Path) -> tuple[str, str, str, str]:
    dataset, backbone, protocol = Folder(str(tree)), colour_stats(), load_protocol("eva-0.4")
    key = store_key(backbone, dataset, protocol)
    extract(key, backbone, dataset, protocol, Extraction(device="cpu", workers=0))
    content = key.content
    return dataset.card.name, content["weights_sha256"], digest(content["preprocess"]), content["dataset_sha256"]


def test_the_store_of_a_result_is_found(parts):
    store = find_store(*parts)
    assert store is not None
    assert identity_of(store.path)["dataset_sha256"] == parts[3]


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_store_of_other_weights_pixels_or_images_is_not(parts, place: int):
    assert find_store(*(p if n != place else "0" * 64 for n, p in enumerate(parts))) is None


def test_a_name_leads_nowhere_else(parts):
    for name in (f"../{parts[0]}", "*", "", f"{parts[0]}/..", "no_such"):
        assert find_store(name, *parts[1:]) is None


def test_a_damaged_store_is_as_if_it_were_not_there(parts):
    store = find_store(*parts)
    assert store is not None
    with h5py.File(store.path, "r+") as file:
        file["embeddings"][0] = 7
    Path(f"{store.path}.verified").unlink(missing_ok=True)
    assert find_store(*parts) is None
    store.path.write_bytes(b"no HDF5")
    assert find_store(*parts) is None
