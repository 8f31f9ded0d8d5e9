"""The trainer: what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from eva_core.errors import UsageError
from eva_pretrain.run import trainer


def test_fp16_without_a_gpu_is_refused_as_it_would_be_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "gpus", lambda: 0)
    settings = trainer.Training(precision="16-mixed")
    with pytest.raises(UsageError, match=r"Expected a GPU for --training\.precision 16-mixed"):
        trainer.make_trainer(settings, None, 1, tmp_path, None, [], 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"keep_last": 0}, "training.keep_last to be at least 1, but got 0"),
        ({"keep_every": -1}, "training.keep_every to be at least 0, but got -1"),
        ({"max_hours": 0.0}, "training.max_hours above 0, but got 0.0"),
    ],
)
def test_nonsense_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=f"Expected {said}"):
        trainer.Training(**change)
