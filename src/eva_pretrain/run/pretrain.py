"""A run from its plan to its export, for `eva pretrain` and `eva study`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import yaml
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities import rank_zero_only

from eva_core.errors import EvaError, UsageError
from eva_core.files.atomic_files import FULL, READ_ONLY, make_folder, not_written, refuse_without_room, write_text
from eva_core.hub.availability import as_size
from eva_core.progress import Bar, say, stage
from eva_core.results.record import CONFIG
from eva_pretrain.data.datamodule import Patches
from eva_pretrain.data.seen_images import images_seen, note_seen
from eva_pretrain.methods.base import Method
from eva_pretrain.monitor.collapse import MonitorCallback
from eva_pretrain.monitor.lines import LOG, MEASURES, drop_lines, read_lines
from eva_pretrain.monitor.online_dense import OnlineDense
from eva_pretrain.monitor.online_knn import OnlineKnn
from eva_pretrain.monitor.run_log import LogCallback
from eva_pretrain.monitor.throughput import ThroughputCallback
from eva_pretrain.monitor.watch import WatchPage
from eva_pretrain.run.begun_run import EXPORT, KEY, going_on
from eva_pretrain.run.checkpoints import (
    CHECKPOINTS,
    best_checkpoints,
    clear_unfinished,
    last_checkpoint,
    newest_step,
    resume_note,
    say_passed_over,
    size_of,
    step_of,
)
from eva_pretrain.run.config import Plan
from eva_pretrain.run.export import ExportDetails, export, finish_exchange
from eva_pretrain.run.export_run import BegunRun, best_of, export_file, selection
from eva_pretrain.run.initial_weights import images_seen_by, load_initial_weights, seen_by
from eva_pretrain.run.key import BATCH, stored
from eva_pretrain.run.launchers import devices_of, environment_of
from eva_pretrain.run.loggers import make_logger
from eva_pretrain.run.sole_process import sole_process
from eva_pretrain.run.stopping import Stopping
from eva_pretrain.run.trainer import Training, make_trainer, run
from eva_vision.models.exported import CARD, check_files, read_images, read_seen


def pretrain(plan: Plan) -> Path:
    """Train a model, or resume its training, and export it.

    Args:
        plan: From `eva_pretrain.plan`, or from a command line.

    Returns:
        The folder that `--model` takes.
    Raises:
        UsageError: The output folder holds another run.
        EvaError: Slides, images, weights or checkpoints cannot be read, or the loss is not finite for too long.
    """
    began, output = time.monotonic(), plan.output
    best = plan.export.checkpoint == "best"
    if best and (plan.dataset is None or not plan.monitor.every):
        raise UsageError(
            "Expected --dataset and monitor.every where export.checkpoint is best. Nothing else chooses one."
        )
    training = plan.training
    devices = devices_of(training.devices, training.nodes)
    environment = environment_of(devices, training.nodes)
    rank = _rank(environment, devices)
    setattr(rank_zero_only, "rank", rank)  # noqa: B010  (a function's attribute)
    plan = going_on(plan)
    if _exported(plan):
        say(f"{output} is finished.")
        return output / EXPORT
    make_folder(output)
    # only the first process takes the lock: the others belong to the same run
    with _disk_named(output), sole_process(output) if rank == 0 else nullcontext():
        if rank == 0:
            clear_unfinished(output)
            finish_exchange(output / EXPORT)
        if _exported(plan, tell=False):  # by another process that was just ending
            return output / EXPORT
        last = last_checkpoint(output)
        if (output / EXPORT / CARD).exists() and last is None:
            raise UsageError(
                f"Expected checkpoints in {output} for another export, but got none. Give another --output."
            )
        if rank == 0:
            say_passed_over(output, last)
            read_lines(output / MEASURES, say)
        if step_of(last) < plan.setup.recipe.steps:
            with stage("Finding the patches", rank == 0):
                patches = Patches(plan.data, plan.sampling, plan.setup.seed, training.accumulate, output)
            if rank == 0:
                _keep_settings(plan)
            _train(plan, environment, patches, last, _stopping(training, began))
        elif rank == 0 and not (output / KEY).exists():
            _keep_settings(plan)
        if rank == 0:
            _export(plan)
    return output / EXPORT


def _keep_settings(plan: Plan) -> None:
    write_text(plan.output / CONFIG, plan.text)
    write_text(plan.output / KEY, stored(plan.key, plan.settings))


def _stopping(training: Training, began: float) -> Stopping:
    return Stopping(training.max_hours, began, timedelta(minutes=training.timeout_minutes))


@contextmanager
def _disk_named(output: Path) -> Iterator[None]:
    """Name the folder where logs, pictures or an export meet a disk that takes nothing: their libraries do not."""
    try:
        yield
    except OSError as error:
        place = Path(error.filename or output)
        if error.errno not in FULL and not (error.errno in READ_ONLY and place.is_relative_to(output)):
            raise
        raise EvaError(f"{not_written(place, error)} {resume_note(output)}") from error


def _rank(environment: ClusterEnvironment, devices: int) -> int:
    """Rank of this process in its run. Lightning knows it only later, and guesses before."""
    if isinstance(environment, LightningEnvironment):
        return environment.node_rank() * devices + environment.local_rank()
    return environment.global_rank()


def export_initial_weights(plan: Plan) -> Path:
    """Export the weights that a run would start from, with the input size and normalisation of the run."""
    method = plan.method(plan.setup, **plan.method_arguments)
    start = plan.setup.architecture.start
    load_initial_weights(method, start)
    note_seen(plan.output, "start", images_seen_by(start))
    views, architecture = plan.setup.views, plan.setup.architecture
    details = ExportDetails(
        name=_name(plan),
        mean=views.mean,
        std=views.std,
        size=architecture.size,
        mpp=None,
        config=plan.text,
        step=0,
        seen=seen_by(start),
        images=images_seen(plan.output),
        weights_of=plan.export.weights,
    )
    state = method.teacher.vit.network.state_dict()
    return export(plan.output / EXPORT, state, architecture.arch, architecture.timm_arguments(), details)


def _train(
    plan: Plan, environment: ClusterEnvironment, patches: Patches, last: Path | None, stopping: Stopping
) -> None:
    """Train to the last step."""
    setup, output = plan.setup, plan.output
    rank = _rank(environment, devices_of(plan.training.devices, plan.training.nodes))
    with stage("Building the network", rank == 0):
        method = plan.method(setup, **plan.method_arguments)
    _check_room(method, plan, step_of(last))
    origins = _origins(plan) if last is None else {}  # else the checkpoint has what they have seen
    if last is None:
        for line in setup.recipe.unusual(plan.settings[BATCH]):
            rank_zero_only(say)(line)
        for name, origin in origins.items():
            rank_zero_only(note_seen)(output, name, images_seen_by(origin))
        with stage("Loading the initial weights", rank == 0 and setup.architecture.start is not None):
            load_initial_weights(method, setup.architecture.start)
    else:
        rank_zero_only(say)(f"Going on from {last}.")
    knn = None
    if plan.dataset is not None and plan.monitor.every:
        with stage(f"Reading {plan.dataset.card.name} for nearest neighbours", rank == 0):
            knn = OnlineKnn(plan.dataset, setup.architecture.size, plan.monitor.holdout)
    dense = None
    if plan.dense_dataset is not None and plan.monitor.every:
        with stage(f"Reading {plan.dense_dataset.card.name} for the score of patch tokens", rank == 0):
            dense = OnlineDense(plan.dense_dataset, setup.architecture.size)
    monitoring = MonitorCallback(plan.monitor, knn, output, dense)
    seen = [pair for origin in origins.values() for pair in seen_by(origin)]
    throughput = ThroughputCallback(plan.training.log_every, monitoring, seen)
    logger, already = _logger(plan, step_of(last), rank)
    page = WatchPage(output)
    logging = LogCallback(output, throughput, monitoring, page.progress, already)
    trainer = make_trainer(
        plan.training,
        environment,
        setup.recipe.steps,
        output,
        logger,
        [throughput, monitoring, logging],
        plan.monitor.every if knn else 0,
        stopping,
    )
    nodes = plan.training.nodes
    if nodes > 1 and rank == 0:
        wait = f"{environment.main_address}:{environment.main_port}, at most {plan.training.timeout_minutes:g} minutes"
        say(f"Waiting for {nodes} nodes at {wait}.")
    with Bar("training", setup.recipe.steps, "steps", trainer.is_global_zero, step_of(last), lines=False) as bar:
        throughput.bar = bar
        with page.of_a_run() if trainer.is_global_zero else nullcontext():
            run(trainer, method, patches, last)
    if trainer.is_global_zero:
        say(throughput.cost(trainer))
        for line in patches.loader.report().split("\n"):
            say(line)


def _origins(plan: Plan) -> dict[str, str | None]:
    """Names of the start and of a frozen model, which have seen what then counts as seen by the run."""
    frozen = plan.method_arguments.get("backbone")
    return {"start": plan.setup.architecture.start, "backbone": frozen if isinstance(frozen, str) else None}


def _logger(plan: Plan, step: int, rank: int) -> tuple[Logger, int]:
    """Logger of a run that goes on behind a step, and the last step that it has already; later lines are dropped."""
    output, before = plan.output, -1
    if rank == 0:
        best = {step_of(file) for file in best_checkpoints(output)}
        before = max(
            drop_lines(output / LOG, lambda at: at > step),
            drop_lines(output / MEASURES, lambda at: at > step and at not in best),  # which an export names
        )
    if isinstance(plan.logger, Logger):
        return plan.logger, -1
    if rank > 0:
        return DummyLogger(), -1
    return make_logger(plan.logger or "tensorboard", plan.name, output, step, before, yaml.safe_load(plan.text))


def _check_room(method: Method, plan: Plan, last: int) -> None:
    """Say how much room checkpoints take, and refuse to begin where not even one of them fits."""
    output, training, steps = plan.output, plan.training, plan.setup.recipe.steps
    # all weights, and two moments of each that is trained
    size = size_of(method.state_dict()) + 2 * size_of(list(method.student.parameters()))
    best = " and the best" if plan.dataset is not None and plan.monitor.every else ""
    line = f"A checkpoint takes {as_size(size)}: the last {training.keep_last}{best} stay"
    if training.keep_every:
        small = size_of(method.teacher.vit.network.state_dict()) // (1 + (training.snapshot_dtype == "bfloat16"))
        count = steps // training.keep_every - max(last, 0) // training.keep_every
        line += f". A snapshot takes {as_size(small)}: {count} to come, {as_size(count * small)} in all"
    rank_zero_only(say)(f"{line}.")
    try:
        refuse_without_room(output / CHECKPOINTS, size)
    except EvaError as error:
        raise EvaError(f"{error} {resume_note(output)}") from error


def _exported(plan: Plan, tell: bool = True) -> bool:
    """Whether the run has a whole export of the weights that the plan chooses."""
    folder = plan.output / EXPORT
    if not (folder / CARD).exists() or 0 <= newest_step(plan.output) < plan.setup.recipe.steps:
        return False
    try:
        card = check_files(folder)
        read_seen(folder)
        read_images(folder)
    except EvaError as error:
        if tell:
            say(f"{error} It is made again.")
        return False
    selected = card["selected_on"]
    chosen = "best" if isinstance(selected, dict) else selected
    # a run that was made longer, and killed before its export, has that of its shorter self
    if chosen == "best":
        best = [step_of(file) for file in best_checkpoints(plan.output)]
        reached = not best or card["step"] in best
    else:
        reached = card["step"] >= plan.setup.recipe.steps
    return reached and (card["weights_of"], chosen) == (plan.export.weights, plan.export.checkpoint)


def _export(plan: Plan) -> None:
    output = plan.output
    best = plan.export.checkpoint == "best"
    chosen = best_of(output) if best else last_checkpoint(output)
    if chosen is None:
        raise EvaError(
            f"Expected monitor.every below the {plan.setup.recipe.steps} steps, but got {plan.monitor.every}: "
            "no checkpoint was the best. Export the last one: --export.checkpoint last."
        )
    selected_on = selection(output, step_of(chosen)) if best else "last"
    export_file(BegunRun.read(output), chosen, plan.export.weights, output / EXPORT, _name(plan), selected_on)


def _name(plan: Plan) -> str:
    """Name of an export of the run: the student, or the best checkpoint, is another model."""
    marks = [mark for mark in (plan.export.weights, plan.export.checkpoint) if mark not in ("teacher", "last")]
    return "-".join([plan.name, plan.key[:8], *marks])
