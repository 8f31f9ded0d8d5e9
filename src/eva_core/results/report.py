"""Short tables on screen."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eva_core.contracts.results import Calibration, MetricRecord, Results, SplitRecord
from eva_core.errors import some
from eva_core.evaluation.class_checks import untrained_line
from eva_core.results.nulls import MARK, not_beaten, nulls_line
from eva_core.shown import visible
from eva_core.task import task_named

MOST_CLASSES = 12
"""Of more classes than these, the terminal shows the worst."""
REFIT = 0.02
"""By how much a head that was fitted again may score less on the hold-out than the one that was selected by it."""


def show(results: Results, console: Console | None = None) -> None:
    """Print a finished result: each split, the model beside what colour alone explains; each class where that tells."""
    console = console or Console()
    identity, main = results["identity"], results["main"]
    metric = main["metric"]
    title = f"{identity['model']} on {identity['dataset']}, {identity['head']}, {identity['protocol']}"
    table = Table(title=_cell(title) + (" (synthetic data)" if results["synthetic"] else ""), title_justify="left")
    table.add_column("split")
    table.add_column("model")
    table.add_column(metric, justify="right")
    table.add_column("95 % interval", justify="right")
    rows = [(identity["model"], results["splits"])]
    rows += [(name, b["splits"]) for name, b in results["baselines"].items() if name != identity["model"]]
    nulls = not_beaten(results)
    records = [splits[split]["metrics"][metric] for split in results["splits"] for _, splits in rows]
    trained = any(record["last"] != record["mean"] for record in records)  # else there are no steps to choose from
    if trained:
        table.add_column("last step", justify="right")
    for split in results["splits"]:
        for name, splits in rows:
            record = splits[split]["metrics"][metric]
            last = [number(record["last"])] if trained else []
            mark = f" {MARK}" if name in nulls and split == main["split"] else ""
            table.add_row(_cell(split), _cell(name) + mark, score(record), span(record["ci95"]), *last)
        if main.get("chance") is not None:
            table.add_row(_cell(split), "chance", number(main["chance"]), "", style="dim")
    console.print(table)
    by_class = task_named(results["task"]).by_class(results)
    if by_class:
        console.print(_classes(rows, main["split"], by_class))
    if calibration := _calibration(results):
        console.print(calibration)
    for note in notes(results):
        console.print(f"  {_cell(note)}", style="dim", highlight=False)


def _classes(rows: list[tuple[str, dict[str, Any]]], split: str, metric: str) -> Table:
    """A metric of every class on one split: the model with its interval, then what colour alone explains.

    Of many classes the worst are shown.
    """
    (model, of_model), *others = ((name, splits[split]["metrics"]) for name, splits in rows)
    named = [(label, key) for key in of_model for kind, _, label in [key.partition("/")] if label and kind == metric]
    title = f"{metric} of each class on {split}"
    if len(named) > MOST_CLASSES:
        title = f"{metric} of the {MOST_CLASSES} worst of {len(named)} classes on {split}; report.html has all"
        named = sorted(named, key=lambda one: (of_model[one[1]]["mean"] is None, of_model[one[1]]["mean"]))
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for name in (model, "95 % interval", *(name for name, _ in others)):
        table.add_column(_cell(name), justify="right")
    for label, key in named[:MOST_CLASSES]:
        record = of_model[key]
        nulls = (number(of[key]["mean"]) for _, of in others)
        table.add_row(_cell(label), score(record), span(record["ci95"]), *nulls)
    return table


def _calibration(results: Results) -> Table | None:
    """Calibration on the main split before and after a temperature; None where none was fitted."""
    calibration, split = results.get("calibration"), results["main"]["split"]
    if not calibration or not calibration["splits"]:
        return None
    before, after = (calibration["splits"][split][when] for when in ("before", "after"))
    title = f"calibration on {_cell(split)}, lower is better; {temperature_line(calibration)}"
    table = Table(title=title, title_justify="left")
    for name in ("metric", "trained", "95 % interval", "scaled", "95 % interval"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for name in before:
        cells = (cell for record in (before[name], after[name]) for cell in (score(record), span(record["ci95"])))
        table.add_row(name, *cells)
    return table


def temperature_line(calibration: Calibration) -> str:
    """The temperatures, mean over runs, and what they were fitted on."""
    known = [value for value in calibration["temperatures"] if value is not None]
    of = f"on {calibration['n']:,} held-out images of train"
    if len(known) < len(calibration["temperatures"]):
        return f"no temperature: one {of} has no chance to be of its class"
    spread = f" ({min(known):.2f} to {max(known):.2f})" if len(known) > 1 else ""
    return f"temperature {sum(known) / len(known):.2f}{spread}, fitted {of}"


def _cell(text: str) -> str:
    """A name as it is, and no markup of rich's."""
    return escape(visible(text))


