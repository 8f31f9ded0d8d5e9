"""Your own images and masks: a tree of `split/images` and `split/masks`."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import EvaError, UsageError, some
from eva_core.files.tables import read_text
from eva_core.files.walk import ordinary
from eva_core.progress import Bar
from eva_core.text import folded
from eva_vision.datasets.masks import (
    Annotation,
    MaskFiles,
    read_labels,
    reading,
    to_classes,
    to_instances,
    whole_numbers,
)
from eva_vision.datasets.published_files import look, refuse_crossing
from eva_vision.images import SUFFIXES, is_image
from eva_vision.segmentation.contracts import IGNORE

SPLITS = ("train", "val", "test")
MASKS = ("masks", "labels")
MASK_SUFFIXES = {".png", ".npz", ".tif", ".tiff"}
NAMES = "classes.txt"


class MaskFolder(MaskFiles):
    """A folder of images with masks, as a tree `split/images/name.*` and `split/masks/name.*`."""

    card = DatasetCard(
        name="mask_folder",
        task="segmentation",
        metric="dice",
        background=0,
        licence="yours",
        access="your own files, below --dataset.root",
    )

    def __init__(
        self,
        root: str,
        classes: list[str] | None = None,
        key: str | None = None,
        instances: str | None = None,
        background: int | None = 0,
        ignore: int = IGNORE,
        name: str = "mask_folder",
        mpp: float | None = None,
        group: str | None = None,
    ) -> None:
        """Index the folder by file name.

        Splits are `train`, `val` and `test`; the folder beside `images` is `masks` or `labels`. Images right in `root`
        or in `root/images` have no mask and are `new`: they can be predicted on.

        Args:
            root: The folder.
            classes: Names of the classes in the order of their labels, from 0; None: the lines of `root/classes.txt`,
                else `class_0` and so on up to the largest label, for which all masks are read once.
            key: The array of labels in npz files; None: the only one.
            instances: The array with the number of the object at every pixel, in npz files.
            background: The label that means over classes leave out; None: each class counts.
            ignore: The label of pixels that are neither learnt nor scored.
            name: What results and the cache call this dataset.
            mpp: Micrometres per pixel of the images, where it is known and the same for all.
            group: Regular expression whose first group, searched in the file name without its ending, is the patient or
                slide.
        Raises:
            UsageError: Names what is wrong: images without mask, masks without image, names that stand twice, empty or
                unknown files, a group in two splits.
            EvaError: A mask that is read for its classes is none.
        """
        self.key, self.objects, self.ignore = key, instances, ignore
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise UsageError(f"Expected a folder of images and masks, but {folder} is none. Set --dataset.root.")
        pattern = _pattern(group)
        self.samples = _samples(folder, pattern, mpp)
        refuse_crossing(((s.group, s.split) for s in self.samples), "Move each into one or correct --dataset.group")
        names = _names(folder, classes) or self._numbered(folder)
        if background is not None and names and background not in range(len(names)):
            raise UsageError(f"Expected background to be a label from 0 to {len(names) - 1}, but got {background}.")
        self.card = DatasetCard(
            name=name,
            task="segmentation",
            classes=names,
            mpp=mpp,
            metric="dice",
            background=background,
            licence="yours",
            access=str(folder),
        )

    @override
    def annotation(self, sample: Sample) -> Annotation:
        """Classes and, where npz files hold them, objects."""
        assert sample.label_path is not None
        table = np.arange(len(self.card.classes), dtype=np.uint8)
        stored, objects = self._stored(sample.label_path)
        return Annotation(
            to_classes(stored, table, sample.label_path, self.ignore),
            None if objects is None else to_instances(objects, sample.label_path),
        )

    @override
    def labels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The content of the mask, and how it is read."""
        return (
            None
            if sample.label_path is None
            else f"{hashes[sample.label_path]} {(self.key, self.objects, self.ignore)}"
        )

    @override
    def fingerprint(self) -> str:
        """The fingerprint of any dataset of masks, with how the masks are read."""
        settings = (self.key, self.objects, self.ignore, self.card.background, self.card.mpp)
        return hashlib.sha256(f"{super().fingerprint()} {settings}".encode()).hexdigest()

    def _stored(self, file: Path) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels, and the numbers of objects where they are asked for."""
        if file.suffix.lower() != ".npz":
            return read_labels(file), None
        with reading(file, "arrays"), np.load(file, allow_pickle=False) as arrays:
            key = self.key or (arrays.files[0] if len(arrays.files) == 1 else None)
            for argument, name in (("key", key), ("instances", self.objects or key)):
                if name not in arrays.files:
                    raise EvaError(
                        f"Expected {'one array' if name is None else repr(name)} in {file}, but it holds "
                        f"{some(arrays.files) or 'none'}. Set --dataset.{argument} to one of them."
                    )
            return arrays[key], arrays[self.objects] if self.objects else None

    def _numbered(self, folder: Path) -> tuple[str, ...]:
        """A name for each label up to the largest in any mask."""
        masks = [sample.label_path for sample in self.samples if sample.label_path is not None]
        if not masks:
            return ()
        labels: set[int] = set()
        with Bar(f"{self.card.name}: looking for classes", len(masks), "masks") as bar:
            for mask in masks:
                labels |= set(np.unique(whole_numbers(self._stored(mask)[0], mask)).tolist())
                bar.advance(1)
        numbers = sorted(labels - {self.ignore})
        if len(numbers) < 2 or numbers[0] < 0 or numbers[-1] >= IGNORE:
            raise UsageError(
                f"Expected labels 0, 1, 2 and so on, at most {IGNORE - 1}, in the masks under {folder}, but got "
                f"{some(map(str, numbers)) or 'none'} ({self.ignore} is ignored). Renumber them, or set "
                "--dataset.ignore."
            )
        return tuple(f"class_{i}" for i in range(numbers[-1] + 1))


def _samples(folder: Path, pattern: re.Pattern[str] | None, mpp: float | None) -> list[Sample]:
    """Every image of the tree, with its mask where it has one."""
    return [
        Sample(
            id=image.relative_to(folder).as_posix(),
            split=split,
            target=None,
            path=image,
            bytes=image.stat().st_size,
            label_path=mask,
            group=None if pattern is None or mask is None else _group(pattern, image),
            mpp=mpp,
        )
        for split, image, mask in _pairs(folder)
    ]


def _pairs(root: Path) -> list[tuple[str, Path, Path | None]]:
    """Split, image and mask, by split and name; refuses what has no place."""
    walked = look(root, lambda path: "/" in path or is_image(path))
    problems: dict[str, list[str]] = defaultdict(list)
    problems["images by a second name"] = [
        f"{path} = {other}" for path, other in walked.same_files.items() if not (_is_mask(path) and _is_mask(other))
    ]
    pairs: list[tuple[str, Path, Path | None]] = []
    for entry in _visible(root):
        if entry.is_file():
            if is_image(entry.name):
                pairs.append(("new", entry, None))
        elif entry.name == "images":
            pairs += [("new", image, None) for image in _files(root, entry, SUFFIXES, problems).values()]
        elif entry.name not in SPLITS:
            problems["unknown folders"].append(entry.name)
    for split in (split for split in SPLITS if (root / split).is_dir()):
        folders = {entry.name: entry for entry in _visible(root / split)}
        unknown = sorted(folders.keys() - {"images", *MASKS})
        problems["unknown files"] += [f"{split}/{name}" for name in unknown]
        images = _files(root, root / split / "images", SUFFIXES, problems)
        if all(name in folders for name in MASKS):
            problems["splits with both masks and labels"].append(split)
        of_masks = next((name for name in MASKS if name in folders), MASKS[0])
        masks = _files(root, root / split / of_masks, MASK_SUFFIXES, problems)
        problems["images without a mask"] += [_at(root, images[stem]) for stem in images if stem not in masks]
        problems["masks without an image"] += [_at(root, masks[stem]) for stem in masks if stem not in images]
        pairs += [(split, images[stem], masks.get(stem)) for stem in images]
    refused = [f"{len(names)} {problem} ({some(names)})" for problem, names in problems.items() if names]
    if refused:
        raise UsageError(
            f"Expected (train|val|test)/images and (train|val|test)/masks with the same names in {root}, but got "
            f"{'; '.join(refused)}. Images to predict on belong in images/."
        )
    if not pairs:
        raise UsageError(f"Expected images under {root} as (train|val|test)/images, but found none.")
    return pairs


def _files(root: Path, folder: Path, suffixes: set[str], problems: dict[str, list[str]]) -> dict[str, Path]:
    """Files of a folder by name without ending, sorted; what is wrong with others goes to `problems`."""
    entries = list(_visible(folder)) if folder.is_dir() else []
    files = [entry for entry in entries if entry.suffix.lower() in suffixes and entry.is_file()]
    problems["unknown files"] += [_at(root, entry) for entry in entries if entry not in set(files)]
    problems["empty files"] += [_at(root, file) for file in files if not file.stat().st_size]
    twice = {stem for stem, n in Counter(file.stem for file in files).items() if n > 1}
    problems["files of the same name"] += [_at(root, file) for file in files if file.stem in twice]
    return {file.stem: file for file in files}


def _visible(folder: Path) -> Iterator[Path]:
    return (entry for entry in sorted(folder.iterdir()) if ordinary(entry.name))


def _is_mask(path: str) -> bool:
    """Images may share a mask, such as an empty one."""
    return path.split("/")[1:2] in ([name] for name in MASKS)


def _at(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix()


def _names(root: Path, names: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the classes where they are given or listed; else none."""
    origin = "--dataset.classes" if names is not None else str(root / NAMES)
    if names is None:
        if not (root / NAMES).is_file():
            return ()
        names = [line.strip() for line in read_text(root / NAMES).splitlines() if line.strip()]
    if not 1 < len(names) <= IGNORE or len({folded(name) for name in names}) < len(names):
        raise UsageError(
            f"Expected 2 to {IGNORE} different names in {origin}, but got {some(names) or 'none'}. Name label 0 first."
        )
    return tuple(names)


def _pattern(group: str | None) -> re.Pattern[str] | None:
    if group is None:
        return None
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise UsageError(f"Expected group to be a regular expression, but got {group!r}: {error}.") from error
    if not pattern.groups:
        raise UsageError(f"Expected a group in parentheses in {group!r}, but it has none. Write it like 'case_(\\d+)'.")
    return pattern


def _group(pattern: re.Pattern[str], image: Path) -> str:
    match = pattern.search(image.stem)
    if match is None or not match[1]:
        raise UsageError(
            f"Expected {pattern.pattern!r} to find a group in each file name, but it finds none in {image.name}. "
            "Correct --dataset.group or rename the file."
        )
    return match[1]
