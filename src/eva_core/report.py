"""Short tables on screen."""

from typing import Any

from rich.console import Console
from rich.table import Table

from eva_core.metric_names import SEGMENTATION

WIDTH = 100
WRONG_IGNORE = "Pixels to ignore were chosen by the prediction, which is wrong: only to compare with numbers made so"


def show(results: dict[str, Any], console: Console | None = None) -> None:
    """One finished result: each split, the model beside what colour alone explains."""
    console = console or Console()
    identity, main = results["identity"], results["main"]
    metric = main["metric"]
    title = f"{identity['model']} on {identity['dataset']}, {identity['head']}, {identity['protocol']}"
    table = Table(title=title + (" (synthetic data)" if results["synthetic"] else ""), title_justify="left")
    table.add_column("split")
    table.add_column("model")
    table.add_column(metric, justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("last step", justify="right")
    rows = [(identity["model"], results["splits"])]
    rows += [(name, b["splits"]) for name, b in results["baselines"].items() if name != identity["model"]]
    for split in results["splits"]:
        for name, splits in rows:
            record = splits[split]["metrics"][metric]
            table.add_row(split, name, score(record), span(record["ci95"]), number(record["last"]))
    console.print(table)
    for note in notes(results):
        console.print(f"  {note}", style="dim", highlight=False)


def notes(results: dict[str, Any]) -> list[str]:
    """What a reader must know beside the number."""
    main = results["main"]
    split = results["splits"][main["split"]]
    groups = f" over {split['n_groups']} groups" if split["n_groups"] else ""
    found = [f"n = {split['n']}; interval: {split['interval']}{groups}; selected on {results['selection']}"]
    recalls = [
        m["mean"] for name, m in split["metrics"].items() if name.startswith("recall/") and m["mean"] is not None
    ]
    if len(recalls) > 1 and max(recalls) == sum(recalls) == 1:
        found.append(
            "the head gives one class to every image: it has learned nothing; more steps, or --protocol strict"
        )
    t95 = split["metrics"][main["metric"]].get("t95")
    if t95:
        found.append(f"fewer than 20 groups: t-interval over groups {span(t95)}")
    contamination = results["contamination"]
    if contamination["kind"] == "declared":
        found.append("the model's card declares training on slides of the collection that these images come from")
    if contamination["kind"] == "exact":
        unseen = contamination.get("unseen")
        rest = f"; on the {unseen['n']} others {score(unseen)}" if unseen else ""
        found.append(f"the model was trained on {contamination['n_seen']} of these images{rest}")
    if results["confounds"]:
        site = results["confounds"]
        found.append(
            f"robustness index {number(site['robustness_index'])} at k = {site['k']}; its neighbours tell the site "
            f"with balanced accuracy {number(site['site_accuracy'])} (chance {1 / site['sites']:.3f})"
        )
    if results["skipped"]:
        found.append(f"{len(results['skipped'])} images could not be read and were left out")
    if "ignore=prediction" in results["identity"]["protocol"]:
        found.append(
            "pixels to ignore were chosen by the prediction, which is wrong: only to compare with such numbers"
        )
    cost = results["cost"]
    found.append(
        f"embeddings {cost['embed_s']:.0f} s ({cost['images_per_s']:.1f} images/s), heads {cost['fit_s']:.1f} s, "
        f"peak memory {cost['peak_rss_mb']:.0f} MB"
    )
    return found


def score(record: dict[str, Any]) -> str:
    """Mean, and the spread over runs where there are several."""
    spread = "" if record["std"] is None else f" ± {record['std']:.3f}"
    return number(record["mean"]) + spread


def span(bounds: list[float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
