import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from eva_core.files import checksums
from eva_core.files.checksums import BLOCK, BlockDigest, Verified, digest_of, not_read, sha256


def by_hand(content: bytes) -> bytes:
    """SHA-256 over the SHA-256 of each 4 MiB."""
    blocks = (content[start : start + BLOCK] for start in range(0, len(content), BLOCK))
    return hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).digest()


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1, 2 * BLOCK])
def test_a_digest_by_blocks_is_the_same_however_it_is_fed(size: int, tmp_path: Path):
    content = np.random.default_rng(size).bytes(size)
    whole = BlockDigest()
    for start in range(0, size, 999_983):
        whole.update(content[start : start + 999_983])
    assert whole.digest() == by_hand(content)
    (tmp_path / "f").write_bytes(b"head" + content)
    with (tmp_path / "f").open("rb") as file:
        assert digest_of(file.fileno(), 4, 4 + size) == by_hand(content)
        if size > 1:
            assert digest_of(file.fileno(), 4, 3 + size) != by_hand(content)


def test_sha256_of_nothing_is_the_published_one():
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_notes_hold_until_the_file_changes_or_a_week_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, notes = tmp_path / "f", tmp_path / "notes.json"
    path.write_text("a")
    state = path.stat()
    began = state.st_ctime + 1
    monkeypatch.setattr(checksums.time, "time", lambda: began + 1)
    verified = Verified(notes)
    assert not verified.holds("f", state)
    verified.note("f", state, began)
    verified.keep()
    assert Verified(notes).holds("f", state)
    assert not Verified(notes).holds("g", state)
    path.write_text("b")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert not Verified(notes).holds("f", path.stat())  # the time of change can't be set
    monkeypatch.setattr(checksums.time, "time", lambda: began + 8 * 86400)
    assert not Verified(notes).holds("f", state)


def test_a_file_that_may_have_changed_within_a_tick_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "f").write_text("a")
    state = (tmp_path / "f").stat()
    verified = Verified()
    monkeypatch.setattr(checksums.time, "time", lambda: state.st_ctime + 1)
    verified.note("f", state, state.st_ctime + 0.05)
    assert not verified.holds("f", state)


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"f": 3}', b'{"f": ["x"]}', b"\xff"])
def test_damaged_notes_are_none(content: bytes, tmp_path: Path):
    (tmp_path / "notes").write_bytes(content)
    assert not Verified(tmp_path / "notes").holds("f", tmp_path.stat())


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EMFILE, "ulimit -n"), (errno.EACCES, "EVA_CACHE"), (errno.EIO, "left as it is")]
)
def test_what_could_not_be_read_says_what_to_do(number: int, said: str):
    line = str(not_read(Path("x.h5"), OSError(number, os.strerror(number))))
    assert line.startswith(f"Could not read x.h5 ({os.strerror(number)}). ")
    assert said in line
