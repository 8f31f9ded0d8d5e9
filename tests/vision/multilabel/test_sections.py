"""What a report shows of several labels."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from eva_core.reports.finding import sources_of
from eva_core.results.record import PREDICTIONS, read_results, write_results
from eva_vision.multilabel.metric_names import METRICS
from eva_vision.multilabel.predictions import labels_table
from eva_vision.multilabel.sections import sections
from tests.vision.multilabel.conftest import made_up


def test_labels_are_listed_from_the_worst_and_those_without_a_score_last(tmp_path: Path):
    part = made_up(noise=3.0)
    pq.write_table(labels_table([part], range(2)), tmp_path / PREDICTIONS)
    record, _ = part.record(tuple(METRICS))
    null = {"splits": {"test": record}}
    content: dict[str, Any] = {
        "task": "multilabel",
        "identity": {
            **{name: "x" for name in ("model", "weights_sha256", "preprocess_sha256", "dataset_sha256")},
            "dataset": "labels",
        },
        "main": {"split": "test", "metric": "auprc"},
        "splits": {"test": record},
        "baselines": {"x": null, "prevalence": null},
    }
    write_results(tmp_path, content, [PREDICTIONS])
    parts: dict[str, Any] = {p["title"]: p for p in sections(sources_of(tmp_path, read_results(tmp_path)))}
    assert list(parts) == ["Metrics", "Labels", "ROC", "Precision and recall", "Furthest off"]
    table = parts["Labels"]
    assert table["rows"][-1][:3] == ["never", "0 of 80", None]
    assert table["columns"][8] == "AUPRC of prevalence"
    assert sorted(row[0] for row in table["rows"][:2]) == ["gland", "mucin"]
    assert table["rows"][0][2] <= table["rows"][1][2]
    assert [line["name"].split()[0] for line in parts["ROC"]["series"]] != []
    first = parts["Furthest off"]["rows"][0]
    assert abs(first[3] - first[4]) > 0.9
