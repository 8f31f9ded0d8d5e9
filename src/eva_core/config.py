"""Configuration: names become class paths, and the parser of `fit` and `predict`."""

import re
from dataclasses import asdict, dataclass, fields
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace

from eva_core import registry
from eva_core.config_files import find_config, read_yaml, shipped
from eva_core.errors import UsageError
from eva_core.extract import Extraction
from eva_core.protocol import Protocol, Segmentation
from eva_core.types import Backbone, Dataset, Geometry, Head, SegmentationHead

NAMED = {
    "model": registry.models,
    "dataset": registry.datasets,
    "head": registry.heads,
    "method": registry.methods,
}
SHORT = {"--precision": "--protocol.precision"}


def load_protocol(name: str) -> Protocol:
    """A protocol by name or path.

    Raises:
        UsageError: No such file, or a field that no protocol has.
    """
    content = read_yaml(find_config(name, "protocols"))
    try:
        for field, kind in (("geometry", Geometry), ("segmentation", Segmentation)):
            if isinstance(content.get(field), dict):
                content[field] = kind(**_tuples(content[field]))
        return Protocol(**_tuples(content))
    except TypeError as error:
        raise UsageError(
            f"Expected the fields of a protocol in {name}, but {str(error).rpartition('() ')[2]}."
        ) from error


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}


def published(name: str) -> Protocol | None:
    """The protocol of this name as shipped, None where there is none."""
    return load_protocol(name) if (shipped("configs") / "protocols" / f"{name}.yaml").is_file() else None


@dataclass(frozen=True)
class Request:
    """What a command line asks for, built; `text` is the resolved configuration."""

    backbone: Backbone
    dataset: Dataset
    head: Head | SegmentationHead | None
    protocol: Protocol
    how: Extraction
    output: str | None
    text: str


def parse(command: str, argv: list[str]) -> Request:
    """Parse and build; later configs and flags override earlier ones.

    Raises:
        UsageError: One line about the first thing that is wrong.
        SystemExit: After `--help` and `--print_config`.
    """
    parser = build_parser(command)
    given = _parsed(parser, command, argv)
    for needed in ("model", "dataset"):
        if given[needed] is None:
            raise UsageError(f"Expected --{needed} NAME. `eva {needed}s` lists them.")
    built = parser.instantiate(given)
    path, arguments = given.model.class_path, given.model.get("init_args", Namespace()).as_dict()
    name = registry.models.name_of(path)
    builder = registry.import_object(path)
    return Request(
        registry.as_asked(name, builder, built.model, {k: v for k, v in arguments.items() if v is not None}),
        built.dataset,
        built.head,
        built.protocol,
        Extraction(**{f.name: built[f.name] for f in fields(Extraction)}),
        given.output,
        _resolved(parser, given),
    )


def parse_embeddings(argv: list[str]) -> dict[str, Any]:
    """Parse `eva fit --embeddings STORE`: the arguments of `eva_core.api.fit_embeddings`.

    Raises:
        UsageError: One line about the first thing that is wrong.
    """
    parser = build_parser("fit")
    parser.add_argument("--embeddings", type=str)
    given = _parsed(parser, "fit", argv)
    if given.model is not None or given.dataset is not None:
        raise UsageError("Expected either --embeddings, or --model and --dataset, but got both.")
    built = parser.instantiate(given)
    return {"store": given.embeddings, "head": built.head, "protocol": built.protocol, "output": given.output}


def _parsed(parser: ArgumentParser, command: str, argv: list[str]) -> Namespace:
    try:
        return parser.parse_args(expand(argv))
    except (ArgumentError, TypeError, ValueError) as error:
        raise UsageError(f"{first_reason(error)} See `eva {command} --help`.") from error


def _resolved(parser: ArgumentParser, given: Namespace) -> str:
    """The configuration as YAML, without the folder that it is saved in: others may start from it."""
    given = given.clone(with_meta=False)
    given.output = None
    return parser.dump(given, skip_unset=True)


