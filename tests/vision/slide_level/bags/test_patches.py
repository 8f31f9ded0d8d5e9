from pathlib import Path

import numpy as np
import torch

from eva_vision.slide_level.bags.patches import BagPatches, Batch, Begin, End, Wanted
from eva_vision.slide_level.contracts import SlideFile
from eva_vision.slide_level.protocol import SlideLevel
from tests.vision.slide_level.conftest import write_slide

SECTION = SlideLevel(mpp=1.0, size=64, patches=7, tissue=0.4)


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)


def half(image: np.ndarray) -> torch.Tensor:
    return as_tensor(image[::2, ::2].copy())


def wanted(path: Path, known: dict[int, np.ndarray] | None = None) -> Wanted:
    return Wanted(SlideFile(path.name, str(path)), "identity", (0, 1), known or {})


def test_each_patch_is_decoded_once_for_all_models(tmp_path: Path, monkeypatch):
    path, reads = write_slide(tmp_path / "a.tif", (190, 90, 160), 0), []
    from eva_vision.slide_level.bags.places import Places

    read = Places.read
    monkeypatch.setattr(Places, "read", lambda *a: (reads.extend(a[2]), read(*a))[1])
    begin, *batches, end = BagPatches([wanted(path)], SECTION, [as_tensor, half], 3, None)
    assert isinstance(begin, Begin)
    assert isinstance(end, End)
    assert not end.error
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert reads == [*range(7)]
    assert batches[0].images[0].shape == (3, 3, 64, 64)
    assert torch.equal(batches[0].images[0][..., ::2, ::2], batches[0].images[1])


def test_batches_that_are_known_are_not_read(tmp_path: Path):
    path = write_slide(tmp_path / "a.tif", (190, 90, 160), 0)
    known = {0: np.array([0, 1, 2, 4]), 1: np.arange(7)}
    _, *batches, _ = BagPatches([wanted(path, known)], SECTION, [as_tensor, half], 3, None)
    assert [(b.rows.tolist(), [*b.images]) for b in batches if isinstance(b, Batch)] == [([3, 4, 5], [0]), ([6], [0])]


def test_a_slide_that_does_not_read_is_said_and_the_next_one_follows(tmp_path: Path):
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"no slide")
    good = write_slide(tmp_path / "a.tif", (190, 90, 160), 0)
    ends = [
        m for m in BagPatches([wanted(bad), wanted(good)], SECTION, [as_tensor, half], 3, None) if isinstance(m, End)
    ]
    assert "bad.tif" in ends[0].error
    assert ends[1] == End(1)


def test_a_slide_that_is_written_while_it_is_read_is_said(tmp_path: Path):
    path = write_slide(tmp_path / "a.tif", (190, 90, 160), 0)
    messages = iter(BagPatches([wanted(path)], SECTION, [as_tensor, half], 3, None))
    next(messages)
    path.write_bytes(path.read_bytes() + b"more")
    *_, end = messages
    assert "was written meanwhile" in end.error
