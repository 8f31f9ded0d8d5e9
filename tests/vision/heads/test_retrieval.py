"""Retrieval against brute force and scikit-learn, and the bad day."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from eva_core.api import fit
from eva_core.cli import main
from eva_core.config.protocols import load_protocol
from eva_core.contracts.head import Embedded, FittingData
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.extraction.settings import Extraction
from eva_vision.heads.retrieval import Retrieval, first, marks_of, measured, votes
from tests.conftest import Pictures, write_tree

RECIPE = Protocol("test")


def samples(n: int, seed: int, groups: int | None = None, classes: int = 3) -> Embedded:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    x = torch.randn(n, 6, generator=generator) + 0.8 * torch.eye(6)[y]
    names = None if groups is None else np.array([f"p{i % groups}" for i in range(n)], object)
    return Embedded(x, y, names)


def fitted(
    train: Embedded, select: Embedded, head: Retrieval | None = None, classes: int = 3
) -> dict[str, torch.Tensor]:
    return (head or Retrieval()).fit(FittingData(train, select, classes, [0]), RECIPE)[0].params


def by_hand(train: Embedded, query: Embedded, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision at k and class of the majority, one query after the other."""
    unit = [
        (x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (train.x.double().numpy(), query.x.double().numpy())
    ]
    precision, majority = [], []
    for vector, y, group in zip(unit[1], query.y.tolist(), query.groups, strict=True):
        cosine = unit[0] @ vector
        rows = [row for row in np.argsort(-cosine, kind="stable") if not group or train.groups[row] != group][:k]
        labels = train.y.numpy()[rows]
        counts = np.bincount(labels, minlength=3)
        precision.append((labels == y).mean())
        majority.append(next(label for label in labels if counts[label] == counts.max()))
    return np.array(precision), np.array(majority)


@pytest.mark.parametrize("k", [1, 3, 5, 10])
def test_precision_and_majority_are_those_of_brute_force(k: int):
    train, query = samples(80, 0, 9), samples(40, 1, 9)
    head = Retrieval(k=k)
    params = fitted(train, query, head)
    precision, majority = by_hand(train, query, k)
    values = head.measures(params, query)
    np.testing.assert_allclose(values[f"precision_at_{k}"], precision)
    np.testing.assert_array_equal(head.answers(params, query).argmax(1), majority)
    if k > 1:
        np.testing.assert_array_equal(values[f"majority_at_{k}"], majority == query.y.numpy())


def test_without_patients_neighbours_are_those_of_scikit_learn():
    train, query = samples(80, 0), samples(40, 1)
    near = NearestNeighbors(n_neighbors=5, metric="cosine").fit(train.x).kneighbors(query.x, return_distance=False)
    hits = train.y.numpy()[near] == query.y.numpy()[:, None]
    values = Retrieval().measures(fitted(train, query), query)
    np.testing.assert_allclose(values["precision_at_5"], hits.mean(1))
    np.testing.assert_allclose(values["precision_at_3"], hits[:, :3].mean(1))


def test_copies_tie_and_come_in_the_order_of_train():
    assert first(torch.tensor([[0.5, 0.9, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4]]), 2).tolist() == [[1, 0], [3, 2]]
    x = torch.tensor([[1.0, 2.0]]).expand(6, 2)
    train = Embedded(x, torch.tensor([2, 1, 0, 0, 0, 0]))
    params = fitted(train, train)
    assert Retrieval(k=1).logits(params, x[:1]).argmax(1).item() == 2
    assert Retrieval(k=2).logits(params, x[:1]).argmax(1).item() == 2  # a tie: the nearer
    assert Retrieval(k=5).logits(params, x[:1]).argmax(1).item() == 0


def test_a_copy_of_the_query_counts_unless_it_is_of_the_same_patient():
    x, y = torch.eye(3), torch.tensor([0, 1, 2])
    train = Embedded(x, y, np.array(["p", "q", ""], object))
    head = Retrieval(k=1, at=(1,))
    params = fitted(train, train, head)
    query = Embedded(x[:1].expand(3, 3), torch.tensor([0, 0, 0]), np.array(["p", "other", ""], object))
    assert head.measures(params, query)["precision_at_1"].tolist() == [0, 1, 1]
    nobody = Embedded(x[2:], torch.tensor([2]), np.array([""], object))
    assert head.measures(params, nobody)["precision_at_1"].tolist() == [1]  # no name is not one patient


def test_a_patient_with_all_images_of_a_class_finds_none_of_it():
    train = Embedded(torch.eye(4), torch.tensor([0, 0, 1, 1]), np.array(["p", "p", "q", "r"], object))
    head = Retrieval(k=3, at=(1, 3))
    query = Embedded(torch.eye(4)[:1], torch.tensor([0]), np.array(["p"], object))
    values = head.measures(fitted(train, train, head, 2), query)
    assert {name: of.item() for name, of in values.items()} == {
        **{"precision_at_1": 0, "precision_at_3": 0},
        "majority_at_3": 0,
    }
    assert head.answers(fitted(train, train, head, 2), query).argmax(1).item() == 1


def test_a_gallery_smaller_than_k_is_taken_whole_and_an_empty_one_says_nothing():
    train = Embedded(torch.eye(2), torch.tensor([0, 1]), np.array(["p", "p"], object))
    head = Retrieval(k=50, at=(1, 100))
    params = fitted(train, train, head, 2)
    stranger = Embedded(torch.tensor([[1.0, 0.1]]), torch.tensor([0]), np.array(["q"], object))
    assert head.measures(params, stranger)["precision_at_100"].item() == 0.5
    own = replace(stranger, groups=np.array(["p"], object))
    values = head.measures(params, own)
    assert {of.item() for of in values.values()} == {0.0}
    answers = head.answers(params, own)
    assert answers[0, 0] == answers[0, 1]
    assert answers.isfinite().all()


def test_marks_are_of_names_alone():
    names = np.array(["a", "b", "", "a"], object)
    marks = marks_of(Embedded(torch.zeros(4, 1), torch.zeros(4), names))
    assert torch.equal(marks[0], marks[3])
    assert not torch.equal(marks[0], marks[1])
    assert marks[2].tolist() == [0, 0]
    assert (marks < 2**24).all()
    assert torch.equal(marks[:1], marks_of(Embedded(torch.zeros(1, 1), torch.zeros(1), names[:1])))
    assert marks_of(Embedded(torch.zeros(2, 1), torch.zeros(2))).tolist() == [[0, 0], [0, 0]]


def test_votes_are_shares_of_what_is_there():
    classes = torch.nn.functional.one_hot(torch.tensor([[0, 1, 1, 1]]), 2).float()
    assert votes(classes, torch.tensor([[True, True, True, True]])).softmax(1)[0, 1].item() == pytest.approx(
        0.75, abs=0.01
    )
    assert votes(classes, torch.tensor([[True, True, False, False]])).argmax(1).item() == 0
    assert measured(classes, torch.tensor([[True] * 4]), torch.tensor([1]), (2,))["precision_at_2"].item() == 0.5


def test_the_gallery_is_all_of_train_whatever_selects():
    train, select = samples(20, 0), samples(10, 1)
    (run,) = Retrieval().fit(FittingData(train, select, 3, [0]), replace(RECIPE, selection="holdout"))
    assert len(run.params["gallery"]) == 30
    assert len(run.held["gallery"]) == 20


@pytest.mark.parametrize(
    ("arguments", "said"), [({"k": 0}, "k to be at least 1"), ({"at": ()}, "at to list"), ({"at": (0,)}, "at to list")]
)
def test_arguments_that_say_nothing_are_refused(arguments: dict, said: str):
    with pytest.raises(UsageError, match=said):
        Retrieval(**arguments)


def test_precision_is_in_the_result_and_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = write_tree(tmp_path / "data", {"train": 8, "test": 6})
    words = ["--config", "folder", "--dataset.root", str(root), "--model", "colour_stats", "--head", "retrieval"]
    out = tmp_path / "out"
    assert main(["fit", *words, "--head.k", "3", "--device", "cpu", "--workers", "0", "--output", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "precision at 1 " in said
    results = json.loads((out / "results.json").read_text())
    metrics = results["splits"]["test"]["metrics"]
    assert {name for name in metrics if "_at_" in name} == {
        *(f"precision_at_{k}" for k in (1, 3, 5, 10)),
        *(f"majority_at_{k}" for k in (3, 5, 10)),
    }
    assert metrics["majority_at_3"]["mean"] == metrics["accuracy"]["mean"]
    assert metrics["precision_at_1"]["ci95"] is not None
    assert "precision at 10" in (out / "report.html").read_text()
    assert main(["verify", str(out), "--heads"]) == 0
    assert "predictions follow from embeddings and heads" in capsys.readouterr().out


def test_runs_of_few_shots_have_patients_too(tmp_path: Path):
    recipe = replace(load_protocol("eva-0.4"), shots=2, runs=2)
    how = Extraction(device="cpu", workers=0)
    results = fit("colour_stats", Pictures(60), Retrieval(at=(1,)), recipe, tmp_path / "out", how, lambda _: None)
    assert len(results["splits"]["test"]["metrics"]["precision_at_1"]["values"]) == 2


def test_colours_that_hardly_differ_are_told_apart():
    x = 1 + 1e-5 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0))  # cosines of 1 - 1e-10
    y = torch.arange(200) % 2
    head = Retrieval(k=1, at=(1,))
    params = fitted(Embedded(x, y), Embedded(x, y), head, 2)
    assert head.measures(params, Embedded(x, y))["precision_at_1"].mean() == 1  # each finds itself
