"""Cards: what they refuse, and that reading one costs nothing."""

import subprocess
import sys

import pytest

import eva_core.types
from eva_core.contracts import cards
from eva_core.contracts.cards import DatasetCard, ModelCard, card
from eva_core.errors import UsageError


def test_cards_import_neither_torch_nor_numpy():
    code = "import sys, eva_core.contracts.cards; sys.exit(bool({'torch', 'numpy', 'timm'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", ["Pooling", "Geometry", "ModelCard", "DatasetCard", "Builder", "card"])
def test_the_promised_path_has_the_same_cards(name: str):
    assert getattr(eva_core.types, name) is getattr(cards, name)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: ModelCard("a", mean=(0.5,)), "mean of red, green and blue"),
        (lambda: ModelCard("a", std=(0.5, float("nan"), 0.5)), "std of red, green and blue"),
        (lambda: ModelCard("a", std=(0.5, 0.0, 0.5)), "std above 0"),
        (lambda: DatasetCard("a/b"), "a dataset's name that can be a file's name"),
        (lambda: DatasetCard("a", mpp=0.0), "mpp above 0"),
    ],
)
def test_cards_that_would_give_wrong_pixels_or_paths_are_refused(made, said):
    with pytest.raises(UsageError, match=said):
        made()


def test_a_builder_carries_its_card():
    @card(ModelCard("a", dim=3))
    def builder() -> None:
        """Build nothing."""

    assert builder.card.dim == 3
