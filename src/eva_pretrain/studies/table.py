"""Table of a study, on screen and as Markdown."""

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table

from eva_core.results.report import number, span
from eva_core.shown import for_markdown, visible
from eva_pretrain.studies.study import SIDES

TITLES = {"in_distribution": "in-distribution", "out_of_distribution": "out-of-distribution"}


def on_screen(record: dict[str, Any]) -> Table:
    """Build the table of study.json for a terminal."""
    title = record["title"] + (" (synthetic data)" if record["synthetic"] else "")
    table = Table(title=_cell(title), title_justify="left")
    for n, column in enumerate(_columns(record)):
        table.add_column(_cell(column), justify="left" if n == 0 else "right")
    for row in _rows(record):
        table.add_row(*("\n".join(map(_cell, cell)) for cell in row))
    return table


def _cell(text: str) -> str:
    """Escape a text, such that rich reads no markup in it."""
    return escape(visible(text))


def as_markdown(record: dict[str, Any]) -> str:
    """Write study.json as Markdown: the table, and notes for its readers."""
    columns = _columns(record)
    lines = [
        f"# {for_markdown(record['title'])}",
        "",
        _row([for_markdown(column) for column in columns]),
        _row(["---"] + ["--:"] * (len(columns) - 1)),
    ]
    lines += [_row([_in_a_line([for_markdown(part) for part in cell]) for cell in row]) for row in _rows(record)]
    lines += ["", *(f"- {for_markdown(note)}" for note in notes(record)), "", "![](study.png)"]
    return "\n".join(lines) + "\n"


def notes(record: dict[str, Any]) -> list[str]:
    """List the notes for readers of the numbers."""
    lines = [
        f"Base {record['base']}, protocol {record['protocol']}. {_tasks(record)}.",
        "Score: mean over tasks and seeds ± standard deviation over seeds; with it, its 95 % interval over test groups "
        "and seeds. * differs: this interval of the difference and the t-interval over seeds both exclude 0. Each "
        "difference is looked at by itself, not corrected for their number.",
    ]
    lines += [f"{name}: {sentence}" for name, sentence in _verdicts(record)]
    if any(v["untrained"] and len(v["runs"]) < record["seeds"] for v in record["variants"]):
        lines.append("Untrained weights that were made elsewhere are the same for every seed, and so scored once.")
    for task in record["tasks"]:
        if task.get("interval", "group") != "group":
            lines.append(f"{task['name']}: no groups are known, so its images are resampled: too narrow an interval.")
    for side, value in record["colour_stats"].items():
        if value is not None:
            lines.append(f"Six colour numbers alone reach {number(value)} {TITLES[side]}.")
    lines += [
        f"Some runs were trained on slides or patients of {task}: leave these out by --exclude."
        for task in sorted(set(_contaminated(record)))
    ]
    lines += [
        f"{v['name']}: {v['cut']['patches']:,} patches were cut to {_size(v['cut']['bytes'])} beforehand"
        + (f", in {v['cut']['seconds']:,.1f} s." if v["cut"]["seconds"] else ".")
        for v in record["variants"]
        if v["cut"]
    ]
    return lines + [f"{name} has no score: {reason}" for name, reason in failures(record)]


def failures(record: dict[str, Any]) -> list[tuple[str, str]]:
    """List failed runs, and failed evaluations of runs, with the reason of each."""
    reasons = []
    for variant in record["variants"]:
        for run in variant["runs"]:
            name = f"{variant['name']}, seed {run['seed']}"
            if run["reason"]:
                reasons.append((name, run["reason"]))
            reasons += [(f"{name} on {task}", s["reason"]) for task, s in run["tasks"].items() if s["reason"]]
    return reasons


def _columns(record: dict[str, Any]) -> list[str]:
    columns = ["variant", "seeds"]
    for side in _sides(record):
        columns += [TITLES[side], f"against {record['against']}"]
    return [*columns, "patches/s", *(["disk"] if _has_cut(record) else [])]


def _rows(record: dict[str, Any]) -> Iterator[list[list[str]]]:
    """Rows of cells of one or two lines."""
    for variant in record["variants"]:
        counts = sorted({len(variant[side]["seeds"]) for side in _sides(record)})
        runs = len(variant["runs"])
        row = [[variant["name"]], [" / ".join(map(str, counts)) + ("" if counts == [runs] else f" of {runs}")]]
        for side in _sides(record):
            row += [_score(variant[side]), _difference(variant[side])]
        speed = variant["cost"]["patches_per_s"]
        row.append(["-" if speed is None else f"{speed:,.1f}"])
        if _has_cut(record):
            row.append([_size(variant["cut"]["bytes"]) if variant["cut"] else "-"])
        yield row


def _score(summary: dict[str, Any]) -> list[str]:
    if summary["mean"] is None:
        return ["no score"]
    spread = "" if summary["std"] is None else f" ± {summary['std']:.3f}"
    return [number(summary["mean"]) + spread, span(summary["ci95"])]


def _difference(summary: dict[str, Any]) -> list[str]:
    difference = summary.get("difference")
    if difference is None:
        return ["-"]
    bounds = difference["ci95"]
    interval = "-" if bounds is None else f"{bounds[0]:+.3f} to {bounds[1]:+.3f}"
    return [f"{difference['mean']:+.3f}{' *' if difference['told_apart'] else ''}", interval]


def _verdicts(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Verdict of each side in a sentence, after the name of the side."""
    against = record["against"]
    for side in _sides(record):
        others = [v for v in record["variants"] if v[side].get("difference")]
        parts = []
        for how, sign in (("better than", 1), ("worse than", -1)):
            apart = [v for v in others if v[side]["difference"]["told_apart"]]
            names = [v["name"] for v in apart if v[side]["difference"]["mean"] * sign > 0]
            if names:
                parts.append(f"{_and(names)} {'are' if len(names) > 1 else 'is'} {how} {against}")
        same = [v["name"] for v in others if not v[side]["difference"]["told_apart"]]
        if same:
            parts.append(f"{_and(same)} cannot be told apart from {against}")
        if parts:
            yield TITLES[side].capitalize(), "; ".join(parts) + "."


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _tasks(record: dict[str, Any]) -> str:
    parts = []
    for side in _sides(record):
        tasks = [task for task in record["tasks"] if task["side"] == side]
        named = [
            f"{t['name']} ({t['metric'].replace('_', ' ')} on {t['split']}, n = {t['n']}"
            + (f" of {t['n_groups']} groups)" if t["n_groups"] else ")")
            if "metric" in t
            else t["name"]
            for t in tasks
        ]
        parts.append(f"{TITLES[side].capitalize()}: {', '.join(named)}")
    return ". ".join(parts)


def _contaminated(record: dict[str, Any]) -> Iterator[str]:
    for variant in record["variants"]:
        for run in variant["runs"]:
            yield from (task for task, score in run["tasks"].items() if score.get("contamination") == "exact")


def _sides(record: dict[str, Any]) -> list[str]:
    return [side for side in SIDES if any(task["side"] == side for task in record["tasks"])]


def _has_cut(record: dict[str, Any]) -> bool:
    return any(variant["cut"] for variant in record["variants"])


def _in_a_line(cell: list[str]) -> str:
    return cell[0] if len(cell) == 1 else f"{cell[0]} ({cell[1]})"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _size(count: float) -> str:
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:,.1f} {unit}"
    return f"{count / 1000:,.1f} TB"
