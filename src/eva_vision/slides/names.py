"""Names of slides, and lists of patients and slides that are left out.

A slide is its path below the folder that was listed, not its file name: converters call every slide of every patient
`DCM_0.dcm`, and archives put the patient into the folder.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from eva_core.errors import UsageError
from eva_core.evaluation.tcga import from_barcode, patient, patients, tcga
from eva_core.files.tables import read_text

__all__ = ["Excluded", "called", "file_name", "names_of", "patient", "read_excluded", "stem", "tcga"]

_AROUND = ' \t,;"\u00a0\ufeff'
"""Characters that a spreadsheet may leave round the only value of a line."""


def stem(name: str) -> str:
    """A file name without its extension; what a TCGA name has after its barcode's dot stays."""
    return Path(name).stem


def file_name(name: str) -> str:
    """The last part of a path."""
    return name.rpartition("/")[2]


def called(names: Sequence[str]) -> list[str]:
    """Say how lists call each of these slides: by the file name where no other has it, else by the whole name.

    A slide of TCGA whose barcode is in a folder is called by its path from there.

    Examples:
        >>> called(["a/1.svs", "b/1.svs", "b/2.svs"])
        ['a/1.svs', 'b/1.svs', '2.svs']
    """
    files = Counter(stem(file_name(name)) for name in names)
    return [from_barcode(name) or (file_name(name) if files[stem(file_name(name))] == 1 else name) for name in names]


def names_of(name: str) -> Iterator[str]:
    """List the names of a slide: the whole one, parts of it from the right, each with and without extension.

    The longest come first; the file name alone, which slides may share, last.
    """
    parts = name.split("/")
    for first in range(len(parts)):
        end = "/".join(parts[first:])
        yield end
        yield str(PurePosixPath(end).with_suffix("")) if stem(end) != end else end


class Excluded:
    """Patients and slides that are left out.

    Attributes:
        entries: Lines of the file.
        used: Those that met a slide.
        shared: Lines that are a file name alone -> the slides that have it.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        stripped = (line.strip(_AROUND) for line in lines)
        self.entries = [line for line in stripped if line and not line.startswith("#")]
        self.used: set[str] = set()
        self.shared: dict[str, set[str]] = {}
        self._by_patient: dict[str, list[str]] = {}
        self._by_name: dict[str, list[str]] = {}
        for entry in self.entries:
            barcode = patient(entry)
            if barcode is not None:
                self._by_patient.setdefault(barcode, []).append(entry)
            else:
                self._by_name.setdefault(entry.replace("\\", "/").strip("/"), []).append(entry)

    def __contains__(self, name: str) -> bool:
        """Whether a slide is left out: by a TCGA patient in its path, a folder of it, or its name.

        Args:
            name: Its path below the folder that was listed.
        """
        met = [entry for barcode in patients(name) for entry in self._by_patient.get(barcode, ())]
        for folders in _folders(name):
            met += self._by_name.get(folders, ())
        for alias in dict.fromkeys(names_of(name)):
            met += self._by_name.get(alias, ())
            if "/" not in alias:
                for entry in self._by_name.get(alias, ()):
                    self.shared.setdefault(entry, set()).add(name)
        self.used.update(met)
        return bool(met)


def _folders(name: str) -> Iterator[str]:
    """Every run of folders that a path leads through."""
    parts = name.split("/")[:-1]
    for first in range(len(parts)):
        for last in range(first + 1, len(parts) + 1):
            yield "/".join(parts[first:last])


def read_excluded(path: str | Path) -> Excluded:
    """Read a text file, one patient or slide a line; `#` begins a comment.

    A TCGA barcode of any length leaves out the whole patient: slides of one patient look alike. Other lines are names
    of slides or of the folders that they are in, as paths below the folder that was listed or as parts of these.

    Raises:
        UsageError: It does not read, or is empty.
    """
    excluded = Excluded(read_text(Path(path).expanduser()).splitlines())
    if not excluded.entries:
        raise UsageError(f"Expected a patient or slide in each line of {path}, but it has none. Leave exclude out.")
    return excluded
