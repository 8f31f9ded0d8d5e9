"""Loggers of a run by name, made so that a resumed run has each step once."""

import csv
import importlib.util
import io
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from typing_extensions import override

from eva_core.errors import EvaError, UsageError
from eva_core.files.addresses import free_of_secrets
from eva_core.files.atomic_files import make_folder, unlinked, write_text
from eva_core.progress import say
from eva_pretrain.monitor.lines import LOG

Name = Literal["tensorboard", "csv", "wandb", "mlflow"]
LOGS = "logs"
"""Folder of what loggers write, in that of a run."""
_SERVED = ("wandb", "mlflow")
_PROJECT = "eva"
_ADVICE = {"mlflow": "Set MLFLOW_TRACKING_URI", "wandb": "Run `wandb login`, or set WANDB_MODE=offline"}


def refuse_missing(name: Name) -> None:
    """Refuse a logger whose package is not installed.

    Raises:
        UsageError: It is not; says how to install it.
    """
    if name in _SERVED and importlib.util.find_spec(name) is None:
        raise UsageError(
            f"Expected the package {name} for --logger {name}, but it is not installed. Run "
            f"pip install 'eva-pathology[{name}]'."
        )


def make_logger(
    name: Name, run: str, output: Path, step: int, before: int, settings: Mapping[str, Any]
) -> tuple[Logger, int]:
    """Make a logger that goes on behind a checkpoint, for the first rank.

    Files lose what lies beyond the checkpoint. The servers of wandb and MLflow keep all: their run is gone on with, and
    gets only steps that it has not. Both take address, project and keys from the environment, as they do anywhere. One
    that does not answer is no reason to stop a run that has begun.

    Args:
        name: Its name.
        run: Name of the run.
        output: Folder of the run.
        step: Step of the checkpoint; -1: the run begins.
        before: Last step that an earlier attempt logged; -1: none.
        settings: Settings of the run, for the servers.

    Returns:
        The logger, and the last step that it has already.

    Raises:
        EvaError: A server does not answer, and the run begins.
    """
    logs = output / LOGS
    if name == "tensorboard":
        return TensorBoardLogger(output, name="", version=LOGS, purge_step=step + 1), -1
    if name == "csv":
        return CsvLogger(logs / "metrics.csv", step), -1
    make_folder(logs)
    file = logs / f"{name}.json"
    state: dict[str, Any] = {"run": None, "step": -1}
    if file.exists():
        state = json.loads(file.read_text(encoding="utf-8"))
    begins = state["run"] is None
    _wait_less()
    logger, where = _served(name, run, logs, state["run"])
    try:
        number = logger.version if isinstance(logger, WandbLogger) else logger.run_id  # MLflow gives it
        last = max(state["step"], before)
        if isinstance(logger, MLFlowLogger):  # a kill may have come before the last line was sent
            last = -1 if begins else _last_step(logger)
        if begins:
            logger.log_hyperparams(dict(settings))
    except Exception as error:  # of a server of somebody else's
        reason = f"{where}, but it does not answer ({' '.join(str(error).split())[:200]})"
        if begins:
            raise EvaError(f"Expected {reason}. {_ADVICE[name]}, or choose another --logger.") from error
        say(f"Expected {reason}. Training goes on; all numbers are in {output / LOG}.")
        return logger, max(state["step"], before)
    write_text(file, json.dumps({"run": number, "step": last}))
    return logger, last


def _wait_less() -> None:
    """Let a server that is away hold up a run for less than their own 7 attempts, 120 s each, and 90 s."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("WANDB_INIT_TIMEOUT", "30")


def _served(name: Name, run: str, logs: Path, number: str | None) -> tuple[WandbLogger | MLFlowLogger, str]:
    """Logger of a server, which is not asked yet, and where that is; goes on with a run of that number."""
    if name == "wandb":
        project = os.environ.get("WANDB_PROJECT", _PROJECT)
        return WandbLogger(run, save_dir=logs, id=number or secrets.token_hex(4), project=project), "wandb"
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(logs / 'mlflow.db').resolve()}"
    project = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
    return MLFlowLogger(project, run, address, run_id=number), f"MLflow at {free_of_secrets(address)}"


def _last_step(logger: MLFlowLogger) -> int:
    """Last step that a run of MLflow has; -1 without any."""
    names = ("loss", "monitor/rankme")  # the monitor alone looks at the start
    histories = [logger.experiment.get_metric_history(str(logger.run_id), name) for name in names]
    return max((point.step for history in histories for point in history), default=-1)


class CsvLogger(Logger):
    """Logger of a table with a row for each step; a cell is empty where a step has no such number."""

    def __init__(self, file: Path, step: int) -> None:
        """Cut an earlier table back.

        Args:
            file: The table.
            step: Last step whose row stays; -1: none.
        """
        super().__init__()
        self.file = file
        self._columns = ["step"]
        make_folder(file.parent)
        if file.exists():
            self._columns, rows = self._read()
            self._write([row for row in rows if int(row["step"]) <= step])

    @property
    @override
    def name(self) -> str:
        """Name of the logger."""
        return "csv"

    @property
    @override
    def version(self) -> str:
        """Folder of the table."""
        return LOGS

    @override
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: config.yaml has them."""

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add the row of a step; the table is written anew where it gets another column."""
        row = {"step": step, **metrics}
        if new := [name for name in row if name not in self._columns]:
            rows = self._read()[1] if self.file.exists() else []
            self._columns += new
            self._write([*rows, row])
        elif not self.file.exists():
            self._write([row])
        else:
            with open(self.file, "a", newline="", encoding="utf-8", opener=unlinked) as file:
                csv.DictWriter(file, self._columns).writerow(row)

    def _read(self) -> tuple[list[str], list[dict[str, Any]]]:
        """Columns and rows, without a row that a kill has cut."""
        with open(self.file, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if None not in row.values() and row["step"].isdecimal()]
            return list(reader.fieldnames or ["step"]), rows

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.file, text.getvalue())
