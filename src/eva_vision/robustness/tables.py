"""Tables of robustness: on screen, and in the words of its page."""

from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eva_core.results.report import number, span
from eva_core.shown import visible
from eva_vision.robustness.schema import (
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
    r"""A value, and below it its interval.

    Examples:
        >>> shown({"value": 0.5, "ci95": [0.25, 0.75]}), shown({"value": None, "ci95": None})
        ('0.500\n0.250 to 0.750', '-')
    """
    return number(value["value"]) + ("" if value["ci95"] is None else f"\n{span(value['ci95'])}")


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
    for table in (_drops(content), _sites(content)):
        if table.rows:
            console.print(table)
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


def _drops(content: Robustness) -> Table:
    table = Table(title="balanced accuracy as class and site are correlated in training", title_justify="left")
    rows = [(record["model"], record["drops"]) for record in content["models"] if "drops" in record]
    for name in ("model", "tested on", *(f"V = {v:.2f}" for _, drops in rows[:1] for v in drops["v"]), "APD", "nIPD"):
        table.add_column(name)
    for model, drops in rows:
        for where, accuracies in drops["accuracy"].items():
            values = [shown(drops["values"][f"{name}_{where}"]) for name in ("apd", "nipd")]
            table.add_row(_cell(model), TESTED_ON[where], *map(number, accuracies), *values)
    return table


def _sites(content: Robustness) -> Table:
    rows = [(record["model"], record["left_out"]) for record in content["models"] if "left_out" in record]
    table = Table(title_justify="left")
    for _, first in rows[:1]:
        title = f"{first['metric']} of each site by {first['head']} on the others, {first['protocol']}"
        table.title = _cell(title)
        for name in ("model", *first["sites"], "mean", "spread", "worst"):
            table.add_column(_cell(name))
        for reason in (f"{site}: {score['reason']}" for site, score in first["sites"].items() if score["reason"]):
            table.caption = _cell(f"{table.caption or ''} {reason}.".strip())
    for model, left_out in rows:
        scores = [shown(score) for score in left_out["sites"].values()]
        summary = (number(left_out["mean"]), number(left_out["spread"]), _cell(left_out["worst"] or "-"))
        table.add_row(_cell(model), *scores, *summary)
    return table


def _cell(text: str) -> str:
    return escape(visible(text))
