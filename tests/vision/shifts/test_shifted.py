from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_vision.datasets.folder import Folder
from eva_vision.shifts.contracts import Shift
from eva_vision.shifts.recording import jpeg, noise
from eva_vision.shifts.shifted import Shifted, mpp_of, only_split
from tests.conftest import Pictures


def test_pixels_are_changed_as_they_are_read(pictures: Pictures):
    shifted = Shifted(pictures, Shift("jpeg", jpeg, 20.0))
    sample = pictures.samples[3]
    assert (shifted.image(sample) == jpeg(pictures.image(sample), 20.0)).all()
    assert shifted.samples == pictures.samples


def test_embeddings_are_known_by_change_and_strength(tree: Path):
    dataset = Folder(str(tree), mpp=0.5)
    shifts = [Shift("jpeg", jpeg, 20.0), Shift("jpeg", jpeg, 30.0), Shift("noise", noise, 20.0)]
    assert len({dataset.fingerprint(), *(Shifted(dataset, shift).fingerprint() for shift in shifts)}) == 4
    assert Shifted(dataset, shifts[0]).fingerprint() == Shifted(dataset, shifts[0]).fingerprint()
    hashes = dataset.hashes()
    first, second = dataset.samples[:2]
    by_jpeg, by_noise = Shifted(dataset, shifts[0]), Shifted(dataset, shifts[2])
    assert by_jpeg.hashes() == hashes
    assert by_jpeg.files(first) == dataset.files(first)
    texts = {d.pixels(s, hashes) for d in (dataset, by_jpeg, by_noise) for s in (first, second)}
    assert len(texts) == 6
    assert mpp_of(dataset, first) == 0.5


def test_what_no_dataset_tells_stays_untold(pictures: Pictures):
    assert Shifted(pictures, Shift("jpeg", jpeg, 20.0)).pixels(pictures.samples[0], {}) is None


def test_one_split_alone(tree: Path):
    dataset = Folder(str(tree))
    part = only_split(dataset, "test")
    assert {s.split for s in part.samples} == {"test"}
    assert len(dataset.samples) > len(part.samples)
    with pytest.raises(UsageError, match="split 'cv'"):
        only_split(dataset, "cv")
