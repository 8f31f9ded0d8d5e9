"""Flip single bits in every kind of file that eva writes: each must be reported in a line, mended, or harmless."""

import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from week.commands import HUNG, Ended, eva, forked, printed
from week.worlds import (
    APPLY,
    BOARD,
    FIT,
    HERE,
    IMAGES,
    IMPORT,
    INDEX,
    NUCLEI,
    ON_EXPORT,
    SNAPSHOT,
    STORE,
    STUDY,
    TRAIN,
    World,
    board,
    digest,
    embeddings_of_kaiko,
    export,
    for_board,
    for_study,
    fresh,
    images,
    index,
    patches,
    results,
    slides,
    stores,
    study,
    tables,
)

LIMIT = 20
"""Seconds beyond the time for an undamaged file, after which a reader counts as hung."""
KNN = ["fit", *IMAGES, *HERE, "--head", "knn", "--output", "knn"]
Reader = Callable[[], Any]


def nothing(root: Path) -> None:
    """Make no inputs: the dataset is synthetic."""


WORLDS = {
    "images": (World("images", images, [STORE, FIT, KNN, APPLY]), None),
    "nuclei": (World("nuclei", nothing, [NUCLEI]), None),
    "board": (World("board", for_board, [BOARD]), None),
    "slides": (World("slides", slides, [INDEX]), None),
    "trained": (World("trained", patches, [TRAIN]), None),
    "study": (World("study", for_study, [STUDY]), None),
    "theirs": (World("theirs", embeddings_of_kaiko, [IMPORT]), None),
    "embedding": (World("embedding", images, [STORE]), "eva_core.store.writer.join_parts"),
    "mapping": (World("mapping", nothing, [NUCLEI]), "eva_vision.segmentation.features.feature_maps.join_parts"),
    "segmenting": (World("segmenting", nothing, [NUCLEI]), "eva_core.results.record.write_results"),
    "training": (World("training", patches, [TRAIN]), "eva_pretrain.run.export_run.export"),
    "cutting": (World("cutting", for_study, [STUDY]), "eva_pretrain.studies.runner._train"),
    "scoring": (World("scoring", for_study, [STUDY]), "eva_pretrain.studies.runner.run_pair"),
}
"""Folders in which eva has worked, and the function at which it was stopped there."""


def fitted_anew() -> Any:
    eva(STORE, ["fit", *IMAGES, *HERE, "--output", "other"])
    return stores(), results("other")


def fitted() -> Any:
    eva(FIT)
    return results("result")


def applied_anew() -> Any:
    eva([*APPLY[:-1], "other"])
    return [digest(path.read_bytes()) for path in Path("other").glob("*.parquet")]


def applied() -> Any:
    eva(APPLY)
    return [digest(path.read_bytes()) for path in Path("applied").glob("*.parquet")]


def compared() -> Any:
    eva(["compare", "result", "knn"])
    return printed(Path.cwd()).read_text()


def segmented() -> Any:
    eva(NUCLEI)
    return results("nuclei")


def segmented_anew() -> Any:
    eva([*NUCLEI[:-1], "other"])
    return results("other")


def ranked() -> Any:
    eva(BOARD)
    return board()


def shown() -> Any:
    eva([*BOARD, "--no-run"])
    return tables()


def indexed() -> Any:
    eva(INDEX)
    return index()


def trained() -> Any:
    eva(TRAIN)
    return export()


def snapshot_exported() -> Any:
    eva(SNAPSHOT)
    return export("run/exports/step-2")


def used() -> Any:
    eva(ON_EXPORT)
    return results("of_export")


def studied() -> Any:
    eva(STUDY)
    return study()


def taken() -> Any:
    store = str(next(Path("cache").glob("*/*.h5")))
    eva(["fit", "--embeddings", store, "--protocol", "quick.yaml", "--output", "imported"])
    return results("imported")


def imported() -> Any:
    eva(IMPORT)
    return stores()


@dataclass(frozen=True)
class Kind:
    """Files of one kind, by patterns in a world, and the functions that read them."""

    name: str
    world: str
    files: tuple[str, ...]
    readers: tuple[Reader, ...]


RESULT = (fitted, applied_anew, compared)
KINDS = [
    Kind("store", "images", ("cache/*/*.h5",), (fitted_anew,)),
    Kind("notes of whole stores", "images", ("cache/*/*.verified",), (fitted_anew,)),
    Kind("hashes of images", "images", ("cache/hashes/*",), (fitted_anew,)),
    Kind("parts of a store", "embedding", ("cache/*/*.part", "cache/*/*.layout"), (fitted_anew,)),
    *(
        Kind(name, "images", (f"result/{name}",), RESULT)
        for name in ("results.json", "config.yaml", "heads.safetensors", "predictions.parquet", "bootstrap.npy")
    ),
    Kind("predictions of finished heads", "images", ("applied/*",), (applied,)),
    Kind("store of feature maps", "nuclei", ("cache/*/*.h5", "cache/*/*.verified"), (segmented_anew,)),
    Kind("parts of feature maps", "mapping", ("cache/*/*.part", "cache/*/*.layout"), (segmented,)),
    Kind("finished runs of a segmentation", "segmenting", ("nuclei/*",), (segmented,)),
    Kind("segmentation: tables of Dice", "nuclei", ("nuclei/predictions.parquet",), (segmented,)),
    Kind("segmentation: overlays", "nuclei", ("nuclei/overlays/*",), (segmented,)),
    Kind("segmentation: the rest", "nuclei", ("nuclei/*.[njys]*",), (segmented,)),
    Kind("board: results", "board", ("board/*/**/*",), (ranked, shown)),
    Kind("board: page and tables", "board", ("board/*", "board/.[a-z]*"), (ranked, shown)),
    Kind("index of slides", "slides", ("index/*",), (indexed, index)),
    Kind("checkpoints", "training", ("run/checkpoints/*",), (trained,)),
    Kind("snapshots", "training", ("run/snapshots/*",), (snapshot_exported,)),
    Kind("hashes of images that were seen", "training", ("run/seen/*",), (trained, snapshot_exported)),
    Kind("list of the images of a folder", "training", ("run/index/*",), (trained,)),
    Kind("measures of a training", "training", ("run/monitor.jsonl",), (trained,)),
    Kind("a training: the rest", "training", ("run/[ckp]*", "run/logs/**/*"), (trained,)),
    Kind("export", "trained", ("run/export/*",), (used, trained)),
    Kind("study: records", "study", ("study/*.*", "study/runs/*/*/*.json", "study/cut/*/*.json"), (studied,)),
    Kind("study: results", "study", ("study/runs/*/*/tasks/**/*",), (studied,)),
    Kind("study: exports", "scoring", ("study/runs/*/*/export/*", "study/slides/*/**/*"), (studied,)),
    Kind("study: patches cut", "cutting", ("study/cut/*/**/*",), (studied,)),
    Kind("imported store", "theirs", ("cache/*/*.h5", "cache/*/*.verified"), (taken, imported)),
]


