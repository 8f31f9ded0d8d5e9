"""A folder belongs to one process, and to none once that is dead."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_pretrain.run import sole_process as module
from eva_pretrain.run.sole_process import LOCK, is_held, sole_process

HOLD = """
import os, sys, time
from pathlib import Path
from eva_pretrain.run.sole_process import sole_process
with sole_process(Path(sys.argv[1])):
    child = os.fork()  # as a process that reads for it
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds `tmp_path`, and has forked one."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    yield process
    process.kill()
    process.wait()
    os.kill(child, signal.SIGKILL)


def test_a_second_process_is_told_who_is_there_and_a_kill_frees_the_folder_at_once(holder, tmp_path):
    with (
        pytest.raises(UsageError, match=f"process {holder.pid} on {socket.gethostname()} works in it"),
        sole_process(tmp_path),
    ):
        pass
    assert is_held(tmp_path)
    holder.kill()  # its child lives on
    holder.wait()
    assert not is_held(tmp_path)
    with sole_process(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_a_folder_is_free_after_use(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), sole_process(tmp_path):
            raise ZeroDivisionError
    assert (tmp_path / LOCK).read_text() == ""


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no locks."""

    def lockf(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "lockf", lockf)


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize(
    ("owner", "free"),
    [
        ("", True),
        ("half a li", True),
        ({"pid": 2**22 + 1, "started": "1"}, True),  # no such process
        ({"pid": os.getpid(), "started": "1"}, True),  # its number was used again
        ({"pid": os.getpid(), "started": module._started(os.getpid())}, False),
        ({"host": "elsewhere", "pid": 1, "started": "1"}, False),
    ],
)
def test_without_locks_the_file_says_who_is_there(owner, free, tmp_path):
    text = owner if isinstance(owner, str) else json.dumps({"host": socket.gethostname(), **owner})
    (tmp_path / LOCK).write_text(text)
    if free:
        with sole_process(tmp_path):
            pass
    else:
        with (
            pytest.raises(UsageError, match=r"works in it. Wait for it, or delete .*\.running"),
            sole_process(tmp_path),
        ):
            pass
