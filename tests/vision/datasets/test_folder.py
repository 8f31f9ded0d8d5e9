"""Your own images: both forms of the folder, everything that can be wrong with it, and decoding."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_core.errors import UsageError
from eva_vision.datasets.folder import Folder
from tests.conftest import picture, write_tree

HEADER = "path,label,split,group,id\n"


def tree(root: Path) -> Path:
    return write_tree(root)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """The root of six images a.png ... f.png in two folders, without a manifest."""
    root = tmp_path / "listed"
    for i, name in enumerate("abcdef"):
        path = root / ("one" if i < 3 else "two") / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i)).save(path)
    return root


def manifest(root: Path, text: str, encoding: str = "utf-8") -> Path:
    (root / "manifest.csv").write_bytes(text.encode(encoding))
    return root


def refusal(root: Path) -> str:
    """The error that the folder ends in, which is one line."""
    with pytest.raises(UsageError) as caught:
        Folder(str(root))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Links.


def linked(root: Path, *parts: str) -> None:
    """Move a part of the tree elsewhere, and leave a link."""
    place = root.joinpath(*parts)
    elsewhere = root.parent / "elsewhere" / place.name
    elsewhere.parent.mkdir(exist_ok=True)
    shutil.move(place, elsewhere)
    place.symlink_to(elsewhere)


@pytest.mark.parametrize("parts", [("test",), ("train", "pink"), ("val", "purple", "03.png"), ()])
def test_what_is_linked_counts_like_what_is_there(tree: Path, parts):
    before = Folder(str(tree))
    linked(tree, *parts)
    after = Folder(str(tree))
    assert [s.id for s in after.samples] == [s.id for s in before.samples]
    assert [s.target for s in after.samples] == [s.target for s in before.samples]
    assert after.card.classes == before.card.classes


def test_a_loop_and_a_link_beside_its_target_add_nothing(tree: Path, capsys):
    (tree / "train" / "pink" / "up").symlink_to("..")
    (tree / "train" / "pink" / "a.png").symlink_to("00.png")
    assert len(Folder(str(tree)).samples) == 52
    assert "1 further names of images count once: train/pink/a.png." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("link", "target", "named"),
    [
        ("val/pink/x.png", "../../train/pink/00.png", "val/pink/x.png = train/pink/00.png"),
        ("train/purple/x.png", "../pink/00.png", "train/purple/x.png = train/pink/00.png"),
        ("test2", "test", "test2 = test"),
        ("val/third", "pink", "val/third = val/pink"),
        ("train/gone", "/gone", "train/gone (a link that leads nowhere"),
        ("train/pink/gone.png", "/gone.png", "pink/gone.png (a link that leads nowhere"),
    ],
)
def test_links_that_give_a_second_label_or_lead_nowhere_are_refused(tree: Path, link, target, named):
    (tree / link).symlink_to(target)
    assert named in refusal(tree)


def test_a_hard_link_in_another_class_is_refused(tree: Path):
    (tree / "train" / "purple" / "x.png").hardlink_to(tree / "train" / "pink" / "00.png")
    assert "train/purple/x.png = train/pink/00.png" in refusal(tree)


# The tree.


def test_tree_gives_split_class_and_id_by_name(tree: Path):
    dataset = Folder(str(tree), name="mine")
    assert dataset.card.name == "mine"
    assert dataset.card.classes == ("pink", "purple")
    by_id = {s.id: s for s in dataset.samples}
    assert len(by_id) == len(dataset.samples) == 52
    sample = by_id["val/purple/03.png"]
    assert (sample.split, sample.target, sample.group) == ("val", 1, None)
    assert sample.bytes == (tree / sample.id).stat().st_size
    assert np.array_equal(dataset.image(sample), np.asarray(Image.open(tree / sample.id)))


def test_tree_takes_folders_below_a_class(tree: Path):
    (tree / "train" / "pink" / "slide_1").mkdir()
    shutil.move(tree / "train" / "pink" / "00.png", tree / "train" / "pink" / "slide_1" / "00.png")
    sample = next(s for s in Folder(str(tree)).samples if s.id == "train/pink/slide_1/00.png")
    assert (sample.split, sample.target) == ("train", 0)


def test_images_right_in_the_root_are_new(tree: Path):
    Image.fromarray(picture(7)).save(tree / "unseen.png")
    new = [s for s in Folder(str(tree)).samples if s.split == "new"]
    assert [(s.id, s.target) for s in new] == [("unseen.png", None)]


def test_a_folder_of_new_images_alone_has_no_classes(tmp_path: Path):
    for i in range(3):
        Image.fromarray(picture(i)).save(tmp_path / f"{i}.PNG")
    dataset = Folder(str(tmp_path))
    assert [s.id for s in dataset.samples] == ["0.PNG", "1.PNG", "2.PNG"]
    assert dataset.card.classes == ()


@pytest.mark.parametrize("place", ["train/loose.png", "pink/loose.png", "training/pink/loose.png"])
def test_an_image_at_the_wrong_depth_is_named(tree: Path, place: str):
    (tree / place).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(7)).save(tree / place)
    assert place in refusal(tree)


def test_hidden_and_other_files_are_left_out(tree: Path):
    before = Folder(str(tree)).fingerprint()
    (tree / "train" / "pink" / "notes.txt").write_text("no image")
    (tree / "train" / "pink" / "._00.png").write_bytes(b"made by a Mac")
    (tree / ".thumbnails").mkdir()
    (tree / ".thumbnails" / "x.png").write_bytes(b"made by a desktop")
    assert Folder(str(tree)).fingerprint() == before


def test_a_folder_that_is_none_or_has_nothing(tmp_path: Path):
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")
    assert "found none" in refusal(tmp_path)
    assert "found none" in refusal(manifest(tmp_path, HEADER))


def test_an_empty_file_is_named(tree: Path):
    (tree / "val" / "pink" / "02.png").write_bytes(b"")
    assert str(tree / "val" / "pink" / "02.png") in refusal(tree)


def test_files_with_the_same_content_are_named_and_counted(tree: Path):
    shutil.copy(tree / "train" / "pink" / "00.png", tree / "test" / "pink" / "copy.png")
    message = refusal(tree)
    assert "1 duplicates" in message
    assert "test/pink/copy.png = train/pink/00.png" in message


def test_files_that_differ_in_the_middle_alone_are_no_duplicates(tmp_path: Path):
    for name, middle in (("a", 1), ("b", 2)):
        pixels = np.zeros((200, 200, 3), np.uint8)
        pixels[20, 20] = middle
        Image.fromarray(pixels).save(tmp_path / f"{name}.bmp")
    assert len(Folder(str(tmp_path)).samples) == 2


# The manifest.


def test_manifest_gives_everything(listed: Path):
    lines = "one/a.png,tumour,train,p1,first\none/b.png, normal ,val,,\ntwo/d.png,,,p2,\n"
    dataset = Folder(str(manifest(listed, HEADER + lines)))
    assert dataset.card.classes == ("normal", "tumour")
    assert [(s.id, s.split, s.target, s.group) for s in dataset.samples] == [
        ("first", "train", 1, "p1"),
        ("one/b.png", "val", 0, None),
        ("two/d.png", "new", None, "p2"),
    ]
    assert np.array_equal(dataset.image(dataset.samples[2]), picture(3))


def test_manifest_with_paths_alone_is_all_new(listed: Path):
    dataset = Folder(str(manifest(listed, "path\none/a.png\ntwo/e.png\n")))
    assert [(s.id, s.split, s.target) for s in dataset.samples] == [
        ("one/a.png", "new", None),
        ("two/e.png", "new", None),
    ]


def test_manifest_may_hold_absolute_paths(listed: Path, tmp_path: Path):
    Image.fromarray(picture(9)).save(tmp_path / "elsewhere.png")
    (sample,) = Folder(str(manifest(listed, f"path\n{tmp_path / 'elsewhere.png'}\n"))).samples
    assert sample.path == tmp_path / "elsewhere.png"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_manifest_as_spreadsheets_save_it(listed: Path, encoding: str, newline: str):
    text = "path,label,split\none/a.png,Gewebe ä,train\n\none/b.png,normal,test\n".replace("\n", newline)
    dataset = Folder(str(manifest(listed, text, encoding)))
    assert dataset.card.classes == ("Gewebe ä", "normal")
    assert [s.split for s in dataset.samples] == ["train", "test"]


def test_manifest_in_another_encoding_is_refused_in_a_line(listed: Path):
    assert "UTF-8" in refusal(manifest(listed, "path,label\none/a.png,Gewebe ä\n", "latin-1"))


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("one/a.png,x,train,,\nnot/here.png,x,val,,\n", "not/here.png"),
        ("one/a.png,x,train,,\none,x,val,,\n", "one (not a file)"),
        ("one/a.png,x,training,,\n", "got training"),
        ("one/a.png,x,train,,\n,x,train,,\n", "line 3"),
        ("one/a.png,x,train,,\none/a.png,x,train,,again\n", "one/a.png"),
        ("one/a.png,x,train,,twin\none/b.png,x,train,,twin\n", "twin"),
        ("one/a.png,x,train,p7,\none/b.png,x,train,p8,\none/c.png,x,test,p7,\n", "p7 (test, train)"),
    ],
    ids=["missing", "folder", "split", "no path", "same path", "same id", "crossing group"],
)
def test_manifest_refusals_name_the_culprit(listed: Path, lines: str, named: str):
    assert named in refusal(manifest(listed, HEADER + lines))


def test_manifest_without_a_path_column_says_what_it_has(listed: Path):
    assert "got file, label" in refusal(manifest(listed, "file;label\none/a.png;x\n"))


def test_manifest_wins_over_the_tree(tree: Path):
    dataset = Folder(str(manifest(tree, "path\ntrain/pink/00.png\n")))
    assert [s.id for s in dataset.samples] == ["train/pink/00.png"]


def test_long_lists_of_culprits_are_cut_and_counted(listed: Path):
    message = refusal(manifest(listed, "path\n" + "".join(f"gone_{i}.png\n" for i in range(40))))
    assert message.startswith("40 files")
    assert "and 35 more" in message


# The fingerprint.


def test_fingerprint_is_the_same_wherever_the_root_is(tmp_path: Path):
    here, there = write_tree(tmp_path / "here"), tmp_path / "deeper" / "there"
    shutil.copytree(here, there)
    assert Folder(str(here)).fingerprint() == Folder(str(there)).fingerprint()


def test_fingerprint_sees_labels_splits_sizes_and_absence(tree: Path):
    image, label, split = tree / "train/pink/00.png", tree / "train/purple/new.png", tree / "val/pink/new.png"
    seen = [Folder(str(tree)).fingerprint()]
    for place in (label, split):
        shutil.move(image, place)
        seen.append(Folder(str(tree)).fingerprint())
        shutil.move(place, image)
    Image.fromarray(picture(5, size=40)).save(image)
    seen.append(Folder(str(tree)).fingerprint())
    image.unlink()
    seen.append(Folder(str(tree)).fingerprint())
    assert len(set(seen)) == 5


@pytest.mark.parametrize(
    "changed",
    ["one/a.png,y,train,,\none/b.png,y,val,,\n", "one/a.png,x,test,,\none/b.png,y,val,,\n"],
    ids=["label", "split"],
)
def test_fingerprint_of_a_manifest_sees_each_column(listed: Path, changed: str):
    before = Folder(str(manifest(listed, HEADER + "one/a.png,x,train,,\none/b.png,y,val,,\n"))).fingerprint()
    assert Folder(str(manifest(listed, HEADER + changed))).fingerprint() != before


# Decoding.


def saved(root: Path, name: str, image: Image.Image, **options: object) -> np.ndarray:
    """What the dataset makes of one saved image; always uint8 RGB."""
    image.save(root / name, **options)  # type: ignore[arg-type]
    dataset = Folder(str(root))
    pixels = dataset.image(dataset.samples[0])
    assert pixels.dtype == np.uint8
    assert pixels.shape == (image.height, image.width, 3)
    return pixels


def test_a_truncated_jpeg_is_an_error_when_read(tmp_path: Path):
    Image.fromarray(picture(0, size=64)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    dataset = Folder(str(tmp_path))
    with pytest.raises(OSError, match="truncated"):
        dataset.image(dataset.samples[0])


def test_what_is_no_image_is_an_error_when_read(tmp_path: Path):
    (tmp_path / "a.png").write_text("a table, renamed")
    dataset = Folder(str(tmp_path))
    with pytest.raises(OSError, match="it is no 8-bit image"):
        dataset.image(dataset.samples[0])


def test_grey_becomes_three_equal_channels(tmp_path: Path):
    grey = picture(0)[..., 0]
    assert np.array_equal(saved(tmp_path, "a.png", Image.fromarray(grey)), np.dstack([grey] * 3))


def test_palettes_are_looked_up(tmp_path: Path):
    palette = Image.fromarray(picture(0)).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    assert np.array_equal(saved(tmp_path, "a.png", palette), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(("name", "options"), [("a.tif", {"compression": "tiff_lzw"}), ("a.webp", {"lossless": True})])
def test_other_formats(tmp_path: Path, name: str, options: dict[str, object]):
    assert np.array_equal(saved(tmp_path, name, Image.fromarray(picture(0)), **options), picture(0))


def test_images_can_be_written_to(tree: Path):
    dataset = Folder(str(tree))
    dataset.image(dataset.samples[0])[:] = 0  # torch warns of arrays that cannot


def test_sites_and_mpp_are_taken_over(listed: Path):
    text = "path,label,split,group,site\none/a.png,x,train,p1,north\none/b.png,y,train,p2,\ntwo/d.png,x,test,p3,south\n"
    dataset = Folder(str(manifest(listed, text)), mpp=0.25)
    assert [s.site for s in dataset.samples] == ["north", None, "south"]
    assert dataset.card.mpp == 0.25


# What a manifest may look like, and what switches no check off.

CROSSING = "one/a.png,x,train,p1\none/b.png,y,train,p2\ntwo/d.png,x,test,p1\n"


@pytest.mark.parametrize(
    "header", ["path,label,split, group", "path,label,split,Group", "Path,LABEL,split,\u00a0group"]
)
def test_the_check_of_groups_is_on_however_the_header_is_written(listed: Path, header: str):
    assert "p1 (test, train)" in refusal(manifest(listed, f"{header}\n{CROSSING}"))


@pytest.mark.parametrize("name", ["patient", "Patient_ID", "gruop", "groups", "slide", "case id", "wsi-id", "subject"])
def test_a_column_that_is_near_to_group_does_not_switch_the_check_off(listed: Path, name: str):
    message = refusal(manifest(listed, f"path,label,split,{name}\n{CROSSING}"))
    assert repr(name) in message
    assert "Rename it to group" in message


def test_other_columns_are_told_once(listed: Path, capsys: pytest.CaptureFixture[str]):
    lines = "one/a.png,x,train,p1,60,s1\none/b.png,y,test,p2,70,s2\n"
    dataset = Folder(str(manifest(listed, f"path,label,split,group,age,patient\n{lines}")))
    assert [s.group for s in dataset.samples] == ["p1", "p2"]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "not read: age, patient." in said[0]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_manifest_of_another_locale_is_read(listed: Path, delimiter: str):
    text = "path,label,split\none/a.png,x,train\n,,\none/b.png,y,test\n".replace(",", delimiter)
    assert [s.split for s in Folder(str(manifest(listed, text, "utf-16"))).samples] == ["train", "test"]


def test_a_row_with_other_fields_than_the_header_is_named(listed: Path):
    assert "line 3 has 4" in refusal(manifest(listed, "path,label,split\none/a.png,x,train\none/b.png,y,z,test\n"))


def test_rows_without_a_group_among_others_with_one_are_counted(listed: Path, capsys: pytest.CaptureFixture[str]):
    Folder(str(manifest(listed, HEADER + "one/a.png,x,train,p1,\none/b.png,y,test,,\n")))
    assert "1 of 2 rows have no group" in capsys.readouterr().err
