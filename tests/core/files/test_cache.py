import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from eva_core.errors import EvaError
from eva_core.files import cache
from eva_core.files.cache import cache_root, locked


def in_turn(path: Path, told: list[str]) -> list[str]:
    """Hold a lock while a thread wants it; who worked when."""
    order: list[str] = []

    def second() -> None:
        with locked(path, told.append):
            order.append("second")

    with locked(path, told.append):
        thread = threading.Thread(target=second)
        thread.start()
        while not any("Waiting" in line for line in told):
            pass
        order.append("first")
    thread.join()
    return order


def test_a_second_holder_waits_and_is_told(tmp_path: Path):
    told: list[str] = []
    assert in_turn(tmp_path / "new" / "store", told) == ["first", "second"]
    assert told == ["Waiting for another process that writes store."]


def test_a_lock_dies_with_its_process(tmp_path: Path):
    code = "import os, sys; from pathlib import Path; from eva_core.files.cache import locked\n"
    code += "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "store")])
    told: list[str] = []
    with locked(tmp_path / "store", told.append):
        assert told == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_this_machine_still_waits_and_it_is_said_once(tmp_path: Path, monkeypatch, number: int):
    real, local = fcntl.flock, tmp_path / "tmp"
    local.mkdir()

    def flock(handle: int, how: int) -> None:
        if str(local) not in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(number, os.strerror(number))
        real(handle, how)

    monkeypatch.setattr(cache.fcntl, "flock", flock)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(local))
    monkeypatch.setattr(cache, "_announced", set())
    told: list[str] = []
    assert in_turn(tmp_path / "store", told) == ["first", "second"]
    assert sum("has no locks: processes of other machines are not seen" in line for line in told) == 1


def test_with_no_locks_anywhere_work_goes_on(tmp_path: Path, monkeypatch):
    def flock(*_: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(cache.fcntl, "flock", flock)
    monkeypatch.setattr(cache, "_announced", set())
    told: list[str] = []
    for name in "ab":
        with locked(tmp_path / name, told.append):
            pass
    assert len(told) == 1
    assert "other processes are not seen" in told[0]


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path):
    (tmp_path / "store.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EvaError, match="Could not write"), locked(tmp_path / "store"):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.EROFS, "EVA_CACHE"), (errno.EACCES, "EVA_CACHE"), (errno.ENOSPC, "Free space")]
)
def test_a_folder_that_may_not_be_written_to_is_one_line(tmp_path: Path, monkeypatch, number: int, advice: str):
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache.os, "open", fail)
    with pytest.raises(EvaError, match=advice), locked(tmp_path / "store"):
        pass


def test_a_user_without_a_home_folder_is_told_to_name_one(monkeypatch):
    monkeypatch.delenv("EVA_CACHE")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a number that /etc/passwd does not have
    with pytest.raises(EvaError, match="Set EVA_CACHE to a folder"):
        cache_root()
