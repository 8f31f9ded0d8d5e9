import hashlib
from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_vision.slides.changed_slides import State, head_hash, sample_hash, state_of


def test_the_state_of_a_file_is_size_and_time(tmp_path: Path):
    path = tmp_path / "a.svs"
    path.write_bytes(b"abc")
    assert state_of(str(path)) == State(3, path.stat().st_mtime_ns, "")
    path.unlink()
    with pytest.raises(EvaError, match=r"Expected a slide at .*a\.svs, but it cannot be read \(No such file"):
        state_of(str(path))


def test_hashes_of_the_head_and_of_blocks_by_hand(tmp_path: Path):
    content = np.random.default_rng(0).bytes(300_000)
    path = tmp_path / "a.svs"
    path.write_bytes(content)
    assert head_hash(str(path), 300_000) == hashlib.sha256(content[: 2**16] + b"300000").hexdigest()
    starts = [(300_000 - 4096) * n // 31 for n in range(32)]
    blocks = b"".join(content[start : start + 4096] for start in starts)
    assert sample_hash(str(path), 300_000) == hashlib.sha256(blocks).hexdigest()
    assert sample_hash("s3://bucket/a.svs", 300_000) == ""


def test_the_last_byte_of_a_file_counts(tmp_path: Path):
    path = tmp_path / "a.svs"
    path.write_bytes(bytes(50_000))
    before = sample_hash(str(path), 50_000)
    path.write_bytes(bytes(49_999) + b"x")
    assert sample_hash(str(path), 50_000) != before
