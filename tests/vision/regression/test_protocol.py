from eva_core.config.protocols import load_protocol, resolve
from eva_core.contracts.cards import DatasetCard
from eva_vision.regression.protocol import PatchRegressionProtocol

CARD = DatasetCard("genes", "patch_regression", metric="pearson")


def test_the_published_protocol_has_the_title_of_the_published_values():
    assert resolve(load_protocol("hest-pca256-ridge"), CARD, "ridge_hest").title == "hest-pca256-ridge"


def test_every_protocol_has_the_head():
    for name in ("strict", "eva-0.4"):
        assert resolve(load_protocol(name), CARD).heads == ("ridge_hest",)


def test_the_section_is_the_same_for_all_datasets():
    section = PatchRegressionProtocol()
    assert section.of("hest_idc") is section
