from dataclasses import replace
from pathlib import Path

import pytest

from eva_core.config.parser import parse
from eva_core.config.protocols import load_protocol, published, resolve
from eva_core.contracts.cards import DatasetCard, Geometry, ModelCard
from eva_core.contracts.protocol import Protocol
from eva_core.errors import UsageError
from eva_vision.segmentation.protocol import Segmentation

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


def changed(**rules):
    protocol = load_protocol("eva-0.4")
    return replace(protocol, segmentation=replace(protocol.segmentation, **rules))


def test_eva_04_for_masks_as_published():
    shipped = load_protocol("eva-0.4").segmentation
    consep, monusac, bcss = (shipped.of(name) for name in ("consep", "monusac", "bcss"))
    for rules in (consep, monusac, bcss):
        assert (rules.lr, rules.weight_decay, rules.batch_size, rules.loss) == (2e-3, 0.01, 64, "dice")
        assert (rules.stitch, rules.ignore, rules.empty, rules.evaluate_every) == (False, "target", "ignore", None)
    assert (consep.heads, consep.tile, consep.mpp, consep.steps, consep.patience, consep.decay) == (
        *(("conv_seg_image",), 250, None, 2000, 200, 0.0),
    )
    assert (monusac.heads, monusac.tile, monusac.augment, monusac.steps, monusac.patience) == (
        *(("conv_seg_image",), None, ("crops",), 2000, 100),
    )
    assert (bcss.heads, bcss.tile, bcss.mpp, bcss.steps, bcss.patience, bcss.decay) == (
        *(("conv_seg",), 224, 0.5, 513, 200, 0.9),
    )


def test_the_offline_protocol_has_no_crops_and_no_image_in_the_decoder():
    shipped = load_protocol("eva-0.4-offline").segmentation
    for name in ("consep", "monusac", "bcss", "another"):
        assert shipped.of(name).augment == ()
        assert shipped.of(name).heads == ("conv_seg",)


def test_strict_stitches_so_that_borders_count():
    shipped = load_protocol("strict").segmentation
    assert (shipped.stitch, shipped.tile, shipped.overlap, shipped.empty) == (True, None, 32, "penalise")
    assert shipped.of("consep") == shipped


def test_rules_of_a_dataset_come_before_the_common_ones_and_what_was_asked_for_before_both():
    shipped = published("eva-0.4").segmentation
    assert shipped.of("bcss", shipped).steps == 513
    assert replace(shipped, steps=7).of("bcss", shipped).steps == 7
    assert replace(shipped, steps=7).of("bcss", shipped).tile == 224
    assert replace(shipped, steps=7).of("consep", shipped).patience == 200
    assert replace(shipped, lr=0.5).of("bcss", shipped) == replace(shipped.of("bcss"), lr=0.5)
    assert replace(shipped, steps=7).of("bcss").steps == 513  # of a protocol that nobody published, as it says
    own = replace(shipped, datasets={"bcss": {"steps": 9, "augment": ["flips"]}})
    assert (own.of("bcss", shipped).steps, own.of("bcss", shipped).augment) == (9, ("flips",))
    assert shipped.of("bcss").datasets == {}


def test_the_title_of_a_segmentation_tells_its_own_departures():
    theirs = published("eva-0.4")
    assert resolve(theirs, CONSEP, "conv_seg_image").title == "eva-0.4"
    assert resolve(theirs, BCSS, "conv_seg").title == "eva-0.4"
    assert resolve(theirs, CONSEP, "conv_seg").title == "eva-0.4+head=conv_seg"
    wrong = changed(ignore="prediction")
    assert resolve(wrong, CONSEP, "conv_seg_image").title == "eva-0.4+segmentation.ignore=prediction"
    assert resolve(wrong, DATASET, "linear").title == "eva-0.4"
    assert resolve(replace(theirs, steps=5, lr=(1.0,), pooling="mean"), CONSEP, "conv_seg_image").title == "eva-0.4"
    assert resolve(replace(theirs, runs=2), CONSEP, "conv_seg_image").title == "eva-0.4+runs=2"
    other = resolve(changed(datasets={"consep": {"tile": 500}}), CONSEP, "conv_seg_image").title
    assert other == "eva-0.4+segmentation.datasets=consep:tile:500"


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


def test_unknown_fields_for_a_dataset_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"Expected fields of protocol\.segmentation for bcss, but got 'stepz'"):
        Segmentation(datasets={"bcss": {"steps": 5, "stepz": 3}})
    with pytest.raises(UsageError, match="'datasets'"):
        Segmentation(datasets={"bcss": {"datasets": {}}})
    file = tmp_path / "p.yaml"
    file.write_text("name: p\nsegmentation: {stepz: 3}\n")
    with pytest.raises(UsageError, match="stepz"):
        load_protocol(str(file))


@pytest.mark.parametrize("field", ["tile", "batch_size", "steps", "evaluate_every"])
def test_rules_of_nothing_are_refused(field):
    with pytest.raises(UsageError, match=f"protocol.segmentation.{field} to be at least 1, but got 0"):
        Segmentation(**{field: 0})
    with pytest.raises(UsageError, match=f"protocol.segmentation.{field} to be at least 1"):
        Segmentation(datasets={"bcss": {field: 0}}).of("bcss")


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


@pytest.mark.parametrize("field", ["lr", "weight_decay", "decay", "mpp", "overlap"])
def test_numbers_of_masks_that_make_no_sense_are_refused(field):
    with pytest.raises(UsageError, match=rf"^Expected protocol\.segmentation\.{field}"):
        Segmentation(**{field: -1})


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
