"""Feature maps: those of the model, kept whatever happens, made again where something changed."""

import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from eva_core.config.protocols import section_of
from eva_core.contracts.backbone import Backbone
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError, UsageError
from eva_core.extraction.settings import Extraction
from eva_vision.datasets.mask_folder import MaskFolder
from eva_vision.models.baselines import colour_stats, random_vits16
from eva_vision.models.timm import timm_model
from eva_vision.segmentation.contracts import IGNORE, SegmentationDataset
from eva_vision.segmentation.features.feature_maps import maps_key
from tests.vision.segmentation.tiny import (
    HOW,
    SIZES,
    Painted,
    Pixels,
    arrays,
    coloured,
    extracted,
    painted,
    protocol,
    write_masked,
)

EVERY_BATCH = replace(HOW, part_seconds=0)


@pytest.fixture
def dataset() -> Painted:
    return Painted(train=SIZES, test=[(20, 30)])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_masked(tmp_path / "tree")


@pytest.mark.parametrize(
    ("build", "side", "layers", "shape"),
    [
        (lambda: timm_model("test_vit"), 48, (), (64, 3, 3)),
        (lambda: timm_model("test_vit"), 48, (0, 1), (128, 3, 3)),
        (lambda: random_vits16(depth=1), 32, (), (384, 2, 2)),
        (lambda: timm_model("test_resnet", pretrained=False), 64, (1,), None),
        (colour_stats, 32, (), (6, 2, 2)),
    ],
    ids=["vit", "vit_layers", "vits16", "cnn", "colour"],
)
def test_maps_are_those_of_the_model_in_half_precision(
    dataset: Painted, build: Callable[[], Backbone], side: int, layers: tuple[int, ...], shape: tuple[int, ...] | None
):
    backbone = build()
    store = extracted(dataset, backbone, protocol(side=side, layers=layers))
    found = arrays(store)
    assert found["features"].dtype == np.float16
    assert found["images"].shape == (len(found["tiles"]), 3, side, side)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (backbone.card.mean, backbone.card.std))
    with torch.inference_mode():
        pixels = torch.from_numpy(found["images"]).float().div(255)
        by_hand = backbone.feature_map((pixels - mean) / std, list(layers) or None)
    if shape is not None:  # the class token and registers are left out, layers are stacked
        assert by_hand.shape[1:] == shape
    assert found["features"].shape == by_hand.shape
    assert store.channels == by_hand.shape[1]
    torch.testing.assert_close(torch.from_numpy(found["features"]).float(), by_hand, atol=1e-3, rtol=2e-3)


def key_of(backbone: Backbone, dataset: SegmentationDataset, recipe: Protocol) -> str:
    return maps_key(backbone, dataset, recipe, section_of(recipe, dataset.card)).sha256


def test_what_changes_the_maps_changes_the_key(dataset: Painted):
    with_mpp = Painted(mpp=0.5, train=SIZES, test=[(20, 30)])
    keys = [
        key_of(backbone, images, recipe)
        for backbone, images, recipe in [
            (Pixels(), dataset, protocol()),
            (Pixels(), dataset, protocol(tile=24)),
            (Pixels(), dataset, protocol(overlap=5)),
            (Pixels(), dataset, protocol(layers=(0,))),
            (Pixels(), dataset, protocol(layers=(1,))),
            (Pixels(), dataset, protocol(stitch=False, tile=16, overlap=0)),
            (Pixels(), dataset, replace(protocol(), precision="bf16")),
            (Pixels(weight=2.0), dataset, protocol()),
            (Pixels(cell=2), dataset, protocol()),
            (Pixels(), with_mpp, protocol(mpp=0.5)),
            (Pixels(), with_mpp, protocol(mpp=1.0)),
            (Pixels(), Painted(train=SIZES, test=[(20, 31)]), protocol()),
        ]
    ]
    assert len(set(keys)) == len(keys)


def test_how_decoders_are_trained_and_scored_does_not(dataset: Painted):
    key = key_of(Pixels(), dataset, protocol())
    for fields in ({"steps": 7}, {"loss": "dice"}, {"ignore": "prediction"}, {"augment": ("flips",)}):
        assert key_of(Pixels(), dataset, protocol(**fields)) == key
    assert key_of(Pixels(), dataset, replace(protocol(), runs=9, pooling="mean")) == key


