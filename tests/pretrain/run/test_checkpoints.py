"""Checkpoints: whole or not there, and what is damaged is found."""

import errno
import random
from pathlib import Path

import pytest
import torch

from eva_core.errors import EvaError
from eva_core.files import atomic_files
from eva_pretrain.run import checkpoints
from eva_pretrain.run.checkpoints import (
    best_checkpoints,
    clear_unfinished,
    fault,
    last_checkpoint,
    prune,
    read_checkpoint,
    refuse_damaged,
    say_passed_over,
    size_of,
    step_of,
    write_checkpoint,
)

CONTENT = {"state_dict": {"a": torch.arange(60.0).view(3, 20), "b": torch.ones(5)}, "global_step": 3, "name": "x"}


def write(output: Path, step: int, kind: str = "step") -> Path:
    path = output / "checkpoints" / f"{kind}-{step}.ckpt"
    write_checkpoint(CONTENT, path)
    return path


def test_a_checkpoint_reads_as_it_was_written(tmp_path):
    path = write(tmp_path, 3)
    assert fault(path) is None
    for content in (read_checkpoint(path), read_checkpoint(path, mapped=True), torch.load(path, weights_only=True)):
        assert torch.equal(content["state_dict"]["a"], CONTENT["state_dict"]["a"])
        assert content["global_step"] == 3
    assert [p.name for p in path.parent.iterdir()] == ["step-3.ckpt"]
    assert step_of(path) == 3


def test_every_truncation_and_flipped_bit_is_found_and_the_one_before_is_taken(tmp_path, capsys):
    before, newest = write(tmp_path, 3), write(tmp_path, 6)
    whole, rng = newest.read_bytes(), random.Random(0)
    damaged = [whole[:size] for size in (0, 1, 73, len(whole) - 1, *rng.sample(range(len(whole)), 60))]
    damaged += [whole + b"\0", b"\0" * len(whole), b"no checkpoint", whole[:-100] + whole[-99:]]
    for at in [*range(0, 40), *range(len(whole) - 160, len(whole)), *rng.sample(range(len(whole)), 150)]:
        flipped = bytearray(whole)
        flipped[at] ^= 1 << rng.randrange(8)
        damaged.append(bytes(flipped))
    for content in damaged:
        newest.unlink()  # a new file, whatever the clock says
        newest.write_bytes(content)
        assert fault(newest) is not None
        assert last_checkpoint(tmp_path) == before
    say_passed_over(tmp_path, before)
    said = capsys.readouterr().err
    assert said == f"{newest} is not used, because {fault(newest)}; {before} is taken.\n"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: torch.save(CONTENT, path), "it is cut, or of another format"),
        (lambda path: path.mkdir(), "it does not read"),
        (lambda path: path.symlink_to("nowhere"), "it does not read"),
    ],
)
def test_what_is_no_checkpoint_of_ours_is_passed_over_and_said(make, said, tmp_path):
    before, path = write(tmp_path, 1), tmp_path / "checkpoints/step-2.ckpt"
    make(path)
    assert said in str(fault(path))
    assert last_checkpoint(tmp_path) == before
    with pytest.raises(EvaError, match=said):
        read_checkpoint(path)


def test_where_none_is_whole_a_line_says_what_to_do(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step in (1, 2):
        write(tmp_path, step).write_bytes(b"cut")
    with pytest.raises(
        EvaError, match=r"got none \(step-2.ckpt: it is cut.*; step-1.ckpt: .*\). Restore one .* or delete"
    ):
        last_checkpoint(tmp_path)


def test_what_may_not_be_read_is_not_damaged(tmp_path, monkeypatch):
    path = write(tmp_path, 1)

    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoints, "_fault", refused)
    with pytest.raises(EvaError, match="may not be read"):
        last_checkpoint(tmp_path)
    assert path.exists()


def test_two_stay_and_later_ones_that_were_given_up_go(tmp_path):
    for step in (1, 2, 3, 9):
        write(tmp_path, step)
    (tmp_path / "checkpoints/step-mine.ckpt").write_text("not ours")
    best = write(tmp_path, 1, "best")
    prune(tmp_path, 3, 2)
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"step-2.ckpt", "step-3.ckpt", "step-mine.ckpt", "best-1.ckpt"}
    assert best_checkpoints(tmp_path) == [best]


def test_a_damaged_one_does_not_count_among_those_that_stay(tmp_path):
    for step in (1, 2, 3):
        write(tmp_path, step)
    (tmp_path / "checkpoints/step-2.ckpt").write_bytes(b"cut")
    prune(tmp_path, 3, 2)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-1.ckpt", "step-3.ckpt"}


def test_nothing_of_a_write_that_fails_stays_and_the_one_before_is_kept(tmp_path, monkeypatch):
    write(tmp_path, 1)
    write_ = checkpoints._ChecksummedFile.write

    def full(self, block):
        self._failed = OSError(errno.ENOSPC, "No space left on device")
        return write_(self, block)

    monkeypatch.setattr(checkpoints._ChecksummedFile, "write", full)
    path = tmp_path / "checkpoints/step-2.ckpt"
    with pytest.raises(EvaError, match=r"step-2.ckpt \(No space left.*it needs \d+ bytes.* is kept: step-1.ckpt"):
        write_checkpoint(CONTENT, path)
    assert [p.name for p in path.parent.iterdir()] == ["step-1.ckpt"]


def test_space_is_asked_for_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_files, "free_space", lambda path: 100)
    monkeypatch.setattr(torch, "save", lambda *_: pytest.fail("it was written"))
    with pytest.raises(EvaError, match=r"it needs 260 bytes, 100 bytes are free.*There is no checkpoint yet"):
        write(tmp_path, 1)


def test_the_size_counts_shared_memory_once(tmp_path):
    a = torch.zeros(10)
    assert size_of({"a": a, "b": [a[:5], a.view(2, 5)], "c": ({"d": torch.zeros(3, dtype=torch.int8)}, "x", 1)}) == 43


def test_leftovers_of_a_kill_go(tmp_path):
    path = write(tmp_path, 1)
    (path.parent / ".step-2.ckpt.1234abcd.tmp").write_bytes(b"half")
    clear_unfinished(tmp_path)
    assert [p.name for p in path.parent.iterdir()] == ["step-1.ckpt"]


def test_a_file_with_our_sum_must_fit_it_and_one_without_passes(tmp_path):
    theirs, ours = tmp_path / "theirs.pth", write(tmp_path, 1)
    torch.save(CONTENT, theirs)
    refuse_damaged(theirs)
    refuse_damaged(ours)
    content = bytearray(ours.read_bytes())
    content[300] ^= 1
    ours.write_bytes(content)
    with pytest.raises(EvaError, match="bits of it have changed"):
        refuse_damaged(ours)
