"""PANDA: the table of grades decides everything, and the split is the published one."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile

from eva_core.errors import EvaError
from eva_vision.datasets import panda
from eva_vision.datasets.panda import TABLE, Panda, PandaSmall, stratified
from eva_vision.slides import open_slide
from tests.vision.datasets import trees

COUNTS = {"train": 13, "val": 6, "test": 6}
HOSPITALS = {"radboud": 0.486, "karolinska": 0.5032}
"""Each with the micrometres per pixel that its files state in the tree."""


def names() -> list[str]:
    return [hashlib.md5(str(n).encode()).hexdigest() for n in range(27)]


def table(root: Path) -> Path:
    rows = [
        {
            "": n,
            "image_id": name,
            "data_provider": [*HOSPITALS][n % 2],
            "isup_grade": n % 6,
            "gleason_score": "3+3",
            "noise_ratio_5": 1,
            "noise_ratio_10": int(n not in (24, 26)),  # grades 0 and 2
        }
        for n, name in enumerate(names())
    ]
    return trees.write_table(root / "prostate-cancer-grade-assessment" / TABLE, rows)


def tree(root: Path) -> Path:
    table(root)
    folder = root / "prostate-cancer-grade-assessment" / "train_images"
    for n, name in enumerate(names()):
        tint = np.array([205, 120, 170]) - np.array([11, 12, 4]) * (n % 6)
        trees.write_slide(folder / f"{name}.tiff", n, tint.tolist(), [*HOSPITALS.values()][n % 2])
    return root


def _md5() -> str:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return hashlib.md5(table(Path(folder)).read_bytes()).hexdigest()


MD5 = _md5()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def test_the_published_table_makes_the_published_counts():
    """The grades of the 9,555 slides that are left of the published table (md5 5e4bfc78...), by number."""
    targets = np.repeat(np.arange(6), [2603, 2399, 1209, 1118, 1124, 1102])
    counts = {cls: Counter(s for s in stratified(targets, cls.shares) if s) for cls in (Panda, PandaSmall)}
    assert counts[Panda] == {"train": 6_686, "val": 1_430, "test": 1_439}
    assert counts[PandaSmall] == {"train": 952, "val": 475, "test": 475}


@pytest.mark.parametrize("shares", [(0.7, 0.15, 0.15), (0.1, 0.05, 0.05)])
def test_each_grade_is_drawn_in_turn_by_one_stream(shares: tuple[float, float, float]):
    targets = np.random.default_rng(1).integers(0, 4, 500)
    expected: list[str | None] = [None] * 500
    generator = np.random.default_rng(42)
    for grade in range(4):
        rows = np.array([n for n in range(500) if targets[n] == grade])
        generator.shuffle(rows)
        train, val = int(shares[0] * len(rows)), int(shares[1] * len(rows))
        test = len(rows) - train - val if sum(shares) > 0.99 else int(shares[2] * len(rows))
        for place, row in enumerate(rows[: train + val + test]):
            expected[row] = "train" if place < train else "val" if place < train + val else "test"
    assert stratified(targets, shares) == expected


def test_noisy_labels_are_left_out_and_the_others_split(root: Path):
    dataset = Panda(str(root))
    assert Counter(s.split for s in dataset.samples) == COUNTS
    noisy = {names()[24], names()[26]}
    assert {s.id for s in dataset.samples} == {*names()} - noisy
    by_name = {s.id: s for s in dataset.samples}
    assert [by_name[name].target for name in names()[:7]] == [0, 1, 2, 3, 4, 5, 0]
    assert [by_name[name].site for name in names()[:2]] == ["radboud", "karolinska"]
    assert dataset.metadata(by_name[names()[0]]) == {"site": "radboud"}
    assert dataset.card.ordinal


def test_files_state_their_resolution(root: Path):
    dataset = Panda(str(root))
    for sample in dataset.samples[:4]:
        (slide,) = dataset.slides(sample)
        assert slide.mpp is None
        with open_slide(slide.path) as opened:
            assert opened.mpp == pytest.approx(HOSPITALS[sample.site], rel=1e-4)


def test_a_file_that_states_none_is_named(root: Path):
    dataset = Panda(str(root))
    (slide,) = dataset.slides(dataset.samples[0])
    tifffile.imwrite(slide.path, np.zeros((256, 256, 3), np.uint8), tile=(128, 128), photometric="rgb")
    with pytest.raises(EvaError, match=f"Expected micrometres per pixel in .*{dataset.samples[0].id}"):
        dataset.image(dataset.samples[0])


@pytest.mark.parametrize("place", [".", "prostate-cancer-grade-assessment"])
def test_the_root_may_be_any_folder_on_the_way(root: Path, place: str):
    assert Panda(str(root / place)).fingerprint() == Panda(str(root)).fingerprint()


def test_missing_and_empty_slides_are_named_and_shift_nothing(root: Path, refusal):
    before = {s.id: s.split for s in Panda(str(root)).samples}
    folder = root / "prostate-cancer-grade-assessment" / "train_images"
    (folder / f"{names()[24]}.tiff").unlink()  # not used
    assert {s.id: s.split for s in Panda(str(root)).samples} == before
    (folder / f"{names()[3]}.tiff").unlink()
    (folder / f"{names()[4]}.tiff").write_bytes(b"")
    message = refusal(Panda, root)
    assert f"1 missing ({names()[3]}.tiff)" in message
    assert f"1 empty ({names()[4]}.tiff)" in message


def test_another_table_is_named_and_a_missing_one_can_be_had(root: Path, refusal, monkeypatch: pytest.MonkeyPatch):
    file = root / "prostate-cancer-grade-assessment" / TABLE
    content = file.read_bytes()
    file.write_bytes(content.replace(b"radboud", b"Radboud"))
    assert f"Expected md5 {MD5} of" in refusal(Panda, root)
    file.unlink()
    message = refusal(Panda, root)
    assert "--dataset.download true" in message
    assert "kaggle.com/competitions/prostate-cancer-grade-assessment" in message
    fetched: list[tuple[object, ...]] = []

    def fetch(*asked: object) -> None:
        fetched.append(asked)
        file.write_bytes(content)

    monkeypatch.setattr(panda, "fetch", fetch)
    assert len(Panda(str(root), download=True).samples) == 25
    assert fetched == [(panda.URL, file, f"md5:{MD5}")]


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, refusal):
    assert "kaggle.com/competitions/prostate-cancer-grade-assessment" in refusal(Panda, tmp_path)
