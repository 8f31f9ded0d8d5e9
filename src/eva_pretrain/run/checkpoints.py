"""Checkpoints of a run: each is whole or not there, carries a checksum, and the newest whole one is gone on from."""

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor

from eva_core.errors import EvaError
from eva_core.files.atomic_files import make_folder, refuse_without_room, replacing
from eva_core.progress import say

CHECKPOINTS = "checkpoints"
KEPT = 2
"""Newest checkpoints that stay: where a disk damages one, there is another."""

_MARK = b"\nsha256:"
_END = len(_MARK) + 64 + 1
_BLOCK = 2**22


class SummedCheckpoints(CheckpointIO):
    """The files of a run as Lightning writes and reads them.

    Attributes:
        failed: Why the last one could not be written; all ranks are told, and none waits for the one that writes.
    """

    def __init__(self) -> None:
        self.failed: str | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one; see `write_checkpoint`. What prevents it is left in `failed`."""
        try:
            write_checkpoint(checkpoint, Path(path))
            self.failed = None
        except EvaError as error:
            self.failed = str(error)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read one; see `read_checkpoint`."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete one, where it is there."""
        Path(path).unlink(missing_ok=True)


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write a file that `torch.load` reads, with the SHA-256 of all that stands before it at its end.

    It is written beside its place, block by block as it is summed, so that it takes no memory; it gets its name once
    the disk has it. SHA-256 takes about 7 s for 10 GB.

    Args:
        content: Tensors, numbers and texts.
        path: Where to; its folder is made.

    Raises:
        EvaError: The disk is full, or does not let it be written. What was there before stays.
    """
    needed = size_of(content)
    try:
        make_folder(path.parent)
        refuse_without_room(path, needed)
        with replacing(path, needed) as file:
            summed = _Summed(file)
            torch.save(content, cast(IO[bytes], summed))
            summed.finish()
    except EvaError as error:
        raise EvaError(f"{error} {what_is_kept(path.parent.parent)}") from error


def refuse_damaged(path: Path) -> None:
    """Compare a file with the checksum that it carries; a file without one is another's, and passes.

    Raises:
        EvaError: It is damaged.
    """
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _END, 0))
        summed = file.read(len(_MARK)) == _MARK
    if summed and (reason := fault(path)) is not None:
        raise EvaError(f"Expected a whole checkpoint in {path}, but {reason}. Take another one.")


def read_checkpoint(path: Path, mapped: bool = False) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Args:
        path: The file.
        mapped: Read what is looked at alone; the file must stay as long as the content is used.

    Raises:
        EvaError: It is not whole.
    """
    if (reason := fault(path)) is not None:
        raise EvaError(f"Expected a whole checkpoint in {path}, but {reason}. Take another one.")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    return content


def fault(path: Path) -> str | None:
    """Why a file is no whole checkpoint of ours; None where it is one. Each state of a file is read once.

    Raises:
        EvaError: It may not be read: that does not mean that it is damaged.
    """
    try:
        state = path.stat()
        return _fault(path, state.st_size, state.st_mtime_ns, state.st_ino)
    except PermissionError as error:
        raise EvaError(f"Expected to read {path}, but it may not be read ({error.strerror}). Allow it.") from error
    except OSError as error:
        return f"it does not read ({error.strerror})"


@lru_cache
def _fault(path: Path, size: int, *_: int) -> str | None:
    if size == 0:
        return "it is empty"
    with path.open("rb") as file:
        file.seek(max(size - _END, 0))
        end = file.read()
        if not end.startswith(_MARK):
            return "it is cut, or of another format"
        file.seek(0)
        digest, left = hashlib.sha256(), size - _END
        while left and (block := file.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
    return None if end == _end(digest.hexdigest()) else "its checksum does not fit: bits of it have changed"


def any_checkpoint(output: Path) -> bool:
    """Whether a run has begun, whatever became of its checkpoints."""
    return bool(_newest_first(output))


def last_checkpoint(output: Path) -> Path | None:
    """The newest whole one of a run; None where there is none at all.

    Raises:
        EvaError: There are some, but none is whole.
    """
    checkpoints = list(_newest_first(output))
    whole = next((path for path in checkpoints if fault(path) is None), None)
    if checkpoints and whole is None:
        reasons = "; ".join(f"{path.name}: {fault(path)}" for path in checkpoints)
        raise EvaError(
            f"Expected a whole checkpoint in {output / CHECKPOINTS}, but got none ({reasons}). Restore one from a "
            "copy, or delete that folder to begin anew."
        )
    return whole


def say_passed_over(output: Path, chosen: Path | None) -> None:
    """Name the checkpoints that are newer than the one which is taken, and what is wrong with them."""
    for path in _newest_first(output):
        if path == chosen:
            return
        say(f"{path} is not used, because {fault(path)}; {chosen} is taken.")


def step_of(checkpoint: Path | None) -> int:
    """The step at which it was written, by its name; -1: there is none."""
    return -1 if checkpoint is None else int(checkpoint.stem.partition("-")[2])


def best_checkpoints(output: Path) -> list[Path]:
    """Those whose nearest neighbours were the best so far: one, or more where a run was moved as it went on."""
    return list(_named(output, "best"))


def prune(output: Path, step: int) -> None:
    """Delete all but the last checkpoints up to a step; later ones are damaged, or of what was given up."""
    kept = [path for path in _newest_first(output) if step_of(path) <= step and fault(path) is None][:KEPT]
    for path in _named(output, "step"):
        if path not in kept:
            path.unlink(missing_ok=True)


def clear_unfinished(output: Path) -> None:
    """Delete what writes that were killed have left."""
    for path in (output / CHECKPOINTS).glob(".*.ckpt.*.tmp"):
        path.unlink(missing_ok=True)


def size_of(content: Any) -> int:
    """Bytes of all tensors in nested mappings and sequences; those that share memory count once."""
    return sum(
        {(s.data_ptr(), s.nbytes()): s.nbytes() for s in (t.untyped_storage() for t in _tensors(content))}.values()
    )


def what_is_kept(output: Path) -> str:
    """The end of a message: from where the run goes on."""
    last = next(iter(_newest_first(output)), None)
    return "There is no checkpoint yet." if last is None else f"The last checkpoint is kept: {last.name}."


class _Summed:
    """What torch writes into. It turns an error of the disk into one of its own, so we keep ours and go on as if."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self._failed: OSError | None = None

    def write(self, block: Any) -> int:
        if self._failed is None:
            try:
                self._file.write(block)
                self._digest.update(block)
            except OSError as error:
                self._failed = error
        return len(block)

    def flush(self) -> None:
        """Done at the end."""

    def finish(self) -> None:
        if self._failed is not None:
            raise self._failed
        self._file.write(_end(self._digest.hexdigest()))


def _end(digest: str) -> bytes:
    return _MARK + digest.encode() + b"\n"


def _named(output: Path, kind: str) -> Iterator[Path]:
    name = re.compile(rf"{kind}-\d+\.ckpt")
    return (path for path in (output / CHECKPOINTS).glob(f"{kind}-*.ckpt") if name.fullmatch(path.name))


def _newest_first(output: Path) -> list[Path]:
    return sorted(_named(output, "step"), key=step_of, reverse=True)


def _tensors(content: Any) -> Iterator[Tensor]:
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from _tensors(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _tensors(value)
