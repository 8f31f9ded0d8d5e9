"""The trainer: what it refuses."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from eva_core.errors import EvaError, UsageError
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


def test_the_best_so_far_is_known_in_another_folder(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    def keeper(folder: Path) -> trainer._Keeper:
        return trainer._Keeper(1, folder, monitor="monitor/knn", mode="max")

    state = keeper(tmp_path / "old").state_dict()
    before = str(tmp_path / "old/best-2.ckpt")
    state |= {"best_model_score": 0.5, "best_model_path": before, "kth_best_model_path": before}
    moved = keeper(tmp_path / "new")
    moved.load_state_dict(state | {"best_k_models": {before: 0.5}, "kth_value": 0.5})
    after = str(tmp_path / "new/best-2.ckpt")
    assert (moved.best_model_score, moved.best_k_models, moved.best_model_path) == (0.5, {after: 0.5}, after)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("error", "processes", "said"),
    [
        (RuntimeError("[/x/gloo/pair.cc:545] Read error: reset by peer"), 2, "Expected all 2 devices .* yet"),
        (torch.distributed.DistStoreError("1/2 clients joined"), 2, "Expected all 2 devices .* has ended"),
        (RuntimeError("[/x/gloo/pair.cc:545] Read error"), 1, "^.*Read error$"),
        (RuntimeError("shapes cannot be multiplied"), 2, "^shapes cannot be multiplied$"),
    ],
)
def test_a_rank_that_died_is_told_to_the_others(error: Exception, processes: int, said: str, tmp_path: Path) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise error

    of_one_rank = SimpleNamespace(is_global_zero=False, world_size=processes, default_root_dir=tmp_path, fit=fit)
    with pytest.raises((EvaError, RuntimeError), match=said):
        trainer.run(of_one_rank, None, None, None)  # type: ignore[arg-type]
