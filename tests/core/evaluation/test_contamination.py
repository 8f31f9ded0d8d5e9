from dataclasses import replace

import pytest

from eva_core.api import fit
from eva_core.contracts.cards import DatasetCard, ModelCard
from eva_core.evaluation.contamination import contamination, salted, seen
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
