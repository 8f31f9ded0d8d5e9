import hashlib
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from eva_core.api import fit
from eva_core.contracts.cards import DatasetCard, ModelCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.evaluation.contamination import contamination, image_hash, salted, seen
from eva_core.extraction.settings import Extraction
from eva_vision.models.timm import timm_model
from tests.conftest import Pictures
from tests.core.test_api import QUICK


@pytest.mark.parametrize(
    ("model", "dataset", "expected"),
    [
        (("TCGA", "GTEx"), ("TCGA",), "declared"),
        (("TCGA",), ("CAMELYON16",), "none declared"),
        ((), ("TCGA",), "none declared"),
        (None, ("TCGA",), "unknown"),
        (("TCGA",), (), "unknown"),
    ],
)
def test_collections_decide_and_silence_is_unknown(model, dataset, expected):
    assert contamination(ModelCard("m", collections=model), DatasetCard("d", collections=dataset)) == expected


def test_ids_match_samples_and_groups():
    card = ModelCard("m", training_ids=("s1", "p2"))
    assert seen(card, ["s0", "s1", "s2"], ["p0", "p1", "p2"]).tolist() == [False, True, True]


def test_names_are_found_without_folder_and_extension():
    card = ModelCard("m", training_ids=(salted("case 7", "aa"), "TCGA-AA-1234-01Z-00-DX1.0f1e", salted("d.ndpi", "aa")))
    ids = ["/x/case 7.ndpi", "C:\\y\\case 7.svs", "z/TCGA-AA-1234-01Z-00-DX1.0f1e.svs", "case 70.svs", "d.ndpi"]
    assert seen(card, ids, [""] * 5).tolist() == [True, True, True, False, True]


def test_slides_of_one_file_name_are_told_apart_by_their_folders():
    card = ModelCard("m", training_ids=(salted("p1/slide", "aa"), "TCGA-AA-0001"))
    ids = ["/data/p1/slide.svs", "p2/slide.svs", "slide.svs", "x/TCGA-AA-0001/level0.svs", "tcga-aa-0001-01Z_3.png"]
    assert seen(card, ids, [""] * 5).tolist() == [True, False, False, True, True]
    assert seen(card, ["a"] * 3, ["q/p1/slide", "TCGA-AA-0001-01Z-00-DX1", "caf\udce9"]).tolist() == [True, True, False]


def test_images_are_known_by_their_bytes_and_not_by_their_names(tmp_path):
    for name, content in {"a/0001.png": b"one", "b/0001.png": b"two"}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in ("a/0001.png", "b/0001.png")]
    samples = [Sample(str(path), "test", 0, path=path) for path in paths]
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    dataset = cast(Dataset, SimpleNamespace(samples=samples, hashes=lambda: hashes))
    images = np.sort(np.array([image_hash(hashes[paths[1]]), 7, 2**64 - 1], "<u8")).tobytes()
    ids = [sample.id for sample in samples]
    assert seen(ModelCard("m", training_images=images), ids, ["", ""], dataset).tolist() == [False, True]
    assert seen(ModelCard("m", training_images=images), ids, ["", ""]).tolist() == [False, False]
    assert seen(ModelCard("m"), ids, ["", ""], dataset).tolist() == [False, False]


def test_a_model_that_saw_patients_is_rescored_on_the_others(tmp_path):
    pictures, model = Pictures(60), timm_model("test_vit")
    test = sorted({s.group for s in pictures.samples if s.split == "test"})
    model.card = replace(model.card, training_ids=tuple(test[:2]))
    results = fit(model, pictures, protocol=QUICK, output=tmp_path / "r", how=Extraction(device="cpu", workers=0))
    mark = results["contamination"]
    assert mark["kind"] == "exact"
    assert mark["n_seen"] == 6
    assert mark["unseen"]["n"] == sum(s.split == "test" for s in pictures.samples) - 6
    assert 0 <= mark["unseen"]["mean"] <= 1
