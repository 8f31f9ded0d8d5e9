"""A model that `eva pretrain` made, from the folder of its export."""

import base64
import hashlib
import inspect
import json
import string
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eva_core.config.result_config import CONFIG
from eva_core.contracts.cards import Geometry, ModelCard, card
from eva_core.errors import EvaError, UsageError
from eva_core.evaluation.contamination import OTHERS
from eva_core.evaluation.tcga import tcga
from eva_core.files.file_names import check_name
from eva_core.hub.weight_files import HUB, HUB_PAGE
from eva_vision.models.timm import timm_model

if TYPE_CHECKING:
    from eva_core.contracts.backbone import Backbone

_PLAIN = frozenset(string.ascii_letters + string.digits + "_.-")
"""Marks of an architecture's name; with others, timm takes it for an address or a folder."""
_OURS = frozenset(inspect.signature(timm_model).parameters)
"""Arguments that a card states in fields of their own, or not at all."""
CARD, WEIGHTS, SLIDES = "card.json", "model.safetensors", "slides.json"
SUM = "sha256"
"""Field of card.json and slides.json: checksum of what else they hold, or of the list. Older ones have none."""
IMAGES = "images"
"""Field of slides.json: hashes of the image files that were seen, as base64, and their checksum."""
SCHEMA = 1

FIELDS: dict[str, type] = {
    "name": str,
    "arch": str,
    "arch_args": dict,
    "mean": list,
    "std": list,
    "size": int,
    "mpp": list,
    "step": int,
    "weights_of": str,
    "file_sha256": str,
}
"""Fields that card.json holds at least, and their types."""


