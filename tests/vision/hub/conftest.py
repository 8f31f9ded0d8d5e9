"""An export, a result of it, and a token."""

from pathlib import Path

import pytest

from eva_pretrain.run.export import ExportDetails, export
from eva_vision.models.timm import timm_model
from tests.hub import TOKEN, Hub

NAME = "tiny-3f2a91c0"
CONFIG = """name: tiny
method: {class_path: dinov2, init_args: {prototypes: 1024, spread: kde}}
vit: {arch: test_vit, start: /home/somebody/start.pth}
data: {slides: /mnt/hospital/*.svs, batch_size: 32}
recipe: {steps: 7, lr: 0.002, momentum: [0.99, 1.0]}
"""


@pytest.fixture
def export_folder(tmp_path: Path) -> Path:
    network = timm_model("test_vit", depth=2).network  # type: ignore[attr-defined]
    details = ExportDetails(
        name=NAME,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        size=32,
        mpp=(0.25, 0.5),
        config=CONFIG,
        step=7,
        seen=[("TCGA-AA-1234-01Z-00-DX1.svs", None), ("private.svs", "patient7")],
    )
    return export(tmp_path / "run" / "export", network.state_dict(), "test_vit", {"depth": 2}, details)


@pytest.fixture
def token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set in the environment; it may write what `me` owns."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return TOKEN
