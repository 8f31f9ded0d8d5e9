"""Models that a run is made from, its start and the one that it distils, for the card of its export."""

from pathlib import Path
from typing import Any

import yaml

from eva_core.results.record import CONFIG
from eva_pretrain.network.named_models import card_of
from eva_vision.models.exported import CARD, read_card


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
        path = Path(name).expanduser()
        run = path.absolute().parent.parent / CONFIG  # where it is a checkpoint
        if (path / CARD).is_file():
            found |= {each["name"]: each for each in read_card(path).get("derived_from", [])}
        elif path.suffix == ".ckpt" and run.is_file() and run not in runs:
            found |= {each["name"]: each for each in derived_from(run.read_text(encoding="utf-8"), runs | {run})}
    return list(found.values())


def _part(content: Any, name: str) -> dict[str, Any]:
    part = content.get(name) if isinstance(content, dict) else None
    return part if isinstance(part, dict) else {}
