"""What a finished result looks like on screen."""

import io
from typing import Any

import pytest
from rich.console import Console

from eva_core.results.report import notes, show

CLASSES = ("background", "other", "inflammatory", "epithelial", "spindle")


def measured(mean: float | None, std: float | None = 0.0123) -> dict[str, Any]:
    ci95 = None if mean is None else [mean - 0.05, mean + 0.05]
    return {"mean": mean, "std": std, "ci95": ci95, "values": [mean], "last": mean}


def masks(metric: str = "dice", mean: float = 0.5) -> dict[str, Any]:
    """A result of a segmentation as results.json holds it; class k has the Dice k / 10."""
    metrics = {name: measured(mean) for name in ("dice", "iou", "dice_pooled", "iou_pooled", "aji", "pq")}
    metrics |= {f"{kind}/{c}": measured(k / 10) for kind in ("dice", "iou") for k, c in enumerate(CLASSES)}
    metrics["dice/spindle"] = measured(None, None)
    colour = {name: measured(0.2, None) for name in metrics}
    split = {"n": 14, "n_groups": None, "interval": "image-level, optimistic"}
    return {
        "task": "segmentation",
        "identity": {"model": "mobilenetv2", "dataset": "consep", "head": "conv_seg_image", "protocol": "eva-0.4"},
        "synthetic": False,
        "main": {"split": "val", "metric": metric, "mean": mean, "higher_is_better": True},
        "selection": "val",
        "splits": {"val": {**split, "metrics": metrics}},
        "baselines": {"colour_pixels": {"splits": {"val": {**split, "metrics": colour}}}},
        "contamination": {"kind": "unknown"},
        "confounds": None,
        "skipped": [],
        "features": "stored",
        "background": "background",
        "cost": {"embed_s": 3.0, "images_per_s": 30.0, "fit_s": 8.0, "peak_rss_mb": 900.0},
    }


def screen(results: dict[str, Any], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(results, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_masks_have_a_table_of_classes_that_fits_80_columns():
    lines = screen(masks()).splitlines()
    assert max(map(len, lines)) <= 80
    found = {line.split()[1]: line for line in lines if line.startswith("│")}
    assert "0.300 ± 0.012" in found["epithelial"]
    assert "0.250 to 0.350" in found["epithelial"]
    assert found["epithelial"].split()[-2] == "0.200"
    assert found["spindle"].split()[3:6:2] == ["-", "-"]
    assert all(name in found for name in CLASSES)
    assert not any("…" in line for line in lines)


def test_the_main_metric_is_not_repeated_among_the_others():
    first = notes(masks())[0]
    assert first == ("means leave background out; iou 0.500, dice_pooled 0.500, iou_pooled 0.500, aji 0.500, pq 0.500")
    assert "; dice 0.500, dice_pooled 0.500, " in notes(masks("iou"))[0]
    assert notes({**masks(), "background": None})[0].startswith("means go over all classes; ")


def test_what_a_reader_must_know_of_masks():
    results = masks(mean=0.0)
    results["identity"]["protocol"] = "eva-0.4+segmentation.ignore=prediction"
    found = "\n".join(notes({**results, "features": "online"}))
    assert "learned nothing" in found
    assert "Pixels to ignore were chosen by the prediction, which is wrong" in found
    assert "the backbone ran in every step" in found
    assert "feature maps 3 s (30.0 tiles/s)" in found
    quiet = "\n".join(notes(masks()))
    assert not any(what in quiet for what in ("nothing", "wrong", "every step"))


def classes(recalls: dict[str, float], metric: str = "balanced_accuracy", **main: Any) -> dict[str, Any]:
    """A result of a classification with these recalls, beside colour that finds each half as often."""
    results = masks()
    metrics = {metric: measured(0.9), **{f"recall/{name}": measured(value) for name, value in recalls.items()}}
    colour = {name: measured(record["mean"] / 2, None) for name, record in metrics.items()}
    results["splits"] = {"val": {**results["splits"]["val"], "metrics": metrics}}
    results["baselines"] = {"colour_stats": {"splits": {"val": {**results["splits"]["val"], "metrics": colour}}}}
    results["main"] = {"split": "val", "metric": metric, "mean": 0.9, "higher_is_better": True, **main}
    results["task"] = "classification"
    del results["features"]
    return results


@pytest.mark.parametrize("metric", ["balanced_accuracy", "auroc"])
def test_a_classification_shows_recall_by_class_beside_nulls_and_chance(metric: str):
    lines = screen(classes({"a": 0.9, "b": 0.8}, metric, chance=0.5)).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("recall of each class on val" in line for line in lines)
    (b,) = [line.split() for line in lines if line.startswith("│ b ")]
    assert b[3:6] == ["0.800", "±", "0.012"]
    assert b[-2] == "0.400"
    (chance,) = [line.split() for line in lines if "chance" in line]
    assert "0.500" in chance
    assert "embeddings 3 s (30.0 images/s)" in "\n".join(lines)
    assert not any("background" in line for line in lines)


def test_of_many_classes_the_worst_are_shown():
    text = screen(classes({f"c{n:02d}": 0.9 - n / 100 for n in range(30)}))
    assert "recall of the 12 worst of 30 classes on val; report.html has all" in text.replace("\n", "")
    assert "c29" in text
    assert "c05" not in text


def test_an_interval_says_how_far_it_is_to_be_believed():
    results = masks()
    split = results["splits"]["val"]
    split["metrics"]["dice"] |= {"left_out": 735, "t95": [0.4, 0.6]}
    split["held_by_one"] = ["spindle", "epithelial"]
    told = notes(results)
    assert "735 of 2,000 draws lack a class and are left out of the interval" in told
    assert "one image alone has spindle, epithelial: the interval cannot know how others would do" in told
    assert "fewer than 20 groups: t-interval over groups 0.400 to 0.600" in told
    split["metrics"]["dice"]["ci95"] = None
    assert "735 of 2,000 draws lack a class: too many, so no interval" in notes(results)
