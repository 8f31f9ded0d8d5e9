"""From settings to an export: what `eva pretrain` and `eva study` do."""

from pathlib import Path

import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from eva_core.errors import UsageError
from eva_core.progress import say
from eva_pretrain.config import Plan
from eva_pretrain.export import write_export
from eva_pretrain.monitor.neighbours import OnlineKnn
from eva_pretrain.monitor.progress import Progress
from eva_pretrain.monitor.watch import BEST, Watch
from eva_pretrain.source import Patches
from eva_pretrain.starts import start_from
from eva_pretrain.training import best_checkpoint, last_checkpoint, make_trainer, run, step_of

EXPORT, _KEY = "export", "key"


def pretrain(plan: Plan) -> Path:
    """Train, or go on, and export.

    Returns:
        The folder that `--model` takes.
    Raises:
        UsageError: The output folder has another run.
        EvaError: Something does not read, or the loss is not finite for too long.
    """
    output, setup = plan.output, plan.setup
    output.mkdir(parents=True, exist_ok=True)
    _claim(output, plan.key)
    if (output / EXPORT / "card.json").exists():
        say(f"{output} is finished.")
        return output / EXPORT
    (output / "config.yaml").write_text(plan.text)

    patches = Patches(plan.data, plan.sampling, setup.seed, plan.training.accumulate, output)
    trained = step_of(last_checkpoint(output)) >= setup.recipe.steps
    rank = 0 if trained else _train(plan, patches)
    if rank == 0:
        _export(plan, patches)
    return output / EXPORT


def _train(plan: Plan, patches: Patches) -> int:
    """To the last step; the rank of this process."""
    setup, output = plan.setup, plan.output
    method = plan.method(setup, **plan.method_arguments)
    if last_checkpoint(output) is None:
        start_from(method, setup.architecture.start)
    knn = None
    if plan.dataset is not None and plan.monitor.every:
        knn = OnlineKnn(plan.dataset, setup.architecture.size, plan.monitor.holdout)
    progress = Progress(plan.training.log_every)
    trainer = make_trainer(
        plan.training,
        setup.recipe.steps,
        output,
        _loggers(plan),
        [progress, Watch(plan.monitor, knn, output)],
        plan.monitor.every if knn else 0,
    )
    run(trainer, method, patches, output)
    if trainer.is_global_zero:
        say(progress.cost(trainer))
        say(patches.loader.report())
    return trainer.global_rank


def _export(plan: Plan, patches: Patches) -> None:
    output = plan.output
    wanted = best_checkpoint(output) if plan.export.checkpoint == "best" else last_checkpoint(output)
    if wanted is None:
        raise UsageError(
            "Expected a best checkpoint, but nothing chose one. Give --dataset, or --export.checkpoint last."
        )
    checkpoint = torch.load(wanted, map_location="cpu", weights_only=True)
    prefix = f"{plan.export.weights}.vit.network."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    views, architecture = plan.setup.views, plan.setup.architecture
    write_export(
        output / EXPORT,
        state,
        architecture.arch,
        architecture.timm_arguments(),
        name=f"{plan.name}-{plan.key[:8]}",
        mean=views.mean,
        std=views.std,
        size=architecture.size,
        mpp=patches.mpp,
        config=plan.text,
        step=checkpoint["global_step"],
        seen=checkpoint["eva_progress"]["seen"],
        selected_on="last" if plan.export.checkpoint == "last" else {"metric": BEST, "step": checkpoint["global_step"]},
        weights_of=plan.export.weights,
    )


def _loggers(plan: Plan) -> list[Logger]:
    if plan.loggers is not None:
        return list(plan.loggers)
    return [TensorBoardLogger(plan.output, name="", version="logs")]


def _claim(output: Path, key: str) -> None:
    """One folder, one run."""
    file = output / _KEY
    if file.exists() and file.read_text() != key:
        raise UsageError(
            f"Expected {output} for these settings, but it has a run with others (its config.yaml tells). "
            "Give another --output."
        )
    file.write_text(key)
