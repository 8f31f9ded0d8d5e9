import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from eva_core.files import file_hashes as module
from eva_core.files.file_hashes import UNREADABLE, file_hashes, sampled, whole


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files that are old enough for their times to be trusted."""
    paths = [tmp_path / "images" / name for name in ("a.bmp", "b.bmp", "c.bmp")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(path.name.encode() * 1000)
    return paths


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files as they are read; times are trusted at once."""
    names: list[str] = []

    def counted(path: Path) -> str:
        names.append(path.name)
        return whole(path)

    monkeypatch.setattr(module, "SETTLED", -3600.0)
    counted.__name__ = "whole"
    monkeypatch.setattr(module, "whole", counted)
    return names


def told(files: list[Path], owner: str = "mine") -> dict[Path, str]:
    return file_hashes(files, owner, module.whole)


def test_it_is_the_sha256_of_the_content(files: list[Path]):
    assert told(files) == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert file_hashes([], "mine") == {}


def test_a_file_is_read_once(files: list[Path], reads: list[str]):
    first = told(files)
    assert told(files) == first
    assert sorted(reads) == ["a.bmp", "b.bmp", "c.bmp"]


def rewritten(path: Path) -> None:
    path.write_bytes(b"X" * path.stat().st_size)


def rewritten_with_its_old_times(path: Path) -> None:
    before = path.stat()
    rewritten(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_by_one_with_its_times(path: Path) -> None:
    before = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(b"X" * before.st_size)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def one_byte_in_the_middle(path: Path) -> None:
    with path.open("r+b") as handle:
        handle.seek(2500)
        handle.write(b"!")


@pytest.mark.parametrize(
    "change", [rewritten, rewritten_with_its_old_times, replaced_by_one_with_its_times, one_byte_in_the_middle]
)
def test_a_change_of_the_same_size_is_noticed(files: list[Path], reads: list[str], change: Callable[[Path], None]):
    before = told(files)
    reads.clear()
    change(files[1])
    after = told(files)
    assert reads == ["b.bmp"]
    assert after[files[1]] == hashlib.sha256(files[1].read_bytes()).hexdigest() != before[files[1]]


def test_times_of_a_file_just_written_are_not_trusted(files: list[Path], reads: list[str], monkeypatch):
    monkeypatch.setattr(module, "SETTLED", 3.0)
    told(files)
    told(files)
    assert len(reads) == 6  # a change within the same tick of the clock would not show


@pytest.mark.parametrize("content", [b"", b"no json", b"0" * 64 + b'\n{"a": [1]}'])
def test_a_damaged_record_is_made_again(files: list[Path], reads: list[str], cache: Path, content: bytes):
    right = told(files)
    (record,) = (cache / "hashes").glob("*.json")
    whole_record = record.read_bytes()
    record.write_bytes(content)
    assert told(files) == right
    assert len(reads) == 6
    assert record.read_bytes() == whole_record


def test_a_flipped_bit_in_the_record_is_found(files: list[Path], reads: list[str], cache: Path):
    right = told(files)
    (record,) = (cache / "hashes").glob("*.json")
    content = bytearray(record.read_bytes())
    content[-20] ^= 1
    record.write_bytes(content)
    assert told(files) == right


def test_a_cache_that_cannot_be_written_does_no_harm(files: list[Path], reads: list[str], cache: Path, monkeypatch):
    (cache / "hashes").write_text("a file where the folder should be")
    assert told(files) == told(files)
    assert len(reads) == 6


def test_other_owners_do_not_push_each_other_out(files: list[Path], reads: list[str]):
    for owner in ("mine", "yours", "mine", "yours"):
        told(files, owner)
    assert len(reads) == 6


def test_processes_at_the_same_time_agree(files: list[Path]):
    found: list[dict[Path, str]] = []
    threads = [threading.Thread(target=lambda: found.append(told(files))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(one == found[0] for one in found)


def test_what_does_not_read_has_no_hash_and_is_tried_again(files: list[Path], reads: list[str]):
    gone = files[0].with_name("gone.bmp")
    assert told([*files, gone])[gone] == UNREADABLE
    gone.write_bytes(b"here now")
    assert told([*files, gone])[gone] == hashlib.sha256(b"here now").hexdigest()


def test_names_of_any_bytes_are_kept(tmp_path: Path, reads: list[str]):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/Dr\xfcse.png"))
    path.write_bytes(b"pixels")
    assert told([path]) == told([path]) == {path: hashlib.sha256(b"pixels").hexdigest()}
    assert len(reads) == 1


def test_a_large_file_is_sampled_from_its_first_byte_to_its_last(tmp_path: Path):
    size = 17 * 2**20
    slide = tmp_path / "slide.svs"
    seen = set()
    for place in (None, 0, size // 2, size - 1):
        with slide.open("wb") as handle:
            handle.truncate(size)
            if place is not None:
                handle.seek(place)
                handle.write(b"!")
        seen.add(sampled(slide))
    assert len(seen) >= 3  # the middle may lie between two blocks
    slide.write_bytes(b"small")
    assert sampled(slide) == whole(slide)
