"""The table of a curve on screen, and the words that its page shares."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eva_core.curves.schema import Curve, CurvePoint
from eva_core.results.report import number, span
from eva_core.shown import visible

LARGER = 1.5
"""From how many times the asked share on a line says that it is larger."""


def percent(share: float) -> str:
    """A share as it is written.

    Examples:
        >>> percent(0.05)
        '5 %'
    """
    return f"{100 * share:g} %"


def spread(counts: list[int]) -> str:
    """A number that each draw has, or the least and the greatest.

    Examples:
        >>> spread([1200, 1200]), spread([48, 51])
        ('1,200', '48 to 51')
    """
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def columns_of(curve: Curve) -> dict[str, list[str]]:
    """By header, what each share has: labelled samples, and patients or slides where they are known."""
    columns = {"labelled samples": [spread(facts["n"]) for facts in curve["shares"]]}
    groups = [facts["n_groups"] for facts in curve["shares"]]
    known = [spread(counts) for counts in groups if counts is not None]
    return columns | ({"patients or slides": known} if known else {})


def interval_of(point: CurvePoint) -> list[float] | None:
    """The interval that holds: with few groups that of t, as percentiles are too narrow then."""
    return point["t95"] or point["ci95"]


def remarks(curve: Curve) -> list[str]:
    """What a reader must know beside the numbers."""
    n, groups = curve["n_reported"], curve["n_groups_reported"]
    over = f"{groups} patients or slides" if groups else f"{n} samples, so optimistic"
    lines = [
        f"n = {n} on {curve['split']}; intervals over {over}, draws and runs; {curve['draws']} draws of each share, "
        "a smaller one within each larger one"
    ]
    if curve["shares"][0]["n_groups"] is None:
        lines.append(
            "train names no patients or slides, so samples are drawn one by one: a small share has more patients than "
            "it would have if patients were labelled whole"
        )
    whole = max(curve["shares"], key=lambda facts: facts["share"])
    total = max(whole["n"]) / whole["share"]
    for facts in curve["shares"]:
        mean = sum(facts["n"]) / len(facts["n"]) / total
        if mean > LARGER * facts["share"]:
            asked = percent(facts["share"])
            lines.append(
                f"{asked} is {100 * mean:.1f} % on average: patients or slides are whole, and each class stays"
            )
    return [*lines, *_left_out(curve)]


def _left_out(curve: Curve) -> list[str]:
    """A line for each share and reason why draws are missing."""
    models: dict[str, list[str]] = {}
    for model in curve["models"]:
        for point in model["points"]:
            missing = sum(value is None for value in point["values"])
            for reason in point["left_out"]:
                what = f"{percent(point['share'])}, {missing} of {len(point['values'])} draws could not be fitted"
                models.setdefault(f"{what}: {reason}", []).append(model["model"])
    return [f"{', '.join(names)} at {line}" for line, names in models.items()]


def show(curve: Curve, console: Console | None = None) -> None:
    """Print the curve: a row a share, a column a model, colour beside them."""
    console = console or Console()
    title = f"{curve['metric']} on {curve['dataset']} {curve['split']}, {curve['head']}, {curve['protocol']}"
    table = Table(title=_cell(title) + (" (synthetic data)" if curve["synthetic"] else ""), title_justify="left")
    table.add_column("train")
    nulls, columns = nulls_of(curve), columns_of(curve)
    for name in (*columns, *(model["model"] for model in curve["models"]), *nulls):
        table.add_column(_cell(name), justify="right")
    for place, facts in enumerate(curve["shares"]):
        points = [model["points"][place] for model in curve["models"]]
        scores = [f"{number(point['mean'])} ({span(interval_of(point))})" for point in points]
        counts = [values[place] for values in columns.values()]
        of_nulls = [number(values[place]) for values in nulls.values()]
        table.add_row(percent(facts["share"]), *counts, *scores, *of_nulls)
    console.print(table)
    for pair in curve["between"]:
        if pair["told"]:
            names = [curve["models"][pair[side]]["model"] for side in ("a", "b")]
            console.print(f"  {_cell(told_text(pair['difference'] or 0.0, names, percent(pair['share']), curve))}")
    for line in remarks(curve):
        console.print(f"  {_cell(line)}", style="dim", highlight=False)


def told_text(difference: float, names: list[str], share: str, curve: Curve) -> str:
    """Say which of two models is better at a share."""
    better, worse = names if (difference > 0) == curve["higher_is_better"] else names[::-1]
    return f"{better} is better than {worse} at {share} of train, by {abs(difference):.3f}"


def nulls_of(curve: Curve) -> dict[str, list[float | None]]:
    """What each null scores at each share: of the first model that has it, where it is no model of the curve itself.

    Colour and metadata are the same beside every model.
    """
    models = [model["model"] for model in curve["models"]]
    names = dict.fromkeys(name for model in curve["models"] for point in model["points"] for name in point["nulls"])
    found = {}
    for name in names:
        if name not in models:
            having = next(m for m in curve["models"] if any(name in point["nulls"] for point in m["points"]))
            found[name] = [point["nulls"].get(name) for point in having["points"]]
    return found


def _cell(text: str) -> str:
    return escape(visible(text))
