"""The page of `eva pretrain --help`: read from the source of the settings, so that it takes no import of torch."""

import ast
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from eva_core import registry
from eva_core.config.files import find_config, read_yaml
from eva_core.progress import HELP

DESCRIPTION = "Train a pathology foundation model from slides or patches, and export it for `eva fit --model`."
TOP_LEVEL = {
    "config": "YAML file, or its name under configs/; repeatable",
    "name": "name of the run and of its export",
    "output": "folder of the run; default: out/pretrain/NAME",
    "seed": "seed of weights, patches and crops",
    "most_skipped": "stop after this many steps in a row without a finite loss",
    "method": "dino, dinov2, distill, or the name or class path of another",
    "dataset": "dataset for the online kNN (`eva datasets`)",
    "dense_dataset": "dataset with masks for the online score of patch tokens",
    "logger": "tensorboard (default), csv, wandb, mlflow, or a class path",
}
"""What the settings outside of the parts are for, by name."""
COMMON = {
    "config": "",
    "slides": "data.slides",
    "folder": "data.folder",
    "output": "",
    "steps": "recipe.steps",
    "batch_size": "data.batch_size",
    "start": "vit.start",
    "exclude": "sampling.exclude",
    "dataset": "",
    "training.devices": "training.devices",
}
"""The flags that most runs need, and the settings that short ones stand for."""
_PARTS = {
    "data": ("eva_pretrain.data.datamodule", "Source"),
    "sampling": ("eva_vision.slides.sampling", "Sampling"),
    "views": ("eva_pretrain.augment.views", "Views"),
    "vit": ("eva_pretrain.network.vit", "Architecture"),
    "recipe": ("eva_pretrain.optimisation.recipe", "Recipe"),
    "monitor": ("eva_pretrain.monitor.collapse", "Monitor"),
    "training": ("eva_pretrain.run.trainer", "Training"),
    "export": ("eva_pretrain.run.config", "Export"),
}
_WIDTH = 100


class Setting(NamedTuple):
    """A setting: its name, the source of its default ("" for none), and what it is for."""

    name: str
    default: str
    text: str


def page(argv: Sequence[str] = ()) -> str:
    """Write the page; with `--config` among the words, the values of that recipe stand where the defaults would.

    Args:
        argv: The words of the command line.
    """
    recipe = _recipe(argv)
    parts = {name: settings_of(*place) for name, place in _PARTS.items()}
    known = {f"{part}.{s.name}": s for part, (_, settings) in parts.items() for s in settings}
    lines = [
        "usage: eva pretrain --config RECIPE (--slides PATTERN | --folder DIR) [--SETTING VALUE ...]",
        "",
        DESCRIPTION,
        "`eva pretrain --watch OUT` makes the page of a run; --config RECIPE --help shows the values of a recipe.",
        "",
        "common flags:",
    ]
    for flag, name in COMMON.items():
        lines += _entry(flag, known[name] if name else Setting(flag, "", TOP_LEVEL[flag]), recipe.get(name or flag))
    lines += ["", "run:"]
    for flag in (name for name in TOP_LEVEL if name not in COMMON):
        lines += _entry(flag, Setting(flag, "", TOP_LEVEL[flag]), recipe.get(flag))
    for part, (summary, settings) in parts.items():
        lines += ["", f"{part}: {summary}"]
        for setting in settings:
            lines += _entry(f"{part}.{setting.name}", setting, recipe.get(f"{part}.{setting.name}"))
    for entry in registry.methods.entries():
        if entry.package.startswith("eva"):
            module, _, name = entry.target.partition(":")
            lines += ["", f"method {entry.name}:"]
            for setting in arguments_of(module, name):
                lines += _entry(f"method.{setting.name}", setting, recipe.get(f"method.{setting.name}"))
    return "\n".join([*lines, "", HELP])


def settings_of(module: str, name: str) -> tuple[str, list[Setting]]:
    """Read the summary and the settings of a dataclass from the source of its module, without importing it."""
    found = _class(module, name)
    document = ast.get_docstring(found) or ""
    texts = _entries(document, "Attributes:")
    fields = [node for node in found.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    settings = [Setting(f.target.id, _source(f.value), texts.get(f.target.id, "")) for f in fields]  # type: ignore[union-attr]
    return document.partition("\n")[0], settings


def arguments_of(module: str, name: str) -> list[Setting]:
    """Read the arguments of a method in the same way."""
    found = _class(module, name)
    made = next(n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    texts = _entries(ast.get_docstring(made) or "", "Args:")
    arguments = made.args.args[2:]  # after self and the setup
    defaults: list[ast.expr | None] = [*[None] * (len(arguments) - len(made.args.defaults)), *made.args.defaults]
    pairs = zip(arguments, defaults[-len(arguments) :] if arguments else [], strict=True)
    return [Setting(a.arg, _source(default), texts.get(a.arg, "")) for a, default in pairs]


def _class(module: str, name: str) -> ast.ClassDef:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    return next(node for node in body if isinstance(node, ast.ClassDef) and node.name == name)


def _entries(document: str, heading: str) -> dict[str, str]:
    """Entries of a section of a docstring, by name."""
    _, _, section = document.partition(f"{heading}\n")
    texts: dict[str, str] = {}
    name = ""
    for line in section.split("\n\n")[0].splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            texts[name] = text
        elif name:
            texts[name] += f" {line.strip()}"
    return texts


def _source(value: ast.expr | None) -> str:
    text = "" if value is None else ast.unparse(value)
    return "" if text in ("None", "field(default_factory=dict)") else text.strip("'")


def _entry(flag: str, setting: Setting, given: Any) -> Iterator[str]:
    value = (
        f" [{setting.default}]"
        if given is None and setting.default
        else f" [recipe: {given}]"
        if given is not None
        else ""
    )
    first = f"  --{flag:<27} "
    text = textwrap.wrap(f"{setting.text}{value}", _WIDTH - 32) or [""]
    yield first + text[0] if len(first) <= 33 else first.rstrip()
    yield from (" " * 32 + line for line in text[1 if len(first) <= 33 else 0 :])


def _recipe(argv: Sequence[str]) -> dict[str, Any]:
    """Settings of the configurations that a command line names, by flag; later ones count."""
    found: dict[str, Any] = {}
    for at, word in enumerate(argv):
        flag, equals, value = word.partition("=")
        if flag == "--config":
            found |= _flat(value if equals else next(iter(argv[at + 1 :]), ""))
    return found


def _flat(name: str) -> dict[str, Any]:
    content = read_yaml(find_config(name))
    base = content.pop("base", None)
    found = {} if base is None else _flat(str(base))
    for part, settings in content.items():
        if part == "method" and isinstance(settings, Mapping):
            settings = settings.get("init_args") or {}
        if isinstance(settings, Mapping):
            found |= {f"{part}.{setting}": value for setting, value in settings.items()}
        else:
            found[part] = settings
    return found
