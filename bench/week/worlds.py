"""Folders in which eva has worked: tiny inputs, the commands to run on them, and digests of the outcomes."""

import csv
import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file

PROTOCOL = {"name": "quick", "geometry": "card", "heads": ["logreg"], "selection": "heldout", "C": [1.0]}
HERE = ["--device", "cpu", "--workers", "0", "--batch_size", "4"]
SLOW = ["--part_seconds", "0"]
IMAGES = ["--dataset", "folder", "--dataset.root", "images", "--model", "colour_stats", "--protocol", "quick.yaml"]
STORE = ["predict", *IMAGES, *HERE, *SLOW]
FIT = ["fit", *IMAGES, *HERE, *SLOW, "--output", "result"]
APPLY = ["predict", "--head", "result", *HERE, "--output", "applied"]
NUCLEI = [
    *("fit", "--config", "phantom_nuclei", "--dataset.train", "16", "--dataset.val", "4", "--dataset.test", "4"),
    *("--dataset.size", "36", "--model", "colour_stats", "--protocol.segmentation.tile", "36", "--protocol.runs", "2"),
    *("--protocol.segmentation.steps", "6", "--protocol.segmentation.lr", "0.1", *HERE, *SLOW, "--output", "nuclei"),
]
BOARD = ["leaderboard", "--config", "board.yaml", "--output", "board", *HERE]
INDEX = ["slides", "index", "slides/*.svs", "--output", "index", "--workers", "1"]
TINY = [
    *("--vit.size", "32", "--vit.arguments={depth: 1, embed_dim: 24, num_heads: 3}"),
    *("--views.global_size", "32", "--views.local_size", "16", "--views.local_crops", "2", "--sampling.size", "40"),
    *("--method.prototypes", "32", "--method.hidden", "32", "--method.bottleneck", "16"),
    *("--batch_size", "4", "--data.workers", "0", "--training.log_every", "1"),
]
TRAIN = [
    *("pretrain", "--config", "demo", *TINY, "--folder", "patches", "--output", "run", "--steps", "4"),
    *("--training.checkpoint_every", "1", "--monitor.every", "1", "--monitor.patches", "8"),
    *("--dataset", "folder", "--dataset.root", "images", "--export.checkpoint", "best"),
    *("--training.keep_every", "2"),
]
SNAPSHOT = ["export", "run", "--step", "2"]
STUDY = [
    *("study", "--config", "study.yaml", "--output", "study", "--base", "demo", "--steps", "2", "--few_seeds"),
    *("--monitor.every", "0", "--slides", "slides/*.svs", *TINY),
]
ON_EXPORT = ["fit", *IMAGES[:4], "--model", "run/export", "--protocol", "quick.yaml", *HERE, "--output", "of_export"]
IMPORT = ["import", "theirs", "--model", "m", "--dataset", "d"]


def digest(content: bytes | str) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()[:16]


def stores() -> dict[str, str]:
    """Digest the arrays of finished stores."""
    import h5py

    digests = {}
    for path in sorted(Path("cache").glob("*/*.h5")):
        with h5py.File(path, "r", locking=False) as file:
            digests[path.name] = digest(repr([(name, digest(repr(file[name][:].tolist()))) for name in sorted(file)]))
    return digests


def result(folder: Path) -> dict[str, str]:
    """Digest the numbers of a finished result, its predictions, draws and heads."""
    record = json.loads((folder / "results.json").read_text())
    digests = {
        name: digest(repr(record[name])) for name in ("main", "splits", "baselines", "selected", "contamination")
    }
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".parquet", ".npy", ".png"):
            digests[str(path.relative_to(folder))] = digest(path.read_bytes())
    heads = load_file(folder / "heads.safetensors")  # whose metadata have no order
    return {**digests, "heads": digest(repr(sorted((name, digest(value.tobytes())) for name, value in heads.items())))}


def results(pattern: str) -> dict[str, Any]:
    return {str(path.parent): result(path.parent) for path in sorted(Path().glob(f"{pattern}/results.json"))}


def board() -> dict[str, Any]:
    return {**tables(), **results("board/**")}


def tables() -> dict[str, Any]:
    return {path.name: digest(path.read_bytes()) for path in Path("board").glob("leaderboard.[ctm]*")}


def index() -> dict[str, Any]:
    """Digest entries and masks of the index, independent of the order in which they were written."""
    from eva_vision.slides.index import Index

    slide_index = Index("index")
    entries = [
        {k: v for k, v in asdict(e).items() if k not in ("offset", "crc32", "modified")} for e in slide_index.entries
    ]
    masks = [digest(slide_index.mask(number).to_bytes()) for number in range(len(slide_index))]
    opened = [slide_index.open(number).levels for number in range(len(slide_index))]
    return {"entries": repr(entries), "masks": masks, "opened": repr(opened), "failed": repr(slide_index.failed)}


