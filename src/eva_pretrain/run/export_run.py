"""Export of a run at any step, while it goes on or after it was stopped: from its snapshots and checkpoints."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from torch import Tensor

from eva_core.config.files import read_yaml
from eva_core.errors import EvaError, UsageError, some
from eva_core.files.atomic_files import make_folder
from eva_core.progress import say
from eva_core.results.record import CONFIG
from eva_pretrain.data.datamodule import Source, mpp_of
from eva_pretrain.data.seen_images import images_seen
from eva_pretrain.monitor.collapse import BEST
from eva_pretrain.monitor.lines import MEASURES, read_lines
from eva_pretrain.network.vit import Architecture
from eva_pretrain.run.begun_run import EXPORT, KEY
from eva_pretrain.run.checkpoints import (
    CHECKPOINTS,
    SNAPSHOTS,
    best_checkpoints,
    fault,
    last_checkpoint,
    read_checkpoint,
    saved_steps,
    say_passed_over,
    snapshots,
    step_of,
)
from eva_pretrain.run.export import ExportDetails, export
from eva_pretrain.run.key import read_stored
from eva_vision.models.exported import CARD, check_files, read_card, read_images, read_seen
from eva_vision.slides.sampling import Sampling

EXPORTS = "exports"
Network = Literal["teacher", "student"]
_MARK = 8
"""Characters of a run's key in the names of its exports."""

_NONE_YET = "Expected a checkpoint in the run in {}, but it has none yet. Start it again, or wait."


def export_step(
    run: str | Path,
    step: int | Literal["last", "best"] = "last",
    weights: Network = "teacher",
    output: str | Path | None = None,
) -> Path:
    """Export a run at a step for which it has a snapshot or a checkpoint; a whole export of it stays as it is.

    Args:
        run: Folder of the run.
        step: The step; or the `last`, or the `best` by the nearest neighbours of the monitor.
        weights: Network to export; a snapshot has the teacher alone.
        output: Folder of the export; None: `exports/step-N` in the folder of the run.

    Returns:
        The folder that `--model` takes.
    Raises:
        UsageError: The folder is no run, or has nothing of that step; says which steps there are.
        EvaError: The checkpoint is damaged.
    """
    run = Path(run).expanduser()
    settings = BegunRun.read(run)
    mark = f"-{weights}" * (weights != "teacher")
    while True:
        file = _file_of(run, step, weights)
        number = step_of(file)
        folder = Path(output).expanduser() if output else run / EXPORTS / f"step-{number}{mark}"
        name = f"{settings.name}-step{number}{mark}"
        selected_on = selection(run, number) if step == "best" else "last" if step == "last" else "step"
        if _is_whole(folder, name, selected_on):
            return folder
        make_folder(folder.parent)
        try:
            with FileLock(folder.with_name(f".{folder.name}.lock")):  # several evaluations may begin at once
                if not _is_whole(folder, name, selected_on, tell=False):
                    export_file(settings, file, weights, folder, name, selected_on)
            return folder
        except FileNotFoundError:
            if file.exists():
                raise
            # a run that goes on has deleted it, and has a later one


def export_file(settings: "BegunRun", file: Path, weights: Network, folder: Path, name: str, selected_on: Any) -> None:
    """Export a checkpoint or snapshot of a run.

    Args:
        settings: What the exports of the run have in common.
        file: The checkpoint or snapshot.
        weights: Network to export.
        folder: Destination.
        name: Name of the model.
        selected_on: How the step was chosen, as in `ExportDetails`.

    Raises:
        FileNotFoundError: The file is gone.
        EvaError: It is damaged.
    """
    file.stat()
    content = read_checkpoint(file, mapped=True)
    progress = content["eva_progress"]
    mpp = progress.get("mpp", settings.mpp)  # an earlier eva kept what was asked for alone
    details = ExportDetails(
        name=name,
        mean=settings.mean,
        std=settings.std,
        size=settings.architecture.size,
        mpp=(mpp[0], mpp[1]) if mpp else None,
        config=settings.text,
        step=content["global_step"],
        seen=progress["seen"],
        images=images_seen(settings.folder),
        selected_on=selected_on,
        weights_of=weights,
    )
    arguments = settings.architecture.timm_arguments()
    export(folder, backbone_of(content, weights), settings.architecture.arch, arguments, details)


