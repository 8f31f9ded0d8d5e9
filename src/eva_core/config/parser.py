"""Configuration: names become class paths, and the parser of `fit` and `predict`."""

import math
import os
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import fields, replace
from difflib import get_close_matches
from functools import reduce
from inspect import Parameter, signature
from operator import or_
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace  # type: ignore[attr-defined]
from omegaconf.errors import OmegaConfBaseException

from eva_core import registry
from eva_core.config.files import BOARDS, PUBLISHED, find_config, first_reason, read_yaml
from eva_core.config.jobs import job_of
from eva_core.config.protocols import load_protocol, plain, protocol_class
from eva_core.config.result_config import REGISTRIES, TRUST, as_written, came_with_a_result, literal, read_result_config
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.dataset import Dataset
from eva_core.errors import EvaError, UsageError
from eva_core.extraction.settings import Extraction
from eva_core.files.addresses import free_of_secrets
from eva_core.job import Job
from eva_core.progress import HELP
from eva_core.task import task_named
from eva_core.text import printable

SHORT = {"--precision": "--protocol.precision"}


def parse(command: str, argv: list[str], config: dict[str, Any] | None = None) -> Job:
    """Parse and build; later configs and flags override earlier ones.

    Args:
        command: `fit` or `predict`, for messages; a job of `predict` has a head only where one is given.
        argv: The words of the command line; with `--trust` among them, class paths and addresses are taken also from
            a configuration that came with a result.
        config: A configuration after the words, as a file of the user's would hold it.
    Raises:
        UsageError: One line about the first thing that is wrong.
        SystemExit: After `--help` and `--print_config`.
    """
    parser, names = build_parser(command), Names()
    given, text = parsed(parser, command, argv, config, names)
    for needed in ("model", "dataset"):
        if given[needed] is None:
            raise UsageError(f"Expected --{needed} NAME. `eva {needed}s` lists them.")
    built = instantiated(parser, given)
    path, arguments = given.model.class_path, given.model.get("init_args", Namespace()).as_dict()  # type: ignore[no-untyped-call]
    stated = {k: v for k, v in arguments.items() if v is not None}
    backbone = registry.with_identity(names.of("model", path), registry.import_object(path), built.model, stated)
    head, how = _named(built.head, given, names), Extraction(**{f.name: built[f.name] for f in fields(Extraction)})
    trains = command == "fit"
    job = job_of(backbone, built.dataset, head, built.protocol, how, output=given.output, trains=trains)
    return replace(job, config=text)


def parse_embeddings(argv: list[str]) -> dict[str, Any]:
    """Parse `eva fit --embeddings STORE`: the arguments of `eva_core.api.fit_embeddings`.

    Raises:
        UsageError: One line about the first thing that is wrong.
    """
    parser, names = build_parser("fit"), Names()
    parser.add_argument("--embeddings", type=str)
    given, _ = parsed(parser, "fit", argv, names=names)
    if given.model is not None or given.dataset is not None:
        raise UsageError("Expected either --embeddings, or --model and --dataset, but got both.")
    built = instantiated(parser, given)
    head = _named(built.head, given, names)
    return {"store": given.embeddings, "head": head, "protocol": built.protocol, "output": given.output}


def _named(head: Any, given: Namespace, names: "Names") -> Any:
    """A head under the name by which it was asked for."""
    if head is not None:
        head.registered_name = names.of("head", given.head.class_path)
    return head


def parsed(
    parser: ArgumentParser,
    command: str,
    argv: list[str],
    config: dict[str, Any] | None = None,
    names: "Names | None" = None,
) -> tuple[Namespace, str]:
    """What a command line asks for, and the resolved configuration as YAML.

    The YAML is without the folder that it is saved in, as others may start from it, and without what opens an address;
    what was asked for by name has its name there.

    Args:
        parser: What reads the words.
        command: Name of the command, for messages.
        argv: The words of the command line.
        config: A configuration after the words.
        names: Learns what was asked for by name.
    Raises:
        UsageError: One line about the first thing that is wrong.
    """
    strange = [value for value in (*argv, os.environ.get("DATA_ROOT", "")) if printable(value) != value]
    if strange:  # a configuration is UTF-8; names of files below a folder may be of any bytes
        raise UsageError(
            f"Expected UTF-8 in a command, but got {printable(strange[0])}. Name a link to it: ln -s TARGET LINK."
        )
    names = Names() if names is None else names
    try:
        words = expand(argv, names)
        words += [] if config is None else ["--config", yaml.safe_dump(expand_yaml(config, names), sort_keys=False)]
        given = parser.parse_args(words)
        _refuse_no_number(given)
    except (ArgumentError, TypeError, ValueError, OmegaConfBaseException) as error:
        what_to_do = _near(error, parser) or _what_to_do(error, command, names)
        raise UsageError(f"{as_written(first_reason(error))} {what_to_do}") from error
    if given.get("output") == "":  # as of a variable of the shell that is not set
        raise UsageError("Expected a folder after --output, but got ''. Name one, or leave it out.")
    saved = given.clone(with_meta=False)
    saved.output = None
    text = names.in_place_of_classes(yaml.safe_load(parser.dump(saved, skip_unset=True)))
    return _as_written(given), yaml.safe_dump(free_of_secrets(as_written(text)), sort_keys=False)