def export(folder: str = "run/export") -> dict[str, Any]:
    """Checksum and step of the exported weights, what they have seen, and the measures of the training."""
    from eva_pretrain.monitor.lines import read_lines

    card = json.loads(Path(folder, "card.json").read_text())
    seen = json.loads(Path(folder, "slides.json").read_text())
    lines = {line["step"]: line for line in read_lines(Path("run/monitor.jsonl")) if "step" in line}
    return {
        "card": {k: card[k] for k in ("file_sha256", "step", "selected_on")},
        "images": seen["images"],
        "measures": repr(lines),
    }


def study() -> dict[str, Any]:
    record = json.loads(Path("study/study.json").read_text())
    for variant in record["variants"]:
        (variant.get("cut") or {}).pop("seconds", None)
        (variant.get("cost") or {}).pop("seconds", None)
        for run in variant["runs"]:
            (run.get("cost") or {}).pop("seconds", None)
    weights = {str(p): digest(p.read_bytes()) for p in sorted(Path("study").glob("runs/*/*/export/model.safetensors"))}
    variants = [{k: v for k, v in variant.items() if k != "cost"} for variant in record["variants"]]
    return {"variants": digest(json.dumps(variants, sort_keys=True)), "patches": _patches(record), **weights}


def _patches(record: dict[str, Any]) -> str:
    return repr([(variant.get("cost") or {}).get("patches") for variant in record["variants"]])


@dataclass(frozen=True)
class World:
    """Folder, and the commands that are run in it.

    Attributes:
        name: Name of the folder.
        inputs: Makes the files that the commands read.
        commands: Commands that run one after another.
    """

    name: str
    inputs: Callable[[Path], None]
    commands: list[list[str]]


def images(root: Path) -> None:
    """Write two tinted classes of noise, 32 px, and a protocol for a quick fit."""
    from PIL import Image

    (root / "quick.yaml").write_text(yaml.safe_dump(PROTOCOL))
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 6)):
        for name, tint in (("pink", (214, 150, 190)), ("purple", (200, 150, 200))):
            folder = root / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(rng.normal(tint, 25, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")


def for_board(root: Path) -> None:
    images(root)
    vit = {"name": "tiny_vit", "class_path": "timm_model", "init_args": {"arch": "test_vit", "size": 32}}
    task = {"name": "tree", "config": "folder", "init_args": {"root": "images"}}
    content = {"name": "tiny", "models": ["colour_stats", vit], "tasks": [task], "heads": ["logreg", "knn"]}
    (root / "board.yaml").write_text(yaml.safe_dump({**content, "protocol": "quick.yaml"}))


def slides(root: Path) -> None:
    from eva_vision.synthetic.slides import write_phantom_slide

    (root / "slides").mkdir()
    for seed, name in enumerate("abc"):
        write_phantom_slide(root / "slides" / f"{name}.svs", 512, 512, seed=seed, levels=2)


def patches(root: Path) -> None:
    from PIL import Image

    images(root)
    (root / "patches").mkdir()
    rng = np.random.default_rng(1)
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(root / "patches" / f"{number}.png")
    with tarfile.open(root / "patches/shard.tar", "w") as shard:  # where there are shards, their list is kept
        for path in sorted((root / "patches").glob("?.png")):
            shard.add(path, path.name)
            path.unlink()


def for_study(root: Path) -> None:
    slides(root)
    (root / "quick.yaml").write_text(yaml.safe_dump(PROTOCOL))
    phantom = {"class_path": "phantom", "init_args": {"train": 16, "val": 4, "test": 16, "size": 32}}
    content = {
        "name": "tiny",
        "base": "demo",
        "variants": {"online": {}, "cut": {"cut": 12}},
        "protocol": "quick.yaml",
        "seeds": 1,
        "tasks": {"in_distribution": [phantom]},
    }
    (root / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def embeddings_of_kaiko(root: Path) -> None:
    """Write embeddings as kaiko-eva does."""
    import torch

    (root / "quick.yaml").write_text(yaml.safe_dump(PROTOCOL))
    folder, generator = root / "theirs", torch.Generator().manual_seed(0)
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["origin", "embeddings", "target", "split"])
        for number in range(24):
            torch.save(torch.randn(8, generator=generator) + number % 2, folder / f"{number}.pt")
            rows.writerow([f"{number}.png", f"{number}.pt", number % 2, "train" if number < 16 else "val"])


def fresh(world: World, root: Path) -> Path:
    """Make the folder of a world, with its inputs alone."""
    folder = root / world.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    world.inputs(folder)
    return folder
