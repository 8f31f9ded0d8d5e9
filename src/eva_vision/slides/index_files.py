"""The files of an index, each line under a checksum, and a list of what belongs to it, so that no cut goes unseen.

`slides.jsonl` and `blobs.bin` only grow; `listed.json` is replaced when a process begins and ends. It names each slide
with the checksum of its line; those that are yet to be indexed have none, and their line counts if it is newer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eva_core.errors import UsageError
from eva_core.evaluation.tcga import from_barcode, tcga
from eva_core.files.atomic_files import write_bytes
from eva_core.files.checked_lines import checked_line, fields_of
from eva_vision.slides.names import file_name

LINES, BLOBS, LISTED = "slides.jsonl", "blobs.bin", "listed.json"
SCHEMA = 3
_BEGIN = b'{"eva_index": '


@dataclass(frozen=True, slots=True)
class Entry:
    """A slide as an index knows it.

    Attributes:
        path: Absolute, or a URL.
        bytes: Size of the file.
        modified: Its time in nanoseconds; 0 for a URL.
        error: Why it could not be indexed; then the rest is empty.
        sha256: SHA-256 of its first 64 kB and its size.
        width: Width in level-0 pixels.
        height: Height in level-0 pixels.
        mpp: Micrometres per level-0 pixel.
        vendor: As OpenSlide calls it.
        levels: Width and height of each level in pixels, full size first.
        area: Tissue in mm2.
        reader: Name of the reader that opens it: `tiff` is the fast path.
        agreed: Whether the fast path gave what OpenSlide gives; None where they were not compared.
        offset: Where its blobs begin.
        state_bytes: Length of what its reader keeps, which comes first; 0 where it needs nothing.
        mask_bytes: Length of the tissue mask.
        crc32: CRC-32 of both.
        root: The folder that was listed.
        version: ETag or time of an object; empty for a file.
        sample: SHA-256 of blocks of a file from end to end; empty for an object.
        given_mpp: The mpp by which it was indexed, where the file states none.
    """

    path: str
    bytes: int
    modified: int
    error: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    mpp: float = 0.0
    vendor: str = ""
    levels: tuple[tuple[int, int], ...] = ()
    area: float = 0.0
    reader: str = ""
    agreed: bool | None = None
    offset: int = 0
    state_bytes: int = 0
    mask_bytes: int = 0
    crc32: int = 0
    root: str = ""
    version: str = ""
    sample: str = ""
    given_mpp: float | None = None

    @property
    def name(self) -> str:
        """Path of the slide below the folder that was listed, or from one above it that has the patient's barcode."""
        root = self.root.rstrip("/") + "/"
        below = self.path.removeprefix(root) if self.root and self.path.startswith(root) else file_name(self.path)
        return below if tcga(below) else from_barcode(self.path) or below

    @property
    def end(self) -> int:
        """Byte at which the blobs of the slide end."""
        return self.offset + self.state_bytes + self.mask_bytes


_FIELDS = Entry.__dataclass_fields__.keys()


@dataclass
class Content:
    """The content of the files of an index.

    Attributes:
        tissue: Name of the method of the masks; None where no file says.
        method: What that was, with its parameters.
        entries: What the last line on each slide says, by path.
        checks: The checksum of that line, by path.
        missing: Slides that belong to the index, but whose line or blobs are not there, or are of an earlier state.
        listed: Whether the list of what belongs to the index is there and whole.
        lines: Bytes of whole lines.
    """

    tissue: str | None = None
    method: str = ""
    entries: dict[str, Entry] = field(default_factory=dict)
    checks: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    listed: bool = False
    lines: int = 0


def entry_line(entry: Entry) -> tuple[bytes, int]:
    """The line on a slide, and its checksum."""
    return checked_line(asdict(entry))


def write_list(folder: Path, tissue: str, method: str, slides: Mapping[str, int | None], lines: int) -> None:
    """Say what belongs to the index.

    Args:
        folder: The folder of the index.
        tissue: Name of the method of the masks.
        method: What that is, with its parameters.
        slides: Path -> checksum of its line; None: yet to be indexed.
        lines: Bytes from which on lines on the latter count.
    """
    content = {"eva_index": SCHEMA, "tissue": tissue, "method": method, "lines": lines, "slides": slides}
    write_bytes(folder / LISTED, checked_line(content)[0])


def read_content(folder: Path) -> Content:
    """Read an index as far as it is whole.

    Raises:
        UsageError: The files are of another version, or of something else.
        OSError: They do not read.
    """
    content = Content()
    text = (folder / LINES).read_bytes() if (folder / LINES).exists() else b""
    blobs = (folder / BLOBS).stat().st_size if (folder / BLOBS).exists() else 0
    places = {}
    content.lines = text.rfind(b"\n") + 1
    for place, line in _lines(text[: content.lines]):
        fields, check = fields_of(line)
        if not place and (fields or {}).get("eva_index") == SCHEMA:
            content.tissue = fields["tissue"]
        elif fields is not None and "path" in fields and fields.keys() <= _FIELDS:
            fields["levels"] = tuple(tuple(size) for size in fields.get("levels", ()))
            entry = Entry(**fields)
            content.entries[entry.path], content.checks[entry.path], places[entry.path] = entry, check, place
    if not content.entries:
        _refuse_others(folder, text)
    listed = _read_list(folder)
    if listed is not None:
        content.tissue, content.method, content.listed = listed["tissue"], listed["method"], True
        for path, check in listed["slides"].items():
            # newer than the list, which is written as a process begins, or as the list has it
            if places.get(path, -1) < listed["lines"] and (check is None or content.checks.get(path) != check):
                content.missing.append(path)
    # after a power cut a line may be on disk, but not what it points to
    content.missing += [path for path, entry in content.entries.items() if entry.end > blobs]
    content.missing = sorted(set(content.missing))
    for path in content.missing:
        content.entries.pop(path, None)
        content.checks.pop(path, None)
    return content


def _lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    for line in text.splitlines(keepends=True):
        yield place, line
        place += len(line)


def _read_list(folder: Path) -> Any:
    try:
        text = (folder / LISTED).read_bytes()
    except FileNotFoundError:
        return None
    return fields_of(text)[0]


def _refuse_others(folder: Path, text: bytes) -> None:
    """Raise where lines without slides are not those of an index that was just started."""
    first, _, others = text.partition(b"\n")
    if not text.strip(b"\0"):  # a power cut can leave zeros
        return
    if not _BEGIN.startswith(first) and not first.startswith(_BEGIN):
        raise UsageError(f"Expected an index in {folder}, but {LINES} holds something else. Index elsewhere.")
    version = first.removeprefix(_BEGIN).partition(b",")[0]
    if others[: others.rfind(b"\n") + 1].strip(b"\0\n") and version != str(SCHEMA).encode():
        raise UsageError(
            f"Expected an index of version {SCHEMA} in {folder}, but got another. Index the slides again elsewhere."
        )
