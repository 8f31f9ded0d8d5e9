"""The runs of a study: each variant from each seed, where it lies, and what `eva pretrain` is told."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from eva_core.boards.board import DEFAULT, FAILED, Pair, Part
from eva_core.config.files import read_protocol
from eva_core.errors import EvaError, UsageError
from eva_core.files.sealed_records import is_damaged
from eva_core.identity import canonical, changed_fields
from eva_core.progress import say
from eva_core.results.record import read_json, write_text
from eva_pretrain.data.datamodule import Patches
from eva_pretrain.run.config import Plan, parse
from eva_pretrain.studies.cut_patches import DONE
from eva_pretrain.studies.study import Study, Variant
from eva_vision.models.exported import CARD, check_files, read_seen

COST = "cost.json"
EXPORT = "export"


@dataclass(frozen=True, eq=False)
class Run:
    """A variant from one seed.

    Attributes:
        arguments: Arguments of `eva pretrain`; the folder is in it.
        folder: Folder of the run; the export is below it, and the results in `tasks`.
        cut_to: Where its patches are cut to first; None: they are not.
        pairs: Its export on each task.
        fixed: Weights that were trained elsewhere and are not trained here: the same for every seed.
    """

    variant: Variant
    seed: int
    arguments: tuple[str, ...]
    folder: Path
    cut_to: Path | None
    pairs: tuple[Pair, ...]
    fixed: bool

    @property
    def name(self) -> str:
        """Name of the run, for people."""
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def export(self) -> Path:
        """The folder that `--model` takes."""
        return self.folder / EXPORT

    @property
    def trained(self) -> bool:
        """Whether there is an export."""
        return (self.export / CARD).is_file()

    def whole(self) -> bool:
        """Whether there is an export of which every file is as it was written; what is not is said."""
        if not self.trained:
            return False
        try:
            check_files(self.export)
            read_seen(self.export)
        except EvaError as error:
            say(f"{error} It is made again.")
            return False
        return True

    @property
    def done(self) -> bool:
        """Whether it has a score on every task, and what it has cost can be read."""
        costs = [self.folder / COST, *([] if self.cut_to is None else [self.cut_to / DONE])]
        return self.trained and all(pair.done for pair in self.pairs) and not any(map(is_damaged, costs))

    @property
    def failure(self) -> str | None:
        """Why it is not done, where that is not for a task alone."""
        return None if self.done else read_json(self.folder / FAILED).get("reason")


def plan_runs(study: Study, flags: Sequence[str], output: Path) -> list[Run]:
    """Check every variant, index the slides once for all, and lay out the runs: all variants of a seed, then the next.

    A run lies in a folder named by its variant and a hash of its settings: with others it is another run.

    Args:
        study: What is asked.
        flags: Flags of `eva pretrain`, for every run; what a variant changes overrides them.
        output: Folder of the study.

    Raises:
        UsageError: A variant asks for what cannot be, or would change nothing.
    """
    for flag in ("--seed", "--name", "--config"):
        if any(given.partition("=")[0] == flag for given in flags):
            raise UsageError(f"Expected no {flag} for the runs of a study, but got one. Leave it out: it sets its own.")
    output = output.resolve()  # a path is a part of what a run is asked for
    (output / "variants").mkdir(parents=True, exist_ok=True)
    base = ["--config", study.base, *flags]
    on_folder = parse([*base, "--output", str(output)]).data.folder is not None
    laid_out, indexes = [], dict[str, Path]()
    for variant in study.variants:
        asked, plan = _asked(study, variant, base, on_folder, output)
        slides = plan.data.slides
        if slides is not None and not variant.untrained:
            if slides not in indexes:
                indexes[slides] = _indexed(plan, output)
            asked = (*asked, "--data.slides", str(indexes[slides]))
        laid_out.append((variant, asked, plan))
    return [
        _run(study, variant, seed, asked, plan, output)
        for seed in range(study.seeds)
        for variant, asked, plan in laid_out
        if seed == 0 or not _fixed(variant, plan)
    ]


def _asked(
    study: Study, variant: Variant, base: Sequence[str], on_folder: bool, output: Path
) -> tuple[tuple[str, ...], Plan]:
    """The arguments of a variant, and what they come to with seed 0."""
    try:
        changes = _for_a_folder(variant) if on_folder else variant.changes
        file = output / "variants" / f"{variant.slug}-{_hash([variant.name, changes])}.yaml"
        write_text(file, yaml.safe_dump(changes, sort_keys=False))
        asked = (*base, "--config", str(file), "--name", f"{study.name}-{variant.slug}")
        return asked, parse([*asked, "--output", str(output)])
    except UsageError as error:
        raise UsageError(f"Variant {variant.name}: {error}") from error


def _for_a_folder(variant: Variant) -> dict[str, Any]:
    """What a variant changes where patches come from a folder, whose sampling is the order of its files."""
    sampling = dict(variant.changes.get("sampling") or {})
    data = dict(variant.changes.get("data") or {})
    if "distinct" in sampling:
        data["limit"] = sampling.pop("distinct")
    useless = sorted(sampling.keys() - {"size"})
    if useless or variant.cut is not None:
        what = f"sampling.{useless[0]}" if useless else "cut"
        raise UsageError(f"Expected --slides for a variant with {what}, but got a folder of patches. Give --slides.")
    kept = {k: v for k, v in variant.changes.items() if k not in ("sampling", "data")}
    return {**kept, **({"sampling": sampling} if sampling else {}), **({"data": data} if data else {})}


def _indexed(plan: Plan, output: Path) -> Path:
    """The index of the slides, made once for all runs."""
    asked = [plan.data.slides, plan.data.tissue, plan.data.mpp]
    index = Patches(plan.data, plan.sampling, 0, 1, output / "slides" / _hash(asked)).index
    assert index is not None
    return Path(index.folder).resolve()


def _run(study: Study, variant: Variant, seed: int, asked: tuple[str, ...], plan: Plan, output: Path) -> Run:
    name = f"{variant.slug}-{_hash([plan.key, variant.untrained, variant.cut, _exported(plan)])}"
    folder = output / "runs" / name / f"seed-{seed}"
    arguments = (*asked, "--seed", str(seed), "--output", str(folder))
    return Run(
        variant=variant,
        seed=seed,
        arguments=arguments,
        folder=folder,
        cut_to=None if variant.cut is None else output / "cut" / f"{variant.cut}-{_hash(_pixels(plan))}",
        pairs=tuple(_pairs(study, f"{variant.name}, seed {seed}", folder)),
        fixed=_fixed(variant, plan),
    )


def _fixed(variant: Variant, plan: Plan) -> bool:
    return variant.untrained and plan.setup.architecture.start is not None


def _exported(plan: Plan) -> list[Any]:
    """What decides which weights of a run are exported."""
    chosen = [plan.export.weights, plan.export.checkpoint]
    if plan.export.checkpoint == "last":
        return chosen
    return [*chosen, yaml.safe_load(plan.text).get("dataset"), plan.monitor.every, plan.monitor.holdout]


def _pixels(plan: Plan) -> list[str]:
    """What decides about the patches that are cut: how fast they are read does not."""
    # where several come from one region, the batch decides which samples are the first
    batch_size = plan.data.batch_size if plan.sampling.per_window > 1 else 1
    data = replace(plan.data, batch_size=batch_size, workers=0, prefetch=1)
    return [canonical(changed_fields(data)), canonical(changed_fields(plan.sampling))]


def _pairs(study: Study, model: str, folder: Path) -> Iterator[Pair]:
    rules = read_protocol(study.protocol)
    for task in study.tasks:
        config = {
            "dataset": task.dataset,
            "model": {"class_path": "exported", "init_args": {"folder": str(folder / EXPORT)}},
            "protocol": study.protocol,
        }
        safe = re.sub(r"[^A-Za-z0-9_.=,()-]+", "-", task.name)
        where = folder / "tasks" / f"{safe}-{_hash([task.dataset, rules])}"
        yield Pair(model, task.name, config, study.protocol, (Part(DEFAULT, None),), where)


def _hash(content: Any) -> str:
    return hashlib.sha256(yaml.safe_dump(content, sort_keys=True).encode()).hexdigest()[:8]
