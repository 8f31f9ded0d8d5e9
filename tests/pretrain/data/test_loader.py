"""The loader counts, times, warns and goes on where it stopped."""

import itertools
import json
import os
import pickle
import signal
import time
import warnings
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import get_worker_info

from eva_core.errors import EvaError, UsageError
from eva_pretrain.data import loader as module
from eva_pretrain.data.loader import PatchLoader, PatchStream
from eva_vision.slides.sampler import Sampling
from eva_vision.synthetic.slides import write_phantom_slide
from tests.pretrain.conftest import make_index

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
    with pytest.warns(UserWarning, match="differs in seed, batch: it goes on with other patches"):
        other.load_state_dict(state)


def resumed(before: PatchLoader, after: PatchLoader) -> list[str]:
    """What the second says when it goes on from the first, by way of JSON."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    return [str(warning.message) for warning in told]


def streamed(index, sampling=SAMPLING, **settings) -> PatchLoader:
    return PatchLoader(PatchStream(index, sampling, 4, seed=9, **settings), workers=0)


def test_another_list_of_exclusions_is_told(index, tmp_path):
    listed = tmp_path / "exclude.txt"
    excluding = replace(SAMPLING, exclude=str(listed))
    listed.write_text("a.svs")
    before = streamed(index, excluding)
    moved = tmp_path / "elsewhere.txt"
    moved.write_text("a.svs")
    assert resumed(before, streamed(index, replace(SAMPLING, exclude=str(moved)))) == []
    listed.write_text("b.svs")
    (told,) = resumed(before, streamed(index, excluding))
    assert "differs in slides:" in told


def test_other_weights_of_slides_are_told(index, tmp_path):
    table = tmp_path / "weights.csv"
    weighted = replace(SAMPLING, slides="column", table=str(table))
    table.write_text("slide,weight\na,1\nb,1\nc,1\n")
    before = streamed(index, weighted)
    assert resumed(before, streamed(index)) == []
    table.write_text("slide,weight\na,1\nb,2\nc,1\n")
    (told,) = resumed(before, streamed(index, weighted))
    assert "differs in slides:" in told


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"keep": slow}, "keep"), ({"exact": True}, "exact"), ({"sampling": Sampling(size=32, mpp=(0.5,))}, "sampling")],
)
def test_another_setting_is_told(index, settings, what):
    (told,) = resumed(streamed(index), streamed(index, **settings))
    assert f"differs in {what}:" in told


def test_a_slide_that_was_replaced_is_told(fragile, tmp_path):
    before = streamed(fragile)
    write_phantom_slide(tmp_path / "b.svs", 1024, 768, seed=7, levels=2)
    (told,) = resumed(before, streamed(make_index(tmp_path)))
    assert "differs in contents" in told


def test_a_report_after_resuming_says_why_slides_were_left_out(fragile):
    os.unlink(fragile.entries[1].path)
    before, after = loader(fragile, epoch=12), loader(fragile, epoch=12)
    with pytest.warns(UserWarning, match=r"b\.svs is left out"):
        assert len(list(before)) == 12
    assert resumed(before, after) == []
    assert "  b.svs: Expected a slide at" in after.report()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was told
        assert len(list(after)) == 12
    assert "96 patches of 2 slides" in after.report()


def test_what_was_seen_is_known_after_resuming(index, fragile, tmp_path):
    before = streamed(index, replace(SAMPLING, exclude=str(written(tmp_path / "b.txt", "b.svs"))))
    list(itertools.islice(before, 5))
    assert before.seen == {0, 2}
    after = streamed(index)
    resumed(before, after)
    assert (after.seen, after.patches_seen, after.patches) == ({0, 2}, 20, 0)
    assert after.slides_seen() == [("a.svs", None), ("c.svs", None)]
    elsewhere = streamed(fragile)  # other paths
    resumed(before, elsewhere)
    assert elsewhere.seen == set()
    assert elsewhere.slides_seen() == [("a.svs", None), ("c.svs", None)]
    assert elsewhere.state_dict()["seen"] == before.state_dict()["seen"]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


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
    assert [warning.filename for warning in told] == [module.__file__]  # of others' files, others say how it is shown
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


class Recorder(lightning.LightningModule):
    """Learns next to nothing, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.given = torch.nn.Linear(1, 1), []

    def training_step(self, batch, number):
        self.given.append((batch.number.tolist(), batch.slide.tolist(), int(batch.pixels.sum())))
        return self.layer(batch.pixels.float().mean().view(1, 1)).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-9)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stopped", [6, 8], ids=["within an epoch", "between epochs"])
def test_lightning_trains_and_resumes_on_the_same_patches(index, tmp_path, workers, stopped):
    def train(steps: int, checkpoint: str | None = None) -> tuple[list, PatchLoader]:
        model, feed = Recorder(), loader(index, workers, epoch=4)
        keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=stopped, save_top_k=-1)
        trainer = lightning.Trainer(
            max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, callbacks=[keep],
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(model, feed, ckpt_path=checkpoint)
        assert trainer.global_step == steps
        return model.given, feed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, feed = train(11)
        assert len(whole) == 11
        assert feed.patches_seen == 44
        resumed, again = train(11, str(tmp_path / f"step={stopped}.ckpt"))
    assert resumed == whole[stopped:]
    assert (again.patches_seen, again.batches, again.seen) == (44, 11, feed.seen)
    assert again.patches == 4 * (11 - stopped)
