from dataclasses import replace

import pytest

from eva_core.config import load_protocol, published
from eva_core.errors import UsageError
from eva_core.types import DatasetCard, Geometry, ModelCard

DATASET = DatasetCard("bach")
CARD = ModelCard("m", geometry=Geometry(256, 256, "bicubic"), pooling="cls_mean", precision="bf16")


def test_eva_04_takes_only_mean_and_std_from_the_card():
    protocol = load_protocol("eva-0.4")
    assert protocol.geometry_for(CARD) == Geometry(224, 224, "bilinear")
    assert protocol.pooling_for(CARD) == "cls"
    assert protocol.precision_for(CARD) == "fp32"
    assert (protocol.lr, protocol.weight_decay, protocol.batch_size, protocol.steps) == ((3e-4,), 0.01, 256, 12_500)
    assert (protocol.warmup_factor, protocol.warmup_epochs) == (pytest.approx(1 / 3), 5)
    assert protocol.patience["pcam"] == 3


def test_strict_takes_everything_from_the_card():
    protocol = load_protocol("strict")
    assert protocol.geometry_for(CARD) == CARD.geometry
    assert protocol.pooling_for(CARD) == "cls_mean"
    assert protocol.precision_for(CARD) == "bf16"
    assert len(protocol.C) == 13
    assert protocol.lr == (1e-4, 3e-4, 1e-3, 3e-3)


def test_the_title_names_every_departure():
    protocol = load_protocol("eva-0.4")
    theirs = published("eva-0.4")
    assert protocol.title(theirs, "linear", DATASET) == "eva-0.4"
    assert replace(protocol, steps=50).title(theirs, "linear", DATASET) == "eva-0.4+steps=50"
    assert replace(protocol, precision="bf16", runs=2).title(theirs, "mlp", DATASET) == "eva-0.4+head=mlp+precision=bf16+runs=2"
    mine, longer = (replace(protocol, name="mine", steps=n).title(None, "linear", DATASET) for n in (10, 20))
    assert mine.startswith("mine+unpublished=")
    assert mine != longer  # the same name with other content is another protocol
    assert load_protocol("strict").title(published("strict"), "linear", DATASET) == "strict"


def test_a_protocol_with_an_unknown_field_is_refused(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("name: p\nstepz: 3\n")
    with pytest.raises(UsageError, match="stepz"):
        load_protocol(str(file))


def test_other_default_heads_do_not_hide_that_the_head_is_another():
    theirs = published("eva-0.4")
    assert replace(theirs, heads=("knn",)).title(theirs, "knn", DATASET) == "eva-0.4+head=knn"