class Snapshot:
    """Content of a world, to be restored after each damage; unchanged files keep their inodes and times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content = {path: path.read_bytes() for path in self._files()}
        self.states = {path: self._state(path) for path in self.content}

    def restore(self) -> None:
        for path in self._files():
            if path not in self.content:
                path.unlink()
        for path, content in self.content.items():
            if not path.exists() or self._state(path) != self.states[path]:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                self.states[path] = self._state(path)

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def _state(self, path: Path) -> tuple[int, ...]:
        state = path.stat()
        return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def worked_in(name: str, root: Path) -> Snapshot:
    """Make a world, and take a snapshot of it."""
    world, stopped = WORLDS[name]
    folder = fresh(world, root)

    def work() -> None:
        from eva_core.errors import EvaError

        with mock.patch(
            stopped or "eva_core.cli.SUMMARIES", **({"side_effect": EvaError("stopped")} if stopped else {})
        ):
            eva(*world.commands)

    ended = forked(work, folder)
    if stopped is None and ended.code:
        raise RuntimeError(f"{name} was not made: {ended.stderr}")
    return Snapshot(folder)


def flip_often(kinds: list[Kind], times: int, root: Path, seed: int) -> tuple[dict[str, Counter[str]], list[str]]:
    """Flip bits, the same number in each kind.

    Returns:
        Counts of outcomes by kind, and a line for each fault.
    """
    rng, counts, faults = random.Random(seed), {kind.name: Counter[str]() for kind in kinds}, []
    shares = {kind.name: times // len(kinds) + (number < times % len(kinds)) for number, kind in enumerate(kinds)}
    for name in dict.fromkeys(kind.world for kind in kinds):
        snapshot = worked_in(name, root)
        undamaged: dict[Reader, Ended] = {}
        for kind in (kind for kind in kinds if kind.world == name):
            files = sorted(
                {p for pattern in kind.files for p in snapshot.folder.glob(pattern) if p in snapshot.content}
            )
            files = [path for path in files if snapshot.content[path]]
            if not files:
                raise RuntimeError(f"{kind.name}: no files {kind.files} in {snapshot.folder}")
            for _ in range(shares[kind.name]):
                path, read = rng.choice(files), rng.choice(kind.readers)
                if read not in undamaged:
                    undamaged[read] = forked(read, snapshot.folder)
                    snapshot.restore()
                bit = rng.randrange(8 * len(snapshot.content[path]))
                outcome, fault = _flipped(path, bit, read, undamaged[read], snapshot)
                counts[kind.name][outcome] += 1
                if fault:
                    faults.append(
                        f"{kind.name}: bit {bit} of {path.relative_to(snapshot.folder)}, {read.__name__}: {fault}"
                    )
                    print(faults[-1], file=sys.stderr)
            print(f"{kind.name}: {dict(counts[kind.name])}", file=sys.stderr, flush=True)
    return counts, faults


def _explained(path: Path, ended: Ended, undamaged: Ended) -> bool:
    """Whether a new line on stderr reports a failure, or names the damaged file or its folder."""
    new = set(ended.stderr.splitlines()) - set(undamaged.stderr.splitlines())
    names = (path.name, f"/{path.parent.name}", f"in {path.parent.name},")
    return any(line.startswith("eva: ") or any(name in line for name in names) for line in new)


def _flipped(path: Path, bit: int, read: Reader, undamaged: Ended, snapshot: Snapshot) -> tuple[str, str | None]:
    """Flip a bit, and read: a word for the table, and the fault, if any."""
    damaged = bytearray(snapshot.content[path])
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    ended = forked(read, snapshot.folder, undamaged.seconds + LIMIT)
    changed = not path.exists() or path.read_bytes() != damaged
    snapshot.restore()
    if ended.unexplained:
        return (
            "hung" if ended.code == HUNG else "unexplained"
        ), f"ended with {ended.code}: {ended.stderr.strip()[-300:]}"
    if ended.code:
        return "reported", None
    if ended.result != undamaged.result and _explained(path, ended, undamaged):
        return "reported", None
    if ended.result != undamaged.result:
        return "another result", f"another result, and it said {ended.stderr.strip()[-200:]!r}"
    return ("made again" if changed else "harmless"), None
