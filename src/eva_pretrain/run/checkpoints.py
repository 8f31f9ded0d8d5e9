"""Checkpoints of a run: written whole or not at all, with a checksum; a run resumes from the newest whole one.

A snapshot is the teacher's backbone alone, in the same format: it scores, and nothing resumes from it.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal, cast

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor
from typing_extensions import override

from eva_core.errors import EvaError
from eva_core.files.atomic_files import make_folder, refuse_without_room, replacing
from eva_core.progress import say
from eva_pretrain.run.regrouping import regroup

CHECKPOINTS, SNAPSHOTS = "checkpoints", "snapshots"
TEACHER = "teacher.vit.network."
"""Start of the names of the teacher's backbone in a checkpoint."""

_FOOTER_MARK = b"\nsha256:"
_FOOTER_SIZE = len(_FOOTER_MARK) + 64 + 1
_BLOCK = 2**22


class ChecksummedCheckpoints(CheckpointIO):
    """Lightning's way to checkpoint files, in our format.

    Attributes:
        accumulate: Batches of an optimiser step.
        failed: Why the last checkpoint could not be written, else None. The trainer passes it on to all ranks, so that
            none waits for the one that writes.
    """

    def __init__(self, accumulate: int = 1, snapshot_dtype: Literal["float32", "bfloat16"] = "float32") -> None:
        """Set the batches of an optimiser step, and the numbers of snapshots."""
        self.accumulate = accumulate
        self.failed: str | None = None
        self._snapshot_dtype: torch.dtype = getattr(torch, snapshot_dtype)

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint as `write_checkpoint` does, in the folder of snapshots a snapshot of it.

        An error is left in `failed`.
        """
        if Path(path).parent.name == SNAPSHOTS:
            checkpoint = snapshot_of(checkpoint, self._snapshot_dtype)
        try:
            write_checkpoint(checkpoint, Path(path))
            self.failed = None
        except EvaError as error:
            self.failed = str(error)

    @override
    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint as `read_checkpoint` does, always to the CPU and without code, and `regroup` it."""
        checkpoint = read_checkpoint(Path(path))
        regroup(checkpoint, self.accumulate)
        return checkpoint

    @override
    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint, if it exists."""
        Path(path).unlink(missing_ok=True)


def snapshot_of(checkpoint: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Keep of a checkpoint what an export is made from, with the teacher's weights as `dtype`."""
    state = {k: v.to(dtype) for k, v in checkpoint["state_dict"].items() if k.startswith(TEACHER)}
    return {"state_dict": state, **{k: checkpoint[k] for k in ("global_step", "eva_progress")}}


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write a file that `torch.load` reads, with the SHA-256 of its content as a footer.

    The file is written under a temporary name, block by block as the checksum is computed, so that no copy is held in
    memory; it gets its own name once the disk has all of it. SHA-256 takes about 7 s for 10 GB.

    Args:
        content: Tensors, numbers and texts.
        path: Destination; its folder is created.

    Raises:
        EvaError: The disk is full, or the file may not be written. A file that was there before stays.
    """
    needed = size_of(content)
    try:
        make_folder(path.parent)
        refuse_without_room(path, needed)
        with replacing(path, needed) as file:
            checksummed = _ChecksummedFile(file)
            torch.save(content, cast(IO[bytes], checksummed))
            checksummed.finish()
    except EvaError as error:
        raise EvaError(f"{error} {resume_note(path.parent.parent)}") from error


def refuse_damaged(path: Path) -> None:
    """Check a file against the checksum that it carries; a file without one was not written by us, and passes.

    Raises:
        EvaError: The file is damaged.
    """
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _FOOTER_SIZE, 0))
        has_footer = file.read(len(_FOOTER_MARK)) == _FOOTER_MARK
    if has_footer and (reason := fault(path)) is not None:
        raise EvaError(f"Expected a whole checkpoint in {path}, but {reason}. Take another one.")


def read_checkpoint(path: Path, mapped: bool = False) -> dict[str, Any]:
    """Load a checkpoint to the CPU.

    Args:
        path: The file.
        mapped: Map the file into memory, so that only the tensors in use are read; it must stay as long as they are.

    Raises:
        EvaError: The file is damaged.
    """
    if (reason := fault(path)) is not None:
        raise EvaError(f"Expected a whole checkpoint in {path}, but {reason}. Take another one.")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    return content


def fault(path: Path) -> str | None:
    """Say why a file is not a whole checkpoint of ours; None where it is. Each state of a file is read once.

    Raises:
        EvaError: Permission to read the file is missing, which does not mean that it is damaged.
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
        file.seek(max(size - _FOOTER_SIZE, 0))
        footer = file.read()
        if not footer.startswith(_FOOTER_MARK):
            return "it is cut, or of another format"
        file.seek(0)
        digest, left = hashlib.sha256(), size - _FOOTER_SIZE
        while left and (block := file.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
    return None if footer == _footer(digest.hexdigest()) else "its checksum does not fit: bits of it have changed"


def has_checkpoints(output: Path) -> bool:
    """Whether a run has any checkpoint, whole or damaged."""
    return bool(_newest_first(output))


def newest_step(output: Path) -> int:
    """Step of the newest checkpoint, whole or damaged; -1 without any."""
    return step_of(next(iter(_newest_first(output)), None))


def last_checkpoint(output: Path) -> Path | None:
    """Find the newest whole checkpoint of a run; None where the run has no checkpoint at all.

    Raises:
        EvaError: The run has checkpoints, but none is whole.
    """
    while True:
        checkpoints = _newest_first(output)
        whole = next((path for path in checkpoints if fault(path) is None), None)
        if whole is not None or checkpoints == _newest_first(output):
            break  # else a run that goes on has written a later one, and deleted these
    if checkpoints and whole is None:
        reasons = "; ".join(f"{path.name}: {fault(path)}" for path in checkpoints)
        raise EvaError(
            f"Expected a whole checkpoint in {output / CHECKPOINTS}, but got none ({reasons}). Restore one from a "
            "copy, or delete that folder to begin anew."
        )
    return whole


def say_passed_over(output: Path, chosen: Path | None) -> None:
    """Name the checkpoints that are newer than the chosen one, and what is wrong with them."""
    for path in _newest_first(output):
        if path == chosen:
            return
        if (reason := fault(path)) is not None:  # else it has just been written
            say(f"{path} is not used, because {reason}; {chosen} is taken.")


def step_of(checkpoint: Path | None) -> int:
    """Step at which a checkpoint was written, by its name; -1 without a checkpoint."""
    return -1 if checkpoint is None else int(checkpoint.stem.partition("-")[2])


def best_checkpoints(output: Path) -> list[Path]:
    """List the checkpoints that the online kNN found best: one, or more where a run was moved between two of them."""
    return list(_named(output, "best"))


def snapshots(output: Path) -> list[Path]:
    """List the snapshots of a run in the order of their steps."""
    return sorted(_named(output, "step", SNAPSHOTS), key=step_of)


def saved_steps(output: Path, but: str = "") -> list[int]:
    """List the steps for which a run has a checkpoint or a snapshot, in their order.

    Args:
        output: Folder of the run.
        but: A folder below it that does not count.
    """
    kinds = [("step", CHECKPOINTS), ("best", CHECKPOINTS), ("step", SNAPSHOTS)]
    return sorted({step_of(path) for kind, folder in kinds if folder != but for path in _named(output, kind, folder)})


def prune(output: Path, step: int, kept: int) -> None:
    """Delete all but the newest whole checkpoints up to a step; later ones are damaged, or of an abandoned attempt."""
    newest = [path for path in _newest_first(output) if step_of(path) <= step and fault(path) is None][:kept]
    for path in _named(output, "step"):
        if path not in newest:
            path.unlink(missing_ok=True)


def clear_unfinished(output: Path) -> None:
    """Delete temporary files that killed processes have left."""
    for folder in (CHECKPOINTS, SNAPSHOTS):
        for path in (output / folder).glob(".*.ckpt.*.tmp"):
            path.unlink(missing_ok=True)


def size_of(content: Any) -> int:
    """Count the bytes of all tensors in nested mappings and sequences; tensors that share memory count once."""
    return sum(
        {(s.data_ptr(), s.nbytes()): s.nbytes() for s in (t.untyped_storage() for t in _tensors(content))}.values()
    )


def resume_note(output: Path) -> str:
    """Sentence that ends an error message: which checkpoint the run can resume from."""
    last = next(iter(_newest_first(output)), None)
    return "There is no checkpoint yet." if last is None else f"The last checkpoint is kept: {last.name}."


class _ChecksummedFile:
    """File for `torch.save` that computes a checksum of what is written.

    torch would turn an error of the disk into one of its own: the first error is kept here, and `finish` raises it.
    """

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
        """Do nothing: the file is flushed once, when it is whole."""

    def finish(self) -> None:
        if self._failed is not None:
            raise self._failed
        self._file.write(_footer(self._digest.hexdigest()))


def _footer(digest: str) -> bytes:
    return _FOOTER_MARK + digest.encode() + b"\n"


def _named(output: Path, kind: str, folder: str = CHECKPOINTS) -> Iterator[Path]:
    name = re.compile(rf"{kind}-\d+\.ckpt")
    return (path for path in (output / folder).glob(f"{kind}-*.ckpt") if name.fullmatch(path.name))


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
