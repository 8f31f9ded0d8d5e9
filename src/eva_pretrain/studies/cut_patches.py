"""Patches of slides cut to a folder before a training, as a comparison for online patching."""

import time
from pathlib import Path
from typing import Any

import simplejpeg
from filelock import FileLock

from eva_core.files.atomic_files import make_folder, unlinked, write_bytes
from eva_core.files.checked_lines import checked_line, fields_of
from eva_core.files.checksums import sha256
from eva_core.files.sealed_records import SEAL, read_record_or_nothing, write_record
from eva_core.progress import Bar, say
from eva_pretrain.data.datamodule import Patches
from eva_pretrain.data.loader import PatchLoader
from eva_pretrain.run.config import Plan

DONE, _CUT = "cut.json", "cut.jsonl"
"""Record of the folder, written last; and a line for each batch of patches, with the digest of their files."""
QUALITY = 95
"""Quality of the JPEG files, with colour at full resolution. PNG takes three times the disk and five times the time to
decode, which would make a folder look worse than those in use."""
_IN_A_FOLDER = 1000


def cut_patches(plan: Plan, patches: int, folder: Path) -> dict[str, Any]:
    """Write the first patches of a stream as JPEG files, or resume writing them.

    Args:
        plan: Plan of a run from slides; patches are drawn with seed 0 for every seed of the run.
        patches: Number of patches.
        folder: Destination; processes that cut to the same folder wait for each other.

    Returns:
        Record of the folder: `patches`, `bytes` on disk, `seconds` that it took (None where unknown), and the slides
        `seen`, each with its TCGA patient.
    """
    make_folder(folder)
    with FileLock(folder / ".cutting"):
        for leftover in folder.glob("*/.*.jpg"):  # left by a killed process
            leftover.unlink()
        done = read_record_or_nothing(folder / DONE)
        before, drawn = _whole(folder)
        if "seen" in done and before == patches:
            return done
        if not done and (folder / DONE).exists():
            say(f"{folder / DONE} is damaged: it is written again, without how long the cutting took.")
        if done:
            say(f"{folder} is damaged: patches from number {before} on are not as they were cut. They are cut again.")
        began = time.perf_counter()
        _write(plan, patches, folder, before, drawn)
        # where it was stopped in between: as if all had been cut at this pace
        seconds = (time.perf_counter() - began) * patches / (patches - before) if before < patches else None
        sizes = [_file(folder, number).stat().st_size for number in range(patches)]
        done = {"patches": patches, "bytes": sum(sizes), "seconds": seconds, "seen": list(drawn.items())}
        write_record(folder / DONE, done)
        return done


def _whole(folder: Path) -> tuple[int, dict[str, str | None]]:
    """Count the first patches that are as they were cut, with their slides and patients; forget notes on later ones."""
    file = folder / _CUT
    patches, drawn, lines = 0, dict[str, str | None](), []
    for line in file.read_bytes().splitlines(keepends=True) if file.exists() else ():
        fields = fields_of(line)[0]
        if (
            fields is None
            or fields["first"] > patches
            or _digest(folder, fields["first"], fields["stop"]) != fields[SEAL]
        ):
            break
        patches = max(patches, fields["stop"])
        drawn.update(fields["seen"])
        lines.append(line)
    write_bytes(file, b"".join(lines))
    return patches, drawn


def _digest(folder: Path, first: int, stop: int) -> str | None:
    """Checksum of the files of patches [first, stop); None where one is missing."""
    try:
        return sha256(b"".join(_file(folder, number).read_bytes() for number in range(first, stop)))
    except FileNotFoundError:
        return None


def _write(plan: Plan, patches: int, folder: Path, before: int, drawn: dict[str, str | None]) -> None:
    """Cut the missing patches; each batch is noted once its files are written."""
    if before == patches:
        return
    source = plan.data
    batch_size = min(source.batch_size, patches)
    stream = Patches(source, plan.sampling, 0, 1, folder).stream(batch_size, start=before // batch_size)
    loader = PatchLoader(stream, source.workers, source.prefetch)
    written = stream.start * batch_size
    with Bar("Cutting patches", patches, "patches") as bar, open(folder / _CUT, "ab", opener=unlinked) as notes:
        while written < patches:
            for batch in loader:
                first, seen = written, stream.seen({*batch.slide[: patches - written].tolist()})
                for pixels in batch.pixels.permute(0, 2, 3, 1).numpy()[: patches - written]:
                    _save(_file(folder, written), pixels)
                    written += 1
                drawn.update(seen)
                note = {"first": first, "stop": written, "seen": seen, SEAL: _digest(folder, first, written)}
                notes.write(checked_line(note)[0])
                notes.flush()
                bar.update(written, patches)
                if written == patches:
                    break
    loader.close()


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number // _IN_A_FOLDER:06d}" / f"{number:09d}.jpg"


def _save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "444"))
    temporary.replace(path)
