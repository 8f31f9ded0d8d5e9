import base64
import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from eva_core import registry
from eva_core.contracts.backbone import sha256_of_weights
from eva_core.contracts.cards import Geometry
from eva_core.errors import EvaError, UsageError
from eva_pretrain.run.export import ExportDetails, export
from eva_vision.models.exported import check_files, exported, read_seen
from eva_vision.models.timm import timm_model

NAME = "tiny-3f2a91c0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = timm_model("test_vit", depth=2).network  # type: ignore[attr-defined]
    seen = [("TCGA-AA-1234-01Z-00-DX1.0f1e.svs", None), ("TCGA-BB-1234-01Z-00-DX1.svs", None)]
    return export(
        tmp_path / "run" / "export",
        network.state_dict(),
        "test_vit",
        {"depth": 2},
        ExportDetails(
            name=NAME,
            mean=(0.5, 0.6, 0.7),
            std=(0.1, 0.2, 0.3),
            size=96,
            mpp=(0.25, 2.0),
            config="",
            step=7,
            seen=seen,
        ),
    )


def change(folder: Path, file: str = "card.json", **fields: Any) -> None:
    """Another content that is meant: the checksum goes."""
    path = folder / file
    path.write_text(json.dumps({k: v for k, v in {**json.loads(path.read_text()), **fields}.items() if k != "sha256"}))


def test_the_card_is_that_of_the_run(folder: Path):
    model = exported(str(folder))
    card = model.card
    assert model.name == card.name == NAME
    assert (card.mean, card.std, card.mpp) == ((0.5, 0.6, 0.7), (0.1, 0.2, 0.3), (0.25, 2.0))
    assert card.geometry == Geometry(96, 96, "bilinear")
    assert (card.dim, card.patch_size, card.prefix_tokens, card.pooling) == (64, 16, 1, "cls")
    assert card.collections == ("TCGA",)
    assert card.trained_on == "2 slides of 2 patients, listed in its slides.json"
    assert {"TCGA-AA-1234", "TCGA-BB-1234", "TCGA-BB-1234-01Z-00-DX1"} <= set(card.training_ids)
    assert (card.source, card.revision) == ("eva pretrain, teacher", "step 7")
    assert model.provenance["file_sha256"] == json.loads((folder / "card.json").read_text())["file_sha256"]


def test_it_is_the_network_that_was_exported(folder: Path):
    before, after = timm_model("test_vit", depth=2).eval(), exported(str(folder)).eval()
    assert sha256_of_weights(before) == sha256_of_weights(after)
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(before(images), after(images))


def test_the_same_export_elsewhere_is_the_same_model(folder: Path, tmp_path: Path):
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    first, second = (registry.build_model("exported", folder=str(path)) for path in (folder, moved))
    assert first.arguments == second.arguments  # they are part of the cache's key
    assert first.name == second.name == NAME


def test_collections_and_ids_of_other_slides(folder: Path):
    change(folder, "slides.json", seen=[{"slide": "salted:00:ff", "patient": None}])
    card = exported(str(folder)).card
    assert card.collections is None
    assert card.training_ids == ("salted:00:ff",)
    assert card.trained_on == "1 slides, listed in its slides.json"
    change(folder, "slides.json", seen=[{"slide": s, "patient": None} for s in ("x", "TCGA-AA-1234-01Z-00-DX1")])
    assert exported(str(folder)).card.collections == ("TCGA", "others")
    change(folder, "slides.json", seen=[])
    card = exported(str(folder)).card
    assert (card.collections, card.training_ids, card.trained_on) == (None, (), "unknown")


def test_no_magnification_is_an_empty_one(folder: Path):
    change(folder, mpp=[])
    assert exported(str(folder)).card.mpp == ()


PART = {"hashes": base64.b64encode(b"1234567").decode(), "sha256": hashlib.sha256(b"1234567").hexdigest()}
"""Not whole hashes, under a checksum that fits."""


def damage_json(folder: Path) -> None:
    (folder / "card.json").write_text("{")


