import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eva_core.errors import EvaError
from eva_core.files.atomic_files import make_folder, not_written, remove_leftovers, replacing, write_bytes, write_text

WRITER = """
import sys
from pathlib import Path
from eva_core.files.atomic_files import write_text
for _ in range(100):
    write_text(Path(sys.argv[1]), sys.argv[2] * 20000)
"""


def test_processes_that_write_one_file_do_not_meet(tmp_path: Path):
    file = tmp_path / "results.json"
    both = [subprocess.Popen([sys.executable, "-c", WRITER, str(file), letter]) for letter in "xy"]
    assert [process.wait() for process in both] == [0, 0]
    assert file.read_text() in ("x" * 20000, "y" * 20000)
    assert os.listdir(tmp_path) == ["results.json"]


def test_content_and_name_are_forced_to_disk_in_that_order(tmp_path: Path, monkeypatch):
    done: list[str] = []
    real, move = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    def replace(self: Path, target: Path) -> Path:
        done.append("renamed")
        return move(self, target)

    monkeypatch.setattr("eva_core.files.atomic_files.os.fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_bytes(tmp_path / "heads", b"content")
    first, *rest = done
    assert Path(first).name.startswith(".heads.")
    assert rest == ["renamed", str(tmp_path)]


def test_what_fails_half_way_leaves_the_file_of_before(tmp_path: Path):
    write_text(tmp_path / "a", "before")

    def stopped() -> None:
        with replacing(tmp_path / "a") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (tmp_path / "a").read_text() == "before"
    assert os.listdir(tmp_path) == ["a"]


def test_a_long_name_has_room_for_its_temporary_one(tmp_path: Path):
    write_text(tmp_path / ("n" * 255), "content")
    assert (tmp_path / ("n" * 255)).read_text() == "content"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_how_much_is_needed(tmp_path: Path, number: int):
    error = not_written(tmp_path / "a", OSError(number, os.strerror(number)), 3_200_000)
    assert f"{tmp_path}/a" in str(error)
    assert "it needs 3.2 MB" in str(error)
    assert "Free space there: the same command then goes on." in str(error)


def test_a_folder_below_a_file_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaError, match="Could not write"):
        make_folder(tmp_path / "file" / "below")


def test_leftovers_of_killed_writers_go_and_nothing_else(tmp_path: Path):
    for name in (".a[1].h5.12ab.tmp", ".other.h5.12ab.tmp", "a[1].h5"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path / "a[1].h5")
    assert sorted(os.listdir(tmp_path)) == [".other.h5.12ab.tmp", "a[1].h5"]


def test_what_a_killed_process_left_goes_when_the_next_one_writes_there(tmp_path: Path):
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom eva_core.files.atomic_files import replacing\n"
        "with replacing(Path(sys.argv[1])) as file:\n    file.write(b'half')\n    os.kill(os.getpid(), 9)"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "a[1].txt")], check=False)
    with replacing(tmp_path / "a[1].txt") as file:  # one that is still being written stays
        (mine,) = tmp_path.glob(".a*.tmp")
        write_text(tmp_path / "b.txt", "another")
        write_text(tmp_path / "a[1].txt", "whole")
        assert mine.exists()
        file.write(b"last")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a[1].txt", "b.txt"]
    assert (tmp_path / "a[1].txt").read_text() == "last"


def test_what_another_machine_is_writing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    theirs = tmp_path / ".a.txt.0a0a0a-1-00000000.tmp"
    theirs.write_text("half")
    write_text(tmp_path / "a.txt", "whole")
    assert theirs.exists()
