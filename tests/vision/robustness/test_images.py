from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Dataset, Sample
from eva_core.errors import EvaError, UsageError
from eva_vision.robustness.contracts import Benchmark
from eva_vision.robustness.images import benchmark_of, embeddings, images_of, refuse_unfit


class Toy(Dataset):
    card = DatasetCard("toy", classes=("a", "b"))

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples

    def image(self, sample: Sample) -> np.ndarray:
        raise NotImplementedError


SAMPLES = [
    Sample(f"{i}", "train" if i < 6 else "test", i % 2, group=f"g{i // 2}", site="AB"[i // 2 % 2]) for i in range(8)
]


def store(**changes: object) -> SimpleNamespace:
    columns = {
        "ids": np.array([s.id for s in SAMPLES]),
        "groups": np.array([s.group for s in SAMPLES]),
        "sites": np.array([s.site for s in SAMPLES]),
        "splits": np.array([s.split for s in SAMPLES]),
        "targets": np.array([s.target for s in SAMPLES]),
        "readable": np.ones(len(SAMPLES), bool),
    }
    return SimpleNamespace(**{**columns, **changes})


def test_all_images_with_class_and_site_are_measured_as_one():
    targets, sites = np.array([0, 1, 0, -1, 0, 1, 0, 1]), np.array(["A", "A", "B", "B", "", "A", "B", "B"])
    images = images_of(store(targets=targets, sites=sites), Benchmark())
    assert images.rows.tolist() == [0, 1, 2, 5, 6, 7]
    assert images.sites == ["A", "B"]
    assert images.labels.sites.tolist() == [0, 0, 1, 0, 1, 1]
    assert [part.tolist() for part in images.parts] == [[0, 1, 2, 3, 4, 5]]


def test_one_split_is_in_distribution():
    assert images_of(store(), Benchmark(home="train")).rows.tolist() == [0, 1, 2, 3, 4, 5]


def test_one_list_is_measured_alone_and_several_beside_all_of_home():
    one = images_of(store(), Benchmark(home="train", subsets=[["7", "1", "0"]]))
    assert (one.rows.tolist(), [part.tolist() for part in one.parts]) == ([0, 1, 7], [[0, 1, 2]])
    two = images_of(store(), Benchmark(home="train", subsets=[["1", "0"], ["4", "2"]]))
    assert two.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert [part.tolist() for part in two.parts] == [[0, 1], [2, 4]]


def test_an_image_without_a_group_is_one_of_its_own():
    images = images_of(store(groups=np.array(["g", "g", *[""] * 6])), Benchmark())
    assert images.groups[:3] == ["g", "g", None]
    assert len(set(images.labels.groups.tolist())) == 7


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([replace(s, site="A") for s in SAMPLES], "all are of 'A'"),
        ([replace(s, site=None) for s in SAMPLES], "no site is known"),
        ([replace(s, target=0) for s in SAMPLES], "all with a site are of one"),
    ],
)
def test_what_cannot_be_measured_is_refused(samples: list[Sample], said: str):
    with pytest.raises(UsageError, match=said):
        refuse_unfit(Toy(samples))


def test_other_kinds_of_task_are_refused():
    dataset = Toy(SAMPLES)
    dataset.card = DatasetCard("toy", task="slide_survival")
    with pytest.raises(UsageError, match="is of slide_survival"):
        refuse_unfit(dataset)


def test_a_dataset_may_say_how_it_is_measured():
    dataset = Toy(SAMPLES)
    assert benchmark_of(dataset) == Benchmark()
    dataset.benchmark = Benchmark(k=3)
    assert benchmark_of(dataset).k == 3


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0])
def test_an_embedding_that_is_none_is_named(wrong: float):
    x = np.ones((8, 3), np.float32)
    x[5] = wrong
    broken = store(path=Path("cache/x.h5"), read=lambda rows: x[rows])
    with pytest.raises(EvaError, match=r"not all 0, in cache/x\.h5, but 1 are none: 5\."):
        embeddings(broken, np.arange(8))
    assert len(embeddings(broken, np.arange(5))) == 5
