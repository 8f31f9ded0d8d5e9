import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eva_core.config.protocols import load_protocol
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.cards import ModelCard
from eva_core.errors import EvaError
from eva_core.extraction.embed import extract, store_key
from eva_core.extraction.pixels import colour_statistics
from eva_core.extraction.settings import Extraction
from eva_vision.datasets.folder import Folder
from eva_vision.models.timm import timm_model
from tests.conftest import Pictures

PROTOCOL = load_protocol("eva-0.4")
HOW = Extraction(device="cpu", batch_size=8, workers=0, part_seconds=0)


class Mean(Backbone):
    """Channel means through one weight; counts its images, and can be made to fail."""

    def __init__(self, weight: float = 1.0, stop_after: int | None = None, nan_at: int | None = None) -> None:
        super().__init__(ModelCard("mean", dim=3))
        self.weight = torch.nn.Parameter(torch.tensor(weight))
        self.seen, self.stop_after, self.nan_at = 0, stop_after, nan_at

    def forward(self, images):
        if self.stop_after is not None and self.seen >= self.stop_after:
            raise KeyboardInterrupt
        out = images.mean((2, 3)) * self.weight
        if self.nan_at is not None and self.seen <= self.nan_at < self.seen + len(images):
            out[self.nan_at - self.seen, 1] = float("nan")
        self.seen += len(images)
        return out

    def feature_map(self, images, layers=None):
        return images


def run(backbone, dataset, how=HOW, protocol=PROTOCOL):
    return extract(store_key(backbone, dataset, protocol), backbone, dataset, protocol, how)


def test_embeddings_equal_a_plain_loop(pictures):
    backbone = timm_model("test_vit")
    store = run(backbone, pictures)
    for i in (0, 13, 29):
        image = torch.from_numpy(pictures.image(pictures.samples[i])).permute(2, 0, 1)[None]
        image = torch.nn.functional.interpolate(image.float(), 224, mode="bilinear", antialias=True).round().div(255)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (backbone.card.mean, backbone.card.std))
        with torch.inference_mode():
            expected = backbone((image - mean) / std)[0]
        found = torch.from_numpy(store.read(np.array([i])))[0]
        assert torch.cosine_similarity(found, expected, dim=0) > 0.9999


def test_colour_statistics_of_every_image_are_stored_for_free(pictures):
    store = run(Mean(), pictures)
    image = pictures.image(pictures.samples[7])
    expected = [*(image / 255).mean((0, 1)), *(image / 255).std((0, 1))]
    assert store.read(np.array([7]), "colour_stats")[0][:3] == pytest.approx(expected[:3], abs=2e-3)
    x = torch.rand(2, 3, 5, 4)
    assert colour_statistics(x)[1].numpy() == pytest.approx(
        [*x[1].numpy().mean((1, 2)), *x[1].numpy().std((1, 2))], abs=1e-6
    )


def test_a_second_call_reads_the_cache(pictures):
    first = Mean()
    run(first, pictures)
    second = Mean()
    run(second, pictures)
    assert (first.seen, second.seen) == (30, 0)


def test_what_changes_the_embedding_changes_the_key(pictures):
    key = store_key(Mean(), pictures, PROTOCOL).sha256
    with_arguments = Mean()
    with_arguments.arguments = {"stride": 8}
    relabelled = Pictures()
    relabelled.samples[0] = replace(relabelled.samples[0], target=1)
    others = [
        store_key(Mean(weight=2.0), pictures, PROTOCOL),
        store_key(with_arguments, pictures, PROTOCOL),
        store_key(Mean(), pictures, replace(PROTOCOL, precision="bf16")),
        store_key(Mean(), pictures, replace(PROTOCOL, pooling="mean")),
        store_key(Mean(), relabelled, PROTOCOL),
    ]
    assert len({key, *(o.sha256 for o in others)}) == 6
    assert store_key(Mean(), Pictures(), replace(PROTOCOL, steps=7)).sha256 == key


def test_an_interrupted_extraction_goes_on_where_it_was(pictures):
    with pytest.raises(KeyboardInterrupt):
        run(Mean(stop_after=16), pictures)
    again = Mean()
    store = run(again, pictures)
    assert again.seen == 14
    whole = run(Mean(), pictures, protocol=replace(PROTOCOL, transform="eva_vision.transforms.ResizeAndCrop"))
    assert np.array_equal(store.read(np.arange(30)), whole.read(np.arange(30)))


def test_nan_is_refused_with_the_id_and_earlier_parts_are_kept(pictures):
    with pytest.raises(EvaError, match=r"'s020' gave NaN"):
        run(Mean(nan_at=20), pictures)
    again = Mean()
    run(again, pictures)
    assert again.seen == 14


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_is_named_or_skipped_and_counted(tree, workers):
    victim = tree / "train" / "pink" / "03.png"
    victim.write_bytes(victim.read_bytes()[:100])
    how = replace(HOW, workers=workers)
    with pytest.raises(EvaError, match=r"train/pink/03\.png.*--on_error skip") as caught:
        run(Mean(), Folder(str(tree)), how)
    assert "\n" not in str(caught.value)
    store = run(Mean(), Folder(str(tree)), replace(how, on_error="skip"))
    assert store.skipped == ["train/pink/03.png"]
    assert len(store.rows("train")) == 23
    with pytest.raises(EvaError, match="1 images could not be read"):
        run(Mean(), Folder(str(tree)), how)


