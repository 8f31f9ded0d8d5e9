"""The parts that every report has, whatever its kind of task: scores, choice of the head, what may mislead, cost."""

import shlex
from pathlib import Path

from eva_core.contracts.results import Results
from eva_core.contracts.sections import CodeSection, FactsSection, IntervalRow, IntervalsSection, Section
from eva_core.results.record import CONFIG
from eva_core.results.report import number, span
from eva_core.task import task_named

_CONTAMINATION = {
    "none declared": "no: the cards of model and dataset name no collection in common",
    "declared": "it may: its card declares training on the collection that these images come from",
    "unknown": "unknown: a card does not say on what slides it was trained, or where these come from",
}


def scores(results: Results) -> IntervalsSection:
    """The main metric on every split, beside the nulls and chance."""
    main, identity = results["main"], results["identity"]
    every = [(identity["model"], results["splits"])]
    every += [(name, b["splits"]) for name, b in results["baselines"].items() if name != identity["model"]]
    rows: list[IntervalRow] = []
    for split in results["splits"]:
        for name, splits in every:
            record = splits[split]["metrics"][main["metric"]]
            kind = "model" if splits is results["splits"] else "null"
            title = f"{name} on {split}"
            rows.append({"name": title, "of": kind, "value": record["mean"], "interval": record["ci95"]})  # type: ignore[typeddict-item]
    chance = main.get("chance")
    title = main["metric"].replace("_", " ")
    better = "higher" if main["higher_is_better"] else "lower"
    null = "" if len(every) == 1 else " Grey: nulls, which need no trained model."
    return {
        "kind": "intervals",
        "title": "Score",
        "note": f"{title[0].upper()}{title[1:]}: mean over runs with a 95 % interval; {better} is better.{null}",
        "rows": rows,
        "chance": chance,
    }


def about(results: Results, folder: Path) -> list[Section]:
    """How the head was chosen, what may mislead, what it cost, and how to repeat it."""
    return [_selection(results), _trust(results), _made(results), _repeat(folder)]


def _selection(results: Results) -> FactsSection:
    main, split = results["main"], results["splits"][results["main"]["split"]]
    groups = f" over {split['n_groups']} groups" if split["n_groups"] else ""
    rows = [
        ("selected on", results["selection"]),
        ("reported on", f"{main['split']}, {split['n']:,} {task_named(results['task']).unit}"),
        ("interval", f"{split['interval']}{groups}"),
    ]
    for run in results["selected"]:
        chosen = ", ".join(f"{k} {_short(v)}" for k, v in run.items() if k not in ("run", "value"))
        value = "" if run["value"] is None else f"{main['metric'].replace('_', ' ')} {run['value']:.3f} there"
        rows.append((f"run {run['run']}", "; ".join(filter(None, (value, chosen))) or "nothing was chosen"))
    return {"kind": "facts", "title": "What selected what", "note": "", "rows": rows}


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _trust(results: Results) -> FactsSection:
    seen, site = results["contamination"], results["confounds"]
    if seen["kind"] == "exact":
        unseen = seen.get("unseen")
        rest = f"; on the {unseen['n']:,} others {number(unseen['mean'])} ({span(unseen['ci95'])})" if unseen else ""
        said = f"yes: it was trained on {seen.get('n_seen', 0):,} of these images or their slides{rest}"
    else:
        said = _CONTAMINATION.get(seen["kind"], seen["kind"])
    rows = [("did the model see these slides?", said)]
    if site is not None:
        index = site["robustness_index"]
        rows.append(("robustness index", f"{number(index)} at k = {site['k']}; below 0.5 the site weighs more"))
        told = f"balanced accuracy {site['site_accuracy']:.3f}, chance {1 / site['sites']:.3f}"
        rows.append(("does the embedding tell the site?", told))
    else:
        rows.append(("does the embedding tell the site?", "not known: the samples name no site and group"))
    for title, copies in (
        ("images that are in train as well, bit for bit", results.get("copies", {})),
        ("images that look like one of train", results.get("turned_copies")),
    ):
        if copies is not None:
            text = ", ".join(f"{n:,} in {split}" for split, n in copies.items() if n)
            rows.append((title, text or "none found"))
    if results["skipped"]:
        rows.append(("images that could not be read", f"{len(results['skipped']):,}"))
    mpp = results["mpp"]
    if mpp["reached"] is not None and mpp["native"] is not None:
        rows.append(
            ("micrometres per pixel", f"{mpp['reached']:.3g} reached the model, {mpp['native']:.3g} in the files")
        )
    return {"kind": "facts", "title": "Contamination and confounds", "note": "", "rows": rows}


def _made(results: Results) -> FactsSection:
    cost, identity = results["cost"], results["identity"]
    what, of = task_named(results["task"]).items
    environment = results["environment"]
    rows = [
        (what, f"{cost['embed_s']:,.0f} s, {cost['images_per_s']:,.1f} {of} in a second"),
        ("heads", f"{cost['fit_s']:,.1f} s"),
        ("peak memory", f"{cost.get('peak_rss_mb', 0):,.0f} MB on {environment.get('device', 'an unknown device')}"),
        ("eva", f"{environment.get('eva-pathology', '?')}, torch {environment.get('torch', '?')}"),
        *((name.replace("_", " "), _digits(name, str(value))) for name, value in identity.items()),
    ]
    return {"kind": "facts", "title": "Cost and identity", "note": "", "rows": rows}


def _digits(name: str, value: str) -> str:
    """Enough of a hash to compare by eye; results.json has all of it."""
    return f"{value[:12]}…" if name.endswith("_sha256") else value


def _repeat(folder: Path) -> CodeSection:
    again = folder.with_name(f"{folder.name}-again")
    text = f"eva fit --config {shlex.quote(str(folder / CONFIG))} --output {shlex.quote(str(again))}"
    note = "From the folder in which this result was made. What is in the cache is not computed again."
    return {"kind": "code", "title": "Repeat it", "note": note, "text": text}
