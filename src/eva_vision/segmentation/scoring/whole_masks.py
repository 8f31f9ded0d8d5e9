"""Masks of whole images as files, for finished heads on new images."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from eva_core.files.atomic_files import make_folder, write_bytes, write_text
from eva_core.files.file_names import below
from eva_vision.images import SUFFIXES
from eva_vision.segmentation.context import Context
from eva_vision.segmentation.features.tiles import rescale_labels
from eva_vision.segmentation.scoring.overlays import colours_of
from eva_vision.segmentation.scoring.scoring import predicted


def write_masks(context: Context, decoders: Sequence[nn.Module], classes: Sequence[str], output: Path) -> Path:
    """Write a mask for every image, of its own size: PNG with a palette; classes.txt names the labels.

    Returns:
        The folder of the masks.
    """
    for unit, mask in predicted(context, decoders, np.flatnonzero(context.store.readable)):
        picture = Image.fromarray(rescale_labels(mask, context.dataset.size(context.dataset.samples[unit.sample])), "P")
        picture.putpalette(colours_of(len(classes), context.card.background))
        name = Path(unit.id)  # an id may end like a file, or in an mpp
        stem = name.with_suffix("") if name.suffix.lower() in SUFFIXES else name
        path = below(output / "masks", f"{stem}.png")
        make_folder(path.parent)
        content = io.BytesIO()
        picture.save(content, "PNG")
        write_bytes(path, content.getvalue())
    write_text(output / "classes.txt", "\n".join(classes) + "\n")
    return output / "masks"
