"""MoNuSAC: nuclei of four kinds in four organs, drawn as polygons."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import numpy as np
from typing_extensions import override

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import EvaError
from eva_core.files.cache import cache_root
from eva_vision.datasets.masks import Annotation, MaskFiles
from eva_vision.datasets.published_files import check_counts, locate, refuse, scan, tell_crossing
from eva_vision.segmentation.contracts import IGNORE

CLASSES = ("background", "epithelial", "lymphocyte", "neutrophil", "macrophage")
LABELS = {**{name: i for i, name in enumerate(CLASSES) if i}, "ambiguous": IGNORE}
FOLDERS = {"train": "MoNuSAC_images_and_annotations", "val": "MoNuSAC Testing Data and Annotations"}
"""The official test is validated on, as published."""
VERSION = 1
"""Raise it whenever polygons become other pixels: what an earlier version drew is not used."""
_PATIENT = re.compile(r"(TCGA-(\w{2})-\w{4})[^/]*/[^/]+\.tif")


class Monusac(MaskFiles):
    """MoNuSAC 2020: 294 images of 71 patients, about 46,000 nuclei, in the official folders.

    Source: https://monusac-2020.grand-challenge.org/Data
    """

    card = DatasetCard(
        name="monusac",
        task="segmentation",
        classes=CLASSES,
        mpp=0.25,
        metric="dice",
        background=0,
        licence="CC BY-NC-SA 4.0",
        citation="Verma et al. 2021, MoNuSAC2020: a multi-organ nuclei segmentation and classification challenge, "
        "doi:10.1109/TMI.2021.3085712",
        access="get training and testing data from https://monusac-2020.grand-challenge.org/Data and unpack both there",
        collections=("TCGA",),
    )
    counts: ClassVar[dict[str, int]] = {"train": 209, "val": 85}

    def __init__(self, root: str) -> None:
        """Index the images by name; patient and institute are in the name of their folder.

        Args:
            root: The folder that holds both official folders.
        Raises:
            UsageError: Names images without polygons, polygons without image, files in folders of no patient, or says
                how many images are missing.
        """
        self.samples = []
        for split, name in FOLDERS.items():
            folder = locate(root, name, self.card)
            images, polygons = scan(folder, ".tif"), scan(folder, ".xml")
            named = {path: _PATIENT.fullmatch(path) for path in images}
            refuse(
                folder,
                images | polygons,
                missing=[_xml(path) for path in images if _xml(path) not in polygons]
                + sorted({path.removesuffix(".xml") + ".tif" for path in polygons} - images.keys()),
                extra=[path for path, patient in named.items() if patient is None],
            )
            self.samples += [
                Sample(
                    id=f"{name}/{path}",
                    split=split,
                    target=None,
                    path=folder / path,
                    bytes=images[path],
                    label_path=folder / _xml(path),
                    group=patient[1],
                    site=patient[2],
                )
                for path, patient in named.items()
                if patient is not None
            ]
        tell_crossing(self.samples, self.card)
        check_counts(Path(root), self.counts, self.samples, self.card)

    @override
    def annotation(self, sample: Sample) -> Annotation:
        """Draw the polygons, or take what was drawn of the same file before."""
        assert sample.label_path is not None
        try:
            xml = sample.label_path.read_bytes()
        except OSError as error:
            raise EvaError(
                f"Expected polygons in {sample.label_path}, but it does not read: {error.strerror}."
            ) from error
        size = self.size(sample)
        cached = cache_root() / "masks" / f"monusac-{VERSION}" / f"{hashlib.sha256(xml).hexdigest()}-{_by(size)}.npz"
        drawn = _read_drawn(cached, size)
        if drawn is None:
            drawn = draw(read_polygons(xml, sample.label_path), size)
            _write_drawn(cached, *drawn)
        return Annotation(*drawn)

    @override
    def labels(self, sample: Sample, hashes: Mapping[Path, str]) -> str | None:
        """The polygons, and how they become pixels."""
        return None if sample.label_path is None else f"{VERSION} {hashes[sample.label_path]}"

    @override
    def fingerprint(self) -> str:
        """The fingerprint of any dataset of masks, with how polygons become pixels."""
        return hashlib.sha256(f"{super().fingerprint()} {VERSION}".encode()).hexdigest()


def _xml(image: str) -> str:
    return image.removesuffix(".tif") + ".xml"


def _by(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def read_polygons(xml: bytes, file: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Read class (or `IGNORE`) and vertices of each region of an ImageScope file, in its order.

    Args:
        xml: `Annotation` elements, each with the name of its class as the `Name` of an `Attribute`.
        file: For messages.
    Yields:
        The class and float (V, 2): x and y in pixels.
    Raises:
        EvaError: It is no XML, a class is unknown, or a vertex has no finite x and y.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise EvaError(f"Expected XML in {file}, but it does not parse: {error}. Get the file again.") from error
    for annotation in root.iter("Annotation"):
        attribute = annotation.find("Attributes/Attribute")
        name = "" if attribute is None else attribute.get("Name", "")
        for region in annotation.iterfind("Regions/Region"):
            if name.strip().lower() not in LABELS:
                raise EvaError(f"Expected nuclei named {', '.join(LABELS)} in {file}, but got {name!r}. Correct it.")
            try:
                corners = [(float(v.attrib["X"]), float(v.attrib["Y"])) for v in region.iterfind("Vertices/Vertex")]
            except (KeyError, ValueError) as error:
                raise EvaError(f"Expected numbers X and Y of each vertex in {file}, but got {error}.") from error
            vertices = np.array(corners, float).reshape(-1, 2)
            if not np.isfinite(vertices).all():
                raise EvaError(f"Expected numbers X and Y of each vertex in {file}, but one is not finite. Correct it.")
            yield LABELS[name.strip().lower()], vertices


def draw(polygons: Iterable[tuple[int, np.ndarray]], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Paint polygons one over the other; regions of `IGNORE` are no objects.

    Args:
        polygons: Class and vertices of each, as `read_polygons` gives them.
        size: Height and width of the image.
    Returns:
        Classes uint8 (H, W), and objects int32 (H, W), numbered from 1 in the order of the polygons.
    """
    classes, instances = np.zeros(size, np.uint8), np.zeros(size, np.int32)
    for number, (label, vertices) in enumerate(polygons, start=1):
        top, left, inside = fill(vertices, size)
        area = slice(top, top + inside.shape[0]), slice(left, left + inside.shape[1])
        classes[area][inside] = label
        instances[area][inside] = 0 if label == IGNORE else number
    return classes, instances


