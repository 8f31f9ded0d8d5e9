"""A folder of images is a stream with the promises of one of slides."""

import itertools
import json
import pickle
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import functional as F

from eva_core.errors import EvaError, UsageError
from eva_pretrain.data import folder_stream as module
from eva_pretrain.data.loader import Batch, FolderStream, PatchLoader
from eva_vision.images import read_image

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
KINDS = ("png", "jpg", "JPEG", "tif", "tiff", "bmp", "webp")


def picture(seed: int, height: int = 24, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of 14 images of 24 px in two folders, and other files beside them."""
    for n in range(14):
        path = tmp_path / "ab"[n % 2] / "deep" / f"TCGA-AA-000{n % 3}-01Z-00-DX1_{n:02d}.{KINDS[n % len(KINDS)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(n)).save(path)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "a" / "._00.png").write_bytes(b"what macOS leaves")
    return tmp_path


def test_every_image_is_there_once_however_it_is_linked(images, tmp_path_factory, capsys):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    before = [*FolderStream(images, 2, 24).names]
    (images / "b").rename(elsewhere / "b")
    (images / "b").symlink_to(elsewhere / "b")
    (images / "a" / "up").symlink_to("..")
    (images / "c").symlink_to("a")
    (images / "a" / "d.png").symlink_to(images / before[0])
    (images / "z.png").hardlink_to(images / before[0])
    stream = FolderStream(images, 2, 24)
    assert [*stream.names] == before
    (images / "gone.png").symlink_to("/gone.png")
    assert len(FolderStream(images, 2, 24).names) == len(before)
    assert "gone.png (a link that leads nowhere" in capsys.readouterr().err


def take(batches, n: int) -> list[Batch]:
    return list(itertools.islice(iter(batches), n))


def as_it_is(batch: Batch) -> Batch:
    """Collate nothing; a function with a name, as workers that are not forked get it by pickle."""
    return batch


def loaded(source: FolderStream, n: int, workers: int) -> list[Batch]:
    return take(DataLoader(source, batch_size=None, num_workers=workers, collate_fn=as_it_is), n)


def same(a: list[Batch], b: list[Batch]) -> bool:
    assert len(a) == len(b)
    return all(
        torch.equal(one.pixels, other.pixels)
        and all(np.array_equal(p, q, equal_nan=True) for p, q in zip(one[1:9], other[1:9], strict=True))
        for one, other in zip(a, b, strict=True)
    )


def files(batches) -> list[int]:
    return np.concatenate([batch.slide for batch in batches]).tolist()


def test_pixels_are_those_of_the_file_that_a_batch_names(images):
    source = FolderStream(images, 5, size=24, mpp=0.5)
    assert [*source.names] == sorted(p.relative_to(images).as_posix() for p in images.rglob("TCGA*"))
    for batch in take(source, 6):
        assert batch.pixels.shape == (5, 3, 24, 24)
        assert batch.pixels.dtype == torch.uint8
        assert batch.pixels.is_contiguous(memory_format=torch.channels_last)
        for pixels, file in zip(batch.pixels, batch.slide, strict=True):
            assert np.array_equal(pixels.permute(1, 2, 0), read_image(images / source.names[file]))
        assert (batch.mpp == 0.5).all()
        assert (batch.x.tolist(), batch.y.tolist(), batch.level.tolist()) == ([0] * 5, [0] * 5, [0] * 5)
        assert (batch.reduce.tolist(), batch.inside.tolist(), batch.rejected) == ([1] * 5, [1.0] * 5, 0)
    assert np.isnan(take(FolderStream(images, 5, size=24), 1)[0].mpp).all()


def test_each_pass_has_each_file_once_in_an_order_of_its_own(images):
    order = files(take(FolderStream(images, 4, size=24), 14))
    passes = [order[first : first + 14] for first in range(0, 56, 14)]
    assert all(sorted(files) == list(range(14)) for files in passes)
    assert len({tuple(files) for files in passes}) == 4
    assert order != files(take(FolderStream(images, 4, size=24, seed=1), 14))


def test_the_same_whatever_the_number_of_workers_and_where_it_is_taken_up(images):
    whole = take(FolderStream(images, 4, size=24, seed=3), 15)
    for workers in (1, 2, 3):
        assert same(whole, loaded(FolderStream(images, 4, size=24, seed=3), 15, workers))
    assert same(whole[6:], take(FolderStream(images, 4, size=24, seed=3, start=6), 9))
    source = FolderStream(images, 4, size=24, seed=3)
    take(source, 6)
    again = pickle.loads(pickle.dumps(FolderStream(images, 4, size=24, seed=3)))
    again.load_state_dict(source.state_dict())
    assert same(whole[6:], take(again, 9))


def test_ranks_divide_each_pass(images):
    together = take(FolderStream(images, 6, size=24), 7)
    parts = [take(FolderStream(images, 2, size=24, rank=rank, ranks=3), 7) for rank in range(3)]
    assert Counter(files(together)) == Counter(files(itertools.chain(*parts)))
    first = [set(files(part)[:4]) for part in parts]  # of the 14 of the first pass
    assert len(set.union(*first)) == 12


def test_fewer_images_are_a_part_of_more(images):
    def names(limit: int) -> set[str]:
        source = FolderStream(images, 4, size=24, limit=limit)
        assert len(set(files(take(source, 10)))) == len(source.names) == min(limit, 14)
        return set(source.names)

    assert names(3) < names(7) < names(100)
    assert len(names(100)) == 14


@pytest.mark.parametrize(("height", "width"), [(48, 64), (10, 30), (24, 40), (40, 24)])
def test_images_of_another_size_are_resized_and_cut(tmp_path, height, width):
    Image.fromarray(picture(0, height, width)).save(tmp_path / "one.png")
    found = take(FolderStream(tmp_path, 2, size=24), 1)[0].pixels[0]
    scale = 24 / min(height, width)
    tall = F.resize(torch.from_numpy(picture(0, height, width)).permute(2, 0, 1), [24], antialias=True)
    assert tall.shape[1:] == (round(height * scale), round(width * scale))
    assert torch.equal(found, F.center_crop(tall, [24, 24]))


def test_other_kinds_of_pixels(tmp_path):
    kinds = {
        "grey.png": Image.fromarray(picture(0)[..., 0]),
        "alpha.png": Image.fromarray(picture(1)).convert("RGBA"),
        "turned.jpg": Image.fromarray(picture(2)),
        "no_jpeg.jpg": Image.fromarray(picture(3)),
    }
    exif = Image.Exif()
    exif[274] = 6
    for name, image in kinds.items():
        turned = {"exif": exif} if name == "turned.jpg" else {}
        image.save(tmp_path / name, "png" if name == "no_jpeg.jpg" else None, **turned)
    source = FolderStream(tmp_path, 4, size=24)
    (batch,) = take(source, 1)
    assert not batch.failures
    for pixels, file in zip(batch.pixels, batch.slide, strict=True):
        assert np.array_equal(pixels.permute(1, 2, 0), read_image(tmp_path / source.names[file]))


def test_jpeg_is_what_pillow_gives(tmp_path):
    smooth = np.asarray(Image.fromarray(picture(5, 8, 8)).resize((61, 47)))
    for subsampling in ("444", "420", "422", "Gray"):
        path = tmp_path / f"{subsampling}.jpg"
        path.write_bytes(simplejpeg.encode_jpeg(smooth, 80, "RGB", subsampling))
        assert np.array_equal(module._decode(path.read_bytes()), read_image(path))


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_files_are_replaced_told_and_left_out(images, workers):
    names = FolderStream(images, 4, size=24).names
    for bad in (2, 3):
        damage(images / names[bad])
    reading = PatchLoader(FolderStream(images, 4, size=24), workers=workers, epoch=14)
    with pytest.warns(UserWarning, match="is left out from here on") as told:
        batches = list(reading)
    said = [str(warning.message) for warning in told if "Truncated" not in str(warning.message)]  # which Pillow says
    assert sorted(text.partition(" ")[0] for text in said) == sorted(names[2:4])
    assert set(files(batches)) == set(range(14)) - {2, 3}
    assert sorted(reading.failures) == sorted(names[2:4])
    assert "56 patches of 12 images" in reading.report()
    assert "2 images were left out" in reading.report()
    plain = {int(n): int(f) for b in batches for n, f in zip(b.number, b.slide, strict=True)}
    whole = take(FolderStream(images, 4, size=24), 14)
    assert plain == {int(n): int(f) for b in whole for n, f in zip(b.number, b.slide, strict=True)}


def test_damaged_files_change_no_other_sample(images):
    before = take(FolderStream(images, 4, size=24), 14)
    damage(images / FolderStream(images, 4, size=24).names[5])
    after = take(FolderStream(images, 4, size=24), 14)
    old, new = np.array(files(before)), np.array(files(after))
    assert np.array_equal(old[old != 5], new[old != 5])
    assert (new != 5).all()


def test_no_file_can_be_read(images, monkeypatch):
    for path in images.rglob("TCGA*"):
        damage(path)
    with pytest.raises(
        EvaError, match=r"Expected images that can be read in .*, but 14 of 14 failed, such as .*: "
    ) as raised:
        take(FolderStream(images, 4, size=24), 1)
    assert "\n" not in str(raised.value)
    monkeypatch.setattr(module, "_MOST_FAILURES", 3)
    with pytest.raises(EvaError, match="4 of 14 failed"):
        take(FolderStream(images, 4, size=24), 1)


def test_storage_that_does_not_answer(images, monkeypatch):
    def hang(content: bytes) -> np.ndarray:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("eva_pretrain.data.slide_reads._SLOW", -1.0)
    monkeypatch.setattr(module, "_decode", hang)
    source = FolderStream(images, 1, size=24)
    with pytest.raises(EvaError, match="storage that answers, but 3"):
        take(source, 1)
    assert not source.left_out()


def test_what_was_decoded_is_kept_within_a_bound(images, monkeypatch):
    asked = Counter[bytes]()
    plain = module._decode
    monkeypatch.setattr(module, "_decode", lambda content: asked.update([content]) or plain(content))
    kept = take(FolderStream(images, 7, size=24), 8)
    assert set(asked.values()) == {1}
    asked.clear()
    monkeypatch.setattr(module, "_MEMORY", 3 * 24 * 24 * 3)
    assert same(kept, take(FolderStream(images, 7, size=24), 8))
    assert sorted(asked.values()) == [1] * 3 + [4] * 11


def test_resuming_equals_never_having_stopped(images):
    whole = take(PatchLoader(FolderStream(images, 4, size=24), workers=0), 12)
    stopped = PatchLoader(FolderStream(images, 4, size=24), workers=2)
    take(stopped, 5)
    state = json.loads(json.dumps(stopped.state_dict()))
    stopped.close()
    resumed = PatchLoader(FolderStream(images, 4, size=24), workers=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed.load_state_dict(state)
    assert same(whole[5:], take(resumed, 7))
    assert resumed.seen == set(range(14))
    assert state["seen"] == []  # however many files there are
    assert resumed.slides_seen() == [(f"TCGA-AA-000{n}", f"TCGA-AA-000{n}") for n in range(3)]
    Image.fromarray(picture(99)).save(images / "another.png")
    with pytest.warns(UserWarning, match="differs in contents"):
        PatchLoader(FolderStream(images, 4, size=24), workers=0).load_state_dict(state)


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"size": 0}, "size"), ({"size": 8, "mpp": 0.0}, "mpp"), ({"size": 8, "limit": 0}, "limit")],
)
def test_numbers_that_make_no_sense(images, settings, what):
    with pytest.raises(UsageError, match=f"Expected {what}"):
        FolderStream(images, 4, **settings)


def test_a_folder_without_images(tmp_path):
    with pytest.raises(UsageError, match=r"Expected images \(bmp, jpeg, .*\) in .*, but there is none"):
        FolderStream(tmp_path, 4, size=8)
    with pytest.raises(UsageError, match="there is none"):
        FolderStream(tmp_path / "nowhere", 4, size=8)
