from dataclasses import replace
from pathlib import Path

from eva_core import registry
from eva_core.api import fit_job
from eva_core.config.jobs import with_head
from eva_core.job import Job
from eva_core.reports.finding import sources_of
from eva_core.results.record import read_results
from eva_core.task import task_named
from eva_vision.slide_level.bags.bag_store import BagStore


def test_a_report_of_slides_has_all_that_one_of_images_has_and_the_pictures(job: Job, tmp_path: Path):
    out = tmp_path / "out"
    fit_job(replace(with_head(job, registry.heads.build("mean_logreg")), output=out), lambda line: None)
    sources = sources_of(out, read_results(out), job.dataset)
    assert isinstance(sources.store, BagStore)  # found again in the cache
    sections = task_named("slide_classification").sections(sources)
    titles = [section["title"] for section in sections]
    assert titles[:5] == ["Metrics", "Classes", "Confusions", "Reliability", "ROC"]
    last = sections[-1]
    assert last["kind"] == "pictures"
    assert all(item["image"].startswith("data:image/jpeg") for item in last["items"])
    assert "samples" in sections[titles.index("Confusions")]["note"]
    (out / "pictures" / "median.png").unlink()
    gone = task_named("slide_classification").sections(sources)[-1]
    assert gone["kind"] == "pictures"
    assert gone["items"][-1]["image"] == ""
