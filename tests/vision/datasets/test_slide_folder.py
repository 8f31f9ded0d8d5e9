from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_vision.datasets.slide_folder import SlideFolder
from tests.vision.slide_level.conftest import write_manifest, write_slide


def tree(root: Path) -> Path:
    """Four slides of three patients."""
    rows = []
    for number, (patient, label) in enumerate((("p", "a"), ("p", "a"), ("q", "b"), ("r", "a"))):
        write_slide(root / f"{number}.tif", (190, 90, 160), number)
        rows.append({"slide": f"{number}.tif", "patient": patient, "label": label, "site": "xy"[number % 2]})
    write_manifest(root, rows)
    return root


def test_the_slides_of_a_patient_are_one_sample(tmp_path: Path):
    dataset = SlideFolder(str(tree(tmp_path)))
    assert [s.id for s in dataset.samples] == ["p", "q", "r"]
    assert [len(dataset.slides(s)) for s in dataset.samples] == [2, 1, 1]
    assert dataset.card.classes == ("a", "b")
    assert {s.split for s in dataset.samples} == {"cv"}
    assert dataset.metadata(dataset.samples[0]) == {"site": "x"}


def test_slides_can_have_outcomes_of_their_own(tmp_path: Path):
    dataset = SlideFolder(str(tree(tmp_path)), unit="slide")
    assert [(s.id, s.group) for s in dataset.samples] == [
        ("0.tif", "p"),
        ("1.tif", "p"),
        ("2.tif", "q"),
        ("3.tif", "r"),
    ]


def test_the_kind_of_task_comes_from_the_columns(tmp_path: Path):
    root = tree(tmp_path)
    write_manifest(root, [{"slide": f"{n}.tif", "value": n / 2, "time": n, "event": n % 2} for n in range(4)])
    assert SlideFolder(str(root), outcome="value").card.task == "slide_regression"
    survival = SlideFolder(str(root), outcome="survival")
    assert (survival.card.task, survival.samples[3].target) == ("slide_survival", (3.0, 1.0))


def test_a_patient_has_one_outcome(tmp_path: Path):
    root = tree(tmp_path)
    write_manifest(root, [{"slide": f"{n}.tif", "patient": "p", "label": "ab"[n % 2]} for n in range(4)])
    with pytest.raises(UsageError, match=r"one outcome for each patient .* but p has several.*--dataset.unit slide"):
        SlideFolder(str(root))


def test_sites_are_needed_to_hold_them_out(tmp_path: Path):
    root = tree(tmp_path)
    assert SlideFolder(str(root), hold_out_sites=True).fold_by_site
    write_manifest(root, [{"slide": f"{n}.tif", "label": "ab"[n % 2]} for n in range(4)])
    with pytest.raises(UsageError, match="at least two sites"):
        SlideFolder(str(root), hold_out_sites=True)


def test_labels_may_have_an_order(tmp_path: Path):
    root = str(tree(tmp_path))
    dataset = SlideFolder(root, ordered=("b", "a"))
    assert (dataset.card.classes, dataset.card.ordinal) == (("b", "a"), True)
    assert [s.target for s in dataset.samples] == [1, 0, 1]
    assert not SlideFolder(root).card.ordinal
    with pytest.raises(UsageError, match=r"Expected the labels of .* in --dataset.ordered, a, b, but got low, high"):
        SlideFolder(root, ordered=("low", "high"))
