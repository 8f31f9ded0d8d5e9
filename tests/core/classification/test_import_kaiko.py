import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from eva_core.api import fit_embeddings
from eva_core.classification.import_kaiko import import_folder
from eva_core.cli import main
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError, UsageError
from eva_core.store.store import Store

QUICK = Protocol("quick", steps=60, lr=(0.05,), runs=2)


def again(root: Path, old: str, new: str) -> None:
    manifest = root / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(old, new))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty embeddings as kaiko-eva writes them, half of them wrapped in a list."""
    root, generator = tmp_path / "embeddings", torch.Generator().manual_seed(0)
    root.mkdir()
    with (root / "manifest.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["origin", "embeddings", "target", "split"])
        for i in range(40):
            target = i % 2
            value = torch.randn(1, 8, generator=generator) + 4 * target
            torch.save([value] if i % 4 < 2 else value.squeeze(0), root / f"{i}.pt")
            writer.writerow([f"images/{i}.png", f"{i}.pt", target, "train" if i < 24 else "val"])
    return root


def test_a_folder_becomes_a_store(folder: Path):
    path = import_folder(folder, "their_model", "their_data", ["no", "yes"])
    store = Store(path)
    assert store.shape == (40, 8)
    assert store.imported
    rows = store.rows("val")
    expected = torch.load(folder / "24.pt")
    value = expected[0] if isinstance(expected, list) else expected
    assert np.array_equal(store.read(rows)[0], value.squeeze().numpy())
    assert import_folder(folder, "their_model", "their_data", ["no", "yes"]) == path


def test_a_store_is_evaluated_without_a_colour_baseline(folder: Path, tmp_path: Path):
    results = fit_embeddings(import_folder(folder, "m", "d"), protocol=QUICK, output=tmp_path / "r")
    assert results["main"]["mean"] == 1
    assert results["baselines"] == {}
    assert results["identity"]["model"] == "m"
    assert results["identity"]["protocol"].endswith("+embeddings=imported")


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["import", str(folder), "--model", "m", "--dataset", "d"]) == 0
    store = capsys.readouterr().out.strip()
    argv = [
        "fit",
        "--embeddings",
        store,
        "--protocol.steps",
        "20",
        "--protocol.runs",
        "2",
        "--output",
        str(tmp_path / "r"),
    ]
    assert main(argv) == 0
    assert "m on d" in capsys.readouterr().out
    assert main([*argv, "--model", "colour_stats"]) == 2
    assert main(["fit", "--embeddings", "gone.h5"]) == 2


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda root: (root / "manifest.csv").unlink(), UsageError, "there is none"),
        (lambda root: (root / "3.pt").unlink(), UsageError, "missing: 3.pt"),
        (lambda root: (root / "3.pt").write_bytes(b"no"), EvaError, "does not read"),
        (lambda root: torch.save(torch.zeros(2, 8), root / "3.pt"), EvaError, "slides are not imported"),
        (lambda root: torch.save(torch.full((8,), torch.nan), root / "3.pt"), EvaError, "finite embedding"),
        (lambda root: torch.save(torch.zeros(9), root / "3.pt"), EvaError, "of one size"),
        (lambda root: again(root, "images/3.png", "images/4.png"), UsageError, "each origin once"),
        (lambda root: again(root, ",val", ",valid"), UsageError, "split train, val or test"),
        (lambda root: (root / "manifest.csv").write_text("origin,split\na,b\n"), UsageError, "embeddings, target"),
    ],
)
def test_folders_that_make_no_sense(folder: Path, spoil, error, message):
    spoil(folder)
    with pytest.raises(error, match=message):
        import_folder(folder, "m", "d")


def test_strict_needs_images(folder: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="have neither"):
        fit_embeddings(import_folder(folder, "m", "d"), protocol="strict", output=tmp_path / "r")
