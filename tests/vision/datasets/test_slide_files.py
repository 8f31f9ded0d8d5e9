from pathlib import Path

from eva_core.contracts.cards import DatasetCard
from eva_core.contracts.dataset import Sample
from eva_vision.datasets.slide_files import SlideFiles
from eva_vision.slide_level.contracts import SlideFile
from tests.vision.datasets import trees


class Two(SlideFiles):
    card = DatasetCard("two", task="slide_classification", classes=("a", "b"))

    def __init__(self, folder: Path) -> None:
        self.samples = [Sample(name, "cv", n, folder / f"{name}.tif", group=name) for n, name in enumerate("ab")]


def test_a_sample_is_one_slide_by_its_absolute_path(tmp_path: Path, monkeypatch):
    for n, name in enumerate("ab"):
        trees.write_slide(tmp_path / f"{name}.tif", n, (150, 60, 150), 0.5)
    monkeypatch.chdir(tmp_path)
    dataset = Two(Path())
    assert dataset.slides(dataset.samples[1]) == (SlideFile("b", str(tmp_path / "b.tif")),)
    assert dataset.image(dataset.samples[0]).shape == (256, 256, 3)
    assert len({*dataset.identities().values()}) == 2