def _refuse_no_number(given: Namespace) -> None:
    """Refuse NaN anywhere in a configuration: no comparison tells it from a number that is right."""
    for name, value in given.items():
        numbers = [value]
        for part in numbers:
            if isinstance(part, dict | list | tuple):
                numbers += part.values() if isinstance(part, dict) else part
            elif isinstance(part, float) and math.isnan(part):
                raise UsageError(f"Expected a number for --{name}, but got nan. Change it.")


def _near(error: Exception, parser: ArgumentParser) -> str:
    """Name the flags that an unknown one is nearest to; empty where there is none, or another error."""
    unknown = re.search(
        r"(?:nrecognized arguments: --|Group ')([\w.]+)(?:' does not accept option '(\w+))?", str(error)
    )
    if unknown is None:
        return ""
    name = ".".join(part for part in unknown.groups() if part)
    flags = [*parser.get_defaults(skip_validation=True).keys()]
    ends = {flag.rpartition(".")[2]: flag for flag in reversed(flags)}
    whole, end = (
        get_close_matches(what, all_, 1, 0.7) for what, all_ in ((name, flags), (name.rpartition(".")[2], ends))
    )
    near = [*(whole if "." in name else []), *(ends[each] for each in end), *whole]
    return f"Did you mean --{near[0]}?" if near else ""


def _what_to_do(error: Exception, command: str, names: "Names") -> str:
    """Say where an argument goes that a builder passes on, or what lists those that it takes."""
    refused = re.search(
        r"\"(\w+)\":\s.*?Problem with given class_path '([\w.]+)':\s+Option '(\w+)' is not", str(error), re.DOTALL
    )
    if str(error).startswith("Option '"):
        return f"It is no setting of `eva {command}`: the config may be one of another command."
    if refused is None or refused[1] not in REGISTRIES:
        return f"See `eva {command} --help`."
    kind, path, option = refused.groups()
    if any(p.kind is Parameter.VAR_KEYWORD for p in signature(registry.import_object(path)).parameters.values()):
        return (
            f"{names.of(kind, path)} passes on what it does not name: write --{kind}.dict_kwargs.{option}, "
            "or put it under `dict_kwargs:` in YAML."
        )
    return f"`eva {kind}s {names.of(kind, path)}` lists its arguments."


def _as_written(given: Namespace) -> Namespace:
    for key, value in vars(given).items():
        setattr(given, key, _as_written(value) if isinstance(value, Namespace) else as_written(value))
    return given


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
    parser.add_argument("--head", type=_any_head(), help="a registered head (`eva heads`), else the protocol's first")
    parser.add_class_arguments(protocol_class(), "protocol")
    parser.set_defaults({f"protocol.{k}": v for k, v in plain(load_protocol("eva-0.4")).items()})
    parser.add_class_arguments(Extraction)
    parser.add_argument("--output", type=str | None, help="folder for the result, else out/DATASET/MODEL")
    parser.epilog = (
        f"{TRUST} takes the class paths, transforms and addresses that came with a result: only of people you know. "
        f"{HELP}"
    )
    return parser


def _any_head() -> Any:
    """The union of the classes of heads that any kind of task takes."""
    kinds = []
    for entry in registry.tasks.entries():
        with suppress(EvaError):  # a broken plugin is no reason to refuse the heads of others
            kinds.append(task_named(entry.name).head)
    return reduce(or_, dict.fromkeys(kinds))


