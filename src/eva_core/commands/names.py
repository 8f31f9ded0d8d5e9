"""`eva models`, `eva datasets`, `eva heads` and their like: what is installed, a line each; with a name, its card."""

import argparse
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eva_core import registry
from eva_core.commands.listing import (
    Cells,
    Listed,
    as_data,
    definition_of,
    listed,
    print_json,
    rows_of,
    short,
    sorted_rows,
    table,
)
from eva_core.config.argparser import Parser
from eva_core.contracts.cards import ModelCard, facts_of
from eva_core.errors import some
from eva_core.hub.weight_files import HUB_PAGE, weights_address
from eva_core.registry import Registry, is_folder
from eva_core.shown import visible
from eva_core.source import Definition

MODELS = ("D", "PATCH", "LICENCE", "GATED", "TRAINED ON", "WEIGHTS")
DATASETS = ("TASK", "CLASSES", "LICENCE", "ACCESS")
PROTOCOLS = ("POOLING", "PRECISION", "SELECTION", "RUNS", "HEADS")


def models(argv: list[str]) -> int:
    """List models, show the card of one, or say which weights are here."""
    parser = _parser("model", MODELS)
    parser.add_argument(
        "--check", action="store_true", help="say which weights are here, which need a token, which cannot be had"
    )
    given = parser.parse_args(argv)
    if given.check:
        return _check(given)
    if given.name and is_folder(given.name):
        return _print_folder(given)
    return _print(registry.models, given, MODELS, _of_model)


def datasets(argv: list[str]) -> int:
    """List datasets, or show the card of one."""
    return _print(registry.datasets, _parser("dataset", DATASETS).parse_args(argv), DATASETS, _of_dataset)


def heads(argv: list[str]) -> int:
    """List heads, or show one."""
    return _print(registry.heads, _parser("head").parse_args(argv))


def methods(argv: list[str]) -> int:
    """List methods of pretraining, or show one."""
    return _print(registry.methods, _parser("method").parse_args(argv))


def tasks(argv: list[str]) -> int:
    """List kinds of task, or show one."""
    return _print(registry.tasks, _parser("task").parse_args(argv))


def protocols(argv: list[str]) -> int:
    """List protocols, or show the fields of one."""
    from eva_core.config.files import find_config, read_yaml, shipped

    given = _parser("protocol", PROTOCOLS).parse_args(argv)
    if given.name:
        path = find_config(given.name, "protocols")
        if given.json:
            print_json(read_yaml(path))
            return 0
        print(path.read_text(encoding="utf-8").rstrip())
        print("\n# Each field can be given anew, as --protocol.FIELD VALUE; results then say so.")
        return 0
    paths = sorted((shipped("configs") / "protocols").glob("*.yaml"))
    if given.json:
        print_json([{"name": path.stem, "summary": _first_comment(path), "fields": read_yaml(path)} for path in paths])
        return 0
    rows = []
    for path in paths:
        fields = read_yaml(path)
        main = [str(fields.get(key, "?")) for key in ("pooling", "precision", "selection", "runs")]
        rows.append((path.stem, *main, ", ".join(fields.get("heads", ())) or "?", _first_comment(path)))
    _print_table(("NAME", *PROTOCOLS, "WHAT IT IS"), rows, given.sort)
    return 0


def _parser(kind: str, columns: Sequence[str] = ()) -> Parser:
    parser = Parser(prog=f"eva {kind}s", description=f"List the {kind}s of all installed packages, or show one.")
    parser.add_argument("name", nargs="?", default="", help="show this one")
    named = ", ".join(name.lower().replace(" ", "_") for name in ("NAME", *columns, "WHAT IT IS"))
    parser.add_argument("--sort", metavar="COLUMN", help=f"order of the list: {named}")
    parser.add_argument("--json", action="store_true", help="all that is known, as JSON")
    return parser


