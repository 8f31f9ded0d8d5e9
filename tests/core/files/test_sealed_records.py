import errno
import os
import time
from pathlib import Path

import pytest

from eva_core.errors import EvaError
from eva_core.files.checksums import Damaged, Verified
from eva_core.files.sealed_records import FILES, check_files, read_file, read_record, vouch, write_record

CONTENT = {"name": "é", "values": [0.1, 1e-300, 3], "of": {"10": 1, "9": None}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A record and the two files that it vouches for."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "heads").write_bytes(b"heads" * 100)
    (tmp_path / "sub" / "picture").write_bytes(b"picture")
    write_record(tmp_path / "record.json", {**CONTENT, FILES: vouch(tmp_path, ["heads", "sub/picture"])})
    return tmp_path


def test_a_record_is_read_as_it_was_written(folder: Path):
    found = read_record(folder / "record.json")
    assert {name: found[name] for name in CONTENT} == CONTENT
    check_files(folder, found)
    assert read_file(folder, "sub/picture", found) == b"picture"


def test_numbers_as_keys_are_sealed_as_a_reader_sees_them(tmp_path: Path):
    write_record(tmp_path / "r.json", {"runs": {10: "a", 9: "b"}})
    assert read_record(tmp_path / "r.json")["runs"] == {"10": "a", "9": "b"}


def test_every_flipped_bit_of_a_record_is_found_or_says_the_same(folder: Path):
    path = folder / "record.json"
    before, content = read_record(path), path.read_bytes()
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 7
        path.write_bytes(flipped)
        try:
            assert read_record(path) == before
        except Damaged:
            continue
        assert chr(content[at]).isspace() or content[at : at + 1] == b"e"


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff", b'{"a": 1}', b'{"sha256": 1}', b"[" * 100_000])
def test_what_is_no_record_is_damaged(tmp_path: Path, content: bytes):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(Damaged, match=r"r\.json"):
        read_record(tmp_path / "r.json")


def test_a_record_that_is_missing_is_missing(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "r.json")
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "no folder" / "r.json")


@pytest.mark.parametrize("damage", [None, b"", b"Picture", b"picture more"])
def test_a_file_that_is_not_as_it_was_is_named(folder: Path, damage: bytes | None):
    (folder / "sub" / "picture").unlink()
    if damage is not None:
        (folder / "sub" / "picture").write_bytes(damage)
    with pytest.raises(Damaged, match="sub/picture is"):
        check_files(folder, read_record(folder / "record.json"))


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_what_cannot_be_read_for_now_is_not_damaged(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch):
    record = read_record(folder / "record.json")

    def fail(self: Path) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_bytes", fail)
    for read in (lambda: read_record(folder / "record.json"), lambda: check_files(folder, record)):
        with pytest.raises(EvaError, match="Could not read") as raised:
            read()
        assert not isinstance(raised.value, Damaged)


def test_a_file_outside_the_folder_is_not_read(folder: Path):
    record = read_record(folder / "record.json")
    record[FILES] = {"../elsewhere": record[FILES]["heads"]}
    with pytest.raises(EvaError, match="stays below"):
        check_files(folder, record)


def test_files_with_notes_are_read_once_until_they_change(folder: Path, monkeypatch: pytest.MonkeyPatch):
    record = read_record(folder / "record.json")
    time.sleep(0.15)  # files that were just written may yet change within the tick of a clock
    notes = Verified(folder / "notes")
    check_files(folder, record, notes)
    notes.keep()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda self: pytest.fail("read again"))
        check_files(folder, record, Verified(folder / "notes"))
    (folder / "heads").write_bytes(b"Heads" * 100)
    with pytest.raises(Damaged):
        check_files(folder, record, Verified(folder / "notes"))


@pytest.mark.parametrize("content", ["", "[]", '{"a": 5}', '{"a": ["x", 1, 2, 3, 4]}'])
def test_damaged_notes_are_no_notes(folder: Path, content: str):
    (folder / "notes").write_text(content)
    check_files(folder, read_record(folder / "record.json"), Verified(folder / "notes"))
