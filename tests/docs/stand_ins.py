"""What the commands of the pages need and this machine has not: published weights, datasets, and days of training.

Networks are of one block, and a hub of this machine has random weights of them under the published names. Datasets are
tiny ones in their published layout. Configs are the shipped ones with few steps, models and variants.
"""

import csv
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import save

from eva_core import cli, registry
from eva_core.config import files, protocols
from eva_core.hub.weight_files import RELEASE, hub_file, release_path, weights_address
from eva_pretrain.studies import runner
from eva_vision.datasets import bach, consep
from eva_vision.datasets.mhist import Mhist, MhistVotes
from eva_vision.datasets.phantom import Phantom
from eva_vision.datasets.phantom_nuclei import PhantomNuclei
from eva_vision.datasets.phantom_patterns import PhantomPatterns
from eva_vision.datasets.phantom_slides import PhantomSlides
from eva_vision.models import timm_backbone
from tests.conftest import picture
from tests.vision.datasets import trees

HOME = Path(__file__).parents[2]

PUBLISHED = ("kaiko_vits16", "phikon", "uni2_h")
"""Models of the pages whose weights are published."""
OF_TIMM = ("vit_small_patch16_224.dino", "vit_small_patch14_reg4_dinov2.lvd142m", "resnet18.a1_in1k")
"""Networks of the pages whose weights timm gets from the hub."""
BACH_PER_CLASS = 5
"""Images of each class, of which the first two are in val."""
CONSEP_IMAGES = 4
"""Images of each of its splits."""
BOARDS = {"models": ["colour_stats", "kaiko_vits16", "phikon"], "tasks": ["bach", "mhist"], "average_without": []}
"""What the boards have in place of all models and tasks."""
SHORTER = {
    "steps": 4,
    "evaluate_every": 2,
    "runs": 1,
    "shots": 1,
    "epochs": 2,
    "patience": 2,
    "tile": 4,
    "batch_size": 4,
}
"""Fields of protocols, wherever they stand."""
NUMBERS = {
    "--protocol.steps": "4",
    "--protocol.evaluate_every": "2",
    "--protocol.segmentation.steps": "4",
    "--dataset.train": "16",
    "--dataset.confounded": "0.0",
    "--steps": "2",
    "--recipe.steps": "2",
    "--training.keep_every": "1",
    "--step": "1",
    "--shares": "50,100",
    "--draws": "1",
}
"""Values of flags in place of those on the pages."""
RECIPE = {
    "method": {"class_path": "dinov2", "init_args": {"prototypes": 64, "hidden": 32, "bottleneck": 16}},
    "views": {"local_crops": 2},
    "data": {"batch_size": 4, "workers": 0},
    "monitor": {"every": 2, "patches": 8},
    "recipe": {"steps": 2, "heads_alone": 0.0},
    "training": {"checkpoint_every": 1, "log_every": 1},
}
"""What recipes of pretraining have in place of their own."""


@contextmanager
def shallow_networks() -> Iterator[None]:
    """Let timm build transformers of one block."""
    create = timm.create_model

    def one_block(arch: str, *given: Any, **arguments: Any) -> Any:
        return create(arch, *given, **(arguments | {"depth": 1} if arch.startswith("vit_") else arguments))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", one_block)
        yield


