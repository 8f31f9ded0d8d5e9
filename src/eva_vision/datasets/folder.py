"""Your own images: a tree of `split/class/image`, or a `manifest.csv`."""

import hashlib
import stat
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError, some
from eva_core.files.tables import Table, read_table
from eva_core.progress import say
from eva_core.text import printable
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.published_files import look, refuse_crossing
from eva_vision.images import is_image

SPLITS = ("train", "val", "test")
MANIFEST = "manifest.csv"
COLUMNS = ("label", "split", "group", "id", "site")
WORDS = {
    "group": {
        *("patient", "patient id", "patients", "patientid", "case", "case id", "subject", "subject id", "donor"),
        *("slide", "slide id", "wsi", "wsi id", "individual", "person", "mouse", "animal", "specimen", "grp"),
    },
    "path": {"file", "filename", "file name", "filepath", "file path", "image", "image path", "image file"},
    "label": {"class", "class name", "target", "category", "diagnosis", "y"},
    "split": {"set", "partition", "fold", "subset"},
    "site": {"centre", "center", "hospital", "institute", "institution", "source"},
}
"""Other words for the columns of a manifest."""


class Row(NamedTuple):
    """One image as described: by its place in the tree, or by a line of the manifest."""

    path: Path
    split: str
    label: str | None
    group: str | None
    id: str
    site: str | None = None


class Folder(ImageFiles):
    """A folder of labelled images, as a tree `split/class/image` or with a `manifest.csv`."""

    card = DatasetCard(name="folder", access="your own files, below --dataset.root", licence="yours")

    def __init__(self, root: str, name: str = "folder", mpp: float | None = None) -> None:
        """Index the folder.

        Splits are `train`, `val` and `test`. Images that lie right in `root`, and lines of a manifest without a split,
        are `new`: they can be predicted on. A manifest has columns path, label, split, and may have group, id, site.

        Args:
            root: The folder.
            name: What results and the cache call this dataset.
            mpp: Micrometres per pixel of the images, where it is known and the same for all.
        Raises:
            UsageError: Names what is wrong: missing, empty or duplicate files, a group or an image in two splits.
        """
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            raise UsageError(
                f"Expected a folder of images, but {self.root} is not one. Set --dataset.root or DATA_ROOT."
            )
        rows = manifest_rows(self.root) if (self.root / MANIFEST).exists() else _from_tree(self.root)
        if not rows:
            raise UsageError(f"Expected images under {self.root} as split/class/image, but found none.")
        sizes = file_sizes(rows)
        refuse_duplicates(rows, sizes)
        refuse_crossing((row.group, row.split) for row in rows)
        classes = tuple(sorted({r.label for r in rows if r.label is not None}))
        target = {label: i for i, label in enumerate(classes)}
        self.card = DatasetCard(name=name, classes=classes, mpp=mpp, licence="yours", access=str(self.root))
        self.samples = [
            Sample(r.id, r.split, None if r.label is None else target[r.label], r.path, sizes[r.path], r.group, r.site)
            for r in rows
        ]


def _from_tree(root: Path) -> list[Row]:
    walked = look(root, is_image)
    rows, strange = [], []
    for path in sorted(walked.files, key=lambda path: path.split("/")):
        parts = path.split("/")
        if len(parts) == 1:
            rows.append(Row(root / path, "new", None, None, path))
        elif len(parts) >= 3 and parts[0] in SPLITS:
            rows.append(Row(root / path, parts[0], printable(parts[1]), None, path))
        else:
            strange.append(path)
    if strange:
        raise UsageError(
            f"Expected images under {root} as (train|val|test)/class/image, but got {some(strange)}. "
            f"Rename the folders or write a {MANIFEST}."
        )
    _refuse_two_labels(root, walked.same_files)
    return rows


def _refuse_two_labels(root: Path, same_files: dict[str, str]) -> None:
    """Refuse links that give an image a second label or split; one beside its target changes nothing."""
    elsewhere = [f"{one} = {other}" for one, other in same_files.items() if one.split("/")[:2] != other.split("/")[:2]]
    if elsewhere:
        raise UsageError(
            f"Expected each image under {root} in one split and class, but links give {len(elsewhere)} a second: "
            f"{some(elsewhere)}. Remove one of each."
        )
    if same_files:
        say(f"{root}: {len(same_files)} further names of images count once: {some(same_files)}.")


