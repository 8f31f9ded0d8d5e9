"""`eva models`, `eva datasets`, `eva heads` and their like: what is installed, a line each; with a name, its card."""

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eva_core import registry
from eva_core.errors import UsageError, some
from eva_core.registry import Entry, Registry, is_folder
from eva_core.shown import visible
from eva_core.source import Definition, read_definition

OURS = "eva-pathology"
"""Its modules import, which our tests hold; so their source is read, and nobody waits for torch."""

Row = Callable[[Definition], tuple[str, ...]]


def models(argv: list[str]) -> int:
    """List models, or show the card of one."""
    if len(argv) == 1 and is_folder(argv[0]):
        print(_show_folder(argv[0]))
        return 0
    return _print(registry.models, argv, ("D", "PATCH", "PIXELS", "LICENCE", "GATED"), _of_model)


def datasets(argv: list[str]) -> int:
    """List datasets, or show the card of one."""
    return _print(registry.datasets, argv, ("TASK", "CLASSES", "LICENCE", "ACCESS"), _of_dataset)


def heads(argv: list[str]) -> int:
    """List heads, or show one."""
    return _print(registry.heads, argv)


def methods(argv: list[str]) -> int:
    """List methods of pretraining, or show one."""
    return _print(registry.methods, argv)


def tasks(argv: list[str]) -> int:
    """List kinds of task, or show one."""
    return _print(registry.tasks, argv)


def protocols(argv: list[str]) -> int:
    """List protocols, or show the fields of one."""
    from eva_core.config.files import find_config, read_yaml, shipped

    name = _name_of("protocol", argv)
    if name is None:
        return 0
    if name:
        print(find_config(name, "protocols").read_text(encoding="utf-8").rstrip())
        print("\n# Each field can be given anew, as --protocol.FIELD VALUE; results then say so.")
        return 0
    rows = []
    for path in sorted((shipped("configs") / "protocols").glob("*.yaml")):
        fields = read_yaml(path)
        main = [str(fields.get(key, "?")) for key in ("pooling", "precision", "selection", "runs")]
        rows.append((path.stem, *main, ", ".join(fields.get("heads", ())) or "?", _first_comment(path)))
    print(_table(("NAME", "POOLING", "PRECISION", "SELECTION", "RUNS", "HEADS", "WHAT IT IS"), rows))
    return 0


def _name_of(kind: str, argv: list[str]) -> str | None:
    """The name that is asked for, empty for all of them; None after the help."""
    if argv in (["-h"], ["--help"]):
        print(f"usage: eva {kind}s [NAME]\n\nList the {kind}s of all installed packages, or show one.")
        return None
    if len(argv) > 1 or (argv and argv[0].startswith("-")):
        raise UsageError(f"Expected `eva {kind}s [NAME]`, but got {' '.join(argv)!r}.")
    return argv[0] if argv else ""


def _print(names: Registry, argv: list[str], columns: Sequence[str] = (), row: Row | None = None) -> int:
    name = _name_of(names.kind, argv)
    if name is not None:
        print(_show(names, name) if name else _list(names, columns, row))
    return 0


def _list(names: Registry, columns: Sequence[str], row: Row | None) -> str:
    rows = []
    for entry in names.entries():
        try:
            definition = _definition(entry)
            cells, line = row(definition) if row else (), definition.doc.partition("\n")[0]
        except UsageError as error:
            cells, line = (), str(error)
        except Exception as error:  # a card of a plugin may be anything
            cells, line = (), f"its card does not read ({type(error).__name__}: {error})"
        origin = "" if entry.package == OURS else f" [{entry.origin}]"
        cells = cells or ("?",) * len(columns)
        rows.append((entry.name, *cells, visible(" ".join((line + origin).split()))))
    return _table(("NAME", *columns, "WHAT IT IS"), rows)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _definition(entry: Entry) -> Definition:
    """What an entry says of itself: ours by their source, those of other packages by importing them.

    Raises:
        UsageError: A plugin does not import.
    """
    read = read_definition(entry.target) if entry.package == OURS and entry.registered is None else None
    if read is not None:
        return read
    thing = entry.load()
    try:
        arguments = tuple(map(str, inspect.signature(thing).parameters.values()))
    except (TypeError, ValueError):  # an object, or something that is written in C
        arguments = ()
    init = inspect.getdoc(thing.__init__) if inspect.isclass(thing) and "__init__" in vars(thing) else None
    return Definition(inspect.getdoc(thing) or "", init or "", arguments, getattr(thing, "card", None))


def _of_model(definition: Definition) -> tuple[str, ...]:
    card = definition.card
    if card is None:
        return ()
    if card.dim is None:  # many models under one name
        return "?", "?", "?", _short(card.licence), "?"
    return str(card.dim), _plain(card.patch_size), str(card.geometry.crop), _short(card.licence), _yes(card.gated)


def _of_dataset(definition: Definition) -> tuple[str, ...]:
    card = definition.card
    if card is None:
        return ()
    return card.task, str(len(card.classes) or "?"), _short(card.licence), _short(card.access, 40)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _short(text: str, width: int = 24) -> str:
    return textwrap.shorten(visible(_plain(text)), width, placeholder=" ...")


def _show(names: Registry, name: str) -> str:
    entry = names.find(name)
    definition = _definition(entry)
    lines = [f"{name}  ({entry.origin}, {entry.class_path})", *_without_arguments(definition.doc), ""]
    if definition.card is not None:
        lines += [*_card(definition.card), ""]
    texts = {**_argument_texts(definition.doc), **_argument_texts(definition.init_doc)}
    lines.append("  arguments:" if definition.arguments else "  arguments: none")
    for argument in definition.arguments:
        text = texts.get(re.split(r"[:= ]", argument.lstrip("*"))[0], "")
        lines += [f"    {argument}", *textwrap.wrap(text, 110, initial_indent=" " * 8, subsequent_indent=" " * 8)]
    return "\n".join(map(visible, lines))


def _without_arguments(doc: str) -> list[str]:
    """The lines of a docstring up to its arguments, which are shown by themselves."""
    return re.split(r"\n\s*Args:\n", doc)[0].rstrip().splitlines()


def _argument_texts(doc: str) -> dict[str, str]:
    """What the section `Args:` of a docstring says of each argument."""
    _, _, after = doc.partition("Args:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in after.splitlines():
        if not line.startswith("    "):
            break
        opened = re.match(r"    (\w+): (.*)", line)
        name = opened[1] if opened else name
        texts[name] = f"{texts.get(name, '')} {opened[2] if opened else line.strip()}".strip()
    return texts


def _show_folder(folder: str) -> str:
    """The card of an export, whose weights are checked on the way."""
    built = registry.build_model(folder)
    return "\n".join([visible(f"{built.name}  ({folder})"), "", *_card(built.card)])


def _card(card: Any) -> list[str]:
    return [f"  {key:<14} {visible(_plain(value))}" for key, value in asdict(card).items()]


def _plain(value: Any) -> str:
    """`?` for what nobody could cite; of a long list its beginning."""
    if value in (None, "unknown", (), []):
        return "?"
    if isinstance(value, tuple) and len(value) > 5:
        return some(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _first_comment(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return next((line.lstrip("# ").strip() for line in file if line.startswith("#")), "")