def published_weights() -> dict[str, bytes]:
    """Random weights by their addresses: `owner/name/file` of the hub, or the URL of a release."""
    networks: dict[str, Any] = {}
    with shallow_networks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm_backbone, "load_weights", lambda network, *_: networks.update(last=network) or {})
        for name in PUBLISHED:
            registry.build_model(name)
            networks[str(weights_address(registry.models.load(name).card))] = networks.pop("last")
        for arch in OF_TIMM:
            networks[f"hf-hub:timm/{arch}"] = timm.create_model(arch, num_classes=0)
    return {
        address if address.startswith(RELEASE) else f"{hub_file(address).repo}/model.safetensors": save(
            {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        )
        for address, network in networks.items()
    }


def put_released(weights: dict[str, bytes]) -> None:
    """Put the files of releases where they lie once they were downloaded."""
    for url in filter(lambda address: address.startswith(RELEASE), weights):
        path = release_path(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(weights[url])


def write_datasets(root: Path) -> None:
    """Write every dataset that is read from files, and a folder of masks with a class for each kind of cell."""
    for name in trees.with_tree():
        trees.write(name, root / name)
    for path in (root / "bach").rglob("*.tif"):
        if int(path.stem[-3:]) > BACH_PER_CLASS:
            path.unlink()
        else:  # large enough to be seen at 4 micrometres per pixel
            Image.open(path).resize((160, 160)).save(path)
    for path in (root / "consep").rglob("*_*.*"):
        if int(path.stem.partition("_")[2]) > CONSEP_IMAGES:
            path.unlink()
    with (root / "mhist/annotations.csv").open("a") as table:  # enough to hold some out
        for i, kind in enumerate(("HP", "SSA") * 2):
            table.write(f"MHIST_zz{i}.png,{kind},5,train\n")
            shutil.copy(root / "mhist/images/MHIST_aaa.png", root / f"mhist/images/MHIST_zz{i}.png")
    write_hospital(root / "slide_folder", ["label"])
    (root / "mask_folder/new.png").unlink()
    for i, path in enumerate(sorted((root / "mask_folder").rglob("*/images/*.png"))):  # no copies, which stay together
        Image.fromarray(picture(i, size=8)).save(path)
    test = root / "mask_folder/test"
    (test / "masks").mkdir()
    for arrays in sorted((test / "labels").iterdir()):
        for split in ("train", "val", "test"):
            for source, kind in ((test / "images" / f"{arrays.stem}.png", "images"), (arrays, "labels")):
                place = root / "consep_patches" / split / kind / f"{split}{arrays.stem[-1]}_1{source.suffix}"
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)
        trees.write_labels(test / "masks" / f"{arrays.stem}.png", np.load(arrays)["type"].astype(np.uint8))
    shutil.rmtree(test / "labels")


def write_hospital(root: Path, outcomes: Sequence[str]) -> None:
    """Write slides of twelve patients, of whom two have a second slide, at two sites, and their manifest."""
    rows = []
    for number in range(14):
        patient = number % 12
        name = f"S{patient:02d}-{'AB'[number // 12]}.svs"
        trees.write_slide(root / name, number, ((205, 120, 170), (150, 60, 150))[patient % 2], 0.5)
        outcome = {"label": ("wild type", "mutated")[patient % 2], "value": patient / 2, "time": patient + 1.5}
        at = {"event": int(patient % 3 > 0), "site": ("north", "south")[patient // 2 % 2]}
        known = {name: value for name, value in {**outcome, **at}.items() if name in (*outcomes, "site")}
        rows.append({"slide": name, "patient": f"P{patient:02d}", **known})
    trees.write_table(root / "manifest.csv", rows)


def count_what_is_there(patch: pytest.MonkeyPatch) -> None:
    """Let the counts of the tiny datasets stand for the published ones, and let less be drawn."""
    for name in trees.with_tree():
        trees.patch_counts(patch, name, trees.module_of(name))
    for of_mhist in (Mhist, MhistVotes):
        patch.setattr(of_mhist, "counts", {"train": 7, "val": 2})
    patch.setattr(bach, "PER_CLASS", BACH_PER_CLASS)
    patch.setattr(consep, "PARTS", {split: (part, CONSEP_IMAGES) for split, (part, _) in consep.PARTS.items()})
    patch.setattr(bach, "VAL", dict.fromkeys(bach.VAL, (range(1, 3),)))
    for drawn in (Phantom, PhantomPatterns, PhantomNuclei):
        patch.setattr(drawn.__init__, "__defaults__", (12, 8, 8, 64, 0))
    patch.setattr(PhantomSlides.__init__, "__defaults__", (10, "label", 0.0, False, 256, 0))


def train_in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Let a study train here: a process for each run would take its time to start, and networks of all blocks."""

    def train(arguments: Sequence[str], *_: object) -> None:
        assert cli.main(["pretrain", *arguments]) == 0

    patch.setattr(runner, "_train", train)


def write_embeddings(folder: Path) -> None:
    """Write a folder of embeddings as kaiko-eva does."""
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["origin", "embeddings", "target", "split"])
        for i in range(24):
            torch.save(torch.randn(1, 8) + i % 2, folder / f"{i}.pt")
            writer.writerow([f"images/{i}.png", f"{i}.pt", i % 2, "train" if i < 16 else "val"])


def write_short_configs(root: Path) -> None:
    """Copy what is shipped, and cut it short."""
    shutil.copytree(HOME / "leaderboard", root / "leaderboard")
    for path in (HOME / "configs").rglob("*.yaml"):
        content = yaml.safe_load(path.read_text("utf-8"))
        cut = {"boards": _short_board, "studies": _short_study, "pretrain": _short_recipe}
        place = root / path.relative_to(HOME)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(yaml.safe_dump(cut.get(path.parent.name, _short)(content), sort_keys=False))


def _short_board(content: dict[str, Any]) -> dict[str, Any]:
    return content | BOARDS


def _short_study(content: dict[str, Any]) -> dict[str, Any]:
    variants = content["variants"]
    few = [next(iter(variants)), content["against"]]
    tasks = {"in_distribution": ["tp53"], "out_of_distribution": ["mhist"]}
    variants = {name: variants[name] for name in few}
    return content | {"variants": variants, "tasks": tasks, "seeds": 1, "few_seeds": True}


def _short_recipe(content: dict[str, Any]) -> dict[str, Any]:
    distill = isinstance(content.get("method"), dict) and content["method"]["class_path"] == "distill"
    method = {"method": {"class_path": "distill", "init_args": {"hidden": 32}}} if distill else {}
    for name, fields in {**RECIPE, **method}.items():
        given = content.get(name, {})
        content[name] = fields if isinstance(given, str) else {**given, **fields}
    return content


def _short(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {
        name: SHORTER[name] if name in SHORTER and not isinstance(value, dict) else _short(value)
        for name, value in content.items()
    }


@contextmanager
def configs_in(root: Path) -> Iterator[None]:
    """Let these configs be the shipped ones."""
    caches = (files.task_configs, protocols.published)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "__file__", str(root / "config/files.py"))
        for cache in caches:
            cache.cache_clear()
        yield
    for cache in caches:
        cache.cache_clear()


def shortened(words: list[str]) -> list[str]:
    """Give a command of a page the slides and numbers of this machine."""
    places = {r"^(s3://bucket|/data)/": "slides/", r"^data/bach$": "datasets/bach", r"step-\d+\.ckpt$": "step-2.ckpt"}
    for pattern, place in places.items():
        words = [re.sub(pattern, place, word) for word in words]
    return [NUMBERS.get(flag, word) for flag, word in zip(["", *words], words, strict=False)]


def shortened_file(text: str) -> str:
    """Give a file of a page fewer steps."""
    return re.sub(r"(?<=\bsteps: )\d+", "2", text)