def notes(results: Results) -> list[str]:
    """What a reader must know beside the number."""
    main, task = results["main"], task_named(results["task"])
    split = results["splits"][main["split"]]
    groups = f" over {split['n_groups']} groups" if split["n_groups"] else ""
    lines = [
        *task.notes(results),
        f"n = {split['n']}; interval: {split['interval']}{groups}; selected on {results['selection']}",
    ]
    if nulls := not_beaten(results):
        lines.append(f"{MARK} {nulls_line(nulls)}")
    lines += _disagreements(results)
    lines += _of_the_interval(split, split["metrics"][main["metric"]])
    contamination = results["contamination"]
    if contamination["kind"] == "declared":
        lines.append("the model's card declares training on slides of the collection that these images come from")
    if contamination["kind"] == "exact":
        unseen = contamination.get("unseen")
        rest = f"; on the {unseen['n']} others {score(unseen)}" if unseen else ""
        lines.append(f"the model was trained on {contamination['n_seen']} of these images{rest}")
    if results["confounds"]:
        site = results["confounds"]
        lines.append(
            f"robustness index {number(site['robustness_index'])} at k = {site['k']}; its neighbours tell the site "
            f"with balanced accuracy {number(site['site_accuracy'])} (chance {1 / site['sites']:.3f})"
        )
    for name, classes in results.get("untrained", {}).items():
        lines.append(untrained_line(name, classes, task.unit))
    for name, n in results.get("copies", {}).items():
        images, are = ("image", "is an image") if n == 1 else ("images", "are images")
        lines.append(f"{n} {images} of {name} {are} of train as well, bit for bit: a head may know it by heart")
    for name, n in (results.get("turned_copies") or {}).items():
        images, look = ("image", "looks like an image") if n == 1 else ("images", "look like images")
        lines.append(f"{n} {images} of {name} {look} of train, turned or not: a head may know it by heart")
    if results["skipped"]:
        lines.append(f"left out, as they could not be read: {len(results['skipped'])} of the images")
    lines += filter(None, [task.remark(results)])
    cost, (what, of) = results["cost"], task.items
    lines.append(
        f"{what} {cost['embed_s']:.0f} s ({cost['images_per_s']:.1f} {of}/s), heads {cost['fit_s']:.1f} s, "
        f"peak memory {cost['peak_rss_mb']:.0f} MB"
    )
    return lines


def _disagreements(results: Results) -> list[str]:
    """Where what a hold-out promised is not what came."""
    main = results["main"]
    lines: list[str] = []
    if main.get("selected_on") != "holdout" or not main["higher_is_better"]:
        return lines
    values = [run["value"] for run in results["selected"] if run["value"] is not None]
    promised, refit = sum(values) / max(1, len(values)), results.get("refit")
    if refit is not None and refit < promised - REFIT:
        lines.append(
            f"fitted again on all of train, the head scores {number(refit)} on the hold-out that it has seen by then; "
            f"the head selected scored {number(promised)} on it unseen: they disagree, and the score may be wrong"
        )
    if main["ci95"] is not None and main["ci95"][1] < promised:
        lines.append(
            f"the hold-out of train scored {number(promised)}, above the interval of {main['split']}: {main['split']} "
            "differs from train, or images of the hold-out are not independent of the others"
        )
    return lines


def _of_the_interval(split: SplitRecord, score: MetricRecord) -> list[str]:
    """How far the interval of a score is to be believed."""
    lines: list[str] = []
    if score.get("left_out"):
        lines.append(
            f"{score['left_out']:,} of 2,000 draws lack a class"
            + (": too many, so no interval" if score["ci95"] is None else " and are left out of the interval")
        )
    if split.get("held_by_one"):
        unit = "patient or slide" if split["n_groups"] else "image"
        lines.append(f"one {unit} alone has {some(split['held_by_one'])}: the interval cannot know how others would do")
    if score.get("t95"):
        lines.append(f"fewer than 20 groups: t-interval over groups {span(score['t95'])}")
    return lines


def score(record: Mapping[str, Any]) -> str:
    """Mean, and the spread over runs where there are several."""
    spread = "" if record["std"] is None else f" ± {record['std']:.3f}"
    return number(record["mean"]) + spread


def span(bounds: list[float] | None) -> str:
    """An interval with three digits; a dash where there is none."""
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def number(value: float | None) -> str:
    """A value with three digits; a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"
