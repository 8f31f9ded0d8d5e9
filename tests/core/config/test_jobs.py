"""Jobs of names: the head that is meant, the protocol resolved with it, nothing heavy before a refusal."""

from dataclasses import replace

import pytest

from eva_core.config.jobs import job_of, with_head, with_protocol
from eva_core.config.protocols import load_protocol
from eva_core.errors import UsageError
from eva_vision.datasets.folder import Folder


def test_a_job_has_the_first_head_of_its_protocol_unless_another_is_given(tree):
    images = Folder(str(tree))
    assert job_of("colour_stats", images).head_name == "linear"
    assert with_head(job_of("colour_stats", images, "knn"), "logreg").head_name == "logreg"
    assert job_of("colour_stats", images, trains=False).head is None


def test_another_protocol_is_resolved_anew_with_the_head_in_its_title(tree):
    job = job_of("colour_stats", Folder(str(tree)), "knn", name="mine")
    fewer = with_protocol(job, replace(load_protocol("strict"), runs=2))
    assert (job.model, job.resolved.title) == ("mine", "eva-0.4+head=knn")
    assert fewer.resolved.title == "strict+head=knn+runs=2"


def test_a_head_of_another_task_is_refused_before_the_model_is_built(tree, monkeypatch):
    monkeypatch.setattr("eva_core.registry.build_model", lambda name: pytest.fail("weights were read"))
    with pytest.raises(UsageError, match="Expected a head for classification, but linear_seg"):
        job_of("colour_stats", Folder(str(tree)), "linear_seg")
