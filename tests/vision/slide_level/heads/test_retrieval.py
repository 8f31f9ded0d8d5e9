"""Retrieval of patients against brute force, and the bad day."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eva_core.cli import main
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.results.record import read_results
from eva_vision.slide_level.classification.outcome import Classes
from eva_vision.slide_level.contracts import BagData
from eva_vision.slide_level.heads.retrieval import (
    MeanRetrieval,
    MosaicRetrieval,
    SlideRetrieval,
    mosaic,
    nearest_patients,
)
from eva_vision.slide_level.protocol import SlideLevel
from tests.vision.slide_level.heads.bags import ListedBags


class OfPatients(ListedBags):
    """Bags with patients."""

    def __init__(self, x: Sequence[Tensor], targets: Tensor, groups: Sequence[str]) -> None:
        super().__init__(x, targets)
        self.named = np.array(groups, object)

    @property
    def groups(self) -> np.ndarray:
        return self.named


def bags(n: int, seed: int, patients: int, longest: int = 30) -> OfPatients:
    generator = torch.Generator().manual_seed(seed)
    groups = [f"p{i % patients}" for i in range(n)]
    targets = torch.arange(n) % patients % 3
    counts = torch.randint(1, longest, (n,), generator=generator).tolist()
    pairs = zip(counts, targets.tolist(), strict=True)
    x = [0.7 * torch.eye(8)[t] + 0.6 * torch.randn(c, 8, generator=generator) for c, t in pairs]
    return OfPatients(x, targets, groups)


def fitted(head: SlideRetrieval, train: ListedBags, select: ListedBags | None = None, classes: int = 3):
    data = BagData(train, select or train, Classes(classes, "balanced_accuracy"), [0], SlideLevel())
    return head.fit(data, Protocol("test"))[0]


def by_hand(similarity: np.ndarray, train: OfPatients, query: OfPatients, k: int) -> tuple[list[float], list[int]]:
    """Precision at k patients and class of their majority."""
    precision, majority = [], []
    for row, target, own in zip(similarity, query.targets.tolist(), query.groups, strict=True):
        best: dict[str, tuple[float, int]] = {}
        for value, label, patient in zip(row, train.targets.tolist(), train.groups, strict=True):
            if patient != own and value > best.get(patient, (-9.0, 0))[0]:
                best[patient] = (value, label)
        labels = [label for _, label in sorted(best.values(), key=lambda pair: -pair[0])[:k]]
        precision.append(float(np.mean([label == target for label in labels])))
        majority.append(max(labels, key=lambda label: (labels.count(label), -labels.index(label))))
    return precision, majority


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_each_patient_has_one_vote_by_its_nearest_slide(k: int):
    train, query = bags(40, 0, 15), bags(24, 1, 15)
    head = MeanRetrieval(k=k)
    params = fitted(head, train).params
    similarity = unit(query.means.double().numpy()) @ unit(train.means.double().numpy()).T
    precision, majority = by_hand(similarity, train, query, k)
    np.testing.assert_allclose(head.measures(params, query)[f"precision_at_{k}"], precision)
    assert head.outputs(params, query).argmax(1).tolist() == majority


def test_mosaics_compare_by_the_median_of_the_nearest_patches():
    train, query = bags(20, 2, 12, longest=6), bags(10, 3, 12, longest=6)  # a bag is its own mosaic
    head = MosaicRetrieval(k=3)
    params = fitted(head, train).params
    similarity = np.array([[np.median((unit(q.numpy()) @ unit(t.numpy()).T).max(1)) for t in train.x] for q in query.x])
    np.testing.assert_allclose(head.similarity(params["gallery"], head.described(query)), similarity, atol=1e-6)
    precision, majority = by_hand(similarity, train, query, 3)
    np.testing.assert_allclose(head.measures(params, query)["precision_at_3"], precision)
    assert head.outputs(params, query).argmax(1).tolist() == majority


def test_a_mosaic_has_a_patch_of_each_cluster():
    generator = torch.Generator().manual_seed(0)
    clusters = torch.eye(5).repeat_interleave(40, 0)[torch.randperm(200, generator=generator)]
    x = 3 * clusters + 0.1 * torch.randn(200, 5, generator=generator)
    found = mosaic(x, 5)
    assert found.shape == (5, 5)
    assert sorted(found.argmax(1).tolist()) == [0, 1, 2, 3, 4]
    assert torch.equal(found, mosaic(x.clone(), 5))
    assert (found @ torch.nn.functional.normalize(x).T > 1 - 1e-6).any(1).all()  # patches, not means
    assert mosaic(x[:3], 5).shape == (3, 5)
    assert mosaic(torch.ones(9, 5), 4).isfinite().all()


def test_ties_come_in_the_order_of_train_and_unknown_patients_are_their_own():
    similarity = torch.tensor([[0.5, 0.5, 0.9, 0.5]])
    rows, there = nearest_patients(similarity, torch.tensor([-1, 4, 4, -1]), torch.tensor([-1]), 3)
    assert rows.tolist() == [[2, 0, 3]]
    assert there.all()
    rows, there = nearest_patients(similarity, torch.tensor([-1, 4, 4, -1]), torch.tensor([4]), 5)
    assert rows[0, :2].tolist() == [0, 3]
    assert there.tolist() == [[True, True, False]]


def test_a_query_whose_patient_is_the_gallery_has_no_class():
    train = bags(6, 0, 1)
    head = MeanRetrieval()
    params = fitted(head, train).params
    outputs = head.outputs(params, train)
    assert outputs.isfinite().all()
    assert (outputs == outputs[:, :1]).all()
    assert {of.sum().item() for of in head.measures(params, train).values()} == {0.0}


@pytest.mark.parametrize("head", [MeanRetrieval(), MosaicRetrieval(patches=4)])
def test_the_gallery_is_all_of_train_and_holds_nobody_back(head: SlideRetrieval):
    train, select = bags(12, 0, 12), bags(6, 1, 6)
    data = BagData(train, select, Classes(3, "balanced_accuracy"), [0], SlideLevel())
    (run,) = head.fit(data, replace(Protocol("test"), selection="holdout"))
    assert len(run.params["gallery"]) == 18
    assert run.held is not None
    assert len(run.held["gallery"]) == 12
    nobody = OfPatients([], torch.zeros(0, dtype=torch.int64), [])
    nobody.means = torch.zeros(0, 8)
    assert np.isnan(head.fit(replace(data, select=nobody), Protocol("test"))[0].selected_value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MeanRetrieval(k=0), "k to be at least 1"),
        (lambda: MosaicRetrieval(at=()), "at to list"),
        (lambda: MosaicRetrieval(patches=0), "patches to be at least 1"),
    ],
)
def test_arguments_that_say_nothing_are_refused(make, said: str):
    with pytest.raises(UsageError, match=said):
        make()


@pytest.mark.parametrize("name", ["mean_retrieval", "mosaic_retrieval"])
def test_precision_is_in_the_result_and_is_verified(slides: Path, name: str, tmp_path: Path, capsys):
    small = {"mpp": 1.0, "size": 64, "patches": 6, "folds": 3}
    flags = [f for field, value in small.items() for f in (f"--protocol.slide_classification.{field}", str(value))]
    words = [
        "fit",
        "--config",
        "slide_folder",
        "--dataset.root",
        str(slides),
        "--model",
        "colour_stats",
        "--head",
        name,
    ]
    out = tmp_path / "out"
    assert (
        main([*words, *flags, "--protocol", "strict", "--device", "cpu", "--workers", "0", "--output", str(out)]) == 0
    )
    assert "precision at 1 1.000" in " ".join(capsys.readouterr().out.split())
    metrics = read_results(out)["splits"]["cv"]["metrics"]
    assert metrics["precision_at_1"]["mean"] == 1.0  # the colour tells the label, and the model is colour
    assert metrics["precision_at_3"]["ci95"] is not None
    assert main(["verify", str(out), "--heads"]) == 0
    assert "predictions follow from embeddings and heads" in capsys.readouterr().out
