"""Jobs and answers: one bundle that nobody changes, and that kinds of task do not pay for before they work."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pyarrow as pa
import pytest

from eva_core.job import Answer, Job


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
