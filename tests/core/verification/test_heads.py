import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eva_core.results import record
from eva_core.verification.heads import table_differences
from eva_core.verification.verify import verify
from tests.core.verification.conftest import resealed


@pytest.fixture
def fitted(finished: Path) -> Path:
    """A result of a tiny ViT whose embeddings are in the cache."""
    return next(finished.glob("tree/tiny_vit-*/linear"))


def test_predictions_follow_from_embeddings_and_heads_and_an_edited_one_does_not(fitted: Path, cache: Path):
    verdict = verify(fitted, heads=True)
    assert (verdict.exit_code, verdict.lines()) == (0, [])
    assert "predictions follow from embeddings and heads" in verdict.holds[-1]
    classes, heads = record.heads_of((fitted / record.HEADS).read_bytes())
    for name, values in heads[0].items():
        heads[0][name] = values + np.linspace(0, 1, values.size, dtype=np.float32).reshape(values.shape)
    record.write_heads(fitted / record.HEADS, heads, classes)
    resealed(fitted)
    assert verify(fitted).exit_code == 0  # each file is whole, and the numbers are those of the predictions
    verdict = verify(fitted, heads=True)
    assert any("expected" in line and "in run 0" in line for line in verdict.wrong)
    for path in cache.rglob("*.h5"):
        path.unlink()
    verdict = verify(fitted, heads=True)
    assert (verdict.exit_code, verdict.wrong) == (2, [])
    assert "are not in the cache" in verdict.unchecked[0]


def test_columns_that_differ_are_named_with_the_first_sample():
    one = pa.table({"id": ["a", "b"], "run": [0, 0], "target": [1, 0], "score": [0.5, None]})
    assert table_differences(one, one) == []
    other = one.set_column(3, "score", pa.array([0.5, 0.7]))
    assert table_differences(one, other) == ["score of b in run 0: expected nan, but found 0.7; 1 rows differ."]
    assert table_differences(one, one.set_column(2, "target", pa.array([1, 1])))[0].startswith("target of b")
    assert "expected 2 rows" in table_differences(one, one.slice(1))[0]


def test_heads_of_other_classes_are_no_heads_of_it(fitted: Path):
    _, heads = record.heads_of((fitted / record.HEADS).read_bytes())
    record.write_heads(fitted / record.HEADS, heads, ["x", "y"])
    resealed(fitted)
    assert any(line.startswith("heads.safetensors: expected classes") for line in verify(fitted, heads=True).wrong)
    assert pq.read_table(fitted / record.PREDICTIONS).num_rows
    assert json.loads((fitted / record.RESULTS).read_text())