def test_a_mask_that_changed_is_another_key(tree: Path):
    key = key_of(Pixels(), MaskFolder(str(tree)), protocol())
    file = tree / "val" / "masks" / "1.png"
    mask = np.array(Image.open(file))
    mask[0, 0] = (mask[0, 0] + 1) % 3
    Image.fromarray(mask).save(file)
    assert key_of(Pixels(), MaskFolder(str(tree)), protocol()) != key


@pytest.mark.parametrize("how", [replace(HOW, memory_gb=1e-6), replace(HOW, online=True), replace(HOW, workers=1)])
def test_how_the_work_is_done_is_not_part_of_the_key(dataset: Painted, how: Extraction):
    first = extracted(dataset, Pixels(), protocol())
    again = Pixels()
    assert extracted(dataset, again, protocol(), how).path == first.path
    assert again.seen == 0


def test_an_interrupted_extraction_goes_on_where_it_was(dataset: Painted, cache: Path):
    with pytest.raises(KeyboardInterrupt):
        extracted(dataset, Pixels(stop_after=8), protocol(), EVERY_BATCH)
    assert len(list(cache.rglob("*.part"))) == 2
    again = Pixels()
    resumed = arrays(extracted(dataset, again, protocol()))
    assert again.seen == 17 - 8
    for file in cache.rglob("*.h5"):
        file.unlink()
    whole = arrays(extracted(dataset, Pixels(), protocol()))
    assert all(resumed[name].tobytes() == whole[name].tobytes() for name in whole)


def test_kill_9_then_again_gives_the_same_bits(dataset: Painted, cache: Path, monkeypatch: pytest.MonkeyPatch):
    child = os.fork()
    if not child:
        killed = Pixels(stop_after=8)
        killed.stop = lambda: os.kill(os.getpid(), signal.SIGKILL)
        extracted(dataset, killed, protocol(), EVERY_BATCH)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list(cache.rglob("*.part"))) == 2
    assert not list(cache.rglob("*.h5"))
    again = Pixels()
    resumed = arrays(extracted(dataset, again, protocol()))
    assert again.seen == 17 - 8
    assert not list(cache.rglob("*.part"))
    monkeypatch.setenv("EVA_CACHE", str(cache / "elsewhere"))
    whole = arrays(extracted(dataset, Pixels(), protocol()))
    assert all(resumed[name].tobytes() == whole[name].tobytes() for name in whole)


def test_a_flipped_bit_is_found_and_the_maps_are_made_again(dataset: Painted):
    store = extracted(dataset, Pixels(), protocol())
    before = arrays(store)
    with h5py.File(store.path) as file:
        place = file["features"].id.get_offset() + 100
    content = bytearray(store.path.read_bytes())
    content[place] ^= 4
    store.path.write_bytes(content)
    again = Pixels()
    with pytest.warns(UserWarning, match="extracted again"):
        store = extracted(dataset, again, protocol())
    assert again.seen == 17
    assert all(np.array_equal(values, before[name]) for name, values in arrays(store).items())


