"""Hashes of images that were read, in files that only grow."""

from pathlib import Path

import numpy as np
import pytest

from eva_pretrain.data.seen_images import images_seen, note_seen


def note(output: Path, name: str, *hashes: int) -> Path:
    note_seen(output, name, np.array(hashes, np.uint64))
    return output / f"seen/{name}.rows"


def seen(output: Path) -> list[int]:
    return np.frombuffer(images_seen(output), "<u8").tolist()


def test_what_ranks_note_is_read_once_and_sorted(tmp_path):
    assert images_seen(tmp_path) == b""
    note(tmp_path, "rank-0", 5, 3)
    note(tmp_path, "rank-1", 2**63, 3)
    note(tmp_path, "rank-1")
    assert seen(tmp_path) == [3, 5, 2**63]


def test_a_part_that_a_killed_process_left_is_no_image(tmp_path):
    file = note(tmp_path, "rank-0", 5, 9)
    whole = file.read_bytes()
    for length in range(len(whole) // 2 + 1, len(whole)):
        file.write_bytes(whole[:length])
        assert seen(tmp_path) == [5]
        note(tmp_path, "rank-0", 7)
        assert seen(tmp_path) == [5, 7]


def test_zeros_that_a_torn_write_left_are_no_image(tmp_path):
    file = note(tmp_path, "rank-0", 5)
    file.write_bytes(file.read_bytes() + bytes(24))
    assert seen(tmp_path) == [5]


def test_a_flipped_bit_costs_its_image_alone_and_is_said(tmp_path, capsys: pytest.CaptureFixture[str]):
    file = note(tmp_path, "rank-0", 5, 2**63, 0)
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        assert set(seen(tmp_path)) < {0, 5, 2**63}
        assert "rank-0.rows: 1 of 3 hashes" in capsys.readouterr().err
    note(tmp_path, "rank-0", 0, 5, 2**63)
    assert seen(tmp_path) == [0, 5, 2**63]


def test_a_second_pass_adds_nothing(tmp_path):
    for hashes in ([5, 3, 5], [3, 5], [3, 7]):
        file = note(tmp_path, "rank-0", *hashes)
    assert file.stat().st_size == 3 * 12