def test_a_damaged_cache_file_is_extracted_again(pictures):
    store = run(Mean(), pictures)
    store.path.write_bytes(store.path.read_bytes()[:1000])
    again = Mean()
    with pytest.warns(UserWarning, match="extracted again"):
        run(again, pictures)
    assert again.seen == 30


def test_a_model_that_gives_no_vectors_is_refused(pictures):
    backbone = Mean()
    backbone.forward = lambda images: images
    with pytest.raises(EvaError, match=r"Expected embeddings of shape \(B, D\)"):
        run(backbone, pictures)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda e: (e, e), "a tuple"),
        (lambda e: {"x": e}, "a dict"),
        (lambda e: e[:-1], r"\(7, 3\) for 8 images"),
        (lambda e: e.mean(0, keepdim=True), r"\(1, 3\) for 8 images"),
        (lambda e: e[:, :0], r"\(8, 0\)"),
    ],
)
def test_a_model_that_gives_no_row_for_each_image_is_told_what_it_gave(pictures, given, said):
    backbone = Mean()
    backbone.forward = lambda images: given(images.mean((2, 3)))
    with pytest.raises(EvaError, match=rf"Expected embeddings of shape \(B, D\), but mean gave {said}"):
        run(backbone, pictures)


def test_an_image_that_is_not_uint8_rgb_is_an_image_that_cannot_be_read(pictures):
    pixels = pictures.image
    pictures.image = lambda sample: pixels(sample) / 255 if sample.id == "s004" else pixels(sample)
    with pytest.raises(EvaError, match=r"'s004' .*Expected uint8 RGB .* got float64 \(32, 32, 3\)\. Repair it"):
        run(Mean(), pictures)
    assert run(Mean(), pictures, replace(HOW, on_error="skip")).skipped == ["s004"]


def test_bf16_is_near_fp32_but_stored_as_float32(pictures):
    backbone = timm_model("test_vit")
    full = run(backbone, pictures).read(np.arange(30))
    half = run(backbone, pictures, protocol=replace(PROTOCOL, precision="bf16")).read(np.arange(30))
    assert half.dtype == np.float32
    assert not np.array_equal(full, half)
    assert np.allclose(full, half, atol=0.1)


COMMAND = [
    *(sys.executable, "-m", "eva_core.cli", "predict", "--dataset", "folder", "--model", "timm_model"),
    *("--model.arch", "test_vit", "--batch_size", "2", "--part_seconds", "0", "--workers", "0"),
]


def write_many(root: Path, n: int) -> Path:
    folder = root / "train" / "a"
    folder.mkdir(parents=True)
    for i in range(n):
        noise = np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i:04d}.png")
    return root


@pytest.mark.slow
def test_kill_9_then_again_gives_the_same_bits_and_loses_one_part_at_most(tmp_path, monkeypatch):
    root = write_many(tmp_path / "data", 240)
    monkeypatch.setenv("EVA_CACHE", str(tmp_path / "killed"))
    process = subprocess.Popen([*COMMAND, "--dataset.root", str(root)], stderr=subprocess.DEVNULL)
    parts = lambda: list((tmp_path / "killed").rglob("*.part"))  # noqa: E731
    deadline = time.monotonic() + 120
    while len(parts()) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in parts()}
    assert 5 <= len(kept) < 120
    assert list((tmp_path / "killed").rglob("*.h5")) == []

    done = subprocess.run([*COMMAND, "--dataset.root", str(root)], capture_output=True, text=True, check=True)
    assert f"{240 - 2 * len(kept)} images" in done.stderr
    monkeypatch.setenv("EVA_CACHE", str(tmp_path / "whole"))
    whole = subprocess.run([*COMMAND, "--dataset.root", str(root)], capture_output=True, text=True, check=True)
    import h5py

    with h5py.File(done.stdout.strip()) as a, h5py.File(whole.stdout.strip()) as b:
        assert a["embeddings"][:].tobytes() == b["embeddings"][:].tobytes()
        assert a["ids"][:].tolist() == b["ids"][:].tolist()


@pytest.mark.slow
def test_two_processes_on_one_key_share_the_work(tmp_path, monkeypatch):
    root = write_many(tmp_path / "data", 60)
    argv = [*COMMAND, "--dataset.root", str(root)]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [p.communicate() for p in both]
    assert [p.returncode for p in both] == [0, 0]
    stores = {out.splitlines()[-1] for out, _ in outputs}
    assert len(stores) == 1
    assert sum("60 images" in err for _, err in outputs) == 1


@pytest.mark.slow
def test_two_devices_give_what_one_gives(tree):
    dataset = Folder(str(tree))
    backbone = timm_model("test_vit")
    one = run(backbone, dataset).read(np.arange(52))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = replace(PROTOCOL, transform="eva_vision.transforms.ResizeAndCrop")
        two = run(backbone, dataset, replace(HOW, devices=2), other)
    assert np.allclose(one, two.read(np.arange(52)), atol=1e-5)