def model_of(folder: Path) -> Path | None:
    """Find the export that the folder of a run stands for where a model is named: its own, else its best or last step.

    Args:
        folder: A path; that of a checkpoint or snapshot of a run stands for its step.

    Returns:
        The folder of the export, said on stderr; None where the path is of no run.

    Raises:
        UsageError: The run has no checkpoint.
    """
    if folder.is_file():
        ours = folder.parent.name in (CHECKPOINTS, SNAPSHOTS) and re.fullmatch(r"\w+-\d+\.ckpt", folder.name)
        return export_step(folder.parents[1], step_of(folder)) if ours else None
    if (folder / EXPORT / CARD).is_file():
        say(
            f"{folder} is a run: its export of step {read_card(folder / EXPORT)['step']:,} is taken, {folder / EXPORT}."
        )
        return folder / EXPORT
    if not saved_steps(folder):
        if (folder / CONFIG).is_file() and (folder / KEY).is_file():
            raise UsageError(_NONE_YET.format(folder))
        return None
    best = best_of(folder)
    step: Literal["best", "last"] = "last" if best is None else "best"
    if best is not None and (reason := fault(best)) is not None:
        say(f"{best} is not used, because {reason}.")
        step = "last"
    found = export_step(folder, step)
    say(f"{folder} is a run without an export: its {step} step is taken, {found}.")
    return found


def backbone_of(checkpoint: dict[str, Any], weights: Network) -> dict[str, Tensor]:
    """State of a backbone in a checkpoint, under timm's names."""
    prefix = f"{weights}.vit.network."
    return {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}


def best_of(output: Path) -> Path | None:
    """Find the checkpoint of the best score of the online kNN; None without any."""
    return max(best_checkpoints(output), key=lambda file: selection(output, step_of(file))["value"], default=None)


def selection(output: Path, step: int) -> dict[str, Any]:
    """Metric, step and value by which the monitor chose a checkpoint.

    Raises:
        EvaError: The measures of the run do not hold it.
    """
    lines = read_lines(output / MEASURES)
    values = [line[BEST] for line in lines if line.get("step") == step and BEST in line]
    if not values:
        raise EvaError(
            f"Expected {BEST} of step {step} in {output / MEASURES}, but it is not there. Export the last checkpoint."
        )
    return {"metric": BEST, "step": step, "value": values[-1]}  # a resumed run may have written it twice


@dataclass(frozen=True)
class BegunRun:
    """What the exports of a run say of it, from its folder alone.

    Attributes:
        folder: Folder of the run.
        name: Name of the run with the start of its key.
        text: Resolved configuration as YAML.
    """

    folder: Path
    name: str
    text: str
    architecture: Architecture
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mpp: tuple[float, float] | None

    @staticmethod
    def read(run: Path) -> "BegunRun":
        """Read configuration and key of a run.

        Raises:
            UsageError: The folder holds no run.
        """
        if not (run / CONFIG).is_file() or not (run / KEY).is_file():
            raise UsageError(f"Expected the folder of a run of `eva pretrain`, but {run} is none. Give its --output.")
        config = read_yaml(run / CONFIG)
        return BegunRun(
            folder=run,
            name=f"{config['name']}-{read_stored(run / KEY)[0][:_MARK]}",
            text=(run / CONFIG).read_text(encoding="utf-8"),
            architecture=_part(Architecture, config["vit"]),
            mean=tuple(config["views"]["mean"]),
            std=tuple(config["views"]["std"]),
            mpp=mpp_of(_part(Source, config["data"]), _part(Sampling, config["sampling"])),
        )


def _part(kind: Any, values: dict[str, Any]) -> Any:
    """Settings of a part, as YAML holds them; those of another version of eva are left out."""
    known = {field.name for field in fields(kind)}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known})


def _file_of(run: Path, step: int | Literal["last", "best"], weights: Network) -> Path:
    """Choose the file of a step: a checkpoint before a snapshot, whose numbers may have fewer digits.

    Raises:
        UsageError: There is none.
    """
    small = snapshots(run) if weights == "teacher" else []
    if step == "last":
        last = last_checkpoint(run)
        say_passed_over(run, last)
        found = max([*([] if last is None else [last]), *small], key=step_of, default=None)
    elif step == "best":
        found = best_of(run)
    else:
        places = [run / CHECKPOINTS / f"{kind}-{step}.ckpt" for kind in ("step", "best")]
        found = next((file for file in [*places, *small] if file.exists() and step_of(file) == step), None)
    if found is None:
        there = saved_steps(run) if weights == "teacher" else saved_steps(run, SNAPSHOTS)
        if not there:
            raise UsageError(_NONE_YET.format(run))
        what = "a checkpoint that the monitor chose" if step == "best" else f"a checkpoint or snapshot of step {step}"
        raise UsageError(
            f"Expected {what} in {run}, but it has {some(map(str, there), 12)}. Give one of these as --step, or leave "
            "it out."
        )
    return found


def _is_whole(folder: Path, name: str, selected_on: Any, tell: bool = True) -> bool:
    """Whether a folder holds a whole export of this name, which says by what number its step was chosen, if by one."""
    if not (folder / CARD).exists():
        return False
    try:
        read_seen(folder)
        read_images(folder)
        card = check_files(folder)
        return card["name"] == name and (not isinstance(selected_on, dict) or card["selected_on"] == selected_on)
    except EvaError as error:
        if tell:
            say(f"{error} It is made again.")
        return False
