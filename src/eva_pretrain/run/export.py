"""Export of a trained network: a folder that `--model` accepts and timm loads."""

import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save
from torch import Tensor

from eva_core.errors import EvaError, UsageError, some
from eva_core.evaluation.contamination import SALTED, salted, without_extension
from eva_core.evaluation.tcga import from_barcode, tcga
from eva_core.files.atomic_files import make_folder, write_bytes, write_text
from eva_core.files.file_names import check_name
from eva_core.results.record import CONFIG, environment
from eva_pretrain.run.derivation import derived_from
from eva_vision.models.exported import (
    CARD,
    IMAGES,
    SCHEMA,
    SLIDES,
    SUM,
    WEIGHTS,
    exported,
    read_images,
    read_seen,
    sha256_of,
)
from eva_vision.slides.reading.blobs import is_url

README = "README.md"


@dataclass(frozen=True)
class ExportDetails:
    """Details of exported weights: how they were made, and how images are fed to them.

    Attributes:
        name: Name of the run, by which results call the model; must be usable as a file name.
        mean: Per-channel mean that pixels in 0-1 were normalised with, (3,).
        std: Per-channel standard deviation, (3,).
        size: Side of the global crops in pixels: the side at which `strict` evaluates.
        mpp: Least and greatest micrometres per pixel of the patches; None where unknown.
        config: The resolved configuration as YAML.
        step: Optimiser steps that made these weights.
        seen: Every slide (name or path) and its patient, where known. Names of TCGA are public and are written as they
            are, others as salted hashes: whoever has a name can look for it. The pairs that `read_seen` gives for an
            export can be passed on.
        images: Hashes of the image files that were seen, as `ModelCard.training_images`.
        selected_on: `last`; `step`, where a user asked for one; or the metric, value and step by which the monitor
            chose.
        weights_of: Network whose weights they are.
    """

    name: str
    mean: Sequence[float]
    std: Sequence[float]
    size: int
    mpp: tuple[float, float] | None
    config: str
    step: int
    seen: Iterable[tuple[str, str | None]]
    images: bytes = b""
    selected_on: Literal["last", "step"] | dict[str, Any] = "last"
    weights_of: Literal["teacher", "student"] = "teacher"


def export(
    folder: str | Path, vit: Mapping[str, Tensor], arch: str, arch_args: dict[str, Any], details: ExportDetails
) -> Path:
    """Write a model folder, whole or not at all: it is read back as evaluation reads it before it is put in place.

    A finished export in the same place is replaced by two renames, at the end.

    Args:
        folder: Destination: a new folder, or an export to replace.
        vit: State of the timm ViT under timm's names, without classifier; stored as float32.
        arch: Name of the ViT in timm.
        arch_args: Arguments by which timm builds the same network, as JSON holds them; `mlp_layer` by its name in
            timm.layers.
        details: All else that the card says.

    Returns:
        The folder.

    Raises:
        UsageError: The name cannot be a file name, or the folder holds something else.
        EvaError: A weight is not finite, or the weights do not fit the architecture (names the keys).
    """
    folder = Path(folder).expanduser()
    check_name(details.name, "a run's name")
    _refuse_other_content(folder)
    weights = _weights(vit)
    new, old = _beside(folder)
    shutil.rmtree(new, ignore_errors=True)  # left by a killed process
    make_folder(new)
    card = _card(arch, arch_args, vit["cls_token"].shape[-1], hashlib.sha256(weights).hexdigest(), details)
    write_bytes(new / WEIGHTS, weights)
    write_text(new / CARD, json.dumps({**card, SUM: sha256_of(card)}, indent=2) + "\n")
    write_text(new / CONFIG, details.config)
    write_text(new / SLIDES, _slides(details.seen, secrets.token_hex(16), details.images))
    write_text(new / README, _readme(card))
    try:
        exported(str(new))
    except EvaError:
        shutil.rmtree(new)
        raise
    _put_in_place(new, folder, old)
    return folder


def _card(arch: str, arch_args: dict[str, Any], dim: int, checksum: str, details: ExportDetails) -> dict[str, Any]:
    """Content of `card.json`, without its own checksum."""
    models = derived_from(details.config)
    return {
        "schema": SCHEMA,
        "name": details.name,
        "arch": arch,
        "arch_args": arch_args,
        "dim": dim,
        "mean": [float(value) for value in details.mean],
        "std": [float(value) for value in details.std],
        "size": details.size,
        "mpp": [] if details.mpp is None else [float(value) for value in details.mpp],
        "step": details.step,
        "weights_of": details.weights_of,
        "selected_on": details.selected_on,
        "file_sha256": checksum,
        "code": {"version": version("eva-pathology"), "commit": _commit()},
        "environment": environment(),
        "config_sha256": hashlib.sha256(details.config.encode()).hexdigest(),
        **({"derived_from": models} if models else {}),
    }


