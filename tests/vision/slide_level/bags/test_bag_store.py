from pathlib import Path

import numpy as np
import pytest

from eva_core.errors import EvaError
from eva_core.job import Job
from eva_core.task import task_named
from eva_vision.datasets.slide_folder import SlideFolder
from eva_vision.slide_level.bags.bag_files import read_rows
from eva_vision.slide_level.bags.bag_store import BagStore
from tests.vision.slide_level.conftest import write_manifest, write_slide


def opened(job: Job, said: list[str] | None = None) -> BagStore:
    task = task_named("slide_classification")
    return task.extract(task.key(job), job, (said if said is not None else []).append)


def test_a_row_is_a_patient_with_the_bags_of_all_slides(job: Job):
    store = opened(job)
    assert store.ids.tolist() == [s.id for s in job.dataset.samples]
    assert np.bincount(store.sample_of).tolist() == [2, 2, *[1] * 8]
    assert [store.slide_names[n] for n in store.bags_of(0)] == ["s00.tif", "s10.tif"]
    assert store.readable.all()
    both = np.concatenate([read_rows(store.paths[n]) for n in store.bags_of(0)])
    assert np.allclose(store.means()[0], both.mean(0), atol=1e-6)


def test_a_list_whose_bags_were_removed_is_made_again(job: Job):
    store = opened(job)
    before = read_rows(store.paths[3])
    store.paths[3].unlink()
    again = opened(job)
    assert np.array_equal(read_rows(again.paths[3]), before)


def test_a_slide_without_tissue_is_left_out_and_said(slides: Path, tmp_path: Path, job: Job):
    rows = [{"slide": str(slides / f"s{n:02d}.tif"), "label": "ab"[n % 2]} for n in range(4)]
    write_slide(tmp_path / "glass.tif", (0, 0, 0), 0, share=0)
    write_manifest(tmp_path, [*rows, {"slide": "glass.tif", "label": "a"}])
    said: list[str] = []
    from dataclasses import replace

    store = opened(replace(job, dataset=SlideFolder(str(tmp_path))), said)
    assert store.without_tissue == ["glass.tif"]
    assert store.skipped == []
    assert not store.readable[4]
    assert any("1 samples have no patch with 40% tissue: glass.tif" in line for line in said)


def test_glass_alone_is_refused(tmp_path: Path, job: Job):
    write_slide(tmp_path / "glass.tif", (0, 0, 0), 0, share=0)
    write_manifest(tmp_path, [{"slide": "glass.tif", "label": "a"}])
    from dataclasses import replace

    with pytest.raises(EvaError, match="Expected tissue on the slides"):
        opened(replace(job, dataset=SlideFolder(str(tmp_path))))
