"""Run `eva` commands in forked processes, which may be killed, hang or crash; modules are imported once for all."""

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
    """End of a forked process.

    Attributes:
        code: Exit code; `HUNG`, or `CRASHED` where a signal ended it.
        stderr: Text that it wrote to stderr.
        seconds: Time that it took, in seconds.
        result: Return value of its work; None unless it ended with 0.
    """

    code: int | str
    stderr: str
    seconds: float
    result: Any = None

    @property
    def unexplained(self) -> bool:
        """Whether the process failed without a line of eva that says why."""
        lines = self.stderr.strip().splitlines()
        plain = bool(lines) and lines[-1].startswith("eva: ") and "EVA_DEBUG" not in lines[-1]
        return self.code != 0 and (self.code in (HUNG, CRASHED) or not plain or "Traceback" in self.stderr)


def forked(work: Callable[[], Any], folder: Path, limit: float = 120, kill_at: float | None = None) -> Ended:
    """Do some work in a process group of its own, with `folder` as working folder and its cache below.

    Args:
        work: Returns something that pickles, or exits.
        folder: An existing folder.
        limit: Seconds after which the process counts as hung.
        kill_at: Seconds after which the group is killed; None: it is not.
    """
    stderr, pickled = folder.with_suffix(".stderr"), folder.with_suffix(".result")
    pickled.unlink(missing_ok=True)
    sys.stdout.flush()
    child, began = os.fork(), time.monotonic()
    if not child:
        _child(work, folder, stderr, pickled)
    with suppress(PermissionError):  # the child does so too, and either may be first
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
    result = pickle.loads(pickled.read_bytes()) if code == 0 and pickled.exists() else None
    reason = HUNG if alive and kill_at is None else code if code >= 0 else CRASHED
    return Ended(reason, stderr.read_text(errors="replace"), time.monotonic() - began, result)


def printed(folder: Path) -> Path:
    """File with the stdout of the work in a folder."""
    return folder.with_suffix(".out")


def _child(work: Callable[[], Any], folder: Path, stderr: Path, pickled: Path) -> None:
    code = 1
    try:
        with suppress(PermissionError):
            os.setpgid(0, 0)
        with stderr.open("wb") as err, printed(folder).open("wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.chdir(folder)
        os.environ["EVA_CACHE"] = str(folder / "cache")
        from eva_core.errors import EvaError

        try:
            result = work()
        except EvaError as error:
            raise SystemExit(print(f"eva: {error}", file=sys.stderr) or error.exit_code) from None
        pickled.write_bytes(pickle.dumps(result))
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
    """Import all that commands need, once for all forks; let studies fork their trainings too."""
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
    """Run commands one after another in this process; exit at the first that does not end with 0."""
    from eva_core import cli

    for command in commands:
        sys.argv = ["eva", *command]
        code = cli.main(None)
        if code:
            raise SystemExit(code)


def _train_in_fork(arguments: Sequence[str], log: Path, lock: int | None, threads: int | None) -> None:
    """Train a run of a study in a fork, which has all imports; it holds the lock, as the real process does."""
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
