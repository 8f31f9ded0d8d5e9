"""Jobs and answers: one bundle that nobody changes, and that kinds of task do not pay for before they work."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pyarrow as pa
import pytest

from eva_core.config.protocols import load_protocol
from eva_core.errors import UsageError
from eva_core.job import Answer, Job, job_of
from eva_vision.datasets.folder import Folder


def test_an_answer_is_not_changed_once_it_is_given():
    answer = Answer({"main": {}}, {}, pa.table({}), np.zeros(2000))
    with pytest.raises(FrozenInstanceError):
        answer.draws = np.ones(2000)


def test_a_job_explains_its_fields():
    assert {field.name for field in fields(Job)} >= {"model", "dataset", "head", "protocol", "how"}
    assert all(f"{field.name}:" in (Job.__doc__ or "") for field in fields(Job))


def test_kinds_of_task_are_known_without_it():
    code = "import sys, eva_core.classification.task, eva_vision.segmentation.task\n"
    code += "sys.exit('eva_core.job' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_job_has_the_first_head_of_its_protocol_unless_another_is_given(tree):
    images = Folder(str(tree))
    assert job_of("colour_stats", images).head_name == "linear"
    assert job_of("colour_stats", images, "knn").with_head("logreg").head_name == "logreg"
    assert job_of("colour_stats", images, trains=False).head is None


def test_another_protocol_is_resolved_anew_with_the_head_in_its_title(tree):
    job = job_of("colour_stats", Folder(str(tree)), "knn", name="mine")
    fewer = job.with_protocol(replace(load_protocol("strict"), runs=2))
    assert (job.model, job.resolved.title) == ("mine", "eva-0.4+head=knn")
    assert fewer.resolved.title == "strict+head=knn+runs=2"


def test_a_head_of_another_task_is_refused_before_the_model_is_built(tree, monkeypatch):
    monkeypatch.setattr("eva_core.registry.build_model", lambda name: pytest.fail("weights were read"))
    with pytest.raises(UsageError, match="Expected a head for classification, but linear_seg"):
        job_of("colour_stats", Folder(str(tree)), "linear_seg")
