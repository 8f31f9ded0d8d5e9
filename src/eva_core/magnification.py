"""How a score depends on magnification: the same images, resampled to coarser micrometres per pixel."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from eva_core.api import fit_job
from eva_core.config.jobs import with_protocol
from eva_core.config.parser import parse
from eva_core.config.protocols import plain
from eva_core.config.result_config import TRUST
from eva_core.errors import UsageError
from eva_core.files.atomic_files import write_bytes, write_text
from eva_core.files.file_names import as_name
from eva_core.progress import say
from eva_core.shown import for_matplotlib
from eva_core.task import task_named


def profile(
    config: str, models: list[str], mpps: list[float], protocol: str | None, output: Path, trust: bool = False
) -> Path:
    """Evaluate each model at each mpp, and draw.

    Args:
        config: A task config.
        models: Names of models.
        mpps: Micrometres per pixel; those finer than the images are left out, as detail cannot be made.
        protocol: Name or path; None: the one of the config.
        output: Folder of the results and the picture.
        trust: Take class paths and addresses that came with a result.
    Returns:
        The picture; `profile.json` beside it holds the numbers.
    Raises:
        UsageError: The dataset states no mpp, or no step is left.
    """
    curves: dict[str, Any] = {}
    for model in models:
        flags = [*(["--protocol", protocol] if protocol else []), *([TRUST] if trust else [])]
        job = parse("fit", ["--config", config, "--model", model, *flags])
        card, dataset, name = job.card, job.dataset, job.model
        native = dataset.card.mpp
        if native is None:
            raise UsageError(f"Expected a dataset that states its mpp, but {dataset.card.name!r} does not.")
        points = []
        for mpp in mpps:
            coarser = task_named(job.dataset.card.task).at_mpp(mpp, native, dataset, job.protocol, card)
            if coarser is None:
                say(f"{mpp:g} mpp is left out: images of {native:g} mpp cannot show it to {name}.")
                continue
            text = yaml.safe_dump({**yaml.safe_load(job.config or ""), "protocol": plain(coarser)}, sort_keys=False)
            folder = output / as_name(name) / f"{mpp:g}"
            main = fit_job(replace(with_protocol(job, coarser), output=folder, config=text))["main"]
            crop = coarser.geometry_for(card).crop
            points.append({"mpp": mpp, "crop": crop, "mean": main["mean"], "ci95": main["ci95"]})
        if not points:
            raise UsageError(f"Expected an --mpp of {native:g} or coarser for {dataset.card.name!r}, but got none.")
        curves[name] = {"trained_at": list(card.mpp), "metric": main["metric"], "points": points}
    title = dataset.card.name + (" (synthetic data)" if dataset.card.synthetic else "")
    write_text(output / "profile.json", json.dumps({"dataset": title, "curves": curves}, indent=2))
    return draw(title, curves, output / "profile.png")


def draw(title: str, curves: dict[str, Any], path: Path) -> Path:
    """Draw a curve with its interval for each model, and a band where it was trained."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    for number, (model, curve) in enumerate(curves.items()):
        colour, points = f"C{number}", curve["points"]
        x, y = [p["mpp"] for p in points], [p["mean"] for p in points]
        axes.plot(x, y, "o-", color=colour, label=for_matplotlib(model))
        if all(p["ci95"] for p in points):
            axes.fill_between(
                x, [p["ci95"][0] for p in points], [p["ci95"][1] for p in points], color=colour, alpha=0.15
            )
        if curve["trained_at"]:
            low, high = min(curve["trained_at"]), max(curve["trained_at"])
            axes.axvspan(low * 0.97, high * 1.03, ymin=0.015 * number, ymax=0.015 * (number + 1), color=colour)
    axes.set_xscale("log", base=2)
    ticks = sorted({p["mpp"] for curve in curves.values() for p in curve["points"]})
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    bands = any(curve["trained_at"] for curve in curves.values())
    axes.set_xlabel(
        "micrometres per pixel that reach the model" + (" (bars at the bottom: trained there)" if bands else "")
    )
    axes.set_ylabel(next(iter(curves.values()))["metric"].replace("_", " "))
    axes.set_title(for_matplotlib(title), loc="left")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    write_bytes(path, content.getvalue())
    return path
