"""The score of patch tokens: what the map can and cannot learn, and datasets that it cannot use."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from eva_core.errors import UsageError
from eva_pretrain.monitor.lines import read_lines
from eva_pretrain.monitor.online_dense import OnlineDense, _ridge
from eva_vision.datasets.phantom import Phantom
from eva_vision.datasets.phantom_nuclei import PhantomNuclei
from tests.pretrain.run.test_pretrain import run


@pytest.fixture(scope="module")
def dense() -> OnlineDense:
    return OnlineDense(PhantomNuclei(train=12, size=128), size=64)


def test_parts_are_of_other_patients(dense):
    fitted, scored = dense.fitted[0], dense.scored[0]
    assert len(fitted) == 32
    assert len(scored) == 16  # one of three patients, four images, four tiles each
    assert fitted.shape[1:] == (3, 64, 64)
    assert dense.fitted[1].shape == (32, 64, 64)


def test_tokens_that_know_the_classes_score_high_and_constant_ones_nothing(dense):
    answers = torch.cat([dense.fitted[1], dense.scored[1]])
    images = torch.cat([dense.fitted[0], dense.scored[0]])

    def knowing(part):
        rows = [next(n for n, image in enumerate(images) if torch.equal(image, each)) for each in part]
        shares = F.adaptive_avg_pool2d(torch.stack([(answers[rows] == c).float() for c in range(4)], 1), 16)
        return shares.flatten(2).mT

    def colours(part):
        return F.adaptive_avg_pool2d(part.float(), 16).flatten(2).mT

    best, colour = dense(knowing), dense(colours)
    assert best > 0.75
    assert 0 < colour < best - 0.1
    assert dense(lambda part: torch.zeros(len(part), 16, 5)) == 0  # all is background
    assert math.isnan(dense(lambda part: torch.full((len(part), 16, 5), math.nan)))


def test_datasets_that_have_no_masks_or_are_too_small():
    with pytest.raises(UsageError, match="Expected a dense_dataset with masks, but phantom is for classification"):
        OnlineDense(Phantom(train=4))
    with pytest.raises(UsageError, match="images of at least 224 px"):
        OnlineDense(PhantomNuclei(train=8, size=64))
    with pytest.raises(UsageError, match="images of two groups"):
        OnlineDense(PhantomNuclei(train=1, size=64), 64)


def test_the_monitor_writes_it(patches, tmp_path):
    dataset = ["--dense_dataset", "phantom_nuclei", "--dense_dataset.train", "8", "--dense_dataset.size", "64"]
    run(patches, tmp_path, "--steps", "1", "--monitor.every", "1", "--monitor.patches", "4", *dataset)
    lines = read_lines(tmp_path / "monitor.jsonl")
    assert [line["step"] for line in lines] == [0, 1]
    assert all(0 <= line["monitor/dense"] <= 1 for line in lines)


def test_the_map_is_the_ridge_regression_of_scikit_learn():
    rng = np.random.default_rng(0)
    x, y = 5 + rng.normal(size=(200, 6)) * np.arange(1, 7), rng.normal(size=(200, 3))
    model = Ridge(alpha=200 * 1e-3).fit((x - x.mean(0)) / x.std(0), y)
    rows = np.c_[x, np.ones(200)]
    weights = _ridge(torch.from_numpy(rows.T @ rows), torch.from_numpy(rows.T @ y)).numpy()
    np.testing.assert_allclose(rows @ weights, model.predict((x - x.mean(0)) / x.std(0)), atol=1e-9)


def test_a_large_image_gives_no_more_than_sixteen_tiles_from_all_of_it():
    large = OnlineDense(PhantomNuclei(train=8, size=128), size=16)  # 64 places in each image
    assert len(large.fitted[0]) + len(large.scored[0]) == 8 * 16
