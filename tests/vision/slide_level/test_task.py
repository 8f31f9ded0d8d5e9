from dataclasses import replace

import pytest

from eva_core import registry
from eva_core.errors import UsageError
from eva_core.job import Job
from eva_core.task import task_named
from tests.conftest import Pictures


def test_heads_of_other_kinds_are_refused(job: Job):
    task = task_named("slide_classification")
    assert task.takes(registry.heads.build("abmil"))
    assert not task.takes(registry.heads.build("linear"))


def test_images_are_no_slides(job: Job):
    with pytest.raises(UsageError, match="Expected a SlideDataset for task classification"):
        task_named("slide_classification").check(replace(job, dataset=Pictures()))


def test_unlabelled_samples_are_refused(job: Job):
    job.dataset.samples = [replace(job.dataset.samples[0], target=None), *job.dataset.samples[1:]]
    with pytest.raises(UsageError, match="Expected a label for every image, but 1 have none"):
        task_named("slide_classification").check(job)


def test_the_mpp_is_asked_for_in_the_section(job: Job):
    with pytest.raises(UsageError, match=r"--protocol.slide_classification.mpp 0.5"):
        task_named("slide_classification").at_mpp(0.5, 0.25, job.dataset, job.protocol, job.card)
