from pathlib import Path

import numpy as np
import pytest

from eva_core.classification.predictions import read_predictions
from eva_core.cli import main
from eva_core.commands.compare import compare
from eva_core.statistics.comparison import paired_means
from tests.core.scored import (
    classification,
    classified,
    dice,
    segmentation,
)


def test_segmentations_are_compared_by_the_dice_of_images(tmp_path: Path):
    a, b = dice(0, 0.2), dice(1)
    folders = [segmentation(tmp_path / name, scores, name) for name, scores in (("good", a), ("bad", b))]
    (sentence,) = compare(folders)
    found = paired_means(a, b, [str(i // 5) for i in range(40)])
    assert sentence.startswith(f"good is better than bad on nuclei test: dice differs by {found.difference:.3f} (95 % ")
    assert sentence.endswith(f"permutation p = {found.p:.2g}; 8 patients or slides).")
    assert compare(folders[::-1])[0].startswith("good is better than bad")
    assert (
        f"fewer than 20 groups or runs, so rather the t-interval {found.t95[0]:+.3f} to {found.t95[1]:+.3f};"
        in sentence
    )
    assert len(compare([*folders, folders[0]], "dice", "val")) == 3
    pooled = segmentation(tmp_path / "pooled", b, "pooled", metric="dice_pooled")
    assert "dice differs by 0.000" in compare([folders[1], pooled])[0]


def test_what_cannot_be_compared_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    one = segmentation(tmp_path / "one", dice(0), "a")
    same = segmentation(tmp_path / "same", dice(1), "b")
    for argv, message in (
        ([one, same, "--metric", "iou"], "Expected --metric to be one of dice, but got iou."),
        ([one, same, "--metric", "accuracy"], "Expected --metric to be one of dice, but got accuracy."),
        ([one, classification(tmp_path / "c")], f"{one} is of segmentation and {tmp_path / 'c'} of classification"),
        ([tmp_path / "c", one], f"{tmp_path / 'c'} is of classification and {one} of segmentation"),
        ([tmp_path / "c", tmp_path / "c", "--metric", "dice"], "to be one of balanced_accuracy, accuracy"),
        (
            [one, segmentation(tmp_path / "masks", dice(2), "c", sha256="1")],
            f"the files of {tmp_path / 'masks'} differ",
        ),
        (
            [one, segmentation(tmp_path / "other", dice(2), "c", sha256="1", dataset="other")],
            f"the files of {tmp_path / 'other'} differ from {one}",
        ),
        ([one, segmentation(tmp_path / "fewer", dice(2, n=39), "d")], f"the files of {tmp_path / 'fewer'} differ"),
    ):
        assert main(["compare", *map(str, argv)]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


def test_models_that_are_sure_of_everything_are_compared_by_log_odds(tmp_path: Path):
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(30) % 2, 5)
    sure = 300 + targets + rng.normal(0, 0.3, (1, 150))  # every probability rounds to 1
    folders = [
        classified(tmp_path / "sure", sure, targets, "sure"),
        classified(tmp_path / "random", rng.normal(0, 1, (1, 150)), targets, "random"),
    ]
    read = read_predictions(folders[0], "test")
    assert (read.scores[..., 1] == 1).all()
    assert np.array_equal(read.log_odds[..., 1], sure.astype(np.float32))
    (sentence,) = compare(folders)
    assert sentence.startswith("sure is better than random on scans test: auroc differs by 0.5")


def test_what_is_not_defined_or_rests_on_one_patient_is_said(tmp_path: Path):
    rng = np.random.default_rng(0)
    for name, targets in (("none", np.zeros(40, int)), ("one", np.repeat([0] * 7 + [1], 5))):
        folders = [classified(tmp_path / f"{name}{n}", rng.normal(0, 1, (2, 40)), targets, f"m{n}") for n in range(3)]
        first, *rest = compare(folders)
        assert len(rest) == 2
        if name == "none":
            assert (
                first
                == "m0 and m1 cannot be compared on scans test: auroc is not defined there, as a class is missing."
            )
        else:
            assert "of 2,000 draws lack a class and are left out; fewer than 20 groups, of which one alone" in first
            assert "after Holm for 3 pairs" in first
            assert first.startswith("m0 and m1 cannot be told apart")
