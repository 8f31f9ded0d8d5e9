"""Shards of images: which files are some, what they hold, and how it is read."""

import base64
import hashlib
import io
import itertools
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest
from PIL import Image

from eva_core.errors import EvaError, UsageError
from eva_core.evaluation.contamination import image_hash
from eva_pretrain.data import shards
from eva_pretrain.data.image_list import ImageList, image_list
from eva_pretrain.data.loader import FolderStream, PatchLoader

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
FEATURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The Image feature of Hugging Face's datasets, as Parquet has it."""


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)).save(file, "png")
    return file.getvalue()


def write(path: Path, columns: dict, group: int = 4, **settings) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group, **settings)
    return path


def features(seeds, paths=None) -> dict:
    """Columns of a dataset with one image a row; a seed that is None is a row without bytes."""
    content = [None if seed is None else png(seed) for seed in seeds]
    rows = [{"bytes": one, "path": path} for one, path in zip(content, paths or [None] * len(content), strict=True)]
    return {"label": [0] * len(rows), "picture": pa.array(rows, FEATURE)}


class Keys(encryption.KmsClient):
    """Wraps the key of a file without a secret."""

    def __init__(self, _settings) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, name: str) -> bytes:
        return base64.b64encode(key + name.encode())


def encrypted(path: Path, open_footer: bool) -> None:
    """Write a shard whose column of images is encrypted, and unless it is open the footer."""
    settings = encryption.EncryptionConfiguration("footer", column_keys={"k": ["image"]}, plaintext_footer=open_footer)
    table, factory = pa.table({"image": [png(1)], "label": [1]}), encryption.CryptoFactory(Keys)
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), settings)
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file, and two shards of ten and three rows."""
    root = tmp_path / "images"
    root.mkdir()
    (root / "0.png").write_bytes(png(99))
    write(root / "b/train.parquet", features(range(10)))
    write(root / "c.parquet", {"jpg": [png(seed) for seed in (20, 21, 22)]})
    return root


def contents(images: ImageList) -> list[bytes]:
    return [images.read(n) for n in range(len(images))]


def test_rows_are_images_like_files(folder):
    images = image_list(folder)
    rows = [f"b/train.parquet/{n:08d}" for n in range(10)] + [f"c.parquet/{n:08d}" for n in range(3)]
    assert [*images] == ["0.png", *rows]
    assert contents(images) == [png(seed) for seed in (99, *range(10), 20, 21, 22)]
    some = images.take(np.array([3, 12]))
    assert ([*some], contents(some)) == ([rows[2], rows[11]], [png(2), png(21)])
    hidden = folder / ".c.parquet"
    (folder / "c.parquet").rename(hidden)
    (folder / "d.parquet").symlink_to(hidden)
    assert [*image_list(folder)] == ["0.png", *rows[:10], *(f"d.parquet/{n:08d}" for n in range(3))]


def test_rows_are_seen_as_the_files_that_they_hold(folder):
    batch = next(iter(FolderStream(folder, 14, 8)))
    seeds = [(99, *range(10), 20, 21, 22)[n] for n in batch.slide]
    assert batch.content.tolist() == [image_hash(hashlib.sha256(png(seed)).hexdigest()) for seed in seeds]


@pytest.mark.parametrize("name", ["image", "IMG", "png", "bytes"])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_columns_of_binary_images(tmp_path, name, kind):
    write(tmp_path / "a.parquet", {"label": [b"none"], name: pa.array([png(1)], kind), "path": ["x/y.png"]})
    images = image_list(tmp_path)
    assert ([*images], contents(images)) == (["a.parquet/00000000/x/y.png"], [png(1)])


def test_paths_of_rows_tell_patients(tmp_path):
    paths = ["TCGA-AA-0001-01Z-00-DX1_1.png", None, "/data/TCGA-AA-0002/1.png", "same.png", "same.png"]
    shard = write(tmp_path / "a.parquet", features(range(5), paths))
    stream = FolderStream(shard, 2, 8)
    assert [name.partition("/")[2] for name in stream.names] == [
        "00000000/TCGA-AA-0001-01Z-00-DX1_1.png",
        "00000001",
        "00000002/data/TCGA-AA-0002/1.png",
        "00000003/same.png",
        "00000004/same.png",
    ]
    assert stream.seen(range(5)) == [(f"TCGA-AA-000{n}",) * 2 for n in (1, 2)]
    assert contents(stream.images) == [png(n) for n in range(5)]


@pytest.mark.parametrize("statistics", [True, False])
def test_rows_without_bytes_are_left_out(tmp_path, statistics, capsys):
    write(tmp_path / "a.parquet", features([0, None, 2, 3, 4, 5, None]), write_statistics=statistics)
    images = image_list(tmp_path)
    assert [int(name[-8:]) for name in images] == [0, 2, 3, 4, 5]
    assert contents(images) == [png(n) for n in (0, 2, 3, 4, 5)]
    assert "a.parquet (2 of 7 rows, which have no bytes)" in capsys.readouterr().err


def test_what_is_no_shard_is_passed_over_in_one_line(tmp_path, capsys):
    (tmp_path / "0.png").write_bytes(png(0))
    content = write(tmp_path / "cut.parquet", features(range(9))).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[:-100])
    (tmp_path / "empty.parquet").touch()
    write(tmp_path / "labels.parquet", {"label": [1], "image": ["a.png"], "other": [b""]})
    write(tmp_path / "nothing.parquet", features([]))
    write(tmp_path / "two.parquet", {"mask": features([1])["picture"], "image": [png(2)]})
    write(tmp_path / "run/index/images.parquet", features([3]))  # and so would have a column of images
    listed = pa.table(features([3])).replace_schema_metadata({shards.FACTS: json.dumps({})})
    pq.write_table(listed, tmp_path / "run/index/images.parquet")
    assert [*image_list(tmp_path)] == ["0.png"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Shards are left out, whole or from where they do not read: cut.parquet (")
    assert "empty.parquet (Parquet file size is 0 bytes)" in line
    assert "labels.parquet (it has no image column)" in line
    assert "two.parquet (it has several columns of encoded images: mask, image)" in line
    (tmp_path / "0.png").unlink()
    with pytest.raises(UsageError, match="but there is none"):
        image_list(tmp_path)


def test_encrypted_shards_are_passed_over(tmp_path, capsys):
    encrypted(tmp_path / "closed.parquet", False)
    encrypted(tmp_path / "open.parquet", True)  # whose column Arrow does not look at but by ending the process
    write(tmp_path / "plain.parquet", features([0]))
    assert contents(image_list(tmp_path)) == [png(0)]
    assert "closed.parquet (Could not read encrypted metadata" in (line := capsys.readouterr().err)
    assert "open.parquet (Cannot decrypt ColumnMetadata" in line


def test_large_row_groups_are_said(folder, monkeypatch, capsys):
    image_list(folder)
    assert not capsys.readouterr().err
    monkeypatch.setattr(shards, "_HELD", 700)
    images = image_list(folder)
    assert capsys.readouterr().err == (
        "Row groups of more than 0 MB in b/train.parquet, c.parquet: each image costs a whole one. Write shards with "
        "row_group_size=100.\n"
    )
    assert images.read(5) == png(4)
    assert not images._reader._groups


def test_row_groups_are_kept_within_a_bound(folder, monkeypatch):
    read, plain = [], shards._part
    images = image_list(folder / "b/train.parquet")
    monkeypatch.setattr(shards, "_part", lambda shard, group, name: read.append(group) or plain(shard, group, name))
    assert contents(images) == [png(n) for n in range(10)]
    assert read == [0, 1, 2]
    for _ in range(2):
        assert contents(images) == [png(n) for n in range(10)]
    assert read == [0, 1, 2]
    monkeypatch.setattr(shards, "_HELD", 2 * 4 * (len(png(0)) + 8))
    bounded = image_list(folder / "b/train.parquet")
    read.clear()  # of the paths
    for _ in range(2):
        assert contents(bounded) == [png(n) for n in range(10)]
    assert read == [0, 1, 2, 0, 1, 2]
    assert contents(pickle.loads(pickle.dumps(bounded))) == [png(n) for n in range(10)]


def test_an_open_shard_is_not_many(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_OPEN", 2)
    for n in range(4):
        write(tmp_path / f"{n}.parquet", features([n]))
    images = image_list(tmp_path)
    assert contents(images) * 2 == [images.read(n % 4) for n in range(8)]
    assert len(images._reader._opened) == 2


def test_a_list_of_shards_is_kept_and_refused_once_one_changed(folder, tmp_path):
    kept = tmp_path / "run/index/images.parquet"
    first, again = image_list(folder, kept), image_list(folder, kept)
    assert ([*again], again.contents, contents(again)) == ([*first], first.contents, contents(first))
    assert contents(image_list(kept)) == contents(first)
    write(folder / "c.parquet", features(range(4)))
    with pytest.raises(EvaError, match=r"Expected shards as .*images\.parquet lists them, but .*c\.parquet changed or"):
        image_list(folder, kept)
    kept.unlink()
    assert image_list(folder, kept).contents != first.contents


def test_a_damaged_part_fails_as_a_damaged_file_does(folder):
    def samples(stream: FolderStream) -> np.ndarray:
        return np.concatenate([batch.slide for batch in itertools.islice(stream, 7)])

    shard = folder / "b/train.parquet"
    before = samples(FolderStream(folder, 4, 8))
    stream, content = FolderStream(folder, 4, 8), shard.read_bytes()
    part = pq.read_metadata(shard).row_group(1).column(1)
    start = part.dictionary_page_offset or part.data_page_offset
    shard.write_bytes(
        content[:start] + b"\xff" * part.total_compressed_size + content[start + part.total_compressed_size :]
    )
    loader = PatchLoader(stream, workers=0, epoch=7)
    with pytest.warns(UserWarning, match="is left out from here on"):
        after = np.concatenate([batch.slide for batch in loader])
    lost = np.isin(before, range(5, 9))  # the file comes first
    assert np.array_equal(after[~lost], before[~lost])
    assert not np.isin(after, range(5, 9)).any()
    assert sorted(loader.failures) == [f"b/train.parquet/{n:08d}" for n in range(4, 8)]


def test_a_shard_that_went_or_shrank_after_it_was_listed(folder):
    images = image_list(folder)
    write(folder / "b/train.parquet", features(range(5)))
    assert images.read(5) == png(4)
    with pytest.raises(OSError, match="cut short"):
        images.read(6)
    (folder / "c.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        images.read(11)


def test_workers_and_resumed_runs_read_the_same(folder):
    def batches(stream: FolderStream, workers: int, first: int = 0) -> list:
        loader = PatchLoader(stream, workers=workers)
        loader.batches = first
        return [(batch.slide.tolist(), batch.pixels.tolist()) for batch in itertools.islice(loader, 8 - first)]

    whole = batches(FolderStream(folder, 5, 8, seed=1), 0)
    assert batches(FolderStream(folder, 5, 8, seed=1), 2) == whole
    stream = FolderStream(folder, 5, 8, seed=1)
    next(iter(stream))
    assert batches(pickle.loads(pickle.dumps(stream)), 0, 3) == whole[3:]
