"""Runs of a study: each variant with each seed, its folder, and its arguments of `eva pretrain`."""

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
from eva_core.files.atomic_files import make_folder, write_text
from eva_core.files.sealed_records import is_damaged
from eva_core.identity import canonical, changed_fields
from eva_core.progress import say
from eva_core.results.record import read_json
from eva_pretrain.data.datamodule import Patches
from eva_pretrain.run.config import Plan, parse
from eva_pretrain.studies.cut_patches import DONE
from eva_pretrain.studies.study import Study, Variant
from eva_vision.models.exported import CARD, check_files, read_seen

COST = "cost.json"
EXPORT = "export"


@dataclass(frozen=True, eq=False)
class Run:
    """Run of a variant with one seed.

    Attributes:
        variant: The variant.
        seed: The seed.
        arguments: Arguments of `eva pretrain`, with the folder.
        folder: Folder of the run; the export is below it, and the results in `tasks`.
        cut_to: Folder that its patches are cut to first; None: patches are read online.
        pairs: Evaluation of its export on each task.
        fixed: Whether the weights were trained elsewhere and are not trained here, so that all seeds are the same.
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
        """Name of the run, to show to users."""
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def export(self) -> Path:
        """The folder that `--model` takes."""
        return self.folder / EXPORT

    @property
    def trained(self) -> bool:
        """Whether the run has an export."""
        return (self.export / CARD).is_file()

    def whole(self) -> bool:
        """Whether the run has an export whose files are as they were written; damage is said."""
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
        """Whether the run has a score on every task, and the record of its cost can be read."""
        costs = [self.folder / COST, *([] if self.cut_to is None else [self.cut_to / DONE])]
        return self.trained and all(pair.done for pair in self.pairs) and not any(map(is_damaged, costs))

    @property
    def failure(self) -> str | None:
        """Reason why the run failed, apart from failures on single tasks; None where it did not."""
        return None if self.done else read_json(self.folder / FAILED).get("reason")


def plan_runs(study: Study, flags: Sequence[str], output: Path) -> list[Run]:
    """Check every variant, index the slides once for all, and lay out the runs: all variants of a seed, then the next.

    The folder of a run is named by its variant and a hash of its settings: with other settings it is another run.

    Args:
        study: The study.
        flags: Flags of `eva pretrain` for every run; the changes of a variant override them.
        output: Folder of the study.

    Raises:
        UsageError: A variant has a setting that is invalid, or that would have no effect.
    """
    for flag in ("--seed", "--name", "--config"):
        if any(given.partition("=")[0] == flag for given in flags):
            raise UsageError(f"Expected no {flag} for the runs of a study, but got one. Leave it out: it sets its own.")
    output = output.resolve()  # paths are part of the arguments of a run
    make_folder(output / "variants")
    base = ["--config", study.base, *flags]
    on_folder = parse([*base, "--output", str(output)]).data.folder is not None
    planned, indexes = [], dict[str, Path]()
    for variant in study.variants:
        arguments, plan = _planned(study, variant, base, on_folder, output)
        slides = plan.data.slides
        if slides is not None and not variant.untrained:
            if slides not in indexes:
                indexes[slides] = _indexed(plan, output)
            arguments = (*arguments, "--data.slides", str(indexes[slides]))
        planned.append((variant, arguments, plan))
    return [
        _run(study, variant, seed, arguments, plan, output)
        for seed in range(study.seeds)
        for variant, arguments, plan in planned
        if seed == 0 or not _fixed(variant, plan)
    ]


def _planned(
    study: Study, variant: Variant, base: Sequence[str], on_folder: bool, output: Path
) -> tuple[tuple[str, ...], Plan]:
    """Arguments of a variant, and its plan with seed 0."""
    try:
        changes = _for_a_folder(variant) if on_folder else variant.changes
        file = output / "variants" / f"{variant.slug}-{_hash([variant.name, changes])}.yaml"
        write_text(file, yaml.safe_dump(changes, sort_keys=False))
        arguments = (*base, "--config", str(file), "--name", f"{study.name}-{variant.slug}")
        return arguments, parse([*arguments, "--output", str(output)])
    except UsageError as error:
        raise UsageError(f"Variant {variant.name}: {error}") from error


def _for_a_folder(variant: Variant) -> dict[str, Any]:
    """Changes of a variant where patches come from a folder, whose files are not sampled but read in order."""
    sampling = dict(variant.changes.get("sampling") or {})
    data = dict(variant.changes.get("data") or {})
    if "distinct" in sampling:
        data["limit"] = sampling.pop("distinct")
    unusable = sorted(sampling.keys() - {"size"})
    if unusable or variant.cut is not None:
        what = f"sampling.{unusable[0]}" if unusable else "cut"
        raise UsageError(f"Expected --slides for a variant with {what}, but got a folder of patches. Give --slides.")
    others = {k: v for k, v in variant.changes.items() if k not in ("sampling", "data")}
    return {**others, **({"sampling": sampling} if sampling else {}), **({"data": data} if data else {})}


def _indexed(plan: Plan, output: Path) -> Path:
    """Folder of the index of the slides, which is made once for all runs."""
    settings = [plan.data.slides, plan.data.tissue, plan.data.mpp]
    index = Patches(plan.data, plan.sampling, 0, 1, output / "slides" / _hash(settings)).index
    assert index is not None
    return Path(index.folder).resolve()


def _run(study: Study, variant: Variant, seed: int, arguments: tuple[str, ...], plan: Plan, output: Path) -> Run:
    name = f"{variant.slug}-{_hash([plan.key, variant.untrained, variant.cut, _exported(plan)])}"
    folder = output / "runs" / name / f"seed-{seed}"
    return Run(
        variant=variant,
        seed=seed,
        arguments=(*arguments, "--seed", str(seed), "--output", str(folder)),
        folder=folder,
        cut_to=None if variant.cut is None else output / "cut" / f"{variant.cut}-{_hash(_pixels(plan))}",
        pairs=tuple(_pairs(study, f"{variant.name}, seed {seed}", folder)),
        fixed=_fixed(variant, plan),
    )


def _fixed(variant: Variant, plan: Plan) -> bool:
    return variant.untrained and plan.setup.architecture.start is not None


def _exported(plan: Plan) -> list[Any]:
    """Settings that decide which weights of a run are exported."""
    chosen = [plan.export.weights, plan.export.checkpoint]
    if plan.export.checkpoint == "last":
        return chosen
    return [*chosen, yaml.safe_load(plan.text).get("dataset"), plan.monitor.every, plan.monitor.holdout]


def _pixels(plan: Plan) -> list[str]:
    """Settings that decide about the patches that are cut, without those that decide how fast they are read."""
    # where several patches come from one region, the batch size decides which samples are the first
    batch_size = plan.data.batch_size if plan.sampling.per_window > 1 else 1
    data = replace(plan.data, batch_size=batch_size, workers=0, prefetch=1)
    return [canonical(changed_fields(data)), canonical(changed_fields(plan.sampling))]


def _pairs(study: Study, model: str, folder: Path) -> Iterator[Pair]:
    protocol = read_protocol(study.protocol)
    for task in study.tasks:
        config = {
            "dataset": task.dataset,
            "model": {"class_path": "exported", "init_args": {"folder": str(folder / EXPORT)}},
            "protocol": study.protocol,
        }
        safe = re.sub(r"[^A-Za-z0-9_.=,()-]+", "-", task.name)
        result = folder / "tasks" / f"{safe}-{_hash([task.dataset, protocol])}"
        yield Pair(model, task.name, config, study.protocol, (Part(DEFAULT, None),), result)


def _hash(content: Any) -> str:
    return hashlib.sha256(yaml.safe_dump(content, sort_keys=True).encode()).hexdigest()[:8]
