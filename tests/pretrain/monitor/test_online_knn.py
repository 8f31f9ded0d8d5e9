import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import EvaError, UsageError
from eva_pretrain.monitor.online_knn import OnlineKnn
from tests.conftest import Pictures

ALL = ("train", "train", "train", "val", "test")


class Looked(Pictures):
    """Remembers which samples were read."""

    def __init__(self, n: int = 60, splits: Sequence[str] = ALL, main_split: str | None = None) -> None:
        super().__init__(n, splits)
        self.card = DatasetCard("looked", classes=("a", "b"), main_split=main_split)
        self.looked_at: list[Sample] = []

    def image(self, sample: Sample) -> np.ndarray:
        self.looked_at.append(sample)
        return super().image(sample)


class Lonely(Looked):
    """Nobody knows the patients; every image has a twin of nearly the same pixels."""

    def __init__(self, n: int = 40) -> None:
        super().__init__(n, ("train",))
        self.samples = [Sample(f"s{i}", "train", i // 2 % 2, bytes=i // 2) for i in range(n)]


def colours(images: Tensor) -> Tensor:
    """The mean colour, which tells the two classes apart."""
    return images.float().mean((2, 3)) - 150


def by_hand(x: np.ndarray, y: np.ndarray, queries: np.ndarray, targets: np.ndarray, k: int = 20) -> float:
    """Balanced accuracy of a vote weighted by exp(cosine / 0.07), written down a second time."""
    x, queries = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, queries))
    hits: dict[int, list[bool]] = {}
    for query, target in zip(queries, targets, strict=True):
        near = np.argsort(-(x @ query))[:k]
        votes = [np.exp((x[near] @ query - 1) / 0.07)[y[near] == c].sum() for c in (0, 1)]
        hits.setdefault(int(target), []).append(int(np.argmax(votes)) == target)
    return float(np.mean([np.mean(h) for h in hits.values()]))


def test_train_and_val_are_read_once_and_test_never():
    dataset = Looked()
    knn = OnlineKnn(dataset, size=32)
    assert {s.split for s in dataset.looked_at} == {"train", "val"}
    assert knn.train[0].shape == (36, 3, 32, 32)
    assert knn.train[0].dtype == torch.uint8
    assert len(knn.val[1]) == 12
    before = len(dataset.looked_at)
    assert knn(colours) == 1.0
    assert len(dataset.looked_at) == before


