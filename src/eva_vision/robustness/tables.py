"""Tables of robustness: on screen, and in the words of its page."""

from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eva_core.results.report import number, span
from eva_core.shown import visible
from eva_vision.robustness.schema import (
    Drops,
    LeftOut,
    Published,
    RegisteredRecord,
    Registration,
    Robustness,
    SiteScore,
    Value,
)

LABELS = {
    "robustness_index": "RI",
    "mari": "MaRI",
    "croma": "CRoMa",
    "croma_ltm10": "LTM10",
    "croma_f0": "F(0)",
}
"""Metrics in the order of the tables, as their authors call them."""
TESTED_ON = {"in": "the same sites", "out": "other sites"}


def shown(value: Value | SiteScore) -> str:
    """A value with its interval.

    Examples:
        >>> shown({"value": 0.5, "ci95": [0.25, 0.75]}), shown({"value": None, "ci95": None})
        ('0.500 (0.250 to 0.750)', '-')
    """
    if value["value"] is None:
        return "-"
    return number(value["value"]) + ("" if value["ci95"] is None else f" ({span(value['ci95'])})")


def published_line(row: Published) -> str:
    """A published value in a line, with its difference from ours where the protocols are one.

    Examples:
        >>> published_line({"metric": "croma", "value": 0.2, "protocol": "a", "ours": "a+pooling=cls", "delta": None})
        'CRoMa published: 0.200 (a); ours is a+pooling=cls'
    """
    label = LABELS.get(row["metric"], row["metric"].replace("_", " "))
    text = f"{label} published: {number(row['value'])} ({row['protocol']}); "
    return text + (f"ours is {row['ours']}" if row["delta"] is None else f"ours differs by {row['delta']:+.3f}")


def show(content: Robustness, console: Console | None = None) -> None:
    """Print each model with its values, what is published, and what a reader must know."""
    console = console or Console()
    title = f"{content['dataset']}: {content['n']:,} images of {len(content['sites'])} sites"
    table = Table(title=_cell(title) + (" (synthetic data)" if content["synthetic"] else ""), title_justify="left")
    for name in ("model", "k", *LABELS.values(), "class by kNN", "site by kNN"):
        table.add_column(name)
    for record in content["models"]:
        values = [shown(record["values"][name]) for name in LABELS]
        accuracies = [number(record["class_accuracy"]), number(record["site_accuracy"])]
        table.add_row(_cell(record["model"]), str(record["k"]), *values, *accuracies)
    console.print(table)
    for record in content["models"]:
        if "drops" in record:
            console.print(_drops(record["model"], record["drops"]))
        if "left_out" in record:
            console.print(_sites(record["model"], record["left_out"]))
    for note in content["notes"]:
        console.print(f"  {_cell(note)}", style="dim", highlight=False)
    for record in content["models"]:
        for line in [*map(published_line, record["published"]), *record["notes"]]:
            console.print(f"  {_cell(record['model'])}: {_cell(line)}", style="dim", highlight=False)


def show_registration(content: Registration, console: Console | None = None) -> None:
    """Print cosine and retrieval of each model across pairs of registered slides."""
    console = console or Console()
    title = (
        f"{content['dataset']}: {content['tiles']:,} tiles of {content['slides']} registered slides, medians of pairs"
    )
    table = Table(title=_cell(title) + (" (synthetic data)" if content["synthetic"] else ""), title_justify="left")
    kinds = list(dict.fromkeys(kind for record in content["models"] for kind in record["pairs"]))
    for name in ("model", "score", *(f"{label}, {kind}" for label in ("cosine", "top 10") for kind in kinds)):
        table.add_column(name)
    for record in content["models"]:
        cells = [of_pairs(record, name, kind) for name in ("cosine", "top10") for kind in kinds]
        table.add_row(_cell(record["model"]), number(record["score"]), *cells)
    console.print(table)
    for record in content["models"]:
        for line in [*map(published_line, record["published"]), *record["notes"]]:
            console.print(f"  {_cell(record['model'])}: {_cell(line)}", style="dim", highlight=False)


def of_pairs(record: RegisteredRecord, name: Literal["cosine", "top10"], kind: str) -> str:
    """The median over pairs with its quartiles; a dash where no pair differs so."""
    if kind not in record["pairs"]:
        return "-"
    found = record["pairs"][kind][name]
    return f"{number(found['median'])} ({span(found['quartiles'])})"


def _drops(model: str, drops: Drops) -> Table:
    title = f"{model}: balanced accuracy as class and site are correlated in training, {drops['resamplings']} draws"
    table = Table(title=_cell(title), title_justify="left")
    for name in ("tested on", *(f"V = {v:.2f}" for v in drops["v"]), "APD", "nIPD"):
        table.add_column(name)
    for where, accuracies in drops["accuracy"].items():
        values = [shown(drops["values"][f"{name}_{where}"]) for name in ("apd", "nipd")]
        table.add_row(TESTED_ON[where], *map(number, accuracies), *values)
    return table


def _sites(model: str, left_out: LeftOut) -> Table:
    title = f"{model}: {left_out['metric']} of each site by {left_out['head']} on the others, {left_out['protocol']}"
    table = Table(title=_cell(title), title_justify="left")
    for name in ("site", "images", "groups", left_out["metric"], ""):
        table.add_column(name)
    for site, score in left_out["sites"].items():
        mark = "worst" if site == left_out["worst"] else ""
        cells = (site, f"{score['n']:,}", f"{score['n_groups']:,}", shown(score), score["reason"] or mark)
        table.add_row(*map(_cell, cells))
    table.add_section()
    table.add_row("mean", "", "", number(left_out["mean"]), f"spread {number(left_out['spread'])}")
    return table


def _cell(text: str) -> str:
    return escape(visible(text))
