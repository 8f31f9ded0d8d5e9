"""`eva` commands in forked processes, which may be killed, hang or crash; what they load is loaded once."""

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HUNG, CRASHED = "hung", "crashed"


@dataclass(frozen=True)
class Ended:
    """How a forked process ended.

    Attributes:
        code: Of its exit; `HUNG`, or `CRASHED` by a signal.
        said: What it wrote to stderr.
        seconds: That it took.
        found: What its work returned; None unless it ended with 0.
    """

    code: int | str
    said: str
    seconds: float
    found: Any = None

    @property
    def untold(self) -> bool:
        """Whether it ended badly without one line of eva's own that says why."""
        lines = self.said.strip().splitlines()
        plain = bool(lines) and lines[-1].startswith("eva: ") and "EVA_DEBUG" not in lines[-1]
        return self.code != 0 and (self.code in (HUNG, CRASHED) or not plain or "Traceback" in self.said)


def forked(work: Callable[[], Any], folder: Path, limit: float = 120, kill_at: float | None = None) -> Ended:
    """Do some work in a process group of its own, whose folder and cache are in `folder`.

    Args:
        work: Returns something that pickles, or exits.
        limit: Seconds until it is taken for hung.
        kill_at: Seconds after which the group is killed.
    """
    said, result = folder.with_suffix(".said"), folder.with_suffix(".result")
    result.unlink(missing_ok=True)
    sys.stdout.flush()
    child, began = os.fork(), time.monotonic()
    if not child:
        _child(work, folder, said, result)
    with suppress(PermissionError):  # the child does so too: whoever is first
        os.setpgid(child, child)
    until, ended = began + (limit if kill_at is None else kill_at), (0, 0)
    while not ended[0] and time.monotonic() < until:
        ended = os.waitpid(child, os.WNOHANG)
        time.sleep(0.002)
    alive = not ended[0]
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1] if alive else ended[1]
    code = os.waitstatus_to_exitcode(status)
    found = pickle.loads(result.read_bytes()) if code == 0 and result.exists() else None
    reason = HUNG if alive and kill_at is None else code if code >= 0 else CRASHED
    return Ended(reason, said.read_text(errors="replace"), time.monotonic() - began, found)


def printed(folder: Path) -> Path:
    """Where the stdout of work in a folder goes."""
    return folder.with_suffix(".out")


def _child(work: Callable[[], Any], folder: Path, said: Path, result: Path) -> None:
    code = 1
    try:
        with suppress(PermissionError):
            os.setpgid(0, 0)
        with said.open("wb") as err, printed(folder).open("wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.chdir(folder)
        os.environ["EVA_CACHE"] = str(folder / "cache")
        from eva_core.errors import EvaError

        try:
            found = work()
        except EvaError as error:
            raise SystemExit(print(f"eva: {error}", file=sys.stderr) or error.exit_code) from None
        result.write_bytes(pickle.dumps(found))
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def load() -> None:
    """Import what commands need, once for all processes that are forked; studies fork their trainings too."""
    import h5py  # noqa: F401
    import torch

    from eva_core.commands import compare, fit, leaderboard, predict  # noqa: F401
    from eva_pretrain.run import command, pretrain  # noqa: F401
    from eva_pretrain.studies import command as study  # noqa: F401
    from eva_pretrain.studies import runner
    from eva_vision.segmentation import task  # noqa: F401
    from eva_vision.slides import build_index  # noqa: F401

    torch.set_num_threads(1)
    runner._train = _train_in_fork


def eva(*commands: Sequence[str]) -> None:
    """Run commands one after another in this process; exits at the first that does not end with 0."""
    from eva_core import cli

    for command in commands:
        sys.argv = ["eva", *command]
        code = cli.main(None)
        if code:
            raise SystemExit(code)


def _train_in_fork(arguments: Sequence[str], log: Path, lock: int | None, threads: int | None) -> None:
    """The training of a study, in a process that need not import anything; it holds the lock, as the real one does."""
    from eva_core import cli
    from eva_core.errors import EvaError

    child = os.fork()
    if not child:
        with log.open("ab") as out:
            os.dup2(out.fileno(), 2)
        sys.argv = ["eva", "pretrain", *arguments]
        os._exit(cli.main(None))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise EvaError(f"eva pretrain ended with {code}. See {log}.")
