from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_core.results.applying import APPLIED, finish, output_of

KEY = "k" * 12


def make(folder: Path, told: list[str], key: str = KEY) -> Path | None:
    """Write predictions unless they are there; gives what was found."""
    with output_of(folder, key, told.append) as found:
        if found is None:
            (folder / "masks").mkdir(exist_ok=True)
            (folder / "masks" / "a.png").write_bytes(b"a")
            (folder / "p.parquet").write_bytes(b"p")
            finish(folder, key, folder / "p.parquet")
        return found


def test_what_was_done_is_found_again(tmp_path: Path):
    told: list[str] = []
    assert make(tmp_path / "o", told) is None
    assert make(tmp_path / "o", told) == tmp_path / "o" / "p.parquet"
    assert told == [f"Already done: {tmp_path / 'o'}"]


@pytest.mark.parametrize("name", ["p.parquet", "masks/a.png"])
def test_what_is_damaged_is_made_again(tmp_path: Path, name: str):
    told: list[str] = []
    make(tmp_path / "o", told)
    (tmp_path / "o" / name).write_bytes(b"x")
    assert make(tmp_path / "o", told) is None
    assert told[0].endswith("The predictions are made again.")
    assert make(tmp_path / "o", told) is not None


def test_what_the_same_job_began_is_written_again(tmp_path: Path):
    with output_of(tmp_path / "o", KEY, print):
        (tmp_path / "o" / "p.parquet").write_bytes(b"half")  # a kill comes before it is finished
    assert make(tmp_path / "o", []) is None


def test_a_folder_with_something_else_is_refused(tmp_path: Path):
    make(tmp_path / "o", [])
    with pytest.raises(UsageError, match="Choose another --output"):
        make(tmp_path / "o", [], key="another")
    (tmp_path / "o" / APPLIED).unlink()
    with pytest.raises(UsageError, match="has some"):
        make(tmp_path / "o", [])