def test_the_score_is_the_vote_of_20_neighbours():
    knn = OnlineKnn(Looked(), size=32)
    project = torch.randn(3 * 32 * 32, 8, generator=torch.Generator().manual_seed(0))

    def embed(images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        assert len(images) <= 5
        return (images.float().flatten(1) / 255 - 0.65) @ project

    parts = [(embed_all(embed, images).numpy(), targets.numpy()) for images, targets in (knn.train, knn.val)]
    expected = by_hand(*parts[0], *parts[1])
    assert 0 < expected < 1
    assert knn(embed, batch_size=5) == pytest.approx(expected)


def embed_all(embed, images: Tensor) -> Tensor:
    return torch.cat([embed(part) for part in images.split(5)])


def test_no_gradient_is_kept_and_what_is_not_finite_is_told_as_nan():
    knn = OnlineKnn(Looked(), size=32)
    weight = torch.ones(3, requires_grad=True)
    seen = []

    def embed(images: Tensor) -> Tensor:
        seen.append((colours(images) * weight).requires_grad)
        return colours(images) * torch.tensor([1, 1, math.nan])

    assert math.isnan(knn(embed))
    assert not any(seen)


@pytest.mark.parametrize(
    ("splits", "main", "found"),
    [
        (("train", "test"), None, "it has test, train"),
        (("train", "val"), None, "it has train, val, of which val is reported"),
        (("train", "val", "test"), "val", "it has test, train, val, of which val is reported"),
    ],
)
def test_the_reported_split_is_refused_before_an_image_is_read(splits, main, found):
    dataset = Looked(60, splits, main)
    with pytest.raises(UsageError, match=rf"(?s){found}\. What is reported is never looked at: set holdout") as error:
        OnlineKnn(dataset, size=32)
    assert "\n" not in str(error.value)
    assert not dataset.looked_at


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val"), ALL])
def test_a_part_of_train_is_held_out_by_patient(splits):
    dataset = Looked(90, splits)
    knn = OnlineKnn(dataset, size=32, holdout=0.25)
    assert {s.split for s in dataset.looked_at} == {"train"}
    bank, judged = dataset.looked_at[: len(knn.train[1])], dataset.looked_at[len(knn.train[1]) :]
    assert {s.group for s in bank}.isdisjoint(s.group for s in judged)
    assert len(judged) / len(dataset.looked_at) == pytest.approx(0.25, abs=0.1)
    assert knn(colours) == 1.0


def test_without_patients_twins_are_held_out_together():
    dataset = Lonely()
    knn = OnlineKnn(dataset, size=32, holdout=0.25)
    bank, judged = ({image.numpy().tobytes() for image in part[0]} for part in (knn.train, knn.val))
    assert bank.isdisjoint(judged)  # twins have the same pixels
    assert len(knn.val[1]) == pytest.approx(10, abs=2)
    assert len(dataset.looked_at) == 40


def test_too_many_images_are_drawn_with_each_class_in_its_share():
    dataset = Looked(600)
    dataset.samples = [
        Sample(s.id, s.split, int(n % 10 == 0), bytes=s.bytes, group=s.group) for n, s in enumerate(dataset.samples)
    ]
    knn = OnlineKnn(dataset, size=32, limit=50)
    assert len(knn.train[1]) == len(knn.val[1]) == 50
    assert knn.train[1].sum() == pytest.approx(5, abs=1)
    again, other = OnlineKnn(dataset, size=32, limit=50), OnlineKnn(dataset, size=32, limit=50, seed=1)
    assert torch.equal(again.train[0], knn.train[0])
    assert not torch.equal(other.train[0], knn.train[0])


def test_a_rare_class_is_never_dropped():
    dataset = Looked(600)
    rare = next(s for s in dataset.samples if s.split == "train")
    dataset.samples = [
        Sample(s.id, s.split, int(s is rare or (s.split != "train" and n % 2)), bytes=s.bytes, group=s.group)
        for n, s in enumerate(dataset.samples)
    ]
    assert OnlineKnn(dataset, size=32, limit=20).train[1].sum() == 1


def test_images_without_a_label_are_left_out():
    dataset = Looked()
    dataset.samples = [
        Sample(s.id, s.split, None if n < 6 else s.target, bytes=s.bytes, group=s.group)
        for n, s in enumerate(dataset.samples)
    ]
    assert len(OnlineKnn(dataset, size=32).train[1]) == 30


class Masks(Looked):
    def __init__(self) -> None:
        super().__init__()
        self.card = DatasetCard("masks", task="segmentation", classes=("a", "b"))


class Broken(Looked):
    def image(self, sample: Sample) -> np.ndarray:
        raise OSError(f"image file {sample.id} is truncated\n(3 bytes not processed)")


class OneClass(Looked):
    def __init__(self) -> None:
        super().__init__()
        self.samples = [s for s in self.samples if s.split != "val" or s.target == 0]


@pytest.mark.parametrize(
    ("dataset", "arguments", "kind", "message"),
    [
        (Masks, {}, UsageError, "masks is for segmentation"),
        (Broken, {}, EvaError, r"s000 of looked does not read \(image file s000 is truncated \(3 bytes"),
        (OneClass, {}, UsageError, "val has 6 images of 1"),
        (Looked, {"limit": 1}, UsageError, "train has 1 images of 1. Change holdout or limit"),
    ],
)
def test_bad_days_are_one_line(dataset: type[Dataset], arguments, kind, message):
    with pytest.raises(kind, match=message) as error:
        OnlineKnn(dataset(), size=32, **arguments)
    assert "\n" not in str(error.value)
