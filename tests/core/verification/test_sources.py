import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from eva_core.contracts.cards import ModelCard
from eva_core.results.record import CONFIG, PREDICTIONS, RESULTS
from eva_core.verification import sources
from eva_core.verification.sources import check_sources
from eva_core.verification.verdict import Verdict
from tests.conftest import picture
from tests.core.verification.conftest import resealed


@pytest.fixture
def fitted(finished: Path) -> Path:
    """A result of a tiny ViT on a tree of images that are here."""
    return next(finished.glob("tree/tiny_vit-*/linear"))


def checked(folder: Path) -> tuple[Verdict, Any]:
    verdict = Verdict(folder)
    results = json.loads((folder / RESULTS).read_text())
    return verdict, check_sources(verdict, results, ids_of(folder))


def ids_of(folder: Path) -> list[str]:
    return sorted(set(pq.read_table(folder / PREDICTIONS)["id"].to_pylist()))


def test_data_weights_head_and_protocol_are_those_here(fitted: Path):
    verdict, job = checked(fitted)
    assert (verdict.wrong, verdict.unchecked) == ([], [])
    assert verdict.holds[0] == "data"
    assert verdict.holds[1].startswith("weights, head and protocol")
    assert job.model == "tiny_vit"


def test_a_missing_and_a_swapped_image_are_found(fitted: Path, spec: Path):
    names = ids_of(fitted)
    image = spec.parent / "tree" / names[0]
    content = image.read_bytes()
    Image.fromarray(picture(9999)).save(image)
    (line,) = checked(fitted)[0].wrong
    assert line.startswith("data: expected ")
    assert line.endswith("a file or a label is another.")
    image.write_bytes(content)
    assert checked(fitted)[0].wrong == []
    image.unlink()
    (line,) = checked(fitted)[0].wrong
    assert line.endswith(f": missing of its samples: {names[0]}.")


def test_other_weights_and_another_protocol_are_found_though_sealed_again(fitted: Path):
    resealed(fitted, lambda content: content["identity"].update(weights_sha256="0" * 64))
    (line,) = checked(fitted)[0].wrong
    assert line.startswith("identity.weights_sha256: expected")
    config = (fitted / CONFIG).read_text()
    assert "seed: 0" in config
    (fitted / CONFIG).write_text(config.replace("seed: 0", "seed: 1"))
    assert any(line.startswith(("settings", "identity.protocol")) for line in checked(fitted)[0].wrong)


def test_weights_that_are_not_here_leave_the_data(fitted: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "_are_here", lambda model: False)
    verdict, job = checked(fitted)
    assert verdict.holds == ["data"]
    assert "not on this machine" in verdict.unchecked[0]
    assert job.model == "colour_stats"


def test_weights_are_fetched_by_nobody(monkeypatch: pytest.MonkeyPatch, cache: Path):
    assert sources._are_here("colour_stats")
    assert sources._are_here({"class_path": "timm_model", "init_args": {"checkpoint": "gone.pth"}})
    published = ModelCard("fm", dim=4, source="https://huggingface.co/owner/fm")
    monkeypatch.setattr(sources.registry.models, "load", lambda name: type("B", (), {"card": published}))
    assert not sources._are_here("fm")


def test_data_that_are_gone_and_objects_from_python_cannot_be_checked(fitted: Path, spec: Path):
    shutil.rmtree(spec.parent / "tree")
    verdict, job = checked(fitted)
    assert job is None
    assert verdict.unchecked[0].startswith("data and weights: ")
    (fitted / CONFIG).write_text("# Made from Python\n")
    assert "nobody wrote down" in checked(fitted)[0].unchecked[0]
