"""The page of a run: losses, schedules, what the monitor sees, and pictures, in one HTML file made as it goes."""

import base64
import io
import os
import re
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from eva_core.config.files import read_yaml
from eva_core.errors import EvaError
from eva_core.files.atomic_files import write_text
from eva_core.files.checked_lines import fields_of
from eva_core.page_theme import read_template
from eva_core.progress import say
from eva_core.results.record import CONFIG
from eva_core.shown import visible
from eva_pretrain.monitor.charts import Curve, chart
from eva_pretrain.monitor.lines import CROPS, LOG, MEASURES, PICTURE

PAGE = "watch.html"
State = Literal["training", "stopped", "finished"]
TEMPLATE = Path(__file__).with_name("watch.html")
_SHARE = 0.01
"""Most of the time of a run that its page may take."""
_REFRESH = 10
"""Seconds after which a browser reads the page of a run in training again."""
_PICTURES, _TILE, _WIDE = 9, 112, 1400
"""Steps whose patch tokens are shown at most, side of such a picture, and width of the crops, in pixels."""
_SPARSE = 20
"""Times the pause between two of its lines after which a run in training seems to be gone."""

_LEARNING = {
    "monitor/knn": ("Nearest neighbours", "Balanced accuracy on the dataset: the number to believe."),
    "monitor/dense": ("Patch tokens", "Score of patch tokens on the dataset with masks."),
    "monitor/rankme": ("RankMe", "Dimensions that embeddings use: to 1 is collapse."),
    "monitor/teacher_entropy": ("Entropy of the teacher", "To 0: one prototype takes all images."),
    "monitor/feature_std": ("Spread of the embeddings", "Standard deviation: to 0 is collapse."),
    "monitor/correlation": ("Correlation of dimensions", "Mean absolute value: low is rich."),
}
_SCHEDULES = {
    "schedule/lr": "Learning rate",
    "schedule/weight_decay": "Weight decay",
    "schedule/momentum": "Momentum of the teacher",
    "schedule/temperature": "Temperature of the teacher",
}


class WatchPage:
    """The page of a run that is going on. It never costs the run anything: an error is said once.

    Attributes:
        path: Where the page is.
    """

    def __init__(self, output: Path) -> None:
        """Begin with what the files of a run hold.

        Args:
            output: Folder of the run.
        """
        self.path = output / PAGE
        self._numbers = {name: Numbers(output / name) for name in (LOG, MEASURES)}
        self._next, self._failed = 0.0, False

    def progress(self) -> None:
        """Make the page anew, at most so often that it takes a hundredth of the time."""
        if time.monotonic() >= self._next:
            began = time.monotonic()
            self._try("training", "")
            self._next = time.monotonic() + (time.monotonic() - began) / _SHARE

    @contextmanager
    def of_a_run(self) -> Iterator[None]:
        """Make the page anew at the end of what is within, and note how that ended."""
        try:
            yield
        except BaseException as error:
            reason = str(error) if isinstance(error, EvaError) else type(error).__name__
            self._try("stopped", "" if isinstance(error, KeyboardInterrupt) else reason)
            raise
        self._try("finished", "")

    def write(self, state: State, reason: str = "") -> Path:
        """Make the page anew.

        Args:
            state: What becomes of the run.
            reason: Why it was stopped, where that is known.
        """
        output = self.path.parent
        for numbers in self._numbers.values():
            numbers.read_on()
        config = read_yaml(output / CONFIG) if (output / CONFIG).exists() else {}
        log, monitor = self._numbers[LOG].curves, self._numbers[MEASURES].curves
        body = "\n".join(
            [
                _state(state, reason, log, (config.get("recipe") or {}).get("steps")),
                _section("Losses", _losses(log)),
                _section("Is it learning?", _learning(monitor)),
                _tokens(output, monitor),
                _section("Schedules", [chart(title, [log[name]]) for name, title in _SCHEDULES.items() if name in log]),
                _section("Speed", _speed(log)),
                _crops(output),
            ]
        )
        parts = {
            "REFRESH": f'<meta http-equiv="refresh" content="{_REFRESH}">' if state == "training" else "",
            "TITLE": escape(visible(str(config.get("name") or output.name))),
            "ABOUT": _about(config),
            "BODY": body,
        }
        template = read_template(TEMPLATE)
        # in one pass: the name of a run may look like a mark
        write_text(self.path, re.sub(f"__({'|'.join(parts)})__", lambda mark: parts[mark[1]], template))
        return self.path

    def _try(self, state: State, reason: str) -> None:
        try:
            self.write(state, reason)
        except Exception as error:  # a page costs no run
            if not self._failed:
                self._failed = True
                why = " ".join(str(error).split()) or "no message"
                say(
                    f"The page {self.path} could not be made ({type(error).__name__}: {why}). Training goes on; "
                    f"`eva pretrain --watch {self.path.parent}` tries again."
                )


