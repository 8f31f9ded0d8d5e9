"""One finished result for all tests of this folder, with the store behind it."""

from pathlib import Path

import pytest
from PIL import Image

from eva_core import api
from eva_core.cli import main
from tests.conftest import picture

PER_SPLIT = {"train": 12, "test": 60}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images of 24 patients in `data`, the cache, and a result in `out`."""
    root = tmp_path_factory.mktemp("shifts")
    lines = ["path,label,split,group"]
    for split, n in PER_SPLIT.items():
        (root / "data" / split).mkdir(parents=True)
        for i in range(n):
            tint, label = [((210, 130, 170), "pink"), ((180, 130, 200), "purple")][i % 2]
            Image.fromarray(picture(1000 * len(split) + i, tint, 16)).save(root / "data" / split / f"{i}.png")
            lines.append(f"{split}/{i}.png,{label},{split},{split}{i // 3}")
    (root / "data/manifest.csv").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVA_CACHE", str(root / "cache"))
        patch.setattr(api, "try_report", lambda *_: None)  # its map of the embeddings takes seconds
        data = ["--config", "folder", "--dataset.root", str(root / "data"), "--dataset.mpp", "0.5"]
        how = ["--workers", "0", "--device", "cpu", "--output", str(root / "out")]
        assert main(["fit", *data, "--model", "colour_stats", "--protocol", "strict", "--head", "knn", *how]) == 0
    return root


@pytest.fixture
def fitted(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the result; its cache is there."""
    monkeypatch.setenv("EVA_CACHE", str(made / "cache"))
    return made / "out"
