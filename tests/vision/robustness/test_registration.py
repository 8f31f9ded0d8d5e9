import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from eva_core.cli import main
from eva_core.errors import UsageError
from eva_vision.datasets.plism import Plism
from eva_vision.robustness.contracts import Registered
from eva_vision.robustness.page import write_page
from eva_vision.robustness.registration import by_slide
from eva_vision.robustness.tables import show_registration
from tests.vision.datasets.test_plism import NUMBERS, tree


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("EVA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Plism, "numbers", NUMBERS)
    tree(tmp_path / "data")
    data = ["--dataset", "plism", "--dataset.root", str(tmp_path / "data"), "--dataset.tiles", "12"]
    return ["robustness", *data, "--protocol", "strict", "--model", "colour_stats", "--workers", "0", "--device", "cpu"]


def test_a_model_on_registered_slides(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == str(tmp_path / "out/registration.html")
    content = json.loads((tmp_path / "out/registration.json").read_text())
    assert (content["slides"], content["tiles"], content["scanners"]) == (6, 12, ["AT2", "P"])
    (record,) = content["models"]
    assert {kind: pairs["n"] for kind, pairs in record["pairs"].items()} == {
        "scanner": 3,
        "stain": 6,
        "both": 6,
        "all": 15,
    }
    pairs = record["pairs"]
    medians = [pairs["all"]["cosine"], *(pairs[kind]["top10"] for kind in ("scanner", "stain", "both"))]
    assert record["score"] == pytest.approx(np.mean([of["median"] for of in medians]))
    text = (tmp_path / "out/registration.html").read_text()
    assert "another scanner" in text
    assert "__THEME__" not in text


def test_there_are_no_classes_to_learn(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*words, "--apd", "2"]) == 2
    assert "it has no classes" in capsys.readouterr().err


def test_published_values_stand_beside(tmp_path: Path):
    of = {"median": 0.5, "quartiles": [0.4, 0.6]}
    row = {"metric": "leaderboard_metric", "value": 0.3, "protocol": "plism-benchmark", "ours": "x", "delta": None}
    record = {
        **{"model": "mine", "weights_sha256": "", "preprocess": "strict", "dim": 3, "score": 0.5, "notes": ["few"]},
        **{"pairs": {"all": {"n": 1, "cosine": of, "top10": of}}, "published": [row]},
    }
    content = {
        "schema": 1,
        "dataset": "toy",
        "synthetic": True,
        "slides": 2,
        "tiles": 9,
        "stains": ["a"],
        "scanners": ["b"],
    }
    file = io.StringIO()
    show_registration({**content, "models": [record]}, Console(file=file, width=200))
    page = write_page({**content, "models": [record]}, tmp_path / "r.html").read_text()
    for text in (file.getvalue(), page):
        assert "leaderboard metric published: 0.300 (plism-benchmark); ours is x" in text
        assert "0.500 (0.400 to 0.600)" in text


def test_tiles_that_all_slides_have():
    ids = np.array(["b/1", "b/2", "a/2", "a/1", "a/3", "b/4"])
    registered = Registered({"a": ("s", "x"), "b": ("t", "x")})
    store = SimpleNamespace(ids=ids, readable=np.ones(6, bool))
    rows, slides = by_slide(store, registered)
    assert (rows.tolist(), slides) == ([[3, 2], [0, 1]], ["a", "b"])
    store.readable = ids != "a/2"  # one tile is left
    with pytest.raises(UsageError, match="2 slides share 1 tiles"):
        by_slide(store, registered)
    store.readable = np.ones(6, bool)
    with pytest.raises(UsageError, match="b are not registered"):
        by_slide(store, Registered({"a": ("s", "x")}))