def fill(vertices: np.ndarray, size: tuple[int, int]) -> tuple[int, int, np.ndarray]:
    """Find the pixels of a polygon: even-odd rule, its border belongs, the centre of pixel (x, y) is at x, y.

    So did those who published scores, with scikit-image. Pillow's polygons are some 10 % larger on nuclei.

    Args:
        vertices: float (V, 2): x and y, which may lie outside the image; fewer than 3 enclose nothing.
        size: Height and width of the image.
    Returns:
        First row, first column, and bool (h, w) from there on.
    """
    nothing = 0, 0, np.zeros((0, 0), bool)
    if len(vertices) < 3:
        return nothing
    first = np.maximum(np.ceil(vertices.min(0)), 0)
    last = np.minimum(np.floor(vertices.max(0)), (size[1] - 1, size[0] - 1))
    if (last < first).any():
        return nothing
    (left, top), (width, height) = first.astype(int).tolist(), (last - first + 1).astype(int).tolist()
    rows = np.arange(top, top + height)[:, None]
    x0, y0 = vertices.T
    x1, y1 = np.roll(vertices, -1, 0).T
    low, high = np.minimum(y0, y1), np.maximum(y0, y1)
    with np.errstate(divide="ignore", invalid="ignore"):  # level edges, which no row crosses
        crossing = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)  # (h, V)
    change = np.zeros((height, width + 1), np.int32)
    # An edge without its upper end, then without its lower: either way crossings pair up, together with the border.
    for crossed in ((low <= rows) & (rows < high), (low < rows) & (rows <= high)):
        x = np.sort(np.where(crossed, crossing, np.inf), axis=1)[:, : crossed.sum(1).max()]
        firsts, stops = np.ceil(x[:, ::2]), np.floor(x[:, 1::2]) + 1
        firsts, stops = (np.clip(v, left, left + width) - left for v in (firsts, stops))
        span = firsts < stops
        row = np.nonzero(span)[0]
        np.add.at(change, (row, firsts[span].astype(int)), 1)
        np.add.at(change, (row, stops[span].astype(int)), -1)
    return top, left, change.cumsum(1)[:, :width] > 0


def _read_drawn(file: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """Read what was drawn before; None where it is not there or is damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            classes, instances = arrays["classes"], arrays["instances"]
    except Exception:  # of a damaged archive, numpy raises many kinds
        return None
    return (classes, instances) if classes.shape == instances.shape == size else None


def _write_drawn(file: Path, classes: np.ndarray, instances: np.ndarray) -> None:
    """Write a file that is whole or not there, whenever the process is killed."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            np.savez_compressed(handle, classes=classes, instances=instances)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise EvaError(f"Could not write {file} ({error}). Free space or set EVA_CACHE elsewhere.") from error
