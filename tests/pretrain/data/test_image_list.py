"""Lists of the images of a folder and of its shards, kept as a file."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eva_core.errors import EvaError, UsageError
from eva_core.results.record import CONFIG
from eva_pretrain.data import folder_stream, image_list
from eva_pretrain.data.folder_stream import FolderStream
from eva_pretrain.data.image_list import ImageList
from eva_pretrain.run.begun_run import KEY

pytestmark = pytest.mark.filterwarnings("error")


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)).save(file, "png")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, and a shard of three members beside what is no image."""
    root = tmp_path / "images"
    (root / "a").mkdir(parents=True)
    for n in range(2):
        (root / "a" / f"{n}.png").write_bytes(png(n))
    with tarfile.open(root / "b.tar", "w") as shard:
        for name, content in (("x/2.png", png(2)), ("notes.txt", b"none"), ("3.png", png(3)), ("4.png", png(4))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    return root


def listed(folder: Path, kept: Path | None = None) -> ImageList:
    return image_list.image_list(folder, kept)


def test_members_of_shards_are_images_like_files(folder):
    images = listed(folder)
    assert [*images] == ["a/0.png", "a/1.png", "b.tar/3.png", "b.tar/4.png", "b.tar/x/2.png"]
    assert [images.read(n) for n in range(5)] == [png(n) for n in (0, 1, 3, 4, 2)]
    assert images[1:3] == ["a/1.png", "b.tar/3.png"]
    some = images.take(np.array([1, 4]))
    assert ([*some], some.read(1)) == (["a/1.png", "b.tar/x/2.png"], png(2))
    assert some.contents != images.contents


def test_a_list_is_made_once(folder, tmp_path, capsys):
    kept = tmp_path / "run/index/images.parquet"
    first = listed(folder, kept)
    (folder / "a/9.png").write_bytes(png(9))
    again = listed(folder, kept)
    assert ([*again], again.contents) == ([*first], first.contents)
    assert "5 images of" in capsys.readouterr().err
    assert [*listed(kept)] == [*first]  # and by its name, for another run
    assert listed(kept).read(4) == png(2)
    assert len(listed(folder)) == 6
    kept.write_bytes(b"PAR1")
    with pytest.raises(EvaError, match="it does not read"):
        listed(folder, kept)


def test_a_small_folder_is_listed_at_each_start(folder, tmp_path, monkeypatch):
    (folder / "b.tar").unlink()
    kept = tmp_path / "kept.parquet"
    small = listed(folder, kept)
    assert len(small) == 2
    assert not kept.exists()
    monkeypatch.setattr(image_list, "INDEXED", 2)
    large = listed(folder, kept)
    assert kept.exists()
    assert ([*large], large.contents) == ([*small], small.contents)
    second, both = large.take(np.array([1])), large.take(np.array([0, 1]))
    assert ([*second], second.read(0)) == (["a/1.png"], png(1))
    assert len({second.contents, both.contents, large.contents}) == 3


def test_a_shard_that_is_cut_after_it_was_listed(folder):
    images = listed(folder)
    shard = folder / "b.tar"
    shard.write_bytes(shard.read_bytes()[:600])
    with pytest.raises(OSError, match="cut short"):
        images.read(4)


def test_without_images(tmp_path):
    with pytest.raises(UsageError, match=r"Expected images \(bmp, jpeg, .*, but there is none"):
        listed(tmp_path)


def test_a_large_folder_has_an_order_that_takes_no_memory(folder, monkeypatch):
    plain = FolderStream(folder, 5, 8).identity()
    monkeypatch.setattr(folder_stream, "SHUFFLED", 3)
    stream = FolderStream(folder, 5, 8)
    batches = iter(stream)
    orders = [next(batches).slide.tolist() for _ in range(3)]
    assert [sorted(order) for order in orders] == [list(range(5))] * 3
    assert len({tuple(order) for order in orders}) > 1
    assert sorted(stream.drawn(1).tolist()) == list(range(5))
    assert "order" in stream.identity()
    assert "order" not in plain


def test_a_member_that_goes_beyond_its_shard_is_no_image(folder, capsys):
    shard = folder / "b.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[: content.index(png(4)) + 20])
    assert [*listed(folder)] == ["a/0.png", "a/1.png", "b.tar/3.png", "b.tar/x/2.png"]
    assert capsys.readouterr().err == (
        "Shards are left out, whole or from where they do not read: b.tar (it ends amid '4.png').\n"
    )


def test_a_flipped_bit_of_a_list_is_found_or_harmless(folder, tmp_path):
    kept, known = tmp_path / "images.parquet", listed(folder)
    listed(folder, kept)
    whole, found = kept.read_bytes(), 0
    for bit in range(0, 8 * len(whole), 53):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        kept.write_bytes(damaged)
        try:
            read = listed(folder, kept)
        except EvaError:
            found += 1
        else:
            assert ([*read], read.contents) == ([*known], known.contents)
            assert [read.read(n) for n in range(5)] == [known.read(n) for n in range(5)]
    assert found


def test_a_list_of_shards_that_changed_is_refused(folder, tmp_path):
    kept = tmp_path / "images.parquet"
    listed(folder, kept)
    with (folder / "b.tar").open("ab") as shard:
        shard.write(b"more")
    with pytest.raises(EvaError, match=r"Expected shards as .*images\.parquet lists them, but .*b\.tar changed or"):
        listed(folder, kept)
    kept.unlink()
    assert len(listed(folder, kept)) == 5


def test_a_shard_alone(folder, tmp_path):
    alone = listed(folder / "b.tar", tmp_path / "kept.parquet")
    assert [*alone] == ["b.tar/3.png", "b.tar/4.png", "b.tar/x/2.png"]
    assert alone.read(2) == png(2)
    assert not (tmp_path / "kept.parquet").exists()  # another folder may be given next
    for name in ("notes.txt", "broken.parquet"):
        (folder / name).write_bytes(b"PAR1")
        with pytest.raises(UsageError, match=r"Expected images .*, but there is none"):
            listed(folder / name)


def test_a_shard_without_images_makes_no_list(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/0.png").write_bytes(png(0))
    plain = listed(tmp_path / "images")
    with tarfile.open(tmp_path / "images/a.tar", "w") as shard:
        shard.addfile(tarfile.TarInfo("notes.txt"))
    pq.write_table(pa.table({"label": [1]}), tmp_path / "images/b.parquet")
    beside = listed(tmp_path / "images", tmp_path / "kept.parquet")
    assert ([*beside], beside.contents) == (["0.png"], plain.contents)
    assert not (tmp_path / "kept.parquet").exists()


@pytest.mark.parametrize("link", [False, True])
def test_what_runs_have_drawn_is_no_image(folder, capsys, link):
    before = [*listed(folder)]
    for name in (*image_list.RUN, "crops.png", "exports/step-1/a.png"):
        (folder / "out/first" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "out/first" / name).write_bytes(png(5))
    if link:
        (folder / "z.png").symlink_to("a/0.png")
    capsys.readouterr()
    assert [*listed(folder)] == before
    assert capsys.readouterr().err == "Folders of runs are no patches, and left out: out/first.\n"
    assert image_list.RUN == (KEY, CONFIG)


def test_a_run_that_draws_into_its_folder_keeps_the_list(folder):
    (folder / "b.tar").unlink()
    kept = folder / "index/images.parquet"
    before = [*listed(folder, kept)]
    (folder / "crops.png").write_bytes(png(5))
    assert [*listed(folder, kept)] == before
    assert len(listed(folder)) == 3
