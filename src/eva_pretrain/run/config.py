"""The settings of a run, and their parser: like that of `eva fit`, names stand for what is registered."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace
from lightning.pytorch.loggers import Logger

from eva_core.config.files import first_reason
from eva_core.config.parser import parsed
from eva_core.contracts.dataset import Dataset
from eva_core.errors import UsageError
from eva_core.files.file_names import check_name
from eva_core.registry import import_object
from eva_pretrain.augment.views import Views
from eva_pretrain.data.datamodule import Source
from eva_pretrain.methods.base import Method, Setup
from eva_pretrain.monitor.collapse import Monitor
from eva_pretrain.network.vit import Architecture
from eva_pretrain.optimisation.recipe import Recipe
from eva_pretrain.run.key import key_of
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
OF_NO_PART = ("name", "seed", "most_skipped")
"""Settings that decide the weights and stand by themselves."""


@dataclass(frozen=True)
class Export:
    """What is exported at the end.

    Attributes:
        weights: Whose: of the `teacher` (the moving average) or the `student`.
        checkpoint: The `last`, or the `best` by the nearest neighbours of the monitor.
    """

    weights: Literal["teacher", "student"] = "teacher"
    checkpoint: Literal["last", "best"] = "last"


@dataclass(frozen=True)
class Plan:
    """What a command line asks for; `text` is the resolved configuration, `key` a hash of what decides the weights."""

    method: type[Method]
    method_arguments: dict[str, Any]
    data: Source
    sampling: Sampling
    setup: Setup
    monitor: Monitor
    training: Training
    export: Export
    dataset: Dataset | None
    logger: Logger | None
    output: Path
    name: str
    text: str
    key: str


def parse(argv: list[str]) -> Plan:
    """Parse and check; later configs and flags override earlier ones.

    Args:
        argv: The words of the command line, as for `eva_core.config.parser.parse`.

    Raises:
        UsageError: One line about the first thing that is wrong.
        SystemExit: After `--help` and `--print_config`.
    """
    parser = build_parser()
    given, text = parsed(parser, "pretrain", [_long(argument) for argument in argv])
    try:
        others = given.clone()
        others.method = None  # it takes the others when it is built
        built = parser.instantiate(others)
    except (ArgumentError, TypeError, ValueError) as error:
        raise UsageError(f"{first_reason(error)} See `eva pretrain --help`.") from error
    check_name(given.name, "--name as a run's name")
    method: type[Method] = import_object(given.method.class_path)
    arguments = given.method.get("init_args", Namespace()).as_dict()
    parts = {name: built[name] for name in PARTS}
    alone = {name: (given[name], parser.get_default(name)) for name in OF_NO_PART}
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
        logger=built.logger,
        output=Path(given.output or f"out/pretrain/{given.name}"),
        name=given.name,
        text=text,
        key=key_of(method, arguments, parts, alone),
    )


def build_parser() -> ArgumentParser:
    """The parser of `eva pretrain`."""
    parser = ArgumentParser(
        prog="eva pretrain",
        parser_mode="omegaconf+",
        exit_on_error=False,
        description="Train a pathology foundation model from slides or patches, and export it for `eva fit --model`. "
        f"Short: {', '.join(SHORT)}.",
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file, or its name under configs/; repeatable")
    parser.add_argument("--name", type=str, default="model", help="of the run and of its export")
    parser.add_argument("--output", type=str | None, help="folder of the run, else out/pretrain/NAME")
    parser.add_argument("--seed", type=int, default=0, help="of weights, patches and crops")
    parser.add_argument(
        "--most_skipped", type=int, default=10, help="steps in a row without a finite loss, then it stops"
    )
    skipped = {"setup"}
    parser.add_subclass_arguments(
        Method, "method", skip=skipped, required=True, help="dino, dinov2, or the name or class path of another"
    )
    for name, kind in PARTS.items():
        parser.add_class_arguments(kind, name)
    parser.add_class_arguments(Export, "export")
    parser.add_argument("--dataset", type=Dataset | None, help="for nearest neighbours as it learns (`eva datasets`)")
    parser.add_argument("--logger", type=Logger | None, help="class path; TensorBoard unless given")
    return parser


def _long(argument: str) -> str:
    flag, equals, value = argument.partition("=")
    return f"{SHORT.get(flag, flag)}{equals}{value}"
