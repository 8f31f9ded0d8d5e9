"""The report of a result as one HTML file: data, style and script inside, no network."""

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eva_core.contracts.dataset import Dataset
from eva_core.contracts.results import Results
from eva_core.contracts.sections import Section
from eva_core.files.atomic_files import write_text
from eva_core.page_theme import read_template
from eva_core.progress import say
from eva_core.reports.finding import sources_of
from eva_core.reports.shared_sections import about, scores
from eva_core.reports.sources import Sources
from eva_core.results.record import REPORT
from eva_core.results.report import notes
from eva_core.shown import visible_in
from eva_core.task import task_named

TEMPLATE = Path(__file__).with_name("page.html")


def write_report(folder: Path, results: Results, dataset: Dataset | None = None, store: object = None) -> Path:
    """Write the page of a finished result.

    Args:
        folder: The folder of the result.
        results: The content of its results.json.
        dataset: Its images, where they are at hand; else those that its configuration names.
        store: Its embeddings, where they are at hand; else the cache is looked through.
    Returns:
        Where the page is.
    """
    sources = sources_of(folder, results, dataset, store)
    data = page_data(sources)
    text = json.dumps(visible_in(data), separators=(",", ":"), allow_nan=False).replace(
        "<", "\\u003c"
    )  # no string is markup
    path = folder / REPORT
    write_text(path, read_template(TEMPLATE).replace("__DATA__", text))
    return path


def try_report(
    folder: Path,
    results: Results,
    dataset: Dataset | None = None,
    store: object = None,
    tell: Callable[[str], None] = say,
) -> None:
    """Write the page of a result that is finished, whatever becomes of the page; as `write_report`."""
    try:
        write_report(folder, results, dataset, store)
    except Exception as error:  # a page, to which a plugin adds its part, costs no result
        reason = " ".join(str(error).split()) or "no message"
        tell(
            f"The report of {folder} could not be made ({type(error).__name__}: {reason}). The result is whole; "
            f"`eva report {folder}` tries again."
        )


def page_data(sources: Sources) -> dict[str, Any]:
    """All that the page shows, as JSON."""
    results = sources.results
    identity, main = results["identity"], results["main"]
    own: list[Section] = task_named(results["task"]).sections(sources)
    missing = list(sources.missing)
    if sources.thumbnails.drawn:
        missing.append(
            f"{sources.thumbnails.drawn:,} small pictures are drawn from what the embedding store keeps, 32 grey "
            "pixels a side tinted by the colours of the image; the others are read from the images."
        )
    return {
        "title": f"{identity['model']} on {identity['dataset']}",
        "about": f"{identity['head']} · {identity['protocol']} · {results['task']} · eva {version('eva-pathology')}",
        "synthetic": results["synthetic"],
        "main": {"metric": main["metric"], "split": main["split"], "mean": main["mean"], "ci95": main["ci95"]},
        "notes": notes(results),
        "sections": [scores(results), *own, *about(results, sources.folder)],
        "missing": missing,
    }