def manifest_rows(root: Path, labels: Collection[str] = ()) -> list[Row]:
    """The images that the manifest of a folder lists.

    Args:
        root: The folder.
        labels: Further columns, which somebody else reads.
    Raises:
        UsageError: No such columns, a line without a path, an unknown split, or groups in a column of another name.
    """
    file = root / MANIFEST
    table = read_table(file, ("path",), (*COLUMNS, *labels))
    refuse_unguarded(table)
    unread = table.unread(WORDS)
    if unread:
        say(unread)
    lines = table.rows
    ungrouped = sum(not line.get("group") for line in lines)
    if 0 < ungrouped < len(lines):
        say(f"{file}: {ungrouped} of {len(lines)} rows have no group: each of them counts as a group of its own.")
    empty = [str(n) for n, line in zip(table.lines, lines, strict=True) if not line["path"]]
    if empty:
        raise UsageError(f"Expected a path in every line of {file}, but line {some(empty)} has none.")
    unknown = sorted({line.get("split") or "new" for line in lines} - {*SPLITS, "new"})
    if unknown:
        raise UsageError(f"Expected split to be train, val or test in {file}, but got {some(unknown)}.")
    return [
        Row(
            root / line["path"],
            line.get("split") or "new",
            line.get("label") or None,
            line.get("group") or None,
            line.get("id") or line["path"],
            line.get("site") or None,
        )
        for line in lines
    ]


def refuse_unguarded(table: Table) -> None:
    """Refuse a manifest whose groups are not read: nobody would see that a patient is in two splits."""
    if "group" in table.columns:
        return
    likely_groups = [name for name in table.others if table.meant_as(name, WORDS) == "group"]
    if likely_groups:
        raise UsageError(
            f"Expected patients or slides in a column 'group' of {table.file}, as they must not cross splits, but got "
            f"{some(map(repr, likely_groups))}. Rename it to group; if it is something else, remove it."
        )


def file_sizes(rows: list[Row]) -> dict[Path, int]:
    """Measure each file in bytes; a missing or empty one is an error that names it."""
    sizes, missing, empty = {}, [], []
    for row in rows:
        try:
            info = row.path.stat()
        except (OSError, ValueError):  # ValueError: a NUL in its name
            missing.append(str(row.path))
            continue
        sizes[row.path] = info.st_size
        if not stat.S_ISREG(info.st_mode):
            missing.append(f"{row.path} (not a file)")
        elif info.st_size == 0:
            empty.append(str(row.path))
    if missing:
        raise UsageError(f"{len(missing)} files of the manifest are missing: {some(missing)}.")
    if empty:
        raise UsageError(f"{len(empty)} files are empty and so unreadable: {some(empty)}.")
    return sizes


def refuse_duplicates(rows: list[Row], sizes: dict[Path, int]) -> None:
    """Refuse a path or an id that stands twice, and files with the same content.

    Raises:
        UsageError: Names the first.
    """
    for field, values in (("path", (str(r.path) for r in rows)), ("id", (r.id for r in rows))):
        twice = [value for value, n in Counter(values).items() if n > 1]
        if twice:
            raise UsageError(f"{len(twice)} duplicates: the same {field} stands twice: {some(twice)}. Remove one each.")
    same = _same_content(rows, sizes)
    if same:
        pairs = [" = ".join(r.id for r in twins) for twins in same]
        raise UsageError(f"{len(pairs)} duplicates: files with the same content: {some(pairs)}. Keep one of each.")


def _same_content(rows: list[Row], sizes: dict[Path, int]) -> list[list[Row]]:
    """Find rows whose files hold the same bytes; only files of equal size and equal ends are read whole."""
    twins: list[list[Row]] = [rows]
    for fingerprint in (lambda r: sizes[r.path], lambda r: _ends(r.path), lambda r: _sha256(r.path)):
        parted: list[list[Row]] = []
        for group in twins:
            buckets: dict[object, list[Row]] = defaultdict(list)
            for row in group:
                buckets[fingerprint(row)].append(row)
            parted += [bucket for bucket in buckets.values() if len(bucket) > 1]
        twins = parted
    return twins


def _ends(path: Path, length: int = 4096) -> bytes:
    with path.open("rb") as handle:
        head = handle.read(length)
        handle.seek(max(0, path.stat().st_size // 2 - length))
        return hashlib.sha256(head + handle.read(length)).digest()


def _sha256(path: Path) -> bytes:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").digest()
