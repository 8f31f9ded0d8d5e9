"""The trainer: what it refuses."""

from pathlib import Path

import pytest

from eva_core.errors import UsageError
from eva_pretrain.run import trainer


def test_fp16_without_a_gpu_is_refused_as_it_would_be_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "gpus", lambda: 0)
    settings = trainer.Training(precision="16-mixed")
    with pytest.raises(UsageError, match=r"Expected a GPU for --training\.precision 16-mixed"):
        trainer.make_trainer(settings, None, 1, tmp_path, None, [], 0, None)  # type: ignore[arg-type]
