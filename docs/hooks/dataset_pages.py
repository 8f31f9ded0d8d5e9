"""Pages of the datasets, generated from card, signature and shipped config around a section that is written by hand.

`docs/datasets/NAME.md` is that section, and optional. It has no title. The rows of a table `| property | value |` in it
join those of the card, and replace a row of the same name.
"""

import inspect
import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from docstrings import cell, code, described, summary, typed

from eva_core.config.files import shipped
from eva_core.contracts.cards import DatasetCard
from eva_core.registry import Entry

TABLE = "| property | value |\n|---|---|\n"
UNKNOWN = "unknown"
UNLABELLED = {"plism": "robustness"}
"""What a dataset without labels is for: there is nothing to fit."""


def pages(entries: Sequence[Entry], sections: Path) -> dict[str, str]:
    """Write the page of each dataset and an overview, as Markdown by path below docs/.

    Args:
        entries: The registered datasets.
        sections: Folder of the sections that are written by hand.
    """
    pages_by_path = {"datasets/index.md": overview(entries)}
    for entry in entries:
        section = sections / f"{entry.name}.md"
        section_text = section.read_text(encoding="utf-8") if section.is_file() else ""
        pages_by_path[f"datasets/{entry.name}.md"] = page(entry.name, entry.load(), section_text)
    return pages_by_path


def navigation(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """List the entries of the navigation below `Datasets`."""
    return [{"Overview": "datasets/index.md"}, *({entry.name: f"datasets/{entry.name}.md"} for entry in entries)]


def overview(entries: Sequence[Entry]) -> str:
    """Write the page that lists all datasets."""
    rows = []
    for entry in entries:
        dataset = entry.load()
        card: DatasetCard = dataset.card
        classes = str(len(card.classes)) if card.classes else "of the files"
        mpp = UNKNOWN if card.mpp is None else f"{card.mpp:g}"
        about = cell(_linked(summary(inspect.getmodule(dataset))))
        rows.append(f"| [{entry.name}]({entry.name}.md) | {about} | {card.task} | {classes} | {mpp} | {card.licence} |")
    return (
        "# Datasets\n\n`eva datasets` lists these too, with those of other packages. `--config NAME` reads the files "
        "below `DATA_ROOT/NAME`; what ends in `_small`, `_slides` or `_votes` reads those of the name without it.\n\n"
        "| name | images | task | classes | micrometres per pixel | licence |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def page(name: str, dataset: Any, section_text: str) -> str:
    """Write the page of one dataset.

    Args:
        name: Registered name of the dataset.
        dataset: Class of the dataset.
        section_text: Section that is written by hand; may be empty.
    """
    introduction, _, rest = (section_text.strip() or summary(dataset)).partition("\n\n")
    before, _, after = rest.partition(TABLE)
    own = list(takewhile(lambda line: line.startswith("|"), after.splitlines()))
    rows = {**_facts(dataset), **dict(line.strip("| ").split(" | ", 1) for line in own)}
    parts = [
        f"# {name}",
        introduction,
        TABLE + "\n".join(f"| {key} | {value} |" for key, value in rows.items()),
        "\n".join([before, *after.splitlines()[len(own) :]]).strip(),
        _arguments(dataset),
        _config(name),
        _citation(dataset.card),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(dataset: Any) -> dict[str, str]:
    """Collect the rows of the card; a fact without a source is `unknown`."""
    card: DatasetCard = dataset.card
    counts = getattr(dataset, "counts", {})
    facts = {
        "task": card.task,
        "classes, in order": ", ".join(card.classes) or "those of the files",
        "left out of means": "" if card.background is None or not card.classes else card.classes[card.background],
        "images": ", ".join(f"{n:,} {split}" for split, n in counts.items()),
        "micrometres per pixel": UNKNOWN if card.mpp is None else f"{card.mpp:g} in the file",
        "slides from": ", ".join(card.collections),
        "main metric": card.metric.replace("_", " "),
        "main split": card.main_split or "",
        "licence": card.licence,
        "how to get it": _linked(card.access),
    }
    return {key: cell(value) for key, value in facts.items() if value}


def _arguments(dataset: Any) -> str:
    """Write the table of the arguments, from the signature and the docstrings."""
    texts = {**described(dataset, "Args"), **described(dataset.__init__, "Args")}
    rows = []
    for parameter in inspect.signature(dataset).parameters.values():
        default = "required" if parameter.default is parameter.empty else code(str(parameter.default))
        text = cell(texts.get(parameter.name, ""))
        rows.append(f"| `--dataset.{parameter.name}` | {code(typed(parameter.annotation))} | {default} | {text} |")
    if not rows:
        return ""
    return "## Arguments\n\n| argument | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows)


def _config(name: str) -> str:
    """Write the shipped config, and the command that uses it."""
    file = shipped("configs") / "tasks" / f"{name}.yaml"
    if not file.is_file():
        return ""
    return (
        f"## Config\n\n`--config {name}` stands for\n\n"
        f'```yaml title="configs/tasks/{name}.yaml"\n{file.read_text(encoding="utf-8").strip()}\n```\n\n'
        f"```sh\neva {UNLABELLED.get(name, 'fit')} --config {name} --model imagenet_dino_vits16\n```"
    )


def _citation(card: DatasetCard) -> str:
    return "" if card.citation == UNKNOWN else f"## Citation\n\n{_linked(card.citation)}"


def _linked(text: str) -> str:
    """Turn addresses, DOIs and arXiv numbers in a text into links."""
    text = re.sub(r"https?://[^\s,;]+[^\s,;.]", r"<\g<0>>", text)
    text = re.sub(r"(?<![/\w])doi:(10\.\S+?)(?=[.,]?(?:\s|$))", r"[doi:\1](https://doi.org/\1)", text)
    return re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
