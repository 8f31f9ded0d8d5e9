"""Where the embeddings and images behind a finished result are found again, where they are still the same."""

from pathlib import Path

from eva_core.config.parser import build_parser, instantiated, parsed
from eva_core.config.result_config import read_result_config
from eva_core.contracts.dataset import Dataset
from eva_core.contracts.results import Results
from eva_core.reports.sources import Sources
from eva_core.reports.thumbnails import Thumbnails
from eva_core.results.record import CONFIG, read_result_file
from eva_core.store.store import Store, VectorStore
from eva_core.task import task_named


def sources_of(folder: Path, results: Results, dataset: Dataset | None = None, store: object = None) -> Sources:
    """The sources of a result.

    Args:
        folder: The folder of the result.
        results: The content of its results.json.
        dataset: Its images, where they are at hand; else those that its configuration names, where they are the same.
        store: Its embeddings, where they are at hand; else they are looked for in the cache.
    """
    identity, missing = results["identity"], []
    if dataset is None:
        dataset = _dataset_of(folder, results)
        if dataset is None:
            missing.append(f"The images of {identity['dataset']} are not here, or have changed since.")
    if store is None:
        parts = (identity["weights_sha256"], identity["preprocess_sha256"], identity["dataset_sha256"])
        store = task_named(results["task"]).find_store(identity["dataset"], *parts)
    known = store if isinstance(store, VectorStore) else None
    drawn = store if isinstance(store, Store) else None  # of images: each has a small picture
    return Sources(folder, results, known, Thumbnails(dataset, drawn), missing)


def _dataset_of(folder: Path, results: Results) -> Dataset | None:
    """The dataset that the configuration of a result names; None where it is not the one that was scored.

    Whoever made the configuration may be anybody: it is read as data, and the images count only where their
    fingerprint is that of the result.
    """
    try:
        read_result_file(folder, CONFIG, results)
        part = read_result_config(folder / CONFIG).get("dataset")
        if not isinstance(part, dict):
            return None
        dataset = _built(part)
        return dataset if dataset.fingerprint() == results["identity"]["dataset_sha256"] else None
    except Exception:  # its class may raise anything, and the pictures cost no report
        return None


def _built(part: dict[str, object]) -> Dataset:
    parser = build_parser("report")
    given, _ = parsed(parser, "report", [], {"dataset": part})
    dataset: Dataset = instantiated(parser, given).dataset
    return dataset