def finish_exchange(folder: Path) -> None:
    """Put back the previous export, where a process was killed between the two renames of an exchange."""
    old = _beside(folder)[1]
    if old.exists() and not folder.exists():
        old.rename(folder)


def list_seen(folder: Path, seen: Iterable[tuple[str, str | None]]) -> None:
    """Replace the slides that a finished export lists, in one atomic write; its hashes of images stay.

    Args:
        folder: The export.
        seen: Slides and patients, as in `ExportDetails`.
    Raises:
        EvaError: The list of the export is missing or damaged.
    """
    read_seen(folder)
    write_text(folder / SLIDES, _slides(seen, secrets.token_hex(16), read_images(folder)))


def _refuse_other_content(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and ((folder / CARD).is_file() or not any(folder.iterdir()))):
        raise UsageError(f"Expected a new folder or an export, but {folder} holds something else. Choose another.")


def _weights(vit: Mapping[str, Tensor]) -> bytes:
    if "cls_token" not in vit:
        raise EvaError(f"Expected the state of a timm ViT with a class token, but got {some(vit)}.")
    broken = [name for name, tensor in vit.items() if not tensor.isfinite().all()]
    if broken:
        raise EvaError(f"Expected finite weights, but {some(broken)} are not. Export an earlier checkpoint.")
    return save({k: v.detach().float().cpu().contiguous() for k, v in vit.items()}, {"format": "pt"})


def _slides(seen: Iterable[tuple[str, str | None]], salt: str, images: bytes = b"") -> str:
    pairs = sorted({_public(slide, patient, salt) for slide, patient in seen}, key=lambda p: (p[0], p[1] or ""))
    listed = [{"slide": slide, "patient": patient} for slide, patient in pairs]
    content: dict[str, Any] = {
        "about": f"{SALTED}:SALT:HASH is the hexadecimal SHA-256 of the text SALT followed by the name",
        SUM: sha256_of(listed),
        "seen": listed,
    }
    if images:
        hashed = {SUM: hashlib.sha256(images).hexdigest(), "hashes": base64.b64encode(images).decode()}
        content[IMAGES] = {"about": "first 8 bytes of the SHA-256 of each file, little-endian, base64", **hashed}
    return json.dumps(content, indent=1) + "\n"


def _public(slide: str, patient: str | None, salt: str) -> tuple[str, str | None]:
    """Slide and patient as slides.json holds them: names of TCGA are public, others are hashed."""
    if slide.startswith(f"{SALTED}:"):
        return slide, patient
    barcode, plain = tcga(slide), from_barcode(slide)
    if barcode is not None and plain is not None:
        return without_extension(plain), barcode[0]
    slide = without_extension(slide)
    if slide.startswith("/") or is_url(slide):  # where it lay is of no use to others
        slide = slide.rpartition("/")[2]
    public = patient is None or tcga(patient) is not None
    return salted(slide, salt), patient if public else salted(patient or "", salt)


def _commit() -> str | None:
    """Commit of the checkout that this file is in, with `-dirty` where files differ; None outside a checkout."""
    here = Path(__file__).parents[1]
    try:
        # a package that is installed below another project's checkout is not part of it: its prefix differs
        prefix, commit = (
            subprocess.run(["git", "-C", here, *command], capture_output=True, text=True, check=True).stdout.strip()
            for command in (
                ["rev-parse", "--show-prefix"],
                ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit if prefix == "src/eva_pretrain/" else None


def _readme(card: dict[str, Any]) -> str:
    arguments = {k: f"timm.layers.{v}" if k == "mlp_layer" else repr(v) for k, v in card["arch_args"].items()}
    extra = "".join(f", {name}={value}" for name, value in arguments.items())
    return f"""# {card["name"]}

{card["arch"]}, the {card["weights_of"]} after {card["step"]} steps of `eva pretrain`. `{CARD}` says how to feed it,
`{CONFIG}` how it was made, `{SLIDES}` what it has seen. Names there that are not TCGA's are salted hashes: they cannot
be read, but short or numbered ones are found by trying all.

In eva, with this folder as FOLDER:

    eva fit --config bach --model FOLDER

In timm:

    import timm

    model = timm.create_model({card["arch"]!r}, checkpoint_path="{WEIGHTS}", num_classes=0{extra})

Pixels in 0-1, mean {card["mean"]}, std {card["std"]}, {card["size"]} px. The embedding is the class token.
"""


def _beside(folder: Path) -> tuple[Path, Path]:
    """Folders beside an export: where the next one is written, and where the previous one waits during an exchange."""
    return folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")


def _put_in_place(new: Path, folder: Path, old: Path) -> None:
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    handle = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(handle)  # else the renames may be lost with the power
    finally:
        os.close(handle)
    shutil.rmtree(old, ignore_errors=True)
