"""The manifest that both views of TP53 read."""

from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_vision.datasets.tp53_manifest import CLASSES, read_manifest
from tests.vision.datasets.test_tp53 import edit, many, tree


def test_a_line_a_slide(tmp_path: Path):
    lines = read_manifest(tree(tmp_path) / "manifest.csv", seed=0, by_site=False)
    assert [line.split for line in lines] == ["train", "train", "val", "val", "test", "test"]
    first = lines[0]
    assert (first.name, first.patient, first.cohort, first.site) == ("slide_0.svs", "TCGA-0A-0000", "BRCA", "0A")
    assert (CLASSES[first.target], first.mpp) == ("wild-type", 0.5)
    assert first.path == tmp_path / "slide_0.svs"


@pytest.mark.parametrize("mpp", ["half", "0", "-0.5", "nan", "inf"])
def test_an_mpp_that_is_none_is_named(tmp_path: Path, mpp: str):
    edit(tree(tmp_path), "wild-type,0.5,train", f"wild-type,{mpp},train")
    with pytest.raises(UsageError, match=r"Expected mpp as a number above 0 in .* slide_0\.svs"):
        read_manifest(tmp_path / "manifest.csv", seed=0, by_site=False)


def test_the_split_is_by_patient_and_seeded(tmp_path: Path):
    file = many(tmp_path) / "manifest.csv"
    lines = read_manifest(file, seed=0, by_site=False)
    assert len({(line.patient, line.split) for line in lines}) == 40
    assert lines == read_manifest(file, seed=0, by_site=False) != read_manifest(file, seed=1, by_site=False)
    by_site = read_manifest(file, seed=0, by_site=True)
    assert len({(line.site, line.split) for line in by_site}) == 20
