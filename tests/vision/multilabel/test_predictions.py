from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import expit

from eva_core.results.record import PREDICTIONS, write_results
from eva_vision.multilabel.predictions import labels_table, read_labels
from tests.vision.multilabel.conftest import made_up


def test_what_is_written_is_read(tmp_path: Path):
    part = made_up()
    pq.write_table(labels_table([part], range(2)), tmp_path / PREDICTIONS)
    write_results(tmp_path, {"task": "multilabel"}, [PREDICTIONS])
    read = read_labels(tmp_path, "test")
    assert (read.ids, read.groups, tuple(read.labels)) == (part.ids, part.groups, part.labels)
    assert read.same_truth(part)
    assert np.array_equal(read.log_odds, part.log_odds)
    assert read.scores == pytest.approx(expit(part.log_odds), abs=1e-6)
    assert read.record(["auprc"]) == part.record(["auprc"])
    assert read.contradictions() == []
    assert read.scores is not None
    odd = np.array(read.scores)
    odd[1, 7, 0] += 0.01
    assert replace(read, scores=odd).contradictions() == [
        "Expected probabilities as their log-odds are, but s7 of run 1 is off by 0.01."
    ]
    assert part.contradictions() == []


@pytest.mark.parametrize(("metric", "sign"), [("auprc", 1), ("f1", 1), ("brier", -1)])
def test_models_are_compared_by_group(metric: str, sign: int):
    good, bad = made_up(0.2), made_up(5.0)
    worse = good.compare(bad, metric)
    assert sign * worse.difference > 0
    assert worse.ci95 is not None
    assert worse.p is not None
    assert worse.p < 0.05
    assert good.test(bad, metric) == (worse.difference, worse.p)
    assert bad.compare(good, metric).difference == pytest.approx(-worse.difference)
    assert good.test(good, metric) == (0, 1)


def test_a_single_group_says_nothing_and_other_labels_are_another_truth():
    part = made_up(n=8)
    alone = replace(part, groups=["p"] * 8)
    assert np.isnan(alone.test(alone, "auroc")).all()
    assert not part.same_truth(replace(part, targets=1 - part.targets))
