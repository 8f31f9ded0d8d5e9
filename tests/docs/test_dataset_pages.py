"""Pages of datasets: a dataset is three touches, and its page, navigation and config follow from them."""

import inspect
import shutil
from pathlib import Path

import dataset_pages
import pytest

from eva_core import registry
from eva_core.config import files as config_files
from eva_core.config.files import find_config
from tests.vision.datasets import trees

HOME = Path(__file__).parents[2]
SECTIONS = HOME / "docs/datasets"
TOY = '''"""Toy: two colours."""

from eva_core.types import Dataset, DatasetCard


class Toy(Dataset):
    """Images of two colours, https://example.org/toy."""

    card = DatasetCard(name="toy", classes=("pink", "blue"), mpp=0.5, licence="CC0", citation="A 2020, doi:10.1/x")

    def __init__(self, root: str, side: int | None = None) -> None:
        """Index the images.

        Args:
            root: The folder.
            side: Side of an image
                in pixels.
        """
'''
"""The first touch: the file of a dataset."""
LINE = registry.Entry("toy", "toy_dataset:Toy", "eva-pathology", "1", "")
"""The second touch: its line in pyproject.toml."""
YAML = "dataset:\n  class_path: toy\nprotocol: eva-0.4\n"
"""The third touch: its config."""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[registry.Entry]:
    """The datasets of this package and one more, by its three touches."""
    (tmp_path / "toy_dataset.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    before = [entry for entry in registry.datasets.entries() if entry.package == LINE.package]
    monkeypatch.setattr(registry.datasets, "entries", lambda: [*before, LINE])
    shutil.copytree(HOME / "configs", tmp_path / "configs")
    (tmp_path / "configs/tasks/toy.yaml").write_text(YAML)
    for module in (config_files, dataset_pages):
        monkeypatch.setattr(module, "shipped", lambda folder: tmp_path / folder)
    return registry.datasets.entries()


def test_three_touches_make_a_page_a_place_in_the_navigation_and_a_config(toy: list[registry.Entry]):
    pages = dataset_pages.pages(toy, SECTIONS)
    page = pages["datasets/toy.md"]
    assert page.startswith("# toy\n\nImages of two colours, https://example.org/toy.\n")
    assert "| classes, in order | pink, blue |\n" in page
    assert "| micrometres per pixel | 0.5 in the file |\n" in page
    assert "| `--dataset.root` | `str` | required | The folder. |\n" in page
    assert "| `--dataset.side` | `int | None` | `None` | Side of an image in pixels. |\n" in page
    assert f'```yaml title="configs/tasks/toy.yaml"\n{YAML}```' in page
    assert "A 2020, [doi:10.1/x](https://doi.org/10.1/x)" in page
    assert {"toy": "datasets/toy.md"} in dataset_pages.navigation(toy)
    assert "| [toy](toy.md) | Toy: two colours. | classification | 2 | 0.5 | CC0 |" in pages["datasets/index.md"]
    assert find_config("toy").read_text() == YAML


def test_mkdocs_has_the_page_and_its_place(toy: list[registry.Entry], monkeypatch: pytest.MonkeyPatch):
    import reference_pages
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import get_files
    from mkdocs.structure.nav import get_navigation

    monkeypatch.setattr(reference_pages, "pages", lambda entries: {})
    config = MkDocsConfig(str(HOME / "mkdocs.yml"))
    hooks = [str(HOME / "docs/hooks/generated.py")]
    config.load_dict({"site_name": "eva", "plugins": [], "hooks": hooks, "nav": [{"Datasets": "datasets/index.md"}]})
    assert config.validate() == ([], [])
    config.plugins.on_config(config)
    files = config.plugins.on_files(get_files(config), config=config)
    places = [page.file.src_uri for page in get_navigation(files, config).pages]
    assert places[0] == "datasets/index.md"
    assert places[-1] == "datasets/toy.md"
    assert files.get_file_from_path("datasets/toy.md").content_string.startswith("# toy")
    assert files.get_file_from_path("datasets/folder.md").content_string.startswith("# folder")


def test_a_section_written_by_hand_joins_the_card():
    rows = "| licence | it depends |\n| groups | none |\n"
    written = f"Words.\n\n| property | value |\n|---|---|\n{rows}\n**Split.** By hand.\n"
    page = dataset_pages.page("phantom", registry.datasets.load("phantom"), written)
    assert page.startswith("# phantom\n\nWords.\n\n| property | value |\n|---|---|\n| task | classification |\n")
    assert "| licence | it depends |\n" in page
    assert "| groups | none |\n\n**Split.** By hand.\n\n## Arguments\n" in page
    assert page.count("licence |") == 1


def test_every_section_is_of_a_dataset_and_without_title():
    for section in SECTIONS.glob("*.md"):
        assert section.stem in trees.NAMES
        assert not section.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", trees.NAMES)
def test_every_argument_of_a_dataset_is_explained_on_its_page(name: str):
    page = dataset_pages.pages([registry.datasets.find(name)], SECTIONS)[f"datasets/{name}.md"]
    for argument in inspect.signature(registry.datasets.load(name)).parameters:
        row = next(line for line in page.splitlines() if line.startswith(f"| `--dataset.{argument}` |"))
        assert not row.endswith("|  |")


def test_a_public_dataset_is_named_by_its_three_touches_and_its_test_alone():
    places = ("src", "configs", "docs", "tests", "bench", "README.md", "mkdocs.yml", "pyproject.toml")
    files = [f for place in places for f in ((HOME / place).rglob("*") if (HOME / place).is_dir() else [HOME / place])]
    word = "".join(("unito", "patho"))  # not to be found here
    named = {
        str(file.relative_to(HOME))
        for file in files
        if file.suffix in (".py", ".md", ".yaml", ".yml", ".toml", ".csv", ".html") and word in file.read_text("utf-8")
    }
    assert named == {
        f"src/eva_vision/datasets/{word}.py",
        f"configs/tasks/{word}.yaml",
        f"tests/vision/datasets/test_{word}.py",
        "pyproject.toml",
    }