def build_parser(command: str) -> ArgumentParser:
    """The one parser of `fit` and `predict`."""
    parser = ArgumentParser(
        prog=f"eva {command}",
        parser_mode="omegaconf+",
        exit_on_error=False,
        description="After --model NAME and --dataset NAME come their arguments, as --model.ARG and --dataset.ARG; "
        "`eva models NAME` and `eva datasets NAME` tell which. --precision is short for --protocol.precision.",
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file, or its name under configs/; repeatable")
    # the dataset first: it is built first, and missing files are found before weights are fetched
    parser.add_argument("--dataset", type=Dataset, help="a registered dataset (`eva datasets`)")
    parser.add_argument("--model", type=Backbone, help="a registered model (`eva models`)")
    parser.add_argument(
        "--head", type=Head | SegmentationHead, help="a registered head (`eva heads`), else the protocol's first"
    )
    parser.add_class_arguments(Protocol, "protocol")
    parser.set_defaults({f"protocol.{k}": v for k, v in plain(load_protocol("eva-0.4")).items()})
    parser.add_class_arguments(Extraction)
    parser.add_argument("--output", type=str | None, help="folder for the result, else out/DATASET/MODEL")
    return parser


def expand(argv: list[str]) -> list[str]:
    """Registered names, config names and short flags -> what jsonargparse understands."""
    expanded: list[str] = []
    position = 0
    while position < len(argv):
        flag, equals, value = argv[position].partition("=")
        position += 1
        takes_value = flag in SHORT or flag.removeprefix("--") in {*NAMED, "config", "protocol"}
        if not (flag.startswith("--") and takes_value):
            expanded.append(argv[position - 1])
            continue
        if not equals:
            if position == len(argv):
                raise UsageError(f"Expected a value after {flag}.")
            value = argv[position]
            position += 1
        expanded += _expand_pair(flag, value)
    return expanded


def _expand_pair(flag: str, value: str) -> list[str]:
    name = flag.removeprefix("--")
    if flag in SHORT:
        return [SHORT[flag], value]
    if name == "config":
        content = read_yaml(find_config(value))
        base = content.pop("base", None)  # a config that says what it does otherwise than another
        before = [] if base is None else _expand_pair(flag, base)
        return [*before, flag, yaml.safe_dump(expand_yaml(content), sort_keys=False)]
    if name == "protocol":
        return [flag, yaml.safe_dump(plain(load_protocol(value)), sort_keys=False)]
    found = component(name, value)
    inner = [f"{flag}.{key}={given}" for key, given in found.get("init_args", {}).items()]
    return [flag, found["class_path"], *inner]


def expand_yaml(content: dict[str, Any]) -> dict[str, Any]:
    """The same for the keys of a YAML file."""
    content = dict(content)
    for name in NAMED.keys() & content.keys():
        value = content[name]
        if isinstance(value, str):
            content[name] = component(name, value)
        elif isinstance(value, dict) and "class_path" in value:
            found = component(name, value["class_path"])
            inner = {**(value.get("init_args") or {}), **found.get("init_args", {})}
            content[name] = {**value, **found, **({"init_args": inner} if inner else {})}
    protocol = content.get("protocol")
    if isinstance(protocol, str):
        content["protocol"] = plain(load_protocol(protocol))
    return content


def component(kind: str, name: str) -> dict[str, Any]:
    """What stands for a name in a configuration: its `class_path`; `init_args` for a model that is a folder.

    Raises:
        UsageError: As `class_path`.
    """
    if kind == "model" and registry.is_folder(name):
        return {"class_path": class_path(kind, registry.FOLDER), "init_args": {"folder": name}}
    return {"class_path": class_path(kind, name)}


def class_path(kind: str, name: str) -> str:
    """The class path of a registered name; anything with a dot, a slash or a brace is one already.

    Raises:
        UsageError: Unknown name, a name claimed twice, or a plugin that does not import.
    """
    if any(mark in name for mark in "./{"):
        return name
    entry = NAMED[kind].find(name)
    entry.load()  # a broken plugin is reported here, by package
    return entry.class_path


def plain(protocol: Protocol) -> dict[str, Any]:
    """The fields of a protocol as YAML holds them."""
    return _lists(asdict(protocol))


def _lists(content: dict[str, Any]) -> dict[str, Any]:
    kept = {k: list(v) if isinstance(v, tuple) else v for k, v in content.items()}
    return {k: _lists(v) if isinstance(v, dict) else v for k, v in kept.items()}


def first_reason(error: Exception) -> str:
    """One line from jsonargparse's several: the flag in question, and the innermost reason."""
    said = re.sub(r"\n *- Expected (a )?<class 'NoneType'>", "", str(error)).partition("\n  Given value type:")[0]
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    keys = re.findall(r'Parser key "([^"]+)"', str(error))
    flag = f"--{'.'.join(keys)}: " if keys else ""
    return flag + re.sub(r"<class '(\w+)'>", r"\1", lines[-1].removeprefix("- ").rstrip(".")) + "."
