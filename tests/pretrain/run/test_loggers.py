"""Loggers by name: each step once after a resumption, and a missing package is one line."""

import csv
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from eva_core.errors import EvaError, UsageError
from eva_pretrain.run import loggers
from eva_pretrain.run.config import parse
from eva_pretrain.run.loggers import CsvLogger, make_logger


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_a_line_with_the_command(name: str, monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda n: None if n == name else find(n))
    with pytest.raises(UsageError) as error:
        parse(["--config", "demo", "--folder", "patches", "--logger", name])
    assert str(error.value) == (
        f"Expected the package {name} for --logger {name}, but it is not installed. Run "
        f"pip install 'eva-pathology[{name}]'."
    )


def test_names_and_class_paths_are_loggers():
    argv = ["--config", "demo", "--folder", "patches", "--logger"]
    assert parse([*argv, "csv"]).logger == "csv"
    path = "lightning.pytorch.loggers.CSVLogger"
    assert type(parse([*argv, path, "--logger.save_dir", "x"]).logger).__name__ == "CSVLogger"
    with pytest.raises(UsageError) as error:
        parse([*argv, "wandbb"])
    assert "\n" not in str(error.value)


def test_tensorboard_forgets_what_lies_beyond_the_checkpoint(tmp_path: Path):
    for step, first in ((-1, 1), (3, 4)):
        logger, already = make_logger("tensorboard", "run", tmp_path, step, -1, {})
        for at in range(first, 7):
            logger.log_metrics({"loss": float(10 * first + at)}, at)
        logger.finalize("")
    assert already == -1
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 11), (2, 12), (3, 13), (4, 44), (5, 45), (6, 46)]


def test_a_table_has_a_row_a_step(tmp_path: Path):
    file = tmp_path / "logs" / "metrics.csv"
    first = CsvLogger(file, -1)
    first.log_metrics({"loss": 3.0}, 1)
    first.log_metrics({"loss": 2.0}, 2)
    first.log_metrics({"loss": 1.0, "monitor/knn": 0.5}, 3)
    with file.open("a") as handle:
        handle.write("4,")  # a kill
    second = CsvLogger(file, 2)
    second.log_metrics({"loss": 1.5, "monitor/knn": 0.25}, 3)
    second.log_metrics({"loss": 1.25}, 4)
    with file.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["step"], row["loss"], row["monitor/knn"]) for row in rows] == [
        ("1", "3.0", ""),
        ("2", "2.0", ""),
        ("3", "1.5", "0.25"),
        ("4", "1.25", ""),
    ]


class Served:
    """As the loggers of servers are built."""

    made: list[dict[str, Any]] = []  # noqa: RUF012

    def __init__(self, *values: Any, **settings: Any) -> None:
        self.made.append({"values": values, "params": [], **settings})
        self.run_id = settings.get("run_id") or "of the server"
        self.version, self.experiment = settings.get("id"), self

    def get_metric_history(self, run_id: str, name: str) -> list[SimpleNamespace]:
        assert run_id == "of the server"
        return [SimpleNamespace(step=step) for step in ((1, 5) if name == "loss" else (0,))]

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self.made[-1]["params"].append(params)


@pytest.mark.parametrize(
    ("name", "kind", "key", "has"),
    [
        ("wandb", "WandbLogger", "id", [-1, 7, 7]),  # what it got before the first of two kills, it still has
        ("mlflow", "MLFlowLogger", "run_id", [-1, 5, 5]),  # it says so itself
    ],
)
def test_a_server_goes_on_with_the_same_run(name, kind, key, has, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, kind, Served)
    monkeypatch.setattr(Served, "made", [])
    found = [
        make_logger(name, "run", tmp_path, step, before, {"lr": 1})[1] for step, before in ((-1, -1), (3, 7), (3, 4))
    ]
    assert found == has
    first, second, third = Served.made
    assert second[key] == third[key] == (first[key] or "of the server")
    assert [made["params"] for made in Served.made] == [[{"lr": 1}], [], []]


def test_a_server_that_is_away_stops_the_begin_of_a_run_and_not_a_run_that_has_begun(tmp_path, monkeypatch, capsys):
    class Away(Served):
        def get_metric_history(self, *_: Any) -> list[SimpleNamespace]:
            raise ConnectionError("nobody\nanswers")

        def log_hyperparams(self, *_: Any) -> None:
            raise ConnectionError("nobody\nanswers")

    monkeypatch.setattr(loggers, "MLFlowLogger", Away)
    with pytest.raises(
        EvaError, match=r"MLflow at sqlite.*does not answer \(nobody answers\)\. Set MLFLOW_TRACKING_URI"
    ):
        make_logger("mlflow", "run", tmp_path, -1, -1, {})
    monkeypatch.setattr(loggers, "MLFlowLogger", Served)
    make_logger("mlflow", "run", tmp_path, -1, -1, {})
    monkeypatch.setattr(loggers, "MLFlowLogger", Away)
    assert make_logger("mlflow", "run", tmp_path, 3, 7, {})[1] == 7
    assert "does not answer (nobody answers). Training goes on" in capsys.readouterr().err
    monkeypatch.setattr(loggers, "MLFlowLogger", Served)
    assert make_logger("mlflow", "run", tmp_path, 3, 7, {})[1] == 5