def test_calls_at_the_same_time_share_the_work(dataset: Painted):
    backbones = [Pixels(), Pixels()]
    paths: list[Path] = []
    work = [
        threading.Thread(target=lambda b=b: paths.append(extracted(dataset, b, protocol()).path)) for b in backbones
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(set(paths)) == 1
    assert sorted(b.seen for b in backbones) == [0, 17]


def corrupt_image(root: Path) -> str:
    file = root / "train" / "images" / "3.png"
    file.write_bytes(file.read_bytes()[:60])
    return str(file)


def no_image(root: Path) -> str:
    file = root / "train" / "images" / "3.png"
    file.write_bytes(b"no image")
    return str(file)


def unreadable_mask(root: Path) -> str:
    file = root / "train" / "masks" / "3.png"
    file.write_bytes(file.read_bytes()[:60])
    return str(file)


def strange_label(root: Path) -> str:
    file = root / "train" / "masks" / "3.png"
    mask = np.array(Image.open(file))
    mask[3, 4] = 7
    Image.fromarray(mask).save(file)
    return str(file)


def other_size(root: Path) -> str:
    file = root / "train" / "masks" / "3.png"
    Image.fromarray(painted(20, 23, 0)).save(file)
    return str(file)


@pytest.mark.parametrize(
    ("damage", "workers"),
    [(corrupt_image, 0), (no_image, 0), (unreadable_mask, 0), (strange_label, 0), (other_size, 0), (strange_label, 1)],
)
def test_a_bad_file_is_named_or_left_out_and_counted(tree: Path, damage: Callable[[Path], str], workers: int):
    file = damage(tree)
    how = replace(HOW, workers=workers)
    with pytest.raises(EvaError, match="--on_error skip") as caught:
        extracted(MaskFolder(str(tree)), Pixels(), protocol(), how)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ".." not in str(caught.value).replace("../", "")
    store = extracted(MaskFolder(str(tree)), Pixels(), protocol(), replace(how, on_error="skip"))
    assert store.skipped == ["train/images/3.png"]
    assert [store.ids[n] for n in store.rows("train")] == [f"train/images/{i}.png" for i in (0, 1, 2, 4, 5)]
    assert (arrays(store)["masks"][store.tiles_of(np.flatnonzero(~store.readable))] == IGNORE).all()
    with pytest.raises(EvaError, match="1 images could not be read"):
        extracted(MaskFolder(str(tree)), Pixels(), protocol(), how)


def test_nothing_that_was_finished_is_lost_to_a_bad_file(tree: Path):
    file = Path(strange_label(tree))
    with pytest.raises(EvaError):
        extracted(MaskFolder(str(tree)), Pixels(), protocol())
    again = Pixels()
    store = extracted(MaskFolder(str(tree)), again, protocol(), replace(HOW, on_error="skip"))
    assert again.seen == len(store.tiles) - 12  # three images of four tiles each came before
    assert file.exists()


def test_an_empty_file_is_named_before_anything_is_done(tree: Path):
    (tree / "test" / "masks" / "1.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"empty files \(test/masks/1\.png\)"):
        MaskFolder(str(tree))


def test_infinite_values_are_refused_with_the_image(dataset: Painted):
    with pytest.raises(EvaError, match=r"'train0' gave NaN or infinity\. They are kept in float16"):
        extracted(dataset, Pixels(weight=1e6), protocol())


def test_what_is_no_map_is_refused(dataset: Painted):
    backbone = Pixels()
    backbone.feature_map = lambda images, layers=None: images.mean((2, 3))
    with pytest.raises(EvaError, match=r"Expected feature maps of shape \(B, D, h, w\), but pixels gave \(4, 3\)"):
        extracted(dataset, backbone, protocol())


def test_an_image_without_a_whole_tile_is_named():
    dataset = Painted(train=[(20, 20), (20, 15)])
    with pytest.raises(UsageError, match=r"at least 16 px, but 'train1' has 20 x 15\. Set --protocol"):
        extracted(dataset, Pixels(), protocol(stitch=False, tile=16, overlap=0))


def test_a_side_of_partial_patches_is_refused(dataset: Painted):
    with pytest.raises(UsageError, match="multiple of the patch, 3, but got 16"):
        extracted(dataset, Pixels(cell=3), protocol())


def test_a_changed_image_or_mask_costs_its_own_tiles(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def maps(backbone: Pixels) -> dict[str, np.ndarray]:
        return arrays(extracted(MaskFolder(str(tree)), backbone, protocol()))

    before = Pixels()
    maps(before)
    tiles = before.seen // 10  # of each image
    mask = painted(20, 24, 99)
    Image.fromarray(coloured(mask)).save(tree / "train/images/2.png")
    Image.fromarray(mask).save(tree / "val/masks/1.png")
    shutil.move(tree / "train/images/5.png", tree / "test/images/2.png")  # of another split
    shutil.move(tree / "train/masks/5.png", tree / "test/masks/2.png")
    after = Pixels()
    found = maps(after)
    assert after.seen == 2 * tiles
    monkeypatch.setenv("EVA_CACHE", str(tmp_path / "empty"))
    for name, values in maps(Pixels()).items():
        assert np.array_equal(found[name], values)


def test_masks_that_are_read_otherwise_are_cut_anew(tree: Path):
    backbone = Pixels()
    extracted(MaskFolder(str(tree)), backbone, protocol())
    first = backbone.seen
    extracted(MaskFolder(str(tree), ignore=2), backbone, protocol())
    assert backbone.seen == 2 * first
