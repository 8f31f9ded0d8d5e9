"""Hashes of images that were read, in files that only grow."""

import numpy as np

from eva_pretrain.data.seen_images import images_seen, note_seen


def test_what_ranks_note_is_read_once_and_sorted(tmp_path):
    assert images_seen(tmp_path) == b""
    note_seen(tmp_path, "rank-0", np.array([5, 3], np.uint64))
    note_seen(tmp_path, "rank-1", np.array([2**63, 3], np.uint64))
    note_seen(tmp_path, "rank-1", np.empty(0, np.uint64))
    assert np.frombuffer(images_seen(tmp_path), "<u8").tolist() == [3, 5, 2**63]


def test_a_part_that_a_killed_process_left_is_no_image(tmp_path):
    note_seen(tmp_path, "rank-0", np.array([5], np.uint64))
    file = tmp_path / "seen/rank-0.u64"
    file.write_bytes(file.read_bytes() + b"abc")
    assert np.frombuffer(images_seen(tmp_path), "<u8").tolist() == [5]
    note_seen(tmp_path, "rank-0", np.array([7], np.uint64))
    assert {5, 7} <= {*np.frombuffer(images_seen(tmp_path), "<u8").tolist()}


def test_a_second_pass_adds_nothing(tmp_path):
    for hashes in ([5, 3, 5], [3, 5], [3, 7]):
        note_seen(tmp_path, "rank-0", np.array(hashes, np.uint64))
    assert (tmp_path / "seen/rank-0.u64").stat().st_size == 3 * 8
