"""The loader counts, times, warns and goes on where it stopped."""

import itertools
import json
import os
import pickle
import signal
import time
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import get_worker_info

from eva_core.errors import EvaError, UsageError
from eva_pretrain.data import PatchLoader, PatchStream
from eva_vision.slides.sampling import Sampling

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
SAMPLING = Sampling(size=32, mpp=(0.25, 0.5))


def pixels(batches) -> list[bytes]:
    return [batch.pixels.numpy().tobytes() for batch in batches]


def slow(patch: np.ndarray) -> bool:
    time.sleep(0.02)
    return True


def deadly(patch: np.ndarray) -> bool:
    if get_worker_info() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return True


def loader(index, workers: int = 0, **settings) -> PatchLoader:
    return PatchLoader(PatchStream(index, SAMPLING, 4, seed=9), workers=workers, **settings)


def test_epochs_follow_each_other(index):
    whole = pixels(itertools.islice(loader(index), 9))
    epochs = loader(index, workers=2, epoch=3)
    assert len(epochs) == 3
    assert pixels(epochs) + pixels(epochs) + pixels(epochs) == whole


def test_a_loop_that_was_left_goes_on(index):
    whole = pixels(itertools.islice(loader(index), 6))
    epochs = loader(index, workers=2, epoch=6)
    begun = pixels(itertools.islice(epochs, 2))
    assert begun + pixels(epochs) == whole


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 4), (4, 0)])
def test_resuming_equals_never_having_stopped_also_with_other_workers(index, before, after):
    whole = pixels(itertools.islice(loader(index), 12))
    stopped, states = loader(index, before), []
    for _ in itertools.islice(stopped, 5):
        states.append(stopped.state_dict())
    stopped.close()
    state = json.loads(json.dumps(states[-1]))
    assert len(pickle.dumps(state)) < 2_500
    resumed = loader(index, after)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed.load_state_dict(state)
    assert pixels(itertools.islice(resumed, 7)) == whole[5:]
    assert resumed.batches == 12


@pytest.mark.slow
def test_spawned_workers_give_the_same(index):
    spawned = loader(index, workers=1, context="spawn")
    assert pixels(itertools.islice(spawned, 3)) == pixels(itertools.islice(loader(index), 3))


def test_pixels_come_from_workers_in_shared_memory(index):
    assert next(iter(loader(index, workers=1))).pixels.is_shared()
    assert not next(iter(loader(index))).pixels.is_shared()


def test_another_stream_is_told(index):
    state = loader(index).state_dict()
    other = PatchLoader(PatchStream(index, SAMPLING, 8, seed=1), workers=0)
    with pytest.warns(UserWarning, match="differs in seed, batch_size: it goes on with other patches"):
        other.load_state_dict(state)


def test_waiting_is_measured(index):
    waiting = PatchLoader(PatchStream(index, SAMPLING, 4, keep=slow), workers=0, epoch=4)
    for _ in waiting:
        pass
    assert waiting.started_s >= 0.08
    assert waiting.waited_s >= 3 * 0.08
    assert waiting.waited_share > 0.9
    working = loader(index, workers=1, epoch=6)
    for _ in working:
        time.sleep(0.05)
    assert working.busy_s >= 5 * 0.05
    assert working.waited_share < 0.5
    assert "24 patches of 3 slides; waited" in working.report()


def test_a_slide_that_fails_is_told_once_and_reported(fragile):
    os.unlink(fragile.entries[1].path)
    reading = loader(fragile, workers=2, epoch=12)
    with pytest.warns(UserWarning, match=r"b\.svs is left out from here on: Expected a slide at") as told:
        assert all((batch.slide != 1).all() for batch in reading)
    assert len(told) == 1
    assert "1 slides were left out: b.svs." in reading.report()
    assert "  b.svs: Expected a slide at" in reading.report()
    assert list(reading.state_dict()["left_out"]) == [fragile.entries[1].path]


def test_what_did_not_pass_is_counted(index):
    dark = PatchLoader(PatchStream(index, SAMPLING, 8, keep=lambda patch: patch.mean() < 190), workers=0, epoch=4)
    for _ in dark:
        pass
    assert f"{dark.rejected} patches did not pass the filter" in dark.report()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_is_one_line(fragile, workers):
    for entry in fragile.entries:
        os.unlink(entry.path)
    with pytest.raises(EvaError, match=r"^Expected slides that can be read, but all 3 failed") as raised:
        next(iter(loader(fragile, workers)))
    assert "\n" not in str(raised.value)


def test_a_worker_that_is_killed(index):
    killed = PatchLoader(PatchStream(index, SAMPLING, 4, keep=deadly), workers=1)
    with pytest.raises(EvaError, match="Expected workers that read on, but one died"):
        next(iter(killed))


def test_settings_that_make_no_sense(index):
    with pytest.raises(UsageError, match="workers x prefetch below 128, but got 64 x 2"):
        loader(index, workers=64)
    with pytest.raises(UsageError, match="epoch to be at least 1"):
        loader(index, epoch=0)


@pytest.mark.slow
def test_lightning_trains_and_resumes_on_the_same_patches(index, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.seen = torch.nn.Linear(1, 1), []

        def training_step(self, batch, number):
            self.seen.append(batch.number.tolist())
            return self.layer(batch.pixels.float().mean().view(1, 1)).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e-9)

    def train(steps: int, checkpoint: str | None = None) -> list[list[int]]:
        model = Model()
        trainer = lightning.Trainer(
            max_steps=steps, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False,
        )  # fmt: skip
        trainer.fit(model, loader(index, epoch=4), ckpt_path=checkpoint)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return model.seen

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = train(10)
        assert train(6) + train(10, str(tmp_path / "last.ckpt")) == whole