class Numbers:
    """Numbers of a file of lines, of which only what has been added is read again, unless it was written anew."""

    def __init__(self, file: Path) -> None:
        """Begin at the start of a file, which need not be there."""
        self._file, self._at, self._inode = file, 0, -1
        self._values: dict[str, tuple[array[float], array[float]]] = {}

    def read_on(self) -> None:
        """Read the lines that have been added; those that are damaged are left out."""
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            if (inode := os.fstat(file.fileno()).st_ino) != self._inode:
                self._inode, self._at = inode, 0
                self._values.clear()
            file.seek(self._at)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines(keepends=True):
            fields = fields_of(line)[0] or {}
            for name, value in fields.items():
                steps, values = self._values.setdefault(name, (array("d"), array("d")))
                steps.append(fields["step"])
                values.append(value)

    @property
    def curves(self) -> dict[str, Curve]:
        """Curves by name, in the order of their steps: the line of a best step may stand before earlier ones."""
        return {name: _curve(name, np.array(steps), np.array(values)) for name, (steps, values) in self._values.items()}


def _curve(name: str, steps: np.ndarray, values: np.ndarray) -> Curve:
    order = np.argsort(steps, kind="stable")
    return Curve(name, steps[order], values[order])


def _about(config: Mapping[str, Any]) -> str:
    method = config.get("method") or {}
    facts = [
        str(method.get("class_path", "") if isinstance(method, dict) else method).rpartition(".")[2],
        str((config.get("vit") or {}).get("arch", "")),
        f"eva {version('eva-pathology')}",
    ]
    return escape(visible(" · ".join(fact for fact in facts if fact)))


def _state(state: State, reason: str, log: Mapping[str, Curve], steps: int | None) -> str:
    step = int(log["step"].steps[-1]) if "step" in log else 0
    of = f"step {step:,}" + (f" of {steps:,}" if steps else "")
    seconds = log.get("seconds")
    pace = None  # seconds of a step
    if seconds is not None and len(seconds.steps) > 1 and seconds.steps[-1] > seconds.steps[-2]:
        recent = slice(-min(len(seconds.steps), 20), None)
        passed, taken = np.ptp(seconds.steps[recent]), np.ptp(seconds.values[recent])
        pace = float(taken / passed)
    if state == "training":
        left = f", about {_duration((steps - step) * pace)} left" if steps and pace is not None else ""
        patience = max(2.0, _SPARSE * (pace or 0) * _spacing(log) / 60)
        words = f"Training: {of}{left}. Written at {time.strftime('%H:%M:%S')}, and again as it goes on."
        old = f'<b id="old" data-written="{time.time():.0f}" data-patience="{patience:.1f}"></b>'
    else:
        took = f" after {_duration(float(seconds.values[-1]))} of training" if seconds is not None else ""
        words = f"Finished: {of}{took}." if state == "finished" else f"Stopped at {of}{took}."
        if state == "stopped":
            words += f" {reason}" if reason else ""
            words += " The same command goes on from the last checkpoint."
        old = ""
    skipped = log["skipped"].values[-1] if "skipped" in log else 0
    noted = f"<p>{skipped:,.0f} steps were skipped, as their loss or gradient was not finite.</p>" if skipped else ""
    share = min(step / steps, 1) if steps else 0
    return (
        f'<p class="state {state}">{escape(visible(words))}{old}</p>'
        f'<div class="progress"><i style="width:{share:.1%}"></i></div>{noted}'
    )


def _spacing(log: Mapping[str, Curve]) -> float:
    return float(np.diff(log["step"].steps[-2:])[0]) if "step" in log and len(log["step"].steps) > 1 else 1.0


