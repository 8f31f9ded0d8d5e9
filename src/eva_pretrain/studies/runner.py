"""Runner of one run of a study: its patches, its training in a process of its own, its scores; finished parts stay."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from eva_core.boards.board import FAILED
from eva_core.boards.run import leave_reason, run_pair
from eva_core.errors import EvaError
from eva_core.files.addresses import without_secrets
from eva_core.files.atomic_files import make_folder, unlinked
from eva_core.files.cache import locked
from eva_core.files.sealed_records import is_damaged, read_record_or_nothing, write_record
from eva_core.progress import say
from eva_pretrain.run.config import Plan, parse
from eva_pretrain.run.export import list_seen
from eva_pretrain.studies.cut_patches import DONE, cut_patches
from eva_pretrain.studies.plan import COST, Run
from eva_vision.slides.sampling import Sampling

LOG = "log.txt"
_DONE_BY_CUTTING = ("slides", "table", "column", "codes", "exclude", "fraction", "distinct")
"""Settings of the sampling that were applied when patches were cut, and do not apply to a folder."""


def do_run(run: Run, threads: int | None = None) -> str | None:
    """Train, export and score a run.

    Args:
        run: The run.
        threads: Threads of torch, in the training and here; None: as torch chooses.

    Returns:
        The first reason why a part failed, which is also left in the folder; None where all is done. Ctrl-C passes
        through.
    """
    # The training holds the lock too: if only the study is killed, its training goes on, and the next study waits for
    # it, and does not train the same run twice.
    with locked(run.folder / ".run", what=str(run.folder)) as lock:
        try:
            _make(run, lock, threads)
        except Exception as error:  # one failure must not stop the study
            return failed(run, error)
        (run.folder / FAILED).unlink(missing_ok=True)
        reasons = [run_pair(pair, {}, threads) for pair in run.pairs if not pair.done]
    _free_memory()
    return next((reason for reason in reasons if reason is not None), None)


def failed(run: Run, error: Exception) -> str:
    """Write the reason of a failure to the folder of a run, and return it."""
    make_folder(run.folder)
    return leave_reason(run.folder, error)


def _make(run: Run, lock: int | None, threads: int | None) -> None:
    """Cut patches, train and export a run, and record the cost."""
    arguments = list(run.arguments)
    whole = run.whole()
    if run.cut_to is not None and run.variant.cut is not None and (not whole or is_damaged(run.cut_to / DONE)):
        cut_patches(parse(arguments), run.variant.cut, run.cut_to)
    if not whole:
        if run.variant.untrained:
            from eva_pretrain.run.pretrain import export_initial_weights

            export_initial_weights(parse(arguments))
            return
        _train([*arguments, *_from_folder(run)], run.folder / LOG, lock, threads)
        if not run.trained:
            raise EvaError(f"Expected an export in {run.export}, but there is none. See {run.folder / LOG}.")
    if run.variant.untrained or (whole and read_record_or_nothing(run.folder / COST)):
        return
    plan = parse([*arguments, *_from_folder(run)])
    if run.cut_to is not None:
        _list_slides(run.export, plan, run.cut_to)
    try:
        write_record(run.folder / COST, training_cost(plan))
    except Exception as error:  # the export can be scored without its checkpoint
        say(f"{run.name}: what it has cost is not known ({type(error).__name__}: {error}).")


def _from_folder(run: Run) -> list[str]:
    """Arguments by which a run reads the patches that were cut to a folder."""
    if run.cut_to is None:
        return []
    sampling = parse(list(run.arguments)).sampling
    one = sampling.mpp_range is None and len(sampling.mpp) == 1
    mpp = sampling.mpp[0] if one else "null"
    plain = Sampling()
    texts = {name: json.dumps(getattr(plain, name)).strip('"') for name in _DONE_BY_CUTTING}
    defaults = [f"--sampling.{name}={text}" for name, text in texts.items()]
    return ["--data.slides=null", f"--data.mpp={mpp}", "--data.folder", str(run.cut_to), *defaults]


def _list_slides(export: Path, plan: Plan, cut: Path) -> None:
    """List slides in an export in place of cut files, and the slides that the initial weights had seen."""
    from eva_pretrain.run.initial_weights import seen_by

    slides = read_record_or_nothing(cut / DONE).get("seen")
    if slides:
        list_seen(export, [*seen_by(plan.setup.architecture.start), *((slide, patient) for slide, patient in slides)])


def _train(arguments: Sequence[str], log: Path, lock: int | None, threads: int | None) -> None:
    """Run `eva pretrain` in a process of its own, so that it can start others for more devices.

    Args:
        arguments: Arguments of `eva pretrain`.
        log: File that its output is appended to.
        lock: File descriptor of the lock of the run, which the process inherits.
        threads: Threads of torch; None: as torch chooses.

    Raises:
        EvaError: The process failed; the message is its last line.
        KeyboardInterrupt: Ctrl-C, once the process has stopped.
    """
    command = [sys.executable, "-P", "-m", "eva_core.cli", "pretrain", *arguments]
    # -P and its variable keep the working folder off the import path, also in processes that this one starts
    environment = {
        **os.environ,
        "PYTHONSAFEPATH": "1",
        **({} if threads is None else {"OMP_NUM_THREADS": str(threads)}),
    }
    with open(log, "ab", opener=unlinked) as out:
        out.write(f"$ eva pretrain {without_secrets(shlex.join(arguments))}\n".encode())
        out.flush()
        began = out.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            pass_fds=[] if lock is None else [lock],
        )
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C reached both
            process.terminate()
            process.wait()
            raise
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise EvaError(_last_line(log, began) or f"eva pretrain ended with {code} and no message. See {log}.")


def _last_line(log: Path, began: int) -> str | None:
    """Error line that a log ends with from a byte on, else its last line; None where it is empty."""
    with log.open("rb") as handle:
        handle.seek(began)
        lines = [line.strip() for line in handle.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("eva: ") for line in lines if line.startswith("eva: ")]
    return next(reversed(errors or lines), None)


def training_cost(plan: Plan) -> dict[str, float]:
    """Cost of a finished run: the `patches` that it has seen, and the `seconds` that it trained."""
    from eva_core.accelerator import gpus
    from eva_pretrain.run.checkpoints import last_checkpoint, read_checkpoint

    checkpoint = last_checkpoint(plan.output)
    assert checkpoint is not None
    progress = read_checkpoint(checkpoint, mapped=True)["eva_progress"]
    training = plan.training
    devices = training.devices if training.devices != "auto" else max(gpus(), 1)
    batch = plan.setup.batch_size * training.accumulate * devices * training.nodes
    return {"patches": plan.setup.recipe.steps * batch, "seconds": progress["seconds"]}


def _free_memory() -> None:
    """Release the memory of the GPU, as the next training is another process."""
    from eva_core.accelerator import release_memory

    release_memory()
