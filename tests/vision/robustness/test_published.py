import pytest

from eva_core.config.protocols import load_protocol
from eva_core.contracts.cards import ModelCard
from eva_vision.robustness import published
from eva_vision.robustness.contracts import Benchmark
from eva_vision.robustness.published import beside
from eva_vision.robustness.schema import Value

VALUES = {name: Value(value=0.5, ci95=None) for name in ("robustness_index", "croma", "croma_ltm10")}
CAMELYON = Benchmark(11, "train", index_task="pathorob_camelyon", margin_task="pathorob_camelyon")


def rows(card: ModelCard, benchmark: Benchmark, pooling: str) -> dict[str, tuple[str, float | None]]:
    from dataclasses import replace

    protocol = replace(load_protocol("strict"), pooling=pooling)
    return {row["metric"]: (row["ours"], row["delta"]) for row in beside(card.name, card, protocol, benchmark, VALUES)}


def test_a_difference_only_where_the_protocol_is_the_same():
    card = ModelCard("uni2_h", pooling="cls")
    found = rows(card, CAMELYON, "card")
    assert found["robustness_index"] == ("pathorob+pooling=cls", None)
    assert found["croma"] == ("croma-1.0.0", pytest.approx(0.5 - 0.045))
    assert found["croma_ltm10"] == ("croma-1.0.0", pytest.approx(0.5 + 0.209))
    found = rows(card, CAMELYON, "cls_mean")
    assert found["robustness_index"] == ("pathorob", pytest.approx(0.5 - 0.544))
    assert found["croma"] == ("croma-1.0.0+pooling=cls_mean", None)


def test_other_rows_are_a_departure_of_what_was_published_on_them():
    card = ModelCard("uni2_h", pooling="cls")
    tcga = Benchmark(61, "train", (), "pathorob_tcga_2x2", "pathorob_tcga_4x4", ("rows=4x4",))
    found = rows(card, tcga, "cls_mean")
    assert found["robustness_index"] == ("pathorob+rows=4x4+pooling=cls_mean".removesuffix("+pooling=cls_mean"), None)
    assert rows(card, tcga, "cls")["croma"] == ("croma-1.0.0", pytest.approx(0.5 - 0.075))
    tolkach = Benchmark(46, "train", (), "pathorob_tolkach_esca", "pathorob_tolkach_esca", ("rows=ID",))
    assert rows(card, tolkach, "cls")["croma"] == ("croma-1.0.0+rows=ID", None)


def test_nothing_published_nothing_said():
    assert rows(ModelCard("mine"), CAMELYON, "cls") == {}
    assert rows(ModelCard("uni2_h"), Benchmark(), "cls") == {}


def test_each_published_value_has_its_source():
    values = {key: value for key, value in published.published_values().items() if key[1].startswith("pathorob")}
    assert len(values) == 48
    assert {protocol for of in values.values() for protocol in of} == {published.INDEX, published.MARGIN}