@card(ModelCard(name="exported", source="--model FOLDER of `eva pretrain`, or --model hf-hub:owner/name"))
def exported(folder: str) -> "Backbone":
    """A model that `eva pretrain` made: `--model FOLDER`, or `--model hf-hub:owner/name`. Results name its run.

    Args:
        folder: Holds card.json, model.safetensors and slides.json; or `hf-hub:owner/name[@revision]`, whose files are
            downloaded.
    Raises:
        UsageError: It is no such folder or repository, or was written by another version.
        EvaError: A file of it is missing or damaged, or the weights are not those of the card.
    """
    from eva_vision.models.hub_exports import fetch_export
    from eva_vision.models.weights import provenance

    published = fetch_export(folder, (CARD, SLIDES, WEIGHTS), (CONFIG,)) if folder.startswith(HUB) else None
    path = Path(folder).expanduser() if published is None else published.folder
    content = check_files(path)
    weights = str(path / WEIGHTS)
    backbone = timm_model(content["arch"], weights, mean=content["mean"], std=content["std"], **content["arch_args"])
    slides, images = read_seen(path), read_images(path)
    made_from = [*map(_made_from, content.get("derived_from", []))]
    backbone.name = content["name"]
    backbone.card = replace(
        backbone.card,
        name=content["name"],
        licence="; ".join(["unknown", *made_from]),  # its makers say it, within the terms of what it is made from
        geometry=Geometry(content["size"], content["size"]),
        pooling="cls",  # the heads of DINO stand on the class token
        mpp=tuple(content["mpp"]),
        source=f"eva pretrain, {content['weights_of']}",
        revision=f"step {content['step']}",
        trained_on="; ".join([_trained_on(slides, len(images) // 8), *made_from]),
        collections=_with_those_of(content.get("derived_from", []), _collections(slides)),
        training_ids=tuple(sorted({name for pair in slides for name in pair if name is not None})),
        training_images=images,
    )
    if published is not None:
        backbone.card = replace(backbone.card, source=f"{HUB_PAGE}{published.repo}", revision=published.commit)
        backbone.provenance = provenance(folder, path / WEIGHTS)
    # the run in place of the path, which is part of no key: the same export in another place is the same model
    backbone.arguments = {**backbone.arguments, "folder": content["name"]}
    return backbone


def check_files(folder: Path) -> dict[str, Any]:
    """Compare card, configuration and weights with their checksums; a configuration may be left out.

    Returns:
        The content of card.json.
    Raises:
        UsageError: There is no card, or another version wrote it.
        EvaError: A file is missing or damaged.
    """
    content = read_card(folder)
    _check_weights(folder / WEIGHTS, content["file_sha256"])
    config, sha256 = folder / CONFIG, content.get("config_sha256")
    if sha256 is not None and config.is_file() and hashlib.sha256(config.read_bytes()).hexdigest() != sha256:
        raise EvaError(
            f"Expected the configuration that {CARD} was written with, but {config} has changed. Copy or export both "
            "again, or delete it."
        )
    return content


def _is_derivation(models: Any) -> bool:
    """Whether a field of a card, which anybody may have written, lists models as `derived_from` does."""
    return isinstance(models, list) and all(
        isinstance(model, dict)
        and {"name", "licence", "collections"} <= model.keys()
        and isinstance(model["collections"], list | None)
        and all(isinstance(text, str) for text in (model["name"], *(model["collections"] or ())))
        for model in models
    )


def sha256_of(content: Any) -> str:
    """SHA-256 of what JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_card(folder: Path) -> dict[str, Any]:
    """Read card.json.

    Raises:
        UsageError: There is none, or it was written by another version.
        EvaError: It does not parse, or a field is missing or of the wrong kind.
    """
    if not (folder / CARD).is_file():
        state = f"has no {CARD}" if folder.is_dir() else "is not a folder"
        inside = folder / "export"
        advice = "Give its folder, or a name of `eva models`"
        if (inside / CARD).is_file():
            advice = f"Give {inside}"
        elif (folder / "checkpoints").is_dir():
            advice = f"It is a run: `eva export {folder}` makes one"
        raise UsageError(f"Expected the export of `eva pretrain`, but {folder} {state}. {advice}.")
    content = _read_json(folder / CARD)
    if (schema := content.get("schema")) != SCHEMA:
        raise UsageError(
            f"Expected schema {SCHEMA} in {folder / CARD}, but got {schema!r}. Update eva or export again."
        )
    for field, kind in FIELDS.items():
        if not isinstance(content.get(field), kind):
            raise EvaError(
                f"Expected {field} in {folder / CARD} as {kind.__name__}, but got {content.get(field)!r}. Export again."
            )
    check_name(content["name"], "a run's name")  # a folder of results and a part of cache files
    if not set(content["arch"]) <= _PLAIN:
        raise EvaError(
            f"Expected an architecture of timm in {folder / CARD}, but got {content['arch']!r}. Export again."
        )
    if reserved := sorted(content["arch_args"].keys() & _OURS):
        raise EvaError(
            f"Expected arguments of an architecture in {folder / CARD}, but got {reserved[0]}. Export again."
        )
    if not _is_derivation(content.get("derived_from", [])):
        raise EvaError(f"Expected models with their licences as derived_from in {folder / CARD}. Export again.")
    if SUM in content and content[SUM] != sha256_of({k: v for k, v in content.items() if k != SUM}):
        raise EvaError(
            f"Expected {folder / CARD} as it was written, but its checksum does not fit: it has changed. Copy or "
            f"export it again; if the change is meant, delete its field {SUM}."
        )
    return content


def read_seen(folder: Path) -> list[tuple[str, str | None]]:
    """Read slide and patient, where known, of all that the model was trained on, from slides.json.

    Raises:
        EvaError: It is missing or damaged.
    """
    content = _read_json(folder / SLIDES)
    try:
        slides = [(str(entry["slide"]), entry["patient"]) for entry in content["seen"]]
    except (KeyError, TypeError) as error:
        raise EvaError(
            f"Expected slide and patient of all that was seen in {folder / SLIDES}, but it holds something else. "
            "Export again."
        ) from error
    if slides and SUM in content and content[SUM] != sha256_of(content["seen"]):
        raise EvaError(
            f"Expected the list in {folder / SLIDES} as it was written, but it has changed. Copy or export it again; "
            f"if the change is meant, delete its field {SUM}."
        )
    return slides


def read_images(folder: Path) -> bytes:
    """Read the hashes of the image files that the model was trained on, as `ModelCard.training_images`.

    Raises:
        EvaError: The list is damaged.
    """
    listed = _read_json(folder / SLIDES).get(IMAGES)
    if listed is None:
        return b""
    try:
        hashes = base64.b64decode(listed["hashes"], validate=True)
        whole = hashlib.sha256(hashes).hexdigest() == listed[SUM] and len(hashes) % 8 == 0
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise EvaError(f"Expected the images in {folder / SLIDES} as written, but they have changed. Export again.")
    return hashes


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise EvaError(f"Expected JSON in {path}, but it does not read ({reason}). Copy or export it again.") from error
    if not isinstance(content, dict):
        raise EvaError(f"Expected a mapping in {path}, but got a {type(content).__name__}. Export again.")
    return content


def _check_weights(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise EvaError(f"Expected weights at {path}, but there is no such file. Copy or export them again.")
    with path.open("rb") as handle:
        actual = hashlib.file_digest(handle, "sha256").hexdigest()
    if actual != sha256:
        raise EvaError(
            f"Expected weights with sha256 {sha256[:12]} as in {CARD}, but {path} has {actual[:12]}: it is cut short "
            "or of another export. Copy or export both again."
        )


def _trained_on(slides: list[tuple[str, str | None]], images: int) -> str:
    if not slides and not images:
        return "unknown"
    patients = {patient for _, patient in slides if patient is not None}
    of_patients = f" of {len(patients)} patients" if patients else ""
    counted = [f"{images} images"] if images else []
    if any(slide != patient for slide, patient in slides):  # of a folder of images, patients alone are listed
        counted.append(f"{len(slides)} slides")
    return f"{' and '.join(counted)}{of_patients}, listed in its {SLIDES}"


def _made_from(model: dict[str, Any]) -> str:
    return f"made from {model['name']} ({model['licence']})"


def _with_those_of(models: list[dict[str, Any]], own: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Add the collections of the models that this one is made from; what one of them does not say stays open."""
    if not models:
        return own
    each = [own, *(model["collections"] for model in models)]
    named = dict.fromkeys(name for names in each for name in names or () if name != OTHERS)
    open_ = any(names is None or OTHERS in names for names in each)
    return (*named, *([OTHERS] if open_ else [])) if named else None


def _collections(slides: list[tuple[str, str | None]]) -> tuple[str, ...] | None:
    """Name the public collections: TCGA is known by its barcodes; what other slides belong to, nobody says."""
    public = [tcga(slide) is not None or tcga(patient or "") is not None for slide, patient in slides]
    if not any(public):
        return None
    return ("TCGA",) if all(public) else ("TCGA", OTHERS)
