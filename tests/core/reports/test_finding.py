"""What is behind a result is taken only where it is the same."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from eva_core.api import fit
from eva_core.config.protocols import load_protocol
from eva_core.extraction.settings import Extraction
from eva_core.files.sealed_records import FILES, vouch, write_record
from eva_core.reports.finding import sources_of
from eva_core.results.record import RESULTS, read_json, read_results
from tests.conftest import picture
from tests.core.reports.conftest import fitted


def test_images_and_embeddings_are_found_again(tree: Path, tmp_path: Path):
    folder = fitted(tree, tmp_path / "out")
    sources = sources_of(folder, read_results(folder))
    assert sources.missing == []
    assert sources.store is not None
    assert sources.thumbnails.pictures([str(sources.store.ids[0])]) != [""]
    assert sources.thumbnails.read == 1


def test_images_that_changed_are_not_those_of_the_result(tree: Path, tmp_path: Path):
    folder = fitted(tree, tmp_path / "out")
    first = next(tree.rglob("*.png"))
    Image.fromarray(picture(99)).save(first)
    sources = sources_of(folder, read_results(folder))
    assert "have changed since" in sources.missing[0]
    assert sources.store is not None  # by the fingerprint of the result
    sources.thumbnails.pictures([str(sources.store.ids[0])])
    assert (sources.thumbnails.read, sources.thumbnails.drawn) == (0, 1)


@pytest.mark.parametrize("dataset", [{"class_path": "os.getcwd"}, {"class_path": "nobody"}, "folder", None, [1]])
def test_a_configuration_of_others_is_data(dataset: object, tree: Path, tmp_path: Path):
    folder = fitted(tree, tmp_path / "out")
    known = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**known, "dataset": dataset}))
    content = read_json(folder / RESULTS)
    write_record(folder / RESULTS, {**content, FILES: vouch(folder, content.pop(FILES))})
    assert sources_of(folder, read_results(folder)).missing != []


def test_results_from_python_objects_have_their_embeddings(pictures, tmp_path: Path):
    quick = replace(load_protocol("eva-0.4"), name="quick", steps=20, runs=1)
    fit("colour_stats", pictures, None, quick, tmp_path / "out", Extraction(device="cpu", workers=0))
    sources = sources_of(tmp_path / "out", read_results(tmp_path / "out"))
    assert sources.store is not None
    assert len(sources.missing) == 1
