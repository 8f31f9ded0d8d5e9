from dataclasses import replace
from pathlib import Path

import pytest

from eva_core.config.parser import parse
from eva_core.config.protocols import load_protocol, published, resolve
from eva_core.contracts.cards import DatasetCard, Geometry, ModelCard
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError

DATASET = DatasetCard("bach")
CARD = ModelCard("m", geometry=Geometry(256, 256, "bicubic"), pooling="cls_mean", precision="bf16")


def test_eva_04_takes_only_mean_and_std_from_the_card():
    protocol = load_protocol("eva-0.4")
    assert protocol.geometry_for(CARD) == Geometry(224, 224, "bilinear")
    assert protocol.pooling_for(CARD) == "cls"
    assert protocol.precision_for(CARD) == "fp32"
    assert (protocol.lr, protocol.weight_decay, protocol.batch_size, protocol.steps) == ((3e-4,), 0.01, 256, 12_500)
    assert (protocol.warmup_factor, protocol.warmup_epochs) == (pytest.approx(1 / 3), 5)
    published = {"bach": 1250, "crc": 7, "mhist": 278, "pcam": 3, "breakhis": 500, "gleason": 42, "bracs": 167}
    assert published.items() <= protocol.patience.items()
    assert len(protocol.patience) == 8


def test_a_protocol_without_patience_has_what_configs_state_for_its_name(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    for text, pcam in (("name: eva-0.4", 3), ("name: mine", None), ("name: eva-0.4\npatience: {}", None)):
        file.write_text(text)
        assert load_protocol(str(file)).patience.get("pcam") == pcam


def test_strict_takes_everything_from_the_card():
    protocol = load_protocol("strict")
    assert protocol.geometry_for(CARD) == CARD.geometry
    assert protocol.pooling_for(CARD) == "cls_mean"
    assert protocol.precision_for(CARD) == "bf16"
    assert len(protocol.C) == 13
    assert protocol.lr == (1e-4, 3e-4, 1e-3, 3e-3)


def test_the_title_names_every_departure():
    protocol = load_protocol("eva-0.4")
    assert resolve(protocol, DATASET, "linear").title == "eva-0.4"
    assert resolve(replace(protocol, steps=50), DATASET, "linear").title == "eva-0.4+steps=50"
    assert (
        resolve(replace(protocol, precision="bf16", runs=2), DATASET, "mlp").title
        == "eva-0.4+head=mlp+precision=bf16+runs=2"
    )
    mine, longer = (resolve(replace(protocol, name="mine", steps=n), DATASET, "linear").title for n in (10, 20))
    assert mine.startswith("mine+unpublished=")
    assert mine != longer  # the same name with other content is another protocol
    assert resolve(load_protocol("strict"), DATASET, "linear").title == "strict"


def test_a_protocol_with_an_unknown_field_is_refused(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("name: p\nstepz: 3\n")
    with pytest.raises(UsageError, match="stepz"):
        load_protocol(str(file))


def test_other_default_heads_do_not_hide_that_the_head_is_another():
    theirs = published("eva-0.4")
    assert resolve(replace(theirs, heads=("knn",)), DATASET, "knn").title == "eva-0.4+head=knn"


CONSEP, BCSS = (DatasetCard(name, "segmentation", background=0) for name in ("consep", "bcss"))


def test_the_command_line_reaches_the_rules():
    size = [f"--dataset.{name}=1" for name in ("train", "val", "test")]
    argv = ["--dataset", "phantom_nuclei", *size, "--model", "colour_stats"]
    rules = ["--protocol.segmentation.ignore", "prediction", "--protocol.segmentation.tile", "96"]
    asked = parse("fit", [*argv, *rules]).protocol
    assert resolve(asked, CONSEP, "conv_seg_image").title == (
        "eva-0.4+segmentation.ignore=prediction+segmentation.tile=96"
    )
    for name in ("strict", "eva-0.4-offline", "eva-0.4"):
        assert parse("fit", [*argv, "--protocol", name]).protocol == load_protocol(name)
    with pytest.raises(UsageError, match="segmentation"):
        parse("fit", [*argv, "--protocol.segmentation.ignore", "everything"])


WRONG = {
    "steps": 0,
    "runs": -1,
    "seed": -1,
    "warmup_epochs": -1,
    "warmup_factor": 0.0,
    "holdout": 1.0,
    "lr": (),
    "C": (1.0, 0.0),
    "betas": (0.9, 1.0),
    "weight_decay": float("nan"),
    "min_delta": float("inf"),
    "patience": {"crc": 0},
    "geometry": Geometry(crop=0),
}


@pytest.mark.parametrize("field", WRONG)
def test_numbers_that_make_no_sense_are_refused(field):
    with pytest.raises(UsageError, match=rf"^Expected protocol\.{field}"):
        Protocol("p", **{field: WRONG[field]})


def test_a_file_means_the_same_from_python_and_on_the_command_line(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nlr: [3e-4, 1e-3]\nweight_decay: 1e-2\nC: [1e-3, 1]\nheads: [logreg]\ngeometry: {resize: 256}\n"
        "segmentation: {lr: 2e-3, augment: [flips], datasets: {bcss: {steps: 513}}}\n"
    )
    size = [f"--dataset.{name}=1" for name in ("train", "val", "test")]
    typed = parse("fit", ["--dataset", "phantom", *size, "--model", "colour_stats", "--protocol", str(file)]).protocol
    assert load_protocol(str(file)) == typed
    assert typed.lr == (3e-4, 1e-3)
    assert typed.segmentation.lr == 2e-3
    assert typed.geometry == Geometry(resize=256)


@pytest.mark.parametrize("text", ["steps: many", "lr: [fast]", "heads: 3", "geometry: small"])
def test_a_file_of_other_types_is_refused_at_once(tmp_path, text):
    (tmp_path / "p.yaml").write_text(f"name: p\n{text}\n")
    with pytest.raises(
        UsageError, match=r"Expected the fields of a protocol in .*p\.yaml, but: .*" + text.split(":")[0]
    ):
        load_protocol(str(tmp_path / "p.yaml"))
