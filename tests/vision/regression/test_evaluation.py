"""From files in the official layout to a score, through `fit`, `predict`, `compare`."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import pearsonr
from torch import Tensor
from typing_extensions import override

from eva_core.api import apply_job, fit_job
from eva_core.commands.compare import compare
from eva_core.config.jobs import job_of
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import DatasetCard, ModelCard
from eva_core.contracts.dataset import Sample
from eva_core.contracts.head import FittedRun
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError
from eva_core.extraction.settings import Extraction
from eva_core.job import Job
from eva_core.store.store import Store
from eva_core.task import task_named
from eva_vision.datasets.hest import HestIdc, HestPrad
from eva_vision.regression.contracts import RegressionHead, ValueData
from eva_vision.regression.ridge_hest import fitted
from tests.conftest import Pictures
from tests.vision.datasets.test_hest import GENES, PATCHES, tree

HOW = Extraction(device="cpu", workers=0)


class Means(Backbone):
    """Means of the quarters of an image."""

    def __init__(self, card: ModelCard | None = None) -> None:
        super().__init__(card or ModelCard("means", dim=12))

    @override
    def forward(self, images: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)

    @override
    def feature_map(self, images: Tensor, layers: Sequence[int] | None = None) -> Tensor:
        return images


def silent(line: str) -> None:
    """Nobody listens."""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    dataset = HestIdc(str(tree(tmp_path / "data")))
    return job_of(Means(), dataset, None, "hest-pca256-ridge", HOW, output=tmp_path / "out")


def test_the_score_is_the_mean_over_folds_of_the_mean_over_genes(job: Job, tmp_path: Path):
    results = fit_job(job, silent)
    main, split = results["main"], results["splits"]["cv"]
    values = task_named("patch_regression").read(tmp_path / "out", "cv")
    assert list(values.labels) == list(GENES)
    assert values.targets == pytest.approx(np.array([s.target for s in job.dataset.samples]))
    by_fold = []
    store = Store(task_named("patch_regression").key(job).path)
    x, y = store.read(np.arange(len(store.ids))), store.targets
    slides = np.array([s.group for s in job.dataset.samples])
    for slide in np.unique(slides):
        weight, bias = fitted(x[slides != slide], y[slides != slide])
        predicted = x[slides == slide] @ weight + bias + y[slides != slide].mean(axis=0)
        assert values.predicted[0, slides == slide] == pytest.approx(predicted, abs=1e-9)
        by_fold.append([pearsonr(predicted[:, g], y[slides == slide, g]).statistic for g in range(len(GENES))])
    assert main["mean"] == pytest.approx(np.mean(by_fold))
    assert split["metrics"]["pearson/GENE1"]["mean"] == pytest.approx(np.mean(by_fold, axis=0)[1])
    assert split["metrics"]["pearson/GENE0"]["mean"] > 0.9  # the model sees red
    assert (split["n"], split["n_groups"], split["interval"]) == (4 * PATCHES, 4, "group")
    low, high = main["ci95"]
    assert low < main["mean"] < high
    assert min(map(np.mean, by_fold)) <= low  # a draw may be of one patient
    assert [run["fold"] for run in results["selected"]] == [0, 1, 2, 3]
    assert set(results["baselines"]) == {"colour_stats"}
    assert results["identity"]["protocol"] == "hest-pca256-ridge"
    assert results["identity"]["head"] == "ridge_hest"


def test_slides_that_the_model_saw_are_left_out_of_a_second_score(job: Job, tmp_path: Path):
    seen = replace(job, backbone=Means(ModelCard("means", dim=12, training_ids=("S2",))), output=tmp_path / "seen")
    found = fit_job(seen, silent)["contamination"]
    assert (found["kind"], found["n_seen"], found["unseen"]["n"]) == ("exact", PATCHES, 3 * PATCHES)


def test_heads_apply_to_patches_whose_genes_are_others(job: Job, tmp_path: Path):
    fit_job(job, silent)
    root = tree(tmp_path / "more", "hest_prad", slides=("T0", "T1"), patches=3)
    path = root / "PRAD/var_50genes.json"
    path.write_text(json.dumps({"genes": ["OTHER", *GENES[2:0:-1]]}))
    written = apply_job(
        tmp_path / "out", replace(job, dataset=HestPrad(str(root)), output=tmp_path / "applied"), silent
    )
    table = pq.read_table(written).to_pydict()
    assert len(table["id"]) == 4 * 6  # heads of four folds, six patches
    assert set(table["target_GENE0"]) == {None}
    ids, known = table["id"][:6], {s.id: s.target for s in HestPrad(str(root)).samples}
    assert table["target_GENE1"][:6] == [known[name][2] for name in ids]
    assert all(map(math.isfinite, table["predicted_GENE0"]))


def test_two_models_compare(job: Job, tmp_path: Path):
    fit_job(job, silent)
    fit_job(replace(job_of("colour_stats", job.dataset, None, job.protocol, HOW), output=tmp_path / "other"), silent)
    (sentence,) = compare([tmp_path / "out", tmp_path / "other"])
    assert "pearson differs by" in sentence
    assert "4 patients or slides" in sentence


class Ages(Pictures):
    """A value for each image, in splits."""

    def __init__(self) -> None:
        super().__init__()
        self.card = DatasetCard("ages", "patch_regression", metric="mae", synthetic=True)
        self.samples = [replace(s, target=float(self.image(s)[..., 0].mean())) for s in self.samples]

    @override
    def image(self, sample: Sample) -> np.ndarray:
        return super().image(replace(sample, target=sample.bytes % 2))


def test_one_value_and_given_splits(tmp_path: Path):
    results = fit_job(job_of(Means(), Ages(), None, "strict", HOW, output=tmp_path), silent)
    assert results["splits"].keys() == {"val", "test"}
    assert (results["main"]["metric"], results["main"]["split"]) == ("mae", "test")
    assert results["main"]["higher_is_better"] is False
    assert set(results["splits"]["test"]["metrics"]) == {"mae", "pearson"}
    assert results["splits"]["test"]["metrics"]["pearson"]["mean"] > 0.9
    assert results["main"]["mean"] < 5  # of values near 200


class Broken(RegressionHead):
    """Gives what no head may."""

    def __init__(self, value: float, columns: int) -> None:
        self.value, self.columns = value, columns

    @override
    def fit(self, data: ValueData, protocol: Protocol) -> list[FittedRun]:
        return [FittedRun(run, {}, {}, 0.0, {}) for run in data.runs]

    @override
    def values(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.full((len(x), self.columns), self.value)


@pytest.mark.parametrize(
    ("head", "expected"),
    [(Broken(math.nan, 5), "Expected finite values on cv"), (Broken(1.0, 4), r"Expected values \(6, 5\)")],
)
def test_what_a_broken_head_gives_is_said(job: Job, head: Broken, expected: str):
    with pytest.raises(EvaError, match=expected):
        fit_job(replace(job, head=head), silent)


def test_a_fold_of_which_nothing_reads_is_named(job: Job, monkeypatch: pytest.MonkeyPatch):
    real = job.dataset.image

    def image(sample: Sample) -> np.ndarray:
        if sample.group == "S2":
            raise OSError("gone")
        return real(sample)

    monkeypatch.setattr(job.dataset, "image", image)
    with pytest.raises(EvaError, match="Expected images in test of fold 2 of 'hest_idc'"):
        fit_job(replace(job, how=replace(HOW, on_error="skip")), silent)
