"""A board as CSV, Markdown and LaTeX."""

import csv
import io
from pathlib import Path

from eva_core.boards.rows import Cell, Row, Standings
from eva_core.files.atomic_files import write_text
from eva_core.results.nulls import MARK as NULL
from eva_core.results.report import number, span
from eva_core.shown import for_markdown, for_spreadsheet, for_tex

FIELDS = (
    "value",
    "std",
    "low",
    "high",
    "n",
    "n_groups",
    "published",
    "published_protocol",
    "delta",
    "headroom",
    "mpp",
    "robustness",
)
MARK, VERIFIED, WRONG = "‡", "✓", "✗"


def write_tables(standings: Standings, output: Path) -> None:
    """Write `leaderboard.csv`, `.md` and `.tex` into a folder."""
    for suffix, text in (("csv", as_csv(standings)), ("md", as_markdown(standings)), ("tex", as_latex(standings))):
        write_text(output / f"leaderboard.{suffix}", text)


def as_csv(standings: Standings) -> str:
    """A CSV of one line for each row and task, with everything."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    extras = list(dict.fromkeys(name for row in standings.rows for cell in row.cells.values() for name in cell.extras))
    named = ("model", "head", "task", "split", "metric", "protocol")
    others = ("contamination", "nulls", "holds until", "verified", "source", "remark", "reason")
    writer.writerow((*named, *FIELDS, *extras, *others))
    metrics = {task.name: task.metric_name for task in standings.tasks}
    for row in standings.rows:
        for task, cell in row.cells.items():
            low, high = cell.ci95 or (None, None)
            values = {**vars(cell), "low": low, "high": high}
            values_of_row = (
                [row.model, cell.head or row.head, task, cell.split, metrics[task], cell.protocol]
                + [values[name] for name in FIELDS]
                + [cell.extras.get(name) for name in extras]
                + [
                    cell.contamination.get("kind"),
                    " ".join(cell.nulls),
                    "; ".join(f"{change}: {text}" for change, text in cell.holds.items()),
                    cell.verified,
                    cell.source,
                    cell.remark,
                    cell.reason,
                ]
            )
            writer.writerow(map(for_spreadsheet, values_of_row))
    return out.getvalue()


def as_markdown(standings: Standings) -> str:
    """The table to paste into a note: value, interval, average, rank."""
    columns = [for_markdown(_column(task.name, task.synthetic)) for task in standings.tasks]
    lines = [["model", "head", *columns, "average", "rank", "headroom"]]
    lines.append(["---", "---", *["---:"] * (len(columns) + 3)])
    for row in standings.rows:
        cells = [_text(row.cells[task.name]) for task in standings.tasks]
        names = [for_markdown(row.model), for_markdown(row.head)]
        lines.append([*names, *cells, number(row.average), rank(row), number(row.headroom)])
    table = ["| " + " | ".join(line) + " |" for line in lines]
    about = f"{for_markdown(standings.title)}, protocol {for_markdown(standings.protocol)}. 95 % intervals; "
    about += "headroom: (model - colour) / (1 - colour)."
    return "\n".join([about, "", *table, *_remarks(standings)]) + "\n"


def _remarks(standings: Standings) -> list[str]:
    """Lines that a reader needs beside the numbers, and the reasons of those that are missing."""
    cells = [(row, task, cell) for row in standings.rows for task, cell in row.cells.items()]
    optimistic = dict.fromkeys(task for _, task, cell in cells if "optimistic" in cell.selection)
    by_image = dict.fromkeys(task for _, task, cell in cells if cell.interval.startswith("image"))
    failed = dict.fromkeys(
        for_markdown(f"- {row.model} on {task}: {cell.reason}") for row, task, cell in cells if cell.reason
    )
    lines = [
        f"{what}, and so optimistic: {for_markdown(', '.join(tasks))}."
        for what, tasks in (("Selected on the split that is reported", optimistic), ("Interval by image", by_image))
        if tasks
    ]
    lines += _marked(standings)
    return ["", *lines, *failed] if lines or failed else []


def as_latex(standings: Standings) -> str:
    """A tabular for booktabs."""
    columns = ["model", "head", *(_column(task.name, task.synthetic) for task in standings.tasks), "average", "rank"]
    lines = [r"\begin{tabular}{ll" + "r" * (len(columns) - 2) + "}", r"\toprule", _latex_row(columns), r"\midrule"]
    for row in standings.rows:
        cells = [_text(row.cells[task.name]) for task in standings.tasks]
        lines.append(_latex_row([row.model, row.head, *cells, number(row.average), rank(row)]))
    notes = [rf"\multicolumn{{{len(columns)}}}{{l}}{{{_latex(note)}}} \\" for note in _marked(standings)]
    return "\n".join([*lines, r"\bottomrule", *notes, r"\end{tabular}"]) + "\n"


def _marked(standings: Standings) -> list[str]:
    """Notes on what the marks stand for, where some score has them."""
    cells = [cell for row in standings.rows for cell in row.cells.values()]
    lines = list(dict.fromkeys(f"{MARK} {cell.remark}." for cell in cells if cell.remark))
    if any(cell.verified for cell in cells):
        lines.append(f"{VERIFIED} Made again from its predictions by `eva verify`.")
    if any(cell.verified is False for cell in cells):
        lines.append(f"{WRONG} Not what its predictions and files say.")
    lines += [for_markdown(f"Conflict: {line}") for line in standings.conflicts]
    nulls = sorted({name for cell in cells for name in cell.nulls})
    which = ", ".join(map(for_markdown, nulls))
    return [*lines, f"{NULL} No better than a null ({which}): in its interval, or worse."] if nulls else lines


def rank(row: Row) -> str:
    """Mean rank of a row with its interval, as tables show it."""
    return "-" if row.rank is None else f"{row.rank[0]:.1f} ({row.rank[1]:.1f} to {row.rank[2]:.1f})"


def _column(name: str, synthetic: bool) -> str:
    return f"{name} (synthetic)" if synthetic else name


def _text(cell: Cell) -> str:
    if cell.value is None:
        return "failed" if cell.reason else "-"
    checked = {True: VERIFIED, False: WRONG, None: ""}[cell.verified]
    value = number(cell.value) + (MARK if cell.remark else "") + (NULL if cell.nulls else "") + checked
    return f"{value} ({span(cell.ci95)})" if cell.ci95 else value


def _latex_row(values: list[str]) -> str:
    return " & ".join(map(_latex, values)) + r" \\"


def _latex(text: str) -> str:
    text = for_tex(text).replace(MARK, r"$^\ddagger$").replace(NULL, r"$^\S$")
    return text.replace(VERIFIED, r"$\checkmark$").replace(WRONG, r"$\times$")
