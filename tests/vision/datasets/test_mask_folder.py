"""Your own images and masks: PNG and npz, names and numbers of classes, groups, and what is refused."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_core.errors import EvaError
from eva_vision.datasets.mask_folder import MaskFolder
from eva_vision.segmentation.contracts import IGNORE
from tests.vision.datasets import trees

CONSEP = ["background", "other", "inflammatory", "epithelial", "spindle"]


def tree(root: Path) -> Path:
    """Two classes and pixels to ignore, as PNG in train and val and as npz with objects in test; one image is new."""
    for s, split in enumerate(("train", "val", "test")):
        for i in range(3):
            values = trees.labels(s + i, (0, 1, 1, 255))
            trees.write_images(root / split / "images", [f"case_{s}{i}.png"])
            if split == "test":
                (root / split / "labels").mkdir(exist_ok=True)
                np.savez(root / split / "labels" / f"case_{s}{i}.npz", inst=(values == 1) * np.int32(7), type=values)
            else:
                trees.write_labels(root / split / "masks" / f"case_{s}{i}.png", values)
    trees.write_images(root, ["new.png"])
    return root


def build(root: str) -> MaskFolder:
    return MaskFolder(root, key="type", instances="inst", group=r"case_(\d+)", mpp=0.5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path / "mine")


def built(root: Path, **arguments: object) -> MaskFolder:
    return MaskFolder(str(root), **{"key": "type", **arguments})  # type: ignore[arg-type]


def error_of(dataset: MaskFolder, id: str) -> str:
    """The line that reading a mask ends in."""
    sample = next(s for s in dataset.samples if s.id == id)
    with pytest.raises(EvaError) as caught:
        dataset.mask(sample)
    assert "\n" not in str(caught.value)
    assert str(sample.label_path) in str(caught.value)
    return str(caught.value)


def test_splits_ids_and_masks(root: Path):
    dataset = built(root, name="mine", mpp=0.5)
    assert Counter(s.split for s in dataset.samples) == {"train": 3, "val": 3, "test": 3, "new": 1}
    by_id = {s.id: s for s in dataset.samples}
    assert by_id["val/images/case_11.png"].label_path == root / "val" / "masks" / "case_11.png"
    assert by_id["test/images/case_21.png"].label_path == root / "test" / "labels" / "case_21.npz"
    assert by_id["new.png"].label_path is None
    assert {s.mpp for s in dataset.samples} == {0.5}
    assert (dataset.card.name, dataset.card.task, dataset.card.metric) == ("mine", "segmentation", "dice")


def test_labels_of_png_and_npz_and_objects_where_there_are_any(root: Path):
    dataset = built(root, instances="inst")
    for s, split in enumerate(("train", "val", "test")):
        sample = next(x for x in dataset.samples if x.id == f"{split}/images/case_{s}1.png")
        stored = trees.labels(s + 1, (0, 1, 1, 255))
        assert np.array_equal(dataset.mask(sample), stored)
        instances = dataset.instances(sample)
        assert instances is None if split != "test" else np.array_equal(instances, (stored == 1) * 7)
    plain = built(root)
    assert plain.instances(plain.samples[-2]) is None


def test_images_to_predict_on_lie_in_images_or_the_root(tmp_path: Path):
    trees.write_images(tmp_path, ["a.png", "images/b.jpg", "images/c.tif"])
    (tmp_path / "README.md").write_text("not an image")
    dataset = MaskFolder(str(tmp_path), group="nothing_(matches)")
    assert [(s.id, s.split, s.label_path) for s in dataset.samples] == [
        (id, "new", None) for id in ("a.png", "images/b.jpg", "images/c.tif")
    ]
    assert dataset.card.classes == ()
    with pytest.raises(EvaError, match=r"Expected a mask for a\.png, but it has none"):
        dataset.mask(dataset.samples[0])


def test_names_of_classes_are_given_listed_or_counted(root: Path):
    assert built(root).card.classes == ("class_0", "class_1")
    (root / "classes.txt").write_text("ground \n\nnucleus\nother\n")
    assert built(root).card.classes == ("ground", "nucleus", "other")
    assert built(root, classes=["a", "b"]).card.classes == ("a", "b")


def test_classes_are_counted_over_all_masks(root: Path):
    trees.write_labels(root / "val" / "masks" / "case_10.png", np.full((8, 8), 4, np.uint8))
    assert built(root).card.classes == ("class_0", "class_1", "class_2", "class_3", "class_4")


def test_foreground_that_would_be_ignored_is_refused(root: Path, refusal):
    shutil.rmtree(root / "test")
    for file in [*(root / "train" / "masks").iterdir(), *(root / "val" / "masks").iterdir()]:
        trees.write_labels(file, trees.labels(0, (0, 255)))
    assert "but got 0 (255 is ignored)" in refusal(MaskFolder, root)


def test_the_label_to_ignore_may_be_another(root: Path):
    dataset = built(root, ignore=1, classes=[f"c{i}" for i in range(255)])
    assert error_of(dataset, "train/images/case_00.png").endswith("but got 255. Correct the mask or its classes.")
    trees.write_labels(root / "train" / "masks" / "case_00.png", trees.labels(0, (0, 1, 2)))
    dataset = built(root, ignore=1, classes=["a", "b", "c"])
    assert set(np.unique(dataset.mask(dataset.samples[1])).tolist()) == {0, 2, IGNORE}


@pytest.mark.parametrize("classes", [["a"], [], ["a", "a"], [str(i) for i in range(256)]])
def test_names_of_classes_are_checked(root: Path, refusal, classes: list[str]):
    assert "different names in --dataset.classes" in refusal(MaskFolder, root, classes)
    (root / "classes.txt").write_text("\n".join(classes))
    assert "classes.txt" in refusal(MaskFolder, root)


@pytest.mark.parametrize("background", [2, -1])
def test_the_background_is_a_class(root: Path, refusal, background: int):
    message = refusal(MaskFolder, root, key="type", background=background)
    assert f"label from 0 to 1, but got {background}" in message
    assert built(root, background=None).card.background is None


def test_groups_come_from_the_name(root: Path, refusal):
    dataset = built(root, group=r"case_(\d)")
    assert {s.split: s.group for s in dataset.samples} == {"train": "0", "val": "1", "test": "2", "new": None}
    assert "none in case_00.png" in refusal(MaskFolder, root, key="type", group=r"slide_(\d)")
    assert "has none" in refusal(MaskFolder, root, group=r"case_\d")
    assert "regular expression" in refusal(MaskFolder, root, group="(case")


def test_groups_keep_to_one_split(root: Path, refusal):
    message = refusal(MaskFolder, root, key="type", group=r"case_\d(\d)")
    assert message.startswith("3 groups cross splits: 0 (test, train, val)")


def test_how_masks_are_read_is_part_of_the_fingerprint(root: Path):
    ways = [{}, {"instances": "inst"}, {"ignore": 7}, {"background": None}, {"background": 1}, {"mpp": 0.5}]
    names = [str(i) for i in range(255)]
    prints = {built(root, classes=names, **way).fingerprint() for way in [*ways, {"key": "inst"}]}
    assert len(prints) == 7


def test_everything_without_a_place_is_counted_and_named(root: Path, refusal):
    (root / "train" / "masks" / "case_00.png").unlink()
    trees.write_labels(root / "train" / "masks" / "lost.png", np.zeros((8, 8), np.uint8))
    shutil.copy(root / "val" / "images" / "case_10.png", root / "val" / "images" / "case_10.jpg")
    shutil.copy(root / "val" / "masks" / "case_11.png", root / "val" / "masks" / "case_11.npz")
    (root / "val" / "images" / "case_12.png").write_bytes(b"")
    (root / "test" / "images" / "notes.doc").write_text("x")
    (root / "test" / "more").mkdir()
    (root / "validation").mkdir()
    (root / "train" / "images" / ".DS_Store").write_text("hidden, and so no matter")
    message = refusal(MaskFolder, root)
    for part in (
        "1 images without a mask (train/images/case_00.png)",
        "1 masks without an image (train/masks/lost.png)",
        "4 files of the same name (val/images/case_10.jpg, val/images/case_10.png, val/masks/case_11.npz, ",
        "1 empty files (val/images/case_12.png)",
        "2 unknown files (test/more, test/images/notes.doc)",
        "1 unknown folders (validation)",
    ):
        assert part in message


def test_masks_of_images_without_a_split_are_refused(root: Path, refusal):
    shutil.copytree(root / "train" / "masks", root / "masks")
    assert "1 unknown folders (masks)" in refusal(MaskFolder, root)


def test_a_split_with_two_folders_of_masks_is_refused(root: Path, refusal):
    shutil.copytree(root / "train" / "masks", root / "train" / "labels")
    assert "1 splits with both masks and labels (train)" in refusal(MaskFolder, root)


def test_a_split_without_masks_is_refused(root: Path, refusal):
    shutil.rmtree(root / "val" / "masks")
    assert "3 images without a mask" in refusal(MaskFolder, root)


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path, refusal):
    assert "but found none" in refusal(MaskFolder, tmp_path)
    assert "is none" in refusal(MaskFolder, tmp_path / "nowhere")


def test_npz_files_name_their_arrays(root: Path):
    classes = ["a", "b"]
    id = "test/images/case_20.png"
    message = error_of(MaskFolder(str(root), classes), id)
    assert "Expected one array in" in message
    assert "it holds inst, type. Set --dataset.key" in message
    message = error_of(built(root, classes=classes, key="kind"), id)
    assert "Expected 'kind' in" in message
    assert "it holds inst, type. Set --dataset.key" in message
    message = error_of(built(root, classes=classes, instances="nuclei"), id)
    assert "Expected 'nuclei' in" in message
    assert "Set --dataset.instances" in message


def test_the_only_array_needs_no_name(root: Path):
    np.savez_compressed(root / "test" / "labels" / "case_20.npz", whatever=np.ones((8, 8), int))
    dataset = MaskFolder(str(root), ["a", "b"])
    sample = next(s for s in dataset.samples if s.id == "test/images/case_20.png")
    assert (dataset.mask(sample) == 1).all()


def test_damaged_npz_files_are_named(root: Path):
    file, id = root / "test" / "labels" / "case_20.npz", "test/images/case_20.png"
    whole = file.read_bytes()
    dataset = built(root, classes=["a", "b"])
    for content in (b"", b"no archive", whole[:100], whole[:-300], b"\x93NUMPY"):
        file.write_bytes(content)
        assert "Get the file again" in error_of(dataset, id)
    np.savez(file, type=np.array([[{}]], object))
    assert "allow_pickle" in error_of(dataset, id)
    np.save(file.with_suffix(".npy"), np.zeros((8, 8), int))
    file.with_suffix(".npy").rename(file)
    assert "Expected arrays in" in error_of(dataset, id)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (np.full((8, 8), 2), "labels from 0 to 1, or 255 to ignore, in"),
        (np.zeros((8, 7), int), "is 8 x 7"),
        (np.zeros((8, 8, 3), int), "an array (8, 8, 3)"),
        (np.full((8, 8), 0.5), "whole numbers"),
    ],
)
def test_what_is_no_mask_is_named(root: Path, stored: np.ndarray, reason: str):
    np.savez(root / "test" / "labels" / "case_20.npz", type=stored)
    assert reason in error_of(built(root, classes=["a", "b"]), "test/images/case_20.png")


def test_a_mask_of_colours_is_named_when_classes_are_counted(root: Path, refusal):
    trees.write_images(root / "val" / "masks", ["case_11.png"])
    assert "image of colours (RGB)" in refusal(MaskFolder, root, key="type")


def test_a_palette_is_of_no_matter(root: Path):
    file = root / "train" / "masks" / "case_00.png"
    values = trees.labels(0, (0, 1))
    image = Image.fromarray(values)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.save(file)
    assert Image.open(file).mode == "P"
    dataset = built(root)
    assert np.array_equal(dataset.mask(dataset.samples[1]), values)


@pytest.mark.real_data
def test_real_patches_of_nuclei(real_data: Path):
    group = r"((?:train|test)_\d+)_"
    dataset = built(real_data / "consep_patches", instances="inst", classes=CONSEP, group=group, mpp=0.25)
    assert Counter(s.split for s in dataset.samples) == {"train": 180, "test": 90}
    assert len({s.group for s in dataset.samples}) == 41  # the images that the patches were cut from
    seen = np.zeros(5, int)
    for sample in dataset.samples[::9]:
        mask, instances = dataset.mask(sample), dataset.instances(sample)
        assert mask.shape == dataset.image(sample).shape[:2] == dataset.size(sample) == (256, 256)
        assert np.array_equal(mask > 0, instances > 0)
        seen += np.bincount(mask.ravel(), minlength=5)
    assert seen.min() > 0
    assert seen.argmax() == 0
    assert built(real_data / "consep_patches").card.classes == tuple(f"class_{i}" for i in range(5))


# Links.


@pytest.mark.parametrize("part", ["test", "train/images", "val/masks", "train/images/case_00.png"])
def test_what_is_linked_counts_like_what_is_there(root: Path, part: str):
    before = built(root)
    shutil.move(root / part, root.parent / "elsewhere")
    (root / part).symlink_to(root.parent / "elsewhere")
    after = built(root)
    assert [(s.id, s.split) for s in after.samples] == [(s.id, s.split) for s in before.samples]


@pytest.mark.parametrize(
    ("link", "target", "named"),
    [
        ("images", "train/images", "images = train/images"),
        ("val/images/x.png", "../../train/images/case_00.png", "val/images/x.png = train/images/case_00.png"),
        ("x.png", "train/images/case_00.png", "x.png = train/images/case_00.png"),
        ("val/images/gone.png", "/gone.png", "val/images/gone.png (a link that leads nowhere"),
        ("test/masks", "labels", "test/masks = test/labels"),
    ],
)
def test_links_to_images_of_another_place_are_refused(root: Path, refusal, link, target, named):
    (root / link).symlink_to(target)
    assert named in refusal(MaskFolder, root)


def test_images_may_share_a_linked_mask(root: Path):
    first, second = sorted((root / "train" / "masks").iterdir())[:2]
    second.unlink()
    second.symlink_to(first.name)
    (root / "train" / "images" / "Thumbs.db").write_text("no image")
    masks = {s.label_path for s in built(root).samples}
    assert {first, second} <= masks
