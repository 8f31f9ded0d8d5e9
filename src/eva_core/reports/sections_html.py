"""A result as a piece of HTML without script: a small table and plots, for notebooks."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

from eva_core.contracts.results import Results
from eva_core.contracts.sections import CurvesSection, MatrixSection, Section
from eva_core.reports.sources import Sources
from eva_core.reports.thumbnails import Thumbnails
from eva_core.results.report import notes, score, span
from eva_core.shown import visible
from eva_core.task import task_named

_SIDE = 190
"""Width and height of a plot, in pixels."""
_MOST_LABELS = 30
"""Classes above which a matrix has no names."""
_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e")


def as_html(folder: Path, results: Results) -> str:
    """A finished result, with the plots that its predictions allow.

    Args:
        folder: The folder of the result.
        results: The content of its results.json.
    """
    plots = [drawn for part in _sections(folder, results) if (drawn := plot(part))]
    said = "".join(f"<li>{_text(note)}</li>" for note in notes(results))
    return (
        f"<div>{table(results)}<div style='display:flex;flex-wrap:wrap;gap:1em'>{''.join(plots)}</div>"
        f"<details><summary>notes</summary><ul>{said}</ul></details></div>"
    )


def table(results: Results) -> str:
    """The main metric of each split: the model beside its nulls."""
    identity, metric = results["identity"], results["main"]["metric"]
    rows = [(identity["model"], results["splits"])]
    rows += [(name, null["splits"]) for name, null in results["baselines"].items() if name != identity["model"]]
    body = ""
    for split in results["splits"]:
        for name, splits in rows:
            record = splits[split]["metrics"][metric]
            cells = (split, name, score(record), span(record["ci95"]))
            body += f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>"
    head = "".join(f"<th>{_text(name)}</th>" for name in ("split", "model", metric, "95 % interval"))
    title = f"{identity['model']} on {identity['dataset']}, {identity['head']}, {identity['protocol']}"
    synthetic = " (synthetic data)" if results["synthetic"] else ""
    return f"<p><b>{_text(title)}{synthetic}</b></p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def plot(part: Section) -> str:
    """A section of a report as a figure; empty for kinds that need more than a small picture."""
    if part["kind"] == "matrix":
        return _figure(part["title"], matrix(part))
    if part["kind"] == "curves":
        return _figure(part["title"], curves(part))
    return ""


def matrix(part: MatrixSection) -> str:
    """Counts of truth (rows) by prediction (columns), each row shaded by its shares."""
    n = len(part["labels"])
    names, side = n <= _MOST_LABELS, _SIDE / max(n, 1)
    left = 90 if names else 0
    shapes = []
    for row, counts in enumerate(part["counts"]):
        total = sum(counts) or 1
        for column, count in enumerate(counts):
            x, y = left + column * side, row * side
            says = f"{part['labels'][row]} as {part['labels'][column]}: {count:g}"
            shapes.append(
                f"<rect x='{x:.1f}' y='{y:.1f}' width='{side:.1f}' height='{side:.1f}' fill='#4269d0' "
                f"fill-opacity='{0.04 + 0.9 * count / total:.2f}' stroke='currentColor' stroke-opacity='.15'>"
                f"<title>{_text(says)}</title></rect>"
            )
            if side >= 24:
                shapes.append(_label(x + side / 2, y + side / 2 + 4, f"{count:g}", "middle"))
        if names:
            shapes.append(_label(left - 4, (row + 0.5) * side + 4, _short(part["labels"][row]), "end"))
    shapes.append(_label(left + _SIDE / 2, _SIDE + 16, "predicted, in the same order", "middle"))
    return _svg(left + _SIDE + 2, _SIDE + 22, shapes)


def curves(part: CurvesSection) -> str:
    """Lines over 0 to 1 on both axes with the diagonal, or over the ranges that the section gives, with their ends."""
    left = 18
    (x0, x1), (y0, y1) = part.get("ranges", ((0, 1), (0, 1)))
    shapes = [
        f"<rect x='{left}' y='1' width='{_SIDE}' height='{_SIDE}' fill='none' stroke='currentColor' "
        "stroke-opacity='.3'/>"
    ]
    if "ranges" not in part:
        shapes.append(
            f"<path d='M{left} {_SIDE + 1}L{left + _SIDE} 1' stroke='currentColor' stroke-opacity='.3' "
            "stroke-dasharray='3 3'/>"
        )
    for number, line in enumerate(part["series"]):
        places = stepped(line["points"]) if part.get("step") else line["points"]
        points = " ".join(
            f"{left + (x - x0) / (x1 - x0) * _SIDE:.1f},{1 + (y1 - y) / (y1 - y0) * _SIDE:.1f}"
            for x, y in _thinned(places)
        )
        shapes.append(
            f"<polyline points='{points}' fill='none' stroke-width='1.5' stroke='{_COLOURS[number % len(_COLOURS)]}'>"
            f"<title>{_text(line['name'])}</title></polyline>"
        )
    ends = f" ({x0:g} to {x1:g})" if "ranges" in part else ""
    shapes.append(_label(left + _SIDE / 2, _SIDE + 16, part["x"] + ends, "middle"))
    shapes.append(_label(0, 0, part["y"], "middle", f"translate(11 {_SIDE / 2:.0f}) rotate(-90)"))
    return _svg(left + _SIDE + 2, _SIDE + 22, shapes)


def stepped(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points between which each value holds until the next.

    Examples:
        >>> stepped([(0, 1), (2, 0)])
        [(0, 1), (2, 1), (2, 0)]
    """
    corners = [(after[0], before[1]) for before, after in pairwise(points)]
    return [*points[:1], *(place for pair in zip(corners, points[1:], strict=True) for place in pair)]


def _sections(folder: Path, results: Results) -> list[Section]:
    """What the kind of task draws of the predictions alone: without pictures and embeddings it takes no time."""
    return task_named(results["task"]).sections(Sources(folder, results, None, Thumbnails(None, None)))


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    step = max(1, len(points) // _SIDE)
    return [*points[::step], points[-1]] if points else []


def _figure(title: str, drawing: str) -> str:
    return f"<figure style='margin:0'><figcaption>{_text(title)}</figcaption>{drawing}</figure>"


def _svg(width: float, height: float, shapes: Sequence[str]) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' font-size='11' "
        f"font-family='sans-serif' fill='currentColor' role='img'>{''.join(shapes)}</svg>"
    )


def _label(x: float, y: float, text: str, anchor: str, transform: str = "") -> str:
    moved = f" transform='{transform}'" if transform else ""
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'{moved}>{_text(text)}</text>"


def _short(text: str) -> str:
    return text if len(text) <= 14 else f"{text[:13]}…"


def _text(text: object) -> str:
    return escape(visible(text), quote=True)
