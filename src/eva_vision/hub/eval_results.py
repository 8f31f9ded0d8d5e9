"""Evaluation results as the Hugging Face hub keeps them: `.eval_results/*.yaml` in the repository of a model.

Source: https://huggingface.co/docs/hub/eval-results, as docs/hub/eval-results.md of github.com/huggingface/hub-docs had
it at 064c7548. An entry names a dataset of the hub that is a benchmark, and a task that its eval.yaml lists.
"""

from collections.abc import Sequence
from typing import Any

import yaml
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from eva_core.errors import EvaError, UsageError
from eva_core.files.file_names import as_name
from eva_vision.hub.scores import Score
from eva_vision.models.weights import one_line

DOCS = "https://huggingface.co/docs/hub/eval-results"


def eval_results(score: Score, dataset: str, task: str) -> tuple[str, bytes]:
    """Write a score as an entry of a benchmark.

    Args:
        score: The score.
        dataset: The benchmark on the hub, `owner/name`.
        task: Which of its tasks.
    Returns:
        Path in the repository, and the YAML.
    """
    entry = {"dataset": {"id": dataset, "task_id": task}, "value": round(score.value, 6), "notes": score.sentence()}
    identity = score.results["identity"]
    name = as_name("_".join((identity["dataset"], identity["head"], identity["protocol"])))
    return f".eval_results/{name}.yaml", yaml.safe_dump([entry], sort_keys=False, width=120).encode()


def benchmark(named: str) -> tuple[str, str]:
    """Find the task of a benchmark that a score is of, by its eval.yaml on the hub.

    Args:
        named: `owner/name`, or `owner/name/task` where it has several.
    Returns:
        `owner/name`, and the task.
    Raises:
        UsageError: It is no benchmark, or has no such task, or several.
        EvaError: The hub does not answer.
    """
    owner, _, rest = named.partition("/")
    name, _, task = rest.partition("/")
    dataset = f"{owner}/{name}"
    try:
        path = hf_hub_download(dataset, "eval.yaml", repo_type="dataset")
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except EntryNotFoundError as error:
        raise UsageError(f"Expected a benchmark, but dataset {dataset} has no eval.yaml. See {DOCS}.") from error
    except Exception as error:  # the hub's client lets its HTTP library's errors through
        raise EvaError(f"Cannot get eval.yaml of dataset {dataset} ({one_line(str(error), error)}).") from error
    return dataset, _task(dataset, task, _tasks(content))


def _tasks(content: Any) -> list[str]:
    listed = content.get("tasks") if isinstance(content, dict) else None
    return [str(entry.get("id")) for entry in listed or () if isinstance(entry, dict)]


def _task(dataset: str, task: str, known: Sequence[str]) -> str:
    if not task and len(known) == 1:
        return known[0]
    if task not in known:
        listed = ", ".join(known) or "none"
        raise UsageError(f"Expected --benchmark {dataset}/TASK of its tasks ({listed}), but got {task or 'no task'}.")
    return task