def _losses(log: Mapping[str, Curve]) -> list[str]:
    terms = [curve._replace(name=name.partition("/")[2]) for name, curve in log.items() if name.startswith("loss/")]
    return [
        chart("Loss", [log["loss"]]) if "loss" in log else "",
        chart("Its terms", terms, "A loss that is flat, or rises while the temperature does, is normal.")
        if len(terms) > 1
        else "",
        chart("Norm of the gradient", [log["gradient_norm"]], "Before clipping.", spiky=True)
        if "gradient_norm" in log
        else "",
    ]


def _learning(monitor: Mapping[str, Curve]) -> list[str]:
    return [chart(title, [monitor[name]], note) for name, (title, note) in _LEARNING.items() if name in monitor]


def _speed(log: Mapping[str, Curve]) -> list[str]:
    waiting = "Share of the time without a patch, of the slowest device. More than a few per cent: raise data.workers."
    return [
        chart("Patches a second", [log["patches_per_s"]], "On all devices.") if "patches_per_s" in log else "",
        chart("Waiting for data", [log["waiting"]], waiting, percent=True) if "waiting" in log else "",
        chart("Share of the peak", [log["of_peak"]], "Of the hardware's.", percent=True) if "of_peak" in log else "",
    ]


def _section(title: str, figures: Sequence[str]) -> str:
    return f'<h2>{title}</h2><div class="charts">{"".join(figures)}</div>' if any(figures) else ""


def _tokens(output: Path, monitor: Mapping[str, Curve]) -> str:
    """Pictures of the patch tokens, side by side over the steps: the first, the last, and some in between."""
    steps = [int(step) for step in monitor["step"].steps] if "step" in monitor else []
    steps = [step for step in dict.fromkeys(steps) if (output / PICTURE.format(step)).exists()]
    places = np.unique(np.linspace(0, len(steps) - 1, min(_PICTURES, len(steps))).round().astype(int))
    files = {step: output / PICTURE.format(step) for step in (steps[place] for place in places)}
    columns = [(f"step {step:,}", image) for step, file in files.items() if (image := _read(_column, file, 1))]
    if not columns:
        return ""
    patches = next((image for file in reversed(files.values()) if (image := _read(_column, file, 0))), "")
    shown = "".join(
        f'<div>{words}<img alt="{words}" src="{image}"></div>' for words, image in [("patches", patches), *columns]
    )
    return f"""<h2>What its patch tokens tell apart</h2>
<p class="soft">Patch tokens by their first three principal components, as red, green and blue. Colours can be compared
within a step, not between steps: look for structures of the tissue that take shape. Noise, or one colour, tells nothing
apart.</p>
<div class="scroll"><div class="tokens">{shown}</div></div>"""


def _crops(output: Path) -> str:
    image = _read(_whole, output / CROPS)
    if not image:
        return ""
    return f"""<h2>What it sees</h2><p class="soft">Patches and the crops of them that the network is given.</p>
<div class="scroll crops"><img alt="crops" src="{image}"></div>"""


def _read(shown: Callable[..., str], file: Path, *arguments: int) -> str:
    """Address of a picture as it is shown; empty where it is missing or damaged."""
    try:
        return shown(file, file.stat().st_mtime_ns, *arguments)
    except (OSError, ValueError, SyntaxError, ZeroDivisionError):  # Pillow raises each of them
        return ""


@lru_cache(maxsize=64)
def _column(file: Path, _: int, row: int) -> str:
    """A row of a picture of patches side by side, as an image of them one below the other."""
    image = Image.open(file).convert("RGB")
    side = image.height // 2
    column = Image.new("RGB", (_TILE, image.width // side * (_TILE + 4) - 4), (128, 128, 128))
    for number in range(image.width // side):
        tile = image.crop((number * side, row * side, (number + 1) * side, (row + 1) * side))
        kind = Image.Resampling.NEAREST if row else Image.Resampling.LANCZOS
        column.paste(tile.resize((_TILE, _TILE), kind), (0, number * (_TILE + 4)))
    return _address(column, 85)


@lru_cache(maxsize=2)
def _whole(file: Path, _: int) -> str:
    image = Image.open(file).convert("RGB")
    image.thumbnail((_WIDE, 4 * _WIDE))
    return _address(image, 80)


def _address(image: Image.Image, quality: int) -> str:
    """An image as a `data:` address."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _duration(seconds: float) -> str:
    minutes = round(seconds) // 60
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min" if minutes > 4 else f"{seconds:.0f} s"
