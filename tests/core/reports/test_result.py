"""What `fit` returns: the dictionary of results.json, which shows itself and has its tables at hand."""

import json
import pickle
import sys
import types
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from eva_core import Result, fit
from eva_core.config.protocols import load_protocol
from eva_core.errors import UsageError
from eva_core.extraction.settings import Extraction
from eva_core.reports import result as module
from eva_vision.datasets.folder import Folder

QUICK = replace(load_protocol("eva-0.4"), steps=20, lr=(0.05,), runs=2)


@pytest.fixture
def result(tree, tmp_path, monkeypatch) -> Result:
    monkeypatch.setattr(module, "find_spec", lambda name: None)  # neither pandas nor polars
    how = Extraction(device="cpu", workers=0)
    return fit("colour_stats", Folder(str(tree)), protocol=QUICK, output=tmp_path / "out", how=how)


def test_it_is_the_dictionary_of_the_file_and_prints_as_a_table(result):
    assert result == json.loads((result.folder / "results.json").read_text())
    assert isinstance(result, dict)
    assert json.loads(json.dumps(result)) == result
    again = pickle.loads(pickle.dumps(result))
    assert (again, again.folder) == (result, result.folder)
    assert str(result) == repr(result)
    assert f"{result['main']['mean']:.3f}" in str(result)
    assert "colour_stats on folder" in str(result).splitlines()[0]
    assert max(map(len, str(result).splitlines())) <= 110


def test_predictions_and_embeddings_are_tables(result):
    predictions, embeddings = result.predictions, result.embeddings
    assert isinstance(predictions, pa.Table)
    assert {"id", "split", "run", "target", "score_pink"} <= set(predictions.column_names)
    assert embeddings.column_names == ["id", "split", "group", "target", *(f"e{n}" for n in range(6))]
    assert set(embeddings["split"].to_pylist()) == {"train", "val", "test"}
    assert np.isfinite(np.asarray(embeddings["e0"])).all()
    assert set(predictions["id"].to_pylist()) <= set(embeddings["id"].to_pylist())


@pytest.mark.parametrize(
    ("targets", "column"),
    [
        (np.array([1, -1]), [1, None]),
        (np.array([3.7, -0.5]), [3.7, -0.5]),
        (np.array([[1.0, 2.0], [3.0, 4.5]]), [[1, 2], [3, 4.5]]),
    ],
)
def test_targets_keep_what_they_are(targets, column):
    assert module._targets(targets).to_pylist() == column


def test_without_a_store_the_line_says_what_to_do(result, monkeypatch):
    monkeypatch.setattr(module, "find_store", lambda *of: None)
    with pytest.raises(UsageError, match=r"embeddings of folder by colour_stats.*eva_core\.predict"):
        _ = result.embeddings


def test_pandas_comes_before_polars(monkeypatch):
    table = pa.table({"a": [1]})
    polars = types.SimpleNamespace(from_arrow=lambda given: ("polars", given))
    monkeypatch.setitem(sys.modules, "polars", polars)
    monkeypatch.setattr(module, "find_spec", lambda name: name == "polars" or None)
    assert module.as_frame(table) == ("polars", table)
    given = types.SimpleNamespace(to_pandas=lambda: "pandas")
    monkeypatch.setattr(module, "find_spec", lambda name: True)
    assert module.as_frame(given) == "pandas"


def test_in_a_notebook_it_is_a_table_with_plots(result):
    html = result._repr_html_()
    assert "<table>" in html
    assert f"{result['main']['mean']:.3f}" in html
    assert "Confusions" in html
    assert html.count("<svg") >= 2
    assert "<script" not in html
    assert len(html) < 50_000
