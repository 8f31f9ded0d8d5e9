"""Settings of a run, and their parser: registered names stand for classes, as in `eva fit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch.loggers import Logger

from eva_core.config.files import first_reason
from eva_core.config.parser import parsed
from eva_core.contracts.dataset import Dataset
from eva_core.errors import UsageError
from eva_core.files.file_names import check_name
from eva_core.progress import HELP
from eva_core.registry import import_object
from eva_pretrain.augment.views import Views
from eva_pretrain.data.datamodule import Source
from eva_pretrain.methods.base import Method, Setup
from eva_pretrain.monitor.collapse import Monitor
from eva_pretrain.network.vit import Architecture
from eva_pretrain.optimisation.recipe import Recipe
from eva_pretrain.run.help_page import DESCRIPTION, TOP_LEVEL
from eva_pretrain.run.key import Settings, key_of, settings_of
from eva_pretrain.run.launchers import devices_of
from eva_pretrain.run.loggers import Name, refuse_missing
from eva_pretrain.run.trainer import Training
from eva_vision.slides.sampling import Sampling

SHORT = {
    "--slides": "--data.slides",
    "--folder": "--data.folder",
    "--batch_size": "--data.batch_size",
    "--exclude": "--sampling.exclude",
    "--steps": "--recipe.steps",
    "--start": "--vit.start",
}
PARTS = {
    "data": Source,
    "sampling": Sampling,
    "views": Views,
    "vit": Architecture,
    "recipe": Recipe,
    "monitor": Monitor,
    "training": Training,
}


@dataclass(frozen=True)
class Export:
    """Choice of the weights that are exported at the end.

    Attributes:
        weights: Network to export: the `teacher` (the moving average) or the `student`.
        checkpoint: The `last` checkpoint, or the `best` by the nearest neighbours of the monitor.
    """

    weights: Literal["teacher", "student"] = "teacher"
    checkpoint: Literal["last", "best"] = "last"


@dataclass(frozen=True)
class Plan:
    """A run that is checked and ready for `pretrain`; `plan` makes one from Python.

    Attributes:
        method: Class of the method.
        method_arguments: Arguments of the method by name, without the setup.
        data: Source of the patches.
        sampling: How patches are drawn from slides.
        setup: Network, views and recipe.
        monitor: What is measured as the network learns.
        training: Devices, precision, checkpoints.
        export: Which weights are exported.
        dataset: Dataset for the online kNN; None: no kNN.
        dense_dataset: Dataset with masks for the online score of patch tokens; None: not scored.
        logger: Name of a logger, or one of Lightning; None: TensorBoard.
        output: Folder of the run.
        name: Name of the run.
        text: Resolved configuration as YAML.
        key: Hash of the settings that change the weights, in hexadecimal.
        settings: These settings.
    """

    method: type[Method]
    method_arguments: dict[str, Any]
    data: Source
    sampling: Sampling
    setup: Setup
    monitor: Monitor
    training: Training
    export: Export
    dataset: Dataset | None
    dense_dataset: Dataset | None
    logger: Name | Logger | None
    output: Path
    name: str
    text: str
    key: str
    settings: Settings


def plan(config: str | Path | None = None, **settings: Any) -> Plan:
    """Plan a run from Python, with the settings of `eva pretrain`.

    Args:
        config: YAML file, or its name under configs/.
        settings: Values by the name of a flag, such as `slides="slides/*.svs"` or `steps=1000`; those of one part as a
            dict, such as `recipe={"lr": 1e-4}`. They override the config.

    Raises:
        UsageError: One line about the first setting that is wrong.
    """
    content = {name: value for name, value in settings.items() if f"--{name}" not in SHORT}
    for name in settings.keys() - content.keys():
        part, setting = SHORT[f"--{name}"].removeprefix("--").split(".")
        content[part] = {**content.get(part, {}), setting: settings[name]}
    return parse([] if config is None else ["--config", str(config)], _as_yaml(content))


def parse(argv: list[str], config: dict[str, Any] | None = None) -> Plan:
    """Parse and check a command line; later configs and flags override earlier ones.

    Args:
        argv: The words of the command line, as for `eva_core.config.parser.parse`.
        config: Settings that override the words, as a YAML file would hold them.

    Raises:
        UsageError: One line about the first setting that is wrong.
        SystemExit: After `--help` and `--print_config`.
    """
    parser = build_parser()
    given, text = parsed(parser, "pretrain", [_long(argument) for argument in argv], config)
    try:
        without_method = given.clone()
        without_method.method = None  # the method takes the other parts when it is built
        built = parser.instantiate(without_method)
    except (ArgumentError, TypeError, ValueError) as error:
        raise UsageError(f"{first_reason(error)} See `eva pretrain --help`.") from error
    check_name(given.name, "--name as a run's name")
    if not isinstance(built.logger, Logger | None):
        refuse_missing(built.logger)
    method: type[Method] = import_object(given.method.class_path)
    init_args = given.method.get("init_args")
    arguments = {} if init_args is None else init_args.as_dict()
    parts = {name: built[name] for name in PARTS}
    training: Training = built.training
    devices = devices_of(training.devices, training.nodes) * training.nodes
    batch = built.data.batch_size * devices * training.accumulate
    settings = settings_of(method, arguments, parts, given.seed, batch)
    return Plan(
        method=method,
        method_arguments=arguments,
        data=built.data,
        sampling=built.sampling,
        setup=Setup(built.vit, built.views, built.recipe, built.data.batch_size, given.seed, given.most_skipped),
        monitor=built.monitor,
        training=built.training,
        export=built.export,
        dataset=built.dataset,
        dense_dataset=built.dense_dataset,
        logger=built.logger,
        output=Path(given.output or f"out/pretrain/{given.name}"),
        name=given.name,
        text=text,
        key=key_of(settings),
        settings=settings,
    )


def build_parser() -> ArgumentParser:
    """Build the parser of `eva pretrain`."""
    parser = ArgumentParser(
        prog="eva pretrain",
        parser_mode="omegaconf+",
        exit_on_error=False,
        description=f"{DESCRIPTION} Short flags: {', '.join(SHORT)}.",
        epilog=HELP,
    )
    parser.add_argument("--config", action="config", help=TOP_LEVEL["config"])
    parser.add_argument("--name", type=str, default="model", help=TOP_LEVEL["name"])
    parser.add_argument("--output", type=str | None, help=TOP_LEVEL["output"])
    parser.add_argument("--seed", type=int, default=0, help=TOP_LEVEL["seed"])
    parser.add_argument("--most_skipped", type=int, default=10, help=TOP_LEVEL["most_skipped"])
    skipped = {"setup"}
    parser.add_subclass_arguments(Method, "method", skip=skipped, required=True, help=TOP_LEVEL["method"])
    for name, kind in PARTS.items():
        parser.add_class_arguments(kind, name)
    parser.add_class_arguments(Export, "export")
    parser.add_argument("--dataset", type=Dataset | None, help=TOP_LEVEL["dataset"])
    parser.add_argument("--dense_dataset", type=Dataset | None, help=TOP_LEVEL["dense_dataset"])
    parser.add_argument("--logger", type=Name | Logger | None, help=TOP_LEVEL["logger"])
    return parser


def _long(argument: str) -> str:
    flag, equals, value = argument.partition("=")
    return f"{SHORT.get(flag, flag)}{equals}{value}"


def _as_yaml(value: Any) -> Any:
    """Value of Python as YAML holds it: paths as texts."""
    if isinstance(value, dict):
        return {name: _as_yaml(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_as_yaml(part) for part in value]
    return str(value) if isinstance(value, Path) else value
