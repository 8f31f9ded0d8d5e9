"""Kinds of task: torch-free until they work, and what they read is a part of the protocol."""

import subprocess
import sys
from dataclasses import fields

import pytest

from eva_core import registry
from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.task import Task, task_named

NAMES = [entry.name for entry in registry.tasks.entries()]


@pytest.mark.parametrize("name", NAMES)
def test_a_task_reads_fields_that_there_are_and_ranks_by_metrics(name: str):
    task = task_named(name)
    assert isinstance(task, Task)
    assert task.reads <= {field.name for field in fields(Protocol)}
    metrics = task.metrics(DatasetCard("any", name, classes=("a", "b")))
    assert metrics
    for metric in metrics.values():
        assert metric.bounds[0] < metric.bounds[1]
        assert metric.chance is None or metric.bounds[0] <= metric.chance <= metric.bounds[1]
    assert isinstance(task.head, type)


def test_tasks_are_described_without_torch():
    code = (
        "import sys; from eva_core import registry; from eva_core.task import task_named\n"
        "from eva_core.contracts.cards import DatasetCard\n"
        "for e in registry.tasks.entries(): task_named(e.name).metrics(DatasetCard('x', e.name))\n"
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_an_unknown_kind_is_one_line():
    with pytest.raises(UsageError, match="Unknown task 'segmentaton'"):
        task_named("segmentaton")


def test_balanced_accuracy_knows_its_chance():
    four = task_named("classification").metrics(DatasetCard("x", classes=("a", "b", "c", "d")))
    assert four["balanced_accuracy"].chance == 0.25