def _print(names: Registry, given: argparse.Namespace, columns: Sequence[str] = (), cells: Cells | None = None) -> int:
    if given.name and given.json:
        entry = names.find(given.name)
        print_json(_data(Listed(entry, definition_of(entry))))
    elif given.name:
        print(_show(names, given.name))
    elif given.json:
        print_json([_data(item) for item in listed(names)])
    else:
        rows = rows_of(listed(names), len(columns), cells or (lambda _: ()))
        _print_table(("NAME", *columns, "WHAT IT IS"), rows, given.sort)
    return 0


def _print_table(header: Sequence[str], rows: list[tuple[str, ...]], sort: str | None) -> None:
    print(table(header, sorted_rows(header, rows, sort)))


def _data(item: Listed) -> dict[str, Any]:
    """A name as JSON has it, a model with the address of its weights."""
    content = as_data(item)
    if content.get("card") and "gated" in content["card"] and item.definition is not None:
        content["weights"] = weights_address(item.definition.card)
    return content


def _check(given: argparse.Namespace) -> int:
    """Print where the weights of each model are, or what is between."""
    from eva_core.hub.availability import as_size, availability
    from eva_core.progress import say

    if given.name:
        registry.models.find(given.name)  # refuses what is no name
    asked = [item for item in listed(registry.models) if given.name in ("", item.entry.name)]
    found = availability({item.entry.name: _model_card(item) for item in asked})
    if given.json:
        print_json([{"name": name, **asdict(weights)} for name, weights in found.items()])
        return 0
    rows: list[tuple[str, ...]] = [(name, w.state, as_size(w.size), visible(w.where)) for name, w in found.items()]
    _print_table(("NAME", "WEIGHTS", "SIZE", "WHERE"), rows, given.sort)
    states = [weights.state for weights in found.values()]
    say("; ".join(f"{state}: {states.count(state)}" for state in sorted(set(states))))
    return 0


def _model_card(item: Listed) -> ModelCard | None:
    card = None if item.definition is None else item.definition.card
    return card if isinstance(card, ModelCard) else None


def _of_model(definition: Definition) -> tuple[str, ...]:
    card = definition.card
    if card is None:
        return ()
    where = _short(_place(card), 44)
    if card.dim is None:  # many models under one name
        return "?", "?", _short(card.licence), "?", "?", where
    trained_on = _short(re.sub(r" \([^()]*\)$", "", card.trained_on), 48)
    return str(card.dim), _plain(card.patch_size), _short(card.licence), _yes(card.gated), trained_on, where


def _place(card: ModelCard) -> str:
    """Where weights come from, as short as it can be said."""
    if card.source.startswith(HUB_PAGE):
        return f"hub: {card.source.removeprefix(HUB_PAGE)}"
    return re.sub("^https?://", "", card.source)


def _of_dataset(definition: Definition) -> tuple[str, ...]:
    card = definition.card
    if card is None:
        return ()
    return card.task, str(len(card.classes) or "?"), _short(card.licence), _short(card.access, 40)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _short(text: str, width: int = 24) -> str:
    return short(" ".join(visible(_plain(text)).split()), width)


def _show(names: Registry, name: str) -> str:
    entry = names.find(name)
    definition = definition_of(entry)
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


def _print_folder(given: argparse.Namespace) -> int:
    """Print the card of an export, whose weights are checked on the way."""
    built = registry.build_model(given.name)
    if given.json:
        print_json({"name": built.name, "card": facts_of(built.card), "weights": built.provenance})
    else:
        print("\n".join([visible(f"{built.name}  ({given.name})"), "", *_card(built.card)]))
    return 0


def _card(card: Any) -> list[str]:
    return [f"  {key:<14} {visible(_plain(value))}" for key, value in facts_of(card).items()]


def _plain(value: Any) -> str:
    """`?` for what nobody could cite; of a long list its beginning."""
    if value in (None, "unknown", (), [], ""):
        return "?"
    if isinstance(value, tuple) and len(value) > 5:
        return some(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _first_comment(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return next((line.lstrip("# ").strip() for line in file if line.startswith("#")), "")
