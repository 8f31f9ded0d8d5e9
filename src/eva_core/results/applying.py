"""The folder that finished heads write into: begun by one job, whole where its record is, never mixed with another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from eva_core.errors import UsageError
from eva_core.files.checksums import Damaged
from eva_core.files.sealed_records import FILES, check_files, read_record, vouch, write_record
from eva_core.results import record

APPLIED = "applied.json"


@contextmanager
def output_of(folder: Path, key: str, tell: Callable[[str], None]) -> Iterator[Path | None]:
    """Hold a folder for predictions; gives what is there where the same job was done before, else None.

    What was begun by the same job and stopped is written again.

    Args:
        folder: The folder.
        key: Hash of all that decides the predictions.
        tell: Receives lines for the user.
    Raises:
        UsageError: Something else is in the folder.
    """
    with record.claimed(folder, tell):
        yield _found(folder, key, tell)


def finish(folder: Path, key: str, path: Path) -> Path:
    """Vouch for all that was written into a folder; returns the path."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    named = [name for name in files if not name.startswith(".") and name != APPLIED]
    write_record(folder / APPLIED, {"key": key, "path": path.name, FILES: vouch(folder, named)})
    return path


def _found(folder: Path, key: str, tell: Callable[[str], None]) -> Path | None:
    try:
        known = read_record(folder / APPLIED)
    except FileNotFoundError:
        known = {}
    except Damaged as error:
        raise UsageError(f"{error} Choose another --output.") from error
    there = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if there and known.get("key") != key:
        raise UsageError(f"Expected a folder without predictions, but {folder} has some. Choose another --output.")
    if "path" in known:
        try:
            check_files(folder, known)
        except Damaged as error:
            tell(f"{error} The predictions are made again.")
        else:
            tell(f"Already done: {folder}")
            return folder / str(known["path"])
    write_record(folder / APPLIED, {"key": key})
    return None
