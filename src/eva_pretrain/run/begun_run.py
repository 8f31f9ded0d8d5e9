"""A run that is begun in an output folder: whether a plan goes on with it."""

from dataclasses import replace
from pathlib import Path

import yaml
from lightning.pytorch.utilities import rank_zero_only

from eva_core.config.files import read_yaml
from eva_core.errors import UsageError
from eva_core.progress import say
from eva_core.results.record import CONFIG
from eva_pretrain.data.datamodule import Patches, only_slides_have
from eva_pretrain.optimisation.recipe import Recipe
from eva_pretrain.run.checkpoints import has_checkpoints, last_checkpoint, newest_step, read_checkpoint, step_of
from eva_pretrain.run.config import PARTS, Plan
from eva_pretrain.run.key import STEPS, differences, read_stored, settings_in, shown
from eva_vision.models.exported import CARD

EXPORT, KEY = "export", "key"
_FOLDER = "data.folder"


def going_on(plan: Plan) -> Plan:
    """Plan of the run that is begun in the output folder: it keeps the key that it began with, a part of its name.

    Raises:
        UsageError: The folder holds weights made with other settings: each is named, with both values.
    """
    output, file = plan.output, plan.output / KEY
    if not (has_checkpoints(output) or (output / EXPORT / CARD).exists()) or not file.exists():
        return plan
    key, settings = read_stored(file)
    config = read_yaml(output / CONFIG) if (output / CONFIG).exists() else {}
    if settings is None:  # an earlier version kept the key alone
        settings = settings_in(config, plan.method, PARTS, _batch_of(output)) if config else plan.settings
    names = differences(settings, plan.settings)
    if plan.data.folder is not None:
        names = [name for name in names if not only_slides_have(name)]
    if names in ([], [STEPS]) and (enough := _enough(plan, settings.get(STEPS, Recipe.steps) if names else None)):
        rank_zero_only(say)(enough)
    elif names == [_FOLDER] and _same_files(plan):
        rank_zero_only(say)(f"{plan.data.folder} has the files of the run, by their names and sizes: it goes on.")
    elif names:
        now = yaml.safe_load(plan.text)
        expected = ", ".join(f"{name} {shown(name, settings, config)}" for name in names)
        got = ", ".join(shown(name, plan.settings, now) for name in names)
        shorter = names == [STEPS] and has_checkpoints(output)
        more = f"; `eva export {output}` makes a model of what it has reached" if shorter else ""
        raise UsageError(f"Expected {expected} as in the run in {output}, but got {got}. Give another --output{more}.")
    return replace(plan, key=key)


def _enough(plan: Plan, schedule: int | None) -> str:
    """Say that a run has made the steps that are asked for, so that only its model is missing; else empty.

    Args:
        plan: The plan that asks.
        schedule: Steps of the schedule that the run began with, where the plan has another; None: it is the same.
    """
    asked = plan.setup.recipe.steps
    for reached in (newest_step, lambda output: step_of(last_checkpoint(output))):  # checksums take time
        step = reached(plan.output)
        if not (asked < step if schedule is None else asked <= step < schedule):
            return ""
    of = "" if schedule is None else f" of {schedule:,}"
    return (
        f"{plan.output} has made {step:,}{of} steps, and {asked:,} are asked for: it is not trained any more, and its "
        "last checkpoint is exported."
    )


def _batch_of(output: Path) -> int | None:
    """Patches of an optimiser step of a run, by its last checkpoint."""
    last = last_checkpoint(output)
    return None if last is None else read_checkpoint(last, mapped=True)["eva"]["batch"]


def _same_files(plan: Plan) -> bool:
    """Whether the folder holds the files that the run was trained on, by the last checkpoint."""
    last = last_checkpoint(plan.output)
    if last is None:
        return False
    loop = read_checkpoint(last, mapped=True)["loops"]["fit_loop"]
    then = {loader["of"].get("contents") for loader in loop["state_dict"]["combined_loader"]}
    patches = Patches(plan.data, plan.sampling, plan.setup.seed, plan.training.accumulate, plan.output)
    return then == {patches.stream(1).identity()["contents"]}
