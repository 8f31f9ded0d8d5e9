"""Patches of slides cut to a folder beforehand: what online patching does without, to compare it with."""

import json
import time
from pathlib import Path
from typing import Any

import simplejpeg
from filelock import FileLock

from eva_core.atomic_files import unlinked
from eva_core.progress import Bar
from eva_core.record import read_json, write_text
from eva_pretrain.config import Plan
from eva_pretrain.data import PatchLoader
from eva_pretrain.source import Patches

DONE, _DRAWN = "cut.json", "drawn.jsonl"
_WRITTEN = "*/[0-9]*.jpg"
QUALITY = 95
"""Of the JPEG files, colour at full resolution: PNG takes three times the disk and five times the decoding, and would
make a folder look worse than what people have."""
_IN_A_FOLDER = 1000


def cut_patches(plan: Plan, patches: int, folder: Path) -> dict[str, Any]:
    """Write the first patches of a stream as JPEG files; goes on where it was stopped.

    Args:
        plan: Of a run from slides: its stream with seed 0, whatever the seed of the run.
        patches: How many.
        folder: Where to; processes that want the same wait for each other.

    Returns:
        `patches`, `bytes` on disk, the `seconds` that it took (None where that is not known), and the slides `seen`,
        each with its TCGA patient.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".cutting"):
        done = read_json(folder / DONE)
        if "seen" in done:
            return done
        for leftover in folder.glob("*/.*.jpg"):  # of one that was killed
            leftover.unlink()
        drawn = _drawn(folder)
        began, before = time.perf_counter(), sum(1 for _ in folder.glob(_WRITTEN)) if drawn else 0
        _write(plan, patches, folder, before, drawn)
        # as if it had gone at this pace from the start, where it was stopped in between
        seconds = (time.perf_counter() - began) * patches / (patches - before) if before < patches else None
        files = [path.stat().st_size for path in folder.glob(_WRITTEN)]
        done = {"patches": len(files), "bytes": sum(files), "seconds": seconds, "seen": list(drawn.items())}
        write_text(folder / DONE, json.dumps(done) + "\n")
        (folder / _DRAWN).unlink()
        return done


def _drawn(folder: Path) -> dict[str, str | None]:
    """Slides of the patches that are there, and their patients; the file is left with whole lines."""
    file = folder / _DRAWN
    text = file.read_text() if file.exists() else ""
    whole = text.split("\n")[:-1]  # the last line may be cut: no patch of its slide was written yet
    write_text(file, "".join(f"{line}\n" for line in whole))
    return dict(json.loads(line) for line in whole)


def _write(plan: Plan, patches: int, folder: Path, before: int, drawn: dict[str, str | None]) -> None:
    source = plan.data
    batch_size = min(source.batch_size, patches)
    stream = Patches(source, plan.sampling, 0, 1, folder).stream(batch_size, start=before // batch_size)
    loader = PatchLoader(stream, source.workers, source.prefetch)
    written = stream.start * batch_size
    with Bar("Cutting patches", patches, "patches") as bar, open(folder / _DRAWN, "a", opener=unlinked) as names:
        while written < patches:
            for batch in loader:
                slides = stream.seen({*batch.slide[: patches - written].tolist()})
                names.writelines(json.dumps(pair) + "\n" for pair in slides if pair[0] not in drawn)
                names.flush()  # before the patches: what is killed here forgets no slide
                drawn.update(slides)
                for pixels in batch.pixels.permute(0, 2, 3, 1).numpy()[: patches - written]:
                    _save(folder / f"{written // _IN_A_FOLDER:06d}" / f"{written:09d}.jpg", pixels)
                    written += 1
                bar.update(written, patches)
                if written == patches:
                    break
    loader.close()


def _save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "444"))
    temporary.replace(path)