def damage_weights(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (lambda f: shutil.rmtree(f), UsageError, "is not a folder. Give its folder, or a name of `eva models`"),
        (lambda f: (f / "card.json").unlink(), UsageError, r"export has no card\.json"),
        (damage_json, EvaError, r"Expected JSON in .*card\.json"),
        (lambda f: (f / "card.json").write_text("[]"), EvaError, "Expected a mapping"),
        (lambda f: (f / "card.json").write_bytes(b"\xff\xfe"), EvaError, "does not read"),
        (lambda f: change(f, schema=2), UsageError, "Expected schema 1 .* got 2. Update eva"),
        (lambda f: change(f, mean="0.5"), EvaError, "Expected mean in .* as list, but got '0.5'"),
        (lambda f: change(f, name="../../etc"), UsageError, "a run's name that can be a file's name"),
        (lambda f: change(f, arch="vit_tiny_x"), UsageError, "Unknown timm architecture"),
        (lambda f: change(f, arch_args={"depth": 3}), EvaError, r"missing blocks\.2\."),
        (lambda f: change(f, arch="hf-hub:owner/name"), EvaError, "an architecture of timm"),
        (lambda f: change(f, arch="local-dir:/tmp"), EvaError, "an architecture of timm"),
        (lambda f: change(f, arch_args={"checkpoint_path": "/etc/passwd"}), UsageError, "got checkpoint_path"),
        (lambda f: change(f, arch_args={"pretrained_cfg": {"url": "http://x"}}), UsageError, "got pretrained_cfg"),
        (lambda f: change(f, arch_args={"checkpoint": "/etc/passwd"}), EvaError, "of an architecture"),
        (lambda f: (f / "model.safetensors").unlink(), EvaError, "no such file. Copy or export"),
        (damage_weights, EvaError, "cut short or of another export"),
        (lambda f: (f / "slides.json").unlink(), EvaError, r"slides\.json, but it does not read"),
        (lambda f: change(f, "slides.json", seen=[1]), EvaError, "it holds something else"),
        (lambda f: change(f, derived_from=[{"name": "uni"}]), EvaError, "models with their licences as derived_from"),
        (lambda f: change(f, derived_from={"name": "uni"}), EvaError, "models with their licences as derived_from"),
        (lambda f: change(f, "slides.json", images=PART), EvaError, "Expected the images in .* as written"),
    ],
)
def test_a_damaged_folder_is_one_line(folder: Path, damage, kind, message):
    damage(folder)
    with pytest.raises(kind, match=message) as error:
        exported(str(folder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["card.json", "slides.json", "config.yaml", "model.safetensors"])
def test_flipped_bits_are_found_or_change_nothing(folder: Path, file: str):
    def content() -> list[object]:
        return [check_files(folder), read_seen(folder)]

    path, before, rng = folder / file, content(), random.Random(0)
    whole, found = path.read_bytes(), 0
    for at in rng.sample(range(len(whole)), min(len(whole), 80)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            now = content()
        except EvaError:
            found += 1
        else:  # white space, or the name of the checksum itself
            assert [without_sum(part) for part in now] == [without_sum(part) for part in before]
    assert found > 40 or (file, found) == ("config.yaml", len(whole))


def without_sum(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return sorted(map(str, content.values()))


def test_a_card_that_was_changed_is_told_how_to_keep_the_change(folder: Path):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "mean": [0.1, 0.2, 0.3]}))
    with pytest.raises(EvaError, match=r"checksum does not fit.*if the change is meant, delete its field sha256"):
        exported(str(folder))
    change(folder, mean=[0.1, 0.2, 0.3])
    assert exported(str(folder)).card.mean == (0.1, 0.2, 0.3)


def test_a_list_that_was_emptied_is_meant(folder: Path):
    slides = json.loads((folder / "slides.json").read_text())
    (folder / "slides.json").write_text(json.dumps({**slides, "seen": []}))
    assert exported(str(folder)).card.training_ids == ()
    (folder / "slides.json").write_text(json.dumps({**slides, "seen": slides["seen"][:1]}))
    with pytest.raises(EvaError, match=r"the list .* has changed"):
        exported(str(folder))
