"""What a report shows of a classification."""

from pathlib import Path

import numpy as np

from eva_core.classification.predictions import read_predictions
from eva_core.classification.sections import sections
from eva_core.reports.finding import sources_of
from eva_core.results.record import read_results
from tests.core.reports.conftest import made_up_result


def parts_of(folder: Path) -> dict:
    return {part["title"]: part for part in sections(sources_of(folder, read_results(folder)))}


def test_parts_are_those_of_the_predictions(tmp_path: Path):
    folder = made_up_result(tmp_path / "out", 300)
    parts, found = parts_of(folder), read_predictions(folder, "test")
    mean = found.scores.mean(0)
    said, sure = mean.argmax(1), mean.max(1)
    wrong = np.flatnonzero(said != found.targets)
    worst = wrong[sure[wrong].argmax()]
    first = parts["Wrong, and sure of it"]["items"][0]
    assert first["title"] == found.ids[worst]
    assert first["lines"] == [
        f"is {found.labels[found.targets[worst]]}",
        f"said {found.labels[said[worst]]} {sure[worst]:.2f}",
    ]
    assert [len(item["beside"]) for item in parts["Wrong, and sure of it"]["items"]] == [3] * min(12, len(wrong))
    assert f"{len(wrong)} of 100 images" in parts["Wrong, and sure of it"]["note"]
    assert np.sum(parts["Confusions"]["counts"]) == 100
    assert parts["Classes"]["columns"][4] == "recall of colour_stats"
    assert {one["name"] for one in parts["Embeddings"]["colourings"]} == {"class", "right or wrong", "site", "group"}
    colours = parts["Embeddings"]["colourings"][1]
    assert sum(colours["labels"][value] == "wrong" for value in colours["values"]) == len(wrong)


def test_two_classes_have_one_roc(tmp_path: Path):
    parts = parts_of(made_up_result(tmp_path / "out", 90, ("benign", "tumour")))
    assert [line["name"] for line in parts["ROC"]["series"]] == ["tumour 0.700"]
    assert parts["ROC"]["note"].startswith("tumour against benign")
    assert parts["Precision and recall"]["series"][0]["name"].startswith("tumour ")


def test_all_metrics_stand_beside_those_of_colour_and_old_results_have_fewer(tmp_path: Path):
    folder = made_up_result(tmp_path / "out", 90)
    sources = sources_of(folder, read_results(folder))
    table = next(part for part in sections(sources) if part["title"] == "Metrics")
    values = {row[0]: row[1:] for row in table["rows"]}
    metrics = sources.results["splits"]["test"]["metrics"]
    assert values["auprc"][0] == metrics["auprc"]["mean"]
    assert "brier, lower is better" in values
    assert table["columns"][3:] == ["colour_stats"]
    for name in [name for name in metrics if name.startswith(("auprc", "brier"))]:
        del metrics[name]
    parts = {part["title"]: part for part in sections(sources)}
    assert "auprc" not in {row[0] for row in parts["Metrics"]["rows"]}
    assert "Precision and recall" not in parts
    assert {row[-2] for row in parts["Classes"]["rows"]} == {None}


def test_of_many_classes_the_worst_are_drawn(tmp_path: Path):
    parts = parts_of(made_up_result(tmp_path / "out", 900, tuple(f"c{n}" for n in range(20))))
    assert len(parts["ROC"]["series"]) == 12
    assert "12 worst of 20" in parts["ROC"]["note"]
    assert len(parts["Confusions"]["labels"]) == 20
