"""Models that a run is made from, its start and the one that it distils: what a card tells, and their exports."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from eva_core.errors import EvaError, UsageError
from eva_core.hub.weight_files import HUB
from eva_core.registry import export_in
from eva_core.results.record import CONFIG
from eva_pretrain.network.named_models import card_of, is_registered
from eva_vision.models.exported import CARD, SLIDES, read_card
from eva_vision.models.hub_exports import fetch_export


def derived_from(config: str, runs: frozenset[Path] = frozenset()) -> list[dict[str, Any]]:
    """List the models of `eva models` in a resolved configuration, and those that exports and runs in it are made from.

    Args:
        config: The configuration of a run as YAML.
        runs: Configurations that lead to this one: a run may have started from its own checkpoint.

    Returns:
        `name`, `licence` and `collections` of each, as its card has them; none of what has no card, such as a
        network of timm.
    """
    content = yaml.safe_load(config)
    vit, method = (_part(content, name) for name in ("vit", "method"))
    found: dict[str, dict[str, Any]] = {}
    for name in (vit.get("start"), _part(method, "init_args").get("backbone")):
        if not name:
            continue
        if (card := card_of(name)) is not None:
            collections = None if card.collections is None else list(card.collections)
            found[name] = {"name": name, "licence": card.licence, "collections": collections}
            continue
        found |= {each["name"]: each for each in _inherited(str(name), runs)}
    return list(found.values())


def _inherited(name: str, runs: frozenset[Path]) -> list[dict[str, Any]]:
    """List the models that an export, a run, or a file of one of them is made from."""
    path = Path(name).expanduser().absolute()
    if name.startswith(HUB):
        with suppress(EvaError):  # a network of timm
            path = fetch_export(name, (CARD,)).folder
    export = path if path.is_dir() else path.parent
    if (export / CARD).is_file():
        with suppress(UsageError):  # beside weights of another program
            models: list[dict[str, Any]] = read_card(export).get("derived_from", [])
            return models
    run = (path if path.is_dir() else path.parent.parent) / CONFIG
    if (path.is_dir() or path.suffix == ".ckpt") and run.is_file() and run not in runs:
        return derived_from(run.read_text(encoding="utf-8"), runs | {run})
    return []


def export_of(name: str) -> Path | None:
    """Find the export that a name leads to: its path, that of a file in it or of its run, or an address of the hub.

    Returns:
        Its folder; None where the name is of no export.

    Raises:
        UsageError: It is the path of another folder.
        EvaError: The hub's files cannot be had.
    """
    path = Path(name).expanduser()
    if name.startswith(HUB):
        with suppress(UsageError):  # a network of timm
            return fetch_export(name, (CARD, SLIDES)).folder
    elif not is_registered(name) and path.is_dir():
        folder = Path(export_in(str(path)))
        read_card(folder)
        return folder
    elif path.is_file() and (path.parent / CARD).is_file():
        with suppress(UsageError):  # of another program
            read_card(path.parent)
            return path.parent
    return None


def _part(content: Any, name: str) -> dict[str, Any]:
    part = content.get(name) if isinstance(content, dict) else None
    return part if isinstance(part, dict) else {}
