from dataclasses import replace

import pytest

from eva_core.config.protocols import load_protocol, published, resolve
from eva_core.contracts.cards import DatasetCard
from eva_core.errors import UsageError
from eva_vision.segmentation.protocol import Segmentation

DATASET = DatasetCard("bach")


CONSEP, BCSS = (DatasetCard(name, "segmentation", background=0) for name in ("consep", "bcss"))


def changed(**fields):
    protocol = load_protocol("eva-0.4")
    return replace(protocol, segmentation=replace(protocol.segmentation, **fields))


def test_eva_04_for_masks_as_published():
    shipped = load_protocol("eva-0.4").segmentation
    consep, monusac, bcss = (shipped.of(name) for name in ("consep", "monusac", "bcss"))
    for section in (consep, monusac, bcss):
        assert (section.lr, section.weight_decay, section.batch_size, section.loss) == (2e-3, 0.01, 64, "dice")
        assert (section.stitch, section.ignore, section.empty, section.evaluate_every) == (
            False,
            "target",
            "ignore",
            None,
        )
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


@pytest.mark.parametrize("field", ["lr", "weight_decay", "decay", "mpp", "overlap"])
def test_numbers_of_masks_that_make_no_sense_are_refused(field):
    with pytest.raises(UsageError, match=rf"^Expected protocol\.segmentation\.{field}"):
        Segmentation(**{field: -1})
