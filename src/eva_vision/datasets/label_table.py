"""Your own images with several labels each: a folder and a `manifest.csv` with a column for each label."""

import math
from collections.abc import Sequence
from pathlib import Path

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_core.errors import UsageError
from eva_core.files.tables import Table, read_table
from eva_vision.datasets.base import ImageFiles
from eva_vision.datasets.folder import COLUMNS, MANIFEST, file_sizes, manifest_rows, refuse_duplicates, refuse_unguarded
from eva_vision.datasets.published_files import refuse_crossing

UNKNOWN = ("", "na", "nan", "n/a")
"""What stands where an image is not annotated with a label."""


class LabelTable(ImageFiles):
    """A folder of images with a `manifest.csv` that has a column for each label: 0, 1, a share between, or nothing."""

    card = DatasetCard(
        name="label_table",
        task="multilabel",
        metric="auprc",
        access="your own files, below --dataset.root",
        licence="yours",
    )

    def __init__(
        self, root: str, labels: list[str] | None = None, name: str = "label_table", mpp: float | None = None
    ) -> None:
        """Index the images that the manifest lists.

        It has the columns path and split, may have group, id and site, and one for each label. A field says whether the
        image has the label, 0 or 1, or what share of annotators found it; an empty one, that nobody looked. Lines
        without a split are `new`: they can be predicted on.

        Args:
            root: The folder of the images and of `manifest.csv`.
            labels: Columns that are labels; all but the named ones unless given.
            name: What results and the cache call this dataset.
            mpp: Micrometres per pixel of the images, where it is known and the same for all.
        Raises:
            UsageError: Names what is wrong: a missing file or column, a file twice, a group in two splits, a label that
                is no number from 0 to 1.
        """
        folder = Path(root).expanduser()
        manifest = folder / MANIFEST
        if not manifest.is_file():
            raise UsageError(f"Expected {MANIFEST} in {folder}, but there is none. Set --dataset.root or DATA_ROOT.")
        guess = read_table(manifest, ("path",), COLUMNS)
        refuse_unguarded(guess)
        names = list(guess.others if labels is None else labels)
        if not names:
            raise UsageError(f"Expected a column for each label in {manifest}, but it has none besides {COLUMNS[1:]}.")
        rows = manifest_rows(folder, names)
        sizes = file_sizes(rows)
        refuse_duplicates(rows, sizes)
        refuse_crossing((row.group, row.split) for row in rows)
        table = read_table(manifest, ("path", *names), COLUMNS)
        targets = [_values(table, number, names, labels is None) for number in range(len(rows))]
        self.card = DatasetCard(name, "multilabel", tuple(names), mpp, "auprc", licence="yours", access=str(folder))
        self.samples = [
            Sample(
                row.id,
                row.split,
                None if row.split == "new" and all(map(math.isnan, values)) else values,
                row.path,
                sizes[row.path],
                row.group,
                row.site,
            )
            for row, values in zip(rows, targets, strict=True)
        ]


def _values(table: Table, number: int, names: Sequence[str], guessed: bool) -> tuple[float, ...]:
    """The labels of one line.

    Raises:
        UsageError: Names the line, the column and what stands there.
    """
    values = []
    for name in names:
        text = table.rows[number][name]
        try:
            value = math.nan if text.lower() in UNKNOWN else float(text)
        except ValueError:
            value = -1.0
        if not (math.isnan(value) or 0 <= value <= 1):
            hint = " If it is no label, name those that are by --dataset.labels." if guessed else ""
            raise UsageError(
                f"Expected 0, 1, a share between or nothing as {name!r} in line {table.lines[number]} of {table.file}, "
                f"but got {text!r}. Correct it.{hint}"
            )
        values.append(value)
    return tuple(values)
