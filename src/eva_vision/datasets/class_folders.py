"""Images in a folder for each class, as most datasets of patches are published; and the draw of groups for val."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from eva_vision.datasets.published_files import refuse, scan
from eva_vision.images import SUFFIXES

IMAGES = tuple(sorted(SUFFIXES))
"""Endings of image files, where it is not known which of them a dataset has."""


class ClassImage(NamedTuple):
    """An image in the folder of its class.

    Attributes:
        path: Below the folder that was read: `CLASS/...`.
    """

    path: str
    target: int
    bytes: int


def class_images(folder: Path, classes: Sequence[str], depth: int = 1) -> list[ClassImage]:
    """List the images of each class in turn, sorted by path within it. Each folder is read once.

    Args:
        folder: Has a folder for each class.
        classes: Names of these folders.
        depth: Parts of a path below the folder of its class: 1 for `CLASS/IMAGE`, 2 for `CLASS/SLIDE/IMAGE`.
    Raises:
        UsageError: Names images that are in no folder of a class, at another depth, or empty.
    """
    sizes = scan(folder, IMAGES)
    targets = {name: target for target, name in enumerate(classes)}
    images, extra = [], []
    for path, size in sizes.items():
        target = targets.get(path.partition("/")[0])
        if target is None or path.count("/") != depth:
            extra.append(path)
        else:
            images.append(ClassImage(path, target, size))
    refuse(folder, sizes, extra=extra)
    return sorted(images, key=lambda image: image.target)


def fifth(groups: Iterable[str], stream: random.Random) -> set[str]:
    """Draw a fifth of the groups, rounded down, as THUNDER draws its validation splits.

    Args:
        groups: The group of each image; the order in which they first come decides the draw.
        stream: Random numbers; several draws of a dataset take them one after another.
    """
    each = [*dict.fromkeys(groups)]
    return set(stream.sample(each, int(0.2 * len(each))))
