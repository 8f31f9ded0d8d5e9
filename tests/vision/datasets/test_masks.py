"""What datasets of masks share: which files are masks, which are refused and in what words."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import EvaError
from eva_vision.datasets.masks import Annotation, MaskFiles, read_labels, to_classes, to_instances, whole_numbers
from eva_vision.segmentation.contracts import IGNORE
from tests.conftest import picture
from tests.vision.datasets import trees

TABLE = np.array([0, 2, 1], np.uint8)
HERE = Path("a.png")


class Grey(MaskFiles):
    """One image and one grey mask, counting how often it is read."""

    card = DatasetCard(name="grey", task="segmentation", classes=("a", "b", "c"))

    def __init__(self, folder: Path) -> None:
        self.samples = [Sample("x", "train", None, folder / "image.png", label_path=folder / "mask.png")]
        self.reads = 0

    def annotation(self, sample: Sample) -> Annotation:
        self.reads += 1
        assert sample.label_path is not None
        stored = read_labels(sample.label_path)
        return Annotation(to_classes(stored, TABLE, sample.label_path), stored.astype(np.int32))


@pytest.fixture
def grey(tmp_path: Path) -> Grey:
    Image.fromarray(picture(0, size=6)[:4]).save(tmp_path / "image.png")
    Image.fromarray(trees.labels(0, range(3), 6)[:4]).save(tmp_path / "mask.png")
    return Grey(tmp_path)


def said(error: pytest.ExceptionInfo[EvaError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_file_of_labels_is_read_once_for_all_tiles_of_an_image(grey: Grey):
    sample = grey.samples[0]
    for _ in range(3):
        assert np.array_equal(grey.mask(sample), TABLE[trees.labels(0, range(3), 6)[:4]])
        assert np.array_equal(grey.instances(sample), trees.labels(0, range(3), 6)[:4])
    assert grey.reads == 1


def test_the_next_image_replaces_the_last(grey: Grey, tmp_path: Path):
    Image.fromarray(np.full((4, 6), 2, np.uint8)).save(tmp_path / "other.png")
    other = Sample("y", "train", None, tmp_path / "image.png", label_path=tmp_path / "other.png")
    assert grey.mask(grey.samples[0]).any()
    assert np.unique(grey.mask(other)).tolist() == [1]
    assert np.array_equal(grey.mask(grey.samples[0]), TABLE[trees.labels(0, range(3), 6)[:4]])


def test_a_mask_of_another_size_is_named_each_time(grey: Grey, tmp_path: Path):
    Image.fromarray(np.zeros((6, 4), np.uint8)).save(tmp_path / "mask.png")
    for read in (grey.mask, grey.instances, grey.mask):
        with pytest.raises(EvaError, match=r"Expected a mask of 4 x 6 as .*image\.png, but .*mask\.png is 6 x 4") as e:
            read(grey.samples[0])
        said(e)


def test_an_image_without_mask_says_so(grey: Grey, tmp_path: Path):
    with pytest.raises(EvaError, match="Expected a mask for z, but it has none"):
        grey.mask(Sample("z", "new", None, tmp_path / "image.png"))


@pytest.mark.parametrize("content", [b"", b"no image", "cut"])
def test_what_is_no_image_is_named(grey: Grey, tmp_path: Path, content: bytes | str):
    file = tmp_path / "image.png"
    if content == "cut":
        Image.fromarray(picture(0, size=200)).save(file)
        content = file.read_bytes()[:5000]
        whole = (200, 200)
    else:
        whole = None
    file.write_bytes(content)  # type: ignore[arg-type]
    with pytest.raises(
        EvaError, match=r"Expected an image in .*image\.png, but it does not read: .*Get the file again"
    ):
        grey.image(grey.samples[0])
    if whole:
        assert grey.size(grey.samples[0]) == whole  # from the header
    else:
        with pytest.raises(EvaError, match=r"Expected an image in .*image\.png") as e:
            grey.size(grey.samples[0])
        said(e)


def test_an_image_that_is_gone_is_named(grey: Grey, tmp_path: Path):
    (tmp_path / "image.png").unlink()
    with pytest.raises(EvaError, match=r"image\.png, but it does not read: .*No such file"):
        grey.image(grey.samples[0])


def test_an_image_without_pixels_is_named(grey: Grey, tmp_path: Path):
    (tmp_path / "image.png").write_bytes(zero_width_png((tmp_path / "image.png").read_bytes()))
    for read in (grey.size, grey.image):
        with pytest.raises(EvaError, match=r"Expected an image in .*image\.png, but it (is 4 x 0|does not read)") as e:
            read(grey.samples[0])
        said(e)


def zero_width_png(png: bytes) -> bytes:
    """The same file with a width of 0 in its header, and the checksum right."""
    header = b"IHDR" + (0).to_bytes(4) + png[20:29]
    return png[:12] + header + zlib.crc32(header).to_bytes(4) + png[33:]


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16", "I"])
def test_the_stored_number_is_the_label_whatever_the_mode(tmp_path: Path, mode: str):
    values = trees.labels(0, (0, 1) if mode == "1" else range(5))
    if mode == "P":
        image = Image.fromarray(values).convert("P")
        image.putdata(values.ravel().tolist())
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9, 8, 8, 8])
    else:
        image = Image.fromarray(values.astype({"I;16": np.uint16, "I": np.int32, "1": bool}.get(mode, np.uint8)))
    assert image.mode == mode
    for suffix in (".png", ".tif")[mode == "I" :]:  # Pillow writes no PNG of 32 bits
        image.save(tmp_path / f"a{suffix}")
        assert np.array_equal(read_labels(tmp_path / f"a{suffix}"), values)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_picture_of_labels_is_no_mask(tmp_path: Path, mode: str):
    Image.fromarray(picture(0)).convert(mode).save(tmp_path / "a.png")
    with pytest.raises(
        EvaError, match=rf"one label a pixel in .*a\.png, but it is an image of colours \({mode}\)"
    ) as e:
        read_labels(tmp_path / "a.png")
    said(e)


def test_labels_become_classes_by_the_table():
    for dtype in (np.uint8, np.int64, np.uint16, np.float64):
        stored = np.array([[0, 1], [2, 1]], dtype)
        found = to_classes(stored, TABLE, HERE)
        assert found.dtype == np.uint8
        assert found.tolist() == [[0, 2], [1, 2]]
    assert to_classes(np.array([[True, False]]), TABLE, HERE).tolist() == [[2, 0]]


@pytest.mark.parametrize("ignore", [255, -1, 7, 0])
def test_the_label_to_ignore_may_be_any(ignore: int):
    stored = np.array([[1, 2, ignore]], np.int16)
    assert to_classes(stored, TABLE, HERE, ignore).tolist() == [[2, 1, IGNORE]]


def test_labels_without_a_class_are_counted_by_name():
    stored = np.array([[0, 3, 9, 255]], np.uint8)
    with pytest.raises(EvaError, match=r"Expected labels from 0 to 2 in a\.png, but got 3, 9, 255\.") as e:
        to_classes(stored, TABLE, HERE)
    said(e)
    with pytest.raises(EvaError, match=r"from 0 to 2, or 255 to ignore, in a\.png, but got 3, 9\."):
        to_classes(stored, TABLE, HERE, 255)
    with pytest.raises(EvaError, match=r"but got -4\."):
        to_classes(np.array([[-4]]), TABLE, HERE)


@pytest.mark.parametrize("stored", [[[0.5]], [[np.nan]], [[np.inf]], [["a"]], [[1j]]])
def test_labels_are_whole_numbers(stored: list[list[object]]):
    with pytest.raises(EvaError, match=r"Expected whole numbers as labels in a\.png, but got") as e:
        whole_numbers(np.array(stored), HERE)
    said(e)


def test_labels_have_two_axes():
    with pytest.raises(EvaError, match=r"Expected labels \(H, W\) in a\.png, but got an array \(2, 2, 3\)"):
        whole_numbers(np.zeros((2, 2, 3), np.uint8), HERE)


def test_numbers_of_objects():
    assert to_instances(np.array([[0.0, 3e5]]), HERE).tolist() == [[0, 300_000]]
    assert to_instances(np.array([[1]], np.uint8), HERE).dtype == np.int32
    for wrong in (-1, 2**40):
        with pytest.raises(EvaError, match=r"Expected numbers of objects from 0 in a\.png"):
            to_instances(np.array([[wrong]]), HERE)
