"""Segmentation by dense features, as a task."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import override

from eva_core.contracts.cards import DatasetCard, ModelCard
from eva_core.contracts.metric import Metric
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_core.task import Heads, Task
from eva_vision.segmentation.metric_names import BESIDE, DICE, METRICS
from eva_vision.segmentation.protocol import Segmentation

if TYPE_CHECKING:
    import pyarrow as pa

    from eva_core.contracts.dataset import Dataset
    from eva_core.contracts.results import Picture, Results
    from eva_core.contracts.sections import Section
    from eva_core.job import Answer, Job
    from eva_core.reports.sources import Sources
    from eva_core.store.store import StoreKey
    from eva_vision.segmentation.contracts import SegmentationDataset
    from eva_vision.segmentation.features.map_store import MapStore
    from eva_vision.segmentation.schema import SegmentationResults
    from eva_vision.segmentation.scoring.predictions import ImageDice

WRONG_IGNORE = "Pixels to ignore were chosen by the prediction, which is wrong: only to compare with numbers made so"
_NOT_BY_CLASS = (*METRICS, "aji", "pq")


class SegmentationTask(Task):
    """A class for every pixel."""

    label = "mask"
    unit = "pixels"
    items = ("feature maps", "tiles")
    section = Segmentation
    reads = frozenset({"transform", "geometry", "precision", "selection", "holdout", "runs", "seed"})

    @property
    @override
    def head(self) -> Any:
        from eva_vision.segmentation.contracts import SegmentationHead

        return SegmentationHead

    @override
    def metrics(self, dataset: DatasetCard) -> Mapping[str, Metric]:
        return METRICS

    @override
    def check(self, job: "Job") -> None:
        from eva_core.evaluation.class_checks import refuse_few_classes, refuse_one_class_by_two_names
        from eva_core.evaluation.splits import refuse_unfit

        dataset = _checked(job.dataset)
        refuse_unfit(dataset, [s.id for s in dataset.samples if not dataset.labelled(s)], self.label)
        refuse_few_classes(dataset.card)
        refuse_one_class_by_two_names(dataset.card.classes, {})
        if job.how.online is False and "crops" in job.resolved.section.augment:
            raise UsageError(
                f"Expected the backbone in the loop, as {job.protocol.name} crops {dataset.card.name} at random, but "
                "got --online false. Use eva-0.4-offline, or leave it out."
            )

    @override
    def check_targets(self, dataset: "Dataset") -> None:
        from eva_core.evaluation.class_checks import refuse_wrong_classes

        refuse_wrong_classes(dataset)

    @override
    def check_applying(self, job: "Job") -> None:
        if not job.resolved.section.stitch:
            raise UsageError(
                f"Expected a protocol that stitches tiles to whole masks, but {job.protocol.name} does not here. "
                "Fit the heads with --protocol strict."
            )

    @override
    def key(self, job: "Job") -> "StoreKey":
        from eva_vision.segmentation.features.feature_maps import maps_key

        return maps_key(job.backbone, _checked(job.dataset), job.protocol, job.resolved.section)

    @override
    def extract(self, key: "StoreKey", job: "Job", tell: Callable[[str], None]) -> "MapStore":
        from eva_vision.segmentation.features.feature_maps import extract_maps

        dataset, section = _checked(job.dataset), job.resolved.section
        return extract_maps(key, job.backbone, dataset, job.protocol, section, job.how, tell, job.model)

    @override
    def evaluate(self, job: "Job", store: "MapStore", folder: Path, key: str) -> "Answer":
        from eva_vision.segmentation.context import open_context
        from eva_vision.segmentation.evaluation import evaluate

        return evaluate(open_context(job, store), folder, key)

    @override
    def tidy(self, folder: Path) -> None:
        from eva_vision.segmentation.decoders.run_checkpoints import remove_runs

        remove_runs(folder)

    @override
    def apply(self, job: "Job", store: "MapStore", heads: Heads, classes: list[str], output: Path) -> Path:
        """Write a mask for every image, of its own size: PNG with a palette; classes.txt names the labels."""
        from eva_vision.segmentation.context import open_context
        from eva_vision.segmentation.evaluation import decoder_of
        from eva_vision.segmentation.scoring.whole_masks import write_masks

        context = open_context(job, store)
        return write_masks(
            context, [decoder_of(context, dict(params), len(classes)) for params in heads.values()], classes, output
        )

    @override
    def repeat(self, job: "Job", store: "MapStore", heads: Heads) -> "pa.Table":
        from eva_core.evaluation.splits import reported_splits
        from eva_vision.segmentation.context import open_context
        from eva_vision.segmentation.evaluation import decoder_of
        from eva_vision.segmentation.scoring.predictions import dice_table
        from eva_vision.segmentation.scoring.scoring import score

        context, whole = open_context(job, store), slice(None)
        decoders = [decoder_of(context, dict(params)) for params in heads.values()]
        splits = reported_splits(store.splits[store.readable], context.card)
        scored = {split: score(context, decoders, store.rows(split), instances=len(decoders)) for split in splits}
        parts = [part.predictions(context, split, whole) for split, part in scored.items()]
        return dice_table(parts, context.card.classes, list(heads))

    @override
    def read(self, folder: Path, split: str) -> "ImageDice":
        from eva_vision.segmentation.scoring.predictions import read_dice

        return read_dice(folder, split)

    @override
    def comparable(self, metric: str) -> bool:
        return metric == DICE  # of single images only the Dice is kept

    @override
    def at_mpp(
        self, mpp: float, native: float, dataset: "Dataset", protocol: Protocol, card: ModelCard
    ) -> Protocol | None:
        """A protocol that brings images to an mpp before they are cut.

        Raises:
            UsageError: Masks are not stitched, so that their magnification depends on the size of the image.
        """
        name = dataset.card.task  # under which a protocol has the section
        section: Segmentation = getattr(protocol, name)
        if not section.of(dataset.card.name).stitch:
            raise UsageError(
                f"Expected a protocol that stitches tiles, but {protocol.name} does not. Use --protocol strict."
            )
        if mpp < native * 0.99:
            return None
        changes: dict[str, Any] = {name: replace(section, mpp=mpp)}
        return replace(protocol, **changes)

    @override
    def always_said(self, section: Segmentation) -> dict[str, Any]:
        return {"ignore": section.ignore} if section.ignore == "prediction" else {}

    @override
    def notes(self, results: "Results") -> list[str]:
        from eva_core.results.report import number

        main, metrics = results["main"], results["splits"][results["main"]["split"]]["metrics"]
        others = [name for name in _NOT_BY_CLASS if name in metrics and name != main["metric"]]
        values = ", ".join(f"{name} {number(metrics[name]['mean'])}" for name in others)
        segmentation = cast("SegmentationResults", results)
        left_out = segmentation["background"]
        lines = [f"means {f'leave {left_out} out' if left_out else 'go over all classes'}; {values}"]
        if main["mean"] == 0:
            lines.append("no pixel of any class is found: the head has learned nothing; more steps, or another head")
        if segmentation["features"] == "online":
            lines.append("the backbone ran in every step")
        return lines

    @override
    def by_class(self, results: "Results") -> str:
        return results["main"]["metric"]

    @override
    def beside(self, results: "Results") -> list[str]:
        metrics = results["splits"][results["main"]["split"]]["metrics"]
        return [name for name in BESIDE if name in metrics]

    @override
    def remark(self, results: "Results") -> str:
        return WRONG_IGNORE if "ignore=prediction" in results["identity"]["protocol"] else ""

    @override
    def pictures(self, results: "Results") -> "list[Picture]":
        return list(cast("SegmentationResults", results).get("overlays", []))

    @override
    def sections(self, sources: "Sources") -> "list[Section]":
        from eva_vision.segmentation.sections import sections

        return sections(sources)


def _checked(dataset: "Dataset") -> "SegmentationDataset":
    from eva_vision.segmentation.contracts import SegmentationDataset

    if not isinstance(dataset, SegmentationDataset):
        raise UsageError(
            f"Expected a SegmentationDataset for task segmentation, but {dataset.card.name!r} is another. "
            "Derive it from eva_vision.segmentation.contracts.SegmentationDataset."
        )
    return dataset