class Names:
    """The registered names that a command line and its configurations used: several may stand for one class."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], str] = {}

    def note(self, kind: str, name: str, path: str) -> None:
        """Note that a class path was asked for by a name; a class may lie elsewhere than its package says."""
        builder = registry.import_object(path)
        for known in (path, f"{builder.__module__}.{builder.__qualname__}"):
            self._last[kind, known] = name

    def of(self, kind: str, path: str) -> str:
        """The name by which a class path was last asked for, else a registered one."""
        return self._last.get((kind, path)) or REGISTRIES[kind].name_of(path)

    def in_place_of_classes(self, config: dict[str, Any]) -> dict[str, Any]:
        """A configuration in which names stand for what was asked for by name."""
        named = {
            kind: {**config[kind], "class_path": self._last[kind, config[kind]["class_path"]]}
            for kind in REGISTRIES.keys() & config.keys()
            if isinstance(config[kind], dict) and (kind, config[kind].get("class_path")) in self._last
        }
        return {**config, **named}


def expand(argv: list[str], names: Names) -> list[str]:
    """Registered names, config names and short flags -> what jsonargparse understands.

    `${...}` in a YAML file of the user's is left to OmegaConf; what is typed, or came with a result, is text.

    Args:
        argv: The words of the command line.
        names: Learns what was asked for by name.
    """
    trust = TRUST in argv
    argv = [word for word in argv if word != TRUST]
    given = {word.partition("=")[0] for word in argv if word.startswith("--")}
    expanded: list[str] = []
    position = 0
    while position < len(argv):
        flag, equals, value = argv[position].partition("=")
        position += 1
        takes_value = flag in SHORT or flag.removeprefix("--") in {*REGISTRIES, "config", "protocol"}
        if not (flag.startswith("--") and takes_value):
            expanded.append(literal(argv[position - 1]))
            continue
        if not equals:
            if position == len(argv):
                raise UsageError(f"Expected a value after {flag}.")
            value = argv[position]
            position += 1
        if flag == "--config":
            expanded += _expand_config(find_config(value), given, trust, names)
        else:
            expanded += map(literal, _expand_pair(flag, value, names))
    return expanded


def _expand_config(path: Path, given: Collection[str], trust: bool, names: Names) -> list[str]:
    if came_with_a_result(path):
        content, before = read_result_config(path, given, trust), []
    else:
        content = read_yaml(path)
        base = content.pop("base", None)  # a config that says what it does otherwise than another
        content = {key: value for key, value in content.items() if key not in (BOARDS, PUBLISHED)}
        before = [] if base is None else _expand_config(find_config(base), given, trust, names)
    return [*before, "--config", yaml.safe_dump(expand_yaml(content, names), sort_keys=False)]


def _expand_pair(flag: str, value: str, names: Names) -> list[str]:
    name = flag.removeprefix("--")
    if flag in SHORT:
        return [SHORT[flag], value]
    if name == "protocol":
        return [flag, yaml.safe_dump(plain(load_protocol(value)), sort_keys=False)]
    part = component(name, value, names)
    inner = [f"{flag}.{key}={given}" for key, given in part.get("init_args", {}).items()]
    return [flag, part["class_path"], *inner]


def expand_yaml(content: dict[str, Any], names: Names) -> dict[str, Any]:
    """The same for the keys of a YAML file."""
    content = dict(content)
    for name in REGISTRIES.keys() & content.keys():
        value = content[name]
        if isinstance(value, str):
            content[name] = component(name, value, names)
        elif isinstance(value, dict) and "class_path" in value:
            part = component(name, value["class_path"], names)
            inner = {**(value.get("init_args") or {}), **part.get("init_args", {})}
            content[name] = {**value, **part, **({"init_args": inner} if inner else {})}
    protocol = content.get("protocol")
    if isinstance(protocol, str):
        content["protocol"] = plain(load_protocol(protocol))
    return content


def component(kind: str, name: str, names: Names) -> dict[str, Any]:
    """What stands for a name in a configuration: its `class_path`; `init_args` for a model that is a folder.

    Raises:
        UsageError: As `class_path`.
    """
    if kind == "model" and registry.is_folder(name):
        return {"class_path": class_path(kind, registry.FOLDER), "init_args": {"folder": registry.export_in(name)}}
    path = class_path(kind, name)
    if path != name:
        names.note(kind, name, path)
    return {"class_path": path}


def class_path(kind: str, name: str) -> str:
    """The class path of a registered name; anything with a dot, a slash or a brace is one already.

    Raises:
        UsageError: Unknown name, a name claimed twice, or a plugin that does not import.
    """
    if any(mark in name for mark in "./{"):
        return name
    entry = REGISTRIES[kind].find(name)
    entry.load()  # a broken plugin is reported here, by package
    return entry.class_path


def instantiated(parser: ArgumentParser, given: Namespace) -> Namespace:
    """Build what was parsed.

    Raises:
        UsageError: A class refuses its arguments. For an argument of several kinds jsonargparse lists what each of them
            said; the first is the one that was asked for.
    """
    try:
        built: Namespace = parser.instantiate(given)
    except ValueError as error:
        _, several, reasons = str(error).partition("Errors:")
        if not several or "Union subtypes" not in str(error):
            raise
        raise UsageError(" ".join(reasons.strip().removeprefix("- ").partition("\n  - ")[0].split())) from error
    return built
