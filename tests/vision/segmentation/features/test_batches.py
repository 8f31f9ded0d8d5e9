"""Batches: every tile once an epoch, image, mask and map always of one piece, the same from the store and online."""

import tracemalloc
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from eva_core.errors import EvaError
from eva_core.extraction.engine import prepare
from eva_core.extraction.pixels import transform_of
from eva_vision.models.timm import timm_model
from eva_vision.segmentation.context import Context
from eva_vision.segmentation.features.batches import Batch, Online, Source, Stored
from eva_vision.segmentation.features.tile_images import TileImages
from eva_vision.segmentation.features.tiles import Tile
from tests.vision.segmentation.tiny import PALETTE, Painted, Pixels, laid_out, protocol

TILE = 3 * 16 * 16 * 2 + 3 * 16 * 16 + 16 * 16  # bytes of one: map, image, mask


@pytest.fixture
def at() -> Context:
    """35 tiles, of which sample 2 has 12 and sample 3 has 6."""
    return laid_out(Painted(train=[(37, 23), (16, 16), (9, 150), (20, 30), (30, 40)], val=[(16, 16)]))


def stored(at: Context, tiles: int, flips: bool = False) -> Stored:
    """All training tiles, with memory for so many of them."""
    rows = at.store.tiles_of(at.store.rows("train"))
    return Stored(at.store, rows, at.job.backbone, at.device, tiles * TILE, flips)


def online(at: Context, workers: int = 0, augment: tuple[str, ...] = (), split: str = "train") -> Online:
    prepare(at.job.backbone, at.job.protocol, at.device)
    items = TileImages(
        at.dataset,
        [Tile(*map(int, place)) for place in at.store.tiles],
        at.cutting,
        transform_of(at.job.protocol)(at.cutting.geometry),
        skip=False,
    )
    rows = at.store.tiles_of(at.store.rows(split))
    section, how = replace(at.section, augment=augment), replace(at.job.how, workers=workers)
    return Online(items, rows, section, at.job.backbone, at.fabric, how)


def fingerprints(batch: Batch) -> list[tuple[bytes, bytes, bytes]]:
    rows = zip(batch.features, batch.images, batch.masks, strict=True)
    return [(f.numpy().tobytes(), i.numpy().tobytes(), m.numpy().tobytes()) for f, i, m in rows]


def tiles_of(source: Source, number: int = 0, size: int = 4, seed: int = 0) -> list[tuple[bytes, bytes, bytes]]:
    return [tile for batch in source.epoch(number, size, seed) for tile in fingerprints(batch)]


def tensors(source: Source, number: int = 0, size: int = 4, seed: int = 0) -> list[torch.Tensor]:
    batches = list(source.epoch(number, size, seed))
    return [torch.cat([getattr(b, name) for b in batches]) for name in ("features", "images", "masks")]


def test_in_order_is_the_store(at: Context):
    with h5py.File(at.store.path) as file:
        features, images, masks = (file[name][:-1] for name in ("features", "images", "masks"))
    for source in (stored(at, 1), stored(at, 1000)):
        batches = list(source.in_order(8))
        assert [len(b.masks) for b in batches] == [8, 8, 8, 8, 3]
        found = [torch.cat([getattr(b, name) for b in batches]) for name in ("features", "images", "masks")]
        assert np.array_equal(found[0].numpy(), features.astype(np.float32))
        torch.testing.assert_close(found[1], torch.from_numpy(images).float() / 255)
        assert np.array_equal(found[2].numpy(), masks)
        assert [t.dtype for t in found] == [torch.float32, torch.float32, torch.int64]


@pytest.mark.parametrize("memory", [0, 1, 5, 9, 16, 34, 35, 1000])
def test_every_tile_comes_once_an_epoch_whatever_the_memory(at: Context, memory: int):
    source = stored(at, memory)
    assert len(source) == 35
    whole = sorted(tile for batch in source.in_order(4) for tile in fingerprints(batch))
    for number in (0, 1):
        batches = list(source.epoch(number, 4, 0))
        assert sorted(len(b.masks) for b in batches) == [3] + 8 * [4]
        assert sorted(tile for b in batches for tile in fingerprints(b)) == whole


@pytest.mark.parametrize("memory", [9, 1000])
def test_the_order_is_decided_by_seed_and_epoch(at: Context, memory: int):
    first = tiles_of(stored(at, memory))
    assert tiles_of(stored(at, memory)) == first
    again = stored(at, memory)
    tiles_of(again, number=3)
    assert tiles_of(again) == first  # whatever ran before
    assert tiles_of(again, number=1) != first
    assert tiles_of(again, seed=1) != first
    assert sorted(tiles_of(again, seed=1)) == sorted(first)


def test_neighbours_do_not_stay_together(at: Context):
    source = stored(at, 16)
    whole = [tile for batch in source.in_order(4) for tile in fingerprints(batch)]
    order = np.array([whole.index(tile) for tile in tiles_of(source)])
    assert (np.diff(order) == 1).sum() < 8


def test_memory_holds_no_more_than_it_may():
    at = laid_out(Painted(train=[(16, 1200)] * 4))
    tiles = len(at.store.tiles)
    assert tiles > 320
    source = stored(at, 40)
    tracemalloc.start()
    for _ in source.epoch(0, 4, 0):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for _ in source.in_order(4):
        pass
    _, in_order = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 36 * TILE < peak < 60 * TILE  # the window and a batch at a time, never two windows
    assert in_order < 16 * TILE
    assert tiles * TILE > 300 * TILE


def test_what_fits_is_read_once(at: Context):
    source = stored(at, 1000)
    first = tiles_of(source)
    at.store.path.write_bytes(b"")
    assert tiles_of(source) == first


def right(batch: Batch) -> bool:
    """Whether every pixel that counts has the colour of its class, in the image and in the map."""
    palette = torch.from_numpy(PALETTE).float() / 255
    counted = (batch.masks < 3).unsqueeze(1)
    wanted = palette[batch.masks.clamp(max=2)].permute(0, 3, 1, 2)
    near = [(found - wanted).abs().where(counted, 0).max() < 1e-3 for found in (batch.images, batch.features)]
    return all(near)


def turned_ways(source: Source, at: Context, plain: Source) -> set[tuple[int, ...]]:
    """In which ways tiles were turned over, by their masks."""
    ways: set[tuple[int, ...]] = set()
    masks = {m.numpy().tobytes() for m in tensors(plain)[2]}
    for number in range(3):
        for batch in source.epoch(number, 8, 0):
            assert right(batch)
            for mask in batch.masks:
                found = [axes for axes in ((), (0,), (1,), (0, 1)) if mask.flip(axes).numpy().tobytes() in masks]
                assert found  # nothing but turned over
                ways.add(found[0])
    return ways


def test_flips_turn_image_mask_and_map_alike(at: Context):
    assert turned_ways(stored(at, 9, flips=True), at, stored(at, 9)) == {(), (0,), (1,), (0, 1)}
    flipped = stored(at, 9, flips=True)
    assert tiles_of(flipped) == tiles_of(stored(at, 9, flips=True))
    whole = [tile for batch in stored(at, 9).in_order(4) for tile in fingerprints(batch)]
    assert [tile for batch in flipped.in_order(4) for tile in fingerprints(batch)] == whole  # scoring sees them as is


def test_online_flips_do_so_too(at: Context):
    assert turned_ways(online(at, augment=("flips",)), at, online(at)) == {(), (0,), (1,), (0, 1)}


def test_online_gives_what_is_stored():
    dataset = Painted(train=[(37, 23), (16, 16), (9, 50)], val=[(40, 40)])
    at = laid_out(dataset, timm_model("test_vit"), protocol(side=32, tile=16))
    rows = at.store.tiles_of(at.store.rows("train"))
    found = tensors(online(at), size=3)
    order = np.random.default_rng((0, 0)).permutation(rows)
    with h5py.File(at.store.path) as file:
        features, images, masks = (torch.from_numpy(file[name][:][order]) for name in ("features", "images", "masks"))
    torch.testing.assert_close(found[0], features.float(), atol=2e-3, rtol=2e-3)
    assert torch.equal(found[2], masks.long())
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (at.job.backbone.card.mean, at.job.backbone.card.std))
    torch.testing.assert_close(found[1], (images.float() / 255 - mean) / std)
    assert not found[0].is_inference()


@pytest.mark.parametrize("augment", [("flips",), ("crops", "flips")])
def test_workers_do_not_matter_online(at: Context, augment: tuple[str, ...]):
    alone = tensors(online(at, 0, augment))
    together = tensors(online(at, 2, augment))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    other = tensors(online(at, 0, augment), number=1)
    assert not torch.equal(alone[2], other[2])


class Quarters(Painted):
    """Four fields, each of one class, in images that are large against the crop."""

    def mask(self, sample):
        height, width = self.size(sample)
        return np.kron(np.array([[0, 1], [2, 1]], np.uint8), np.ones((height // 2, width // 2), np.uint8))


@pytest.mark.parametrize("recipe", ["eva-0.4", "strict"])
def test_crops_keep_image_and_mask_together(recipe: str):
    at = laid_out(Quarters(train=[(64, 64), (48, 80)], val=[(16, 16)]), recipe=protocol(recipe))
    source = online(at, augment=("crops", "flips"))
    shares = []
    palette = torch.from_numpy(PALETTE).float() / 255
    for number in range(8):
        for batch in source.epoch(number, 2, 0):
            assert batch.masks.shape[1:] == batch.images.shape[2:] == (16, 16)
            counted = batch.masks < 3
            nearest = (batch.images.permute(0, 2, 3, 1)[..., None, :] - palette).square().sum(-1).argmin(-1)
            right = (nearest == batch.masks)[counted].float().mean()
            assert right > 0.85  # the border between two fields is smooth in the image
            shares.append(tuple(torch.bincount(batch.masks[counted].flatten(), minlength=3).tolist()))
    assert len(set(shares)) > 4  # of another place each time


def test_an_image_that_went_bad_is_one_line_online(at: Context, monkeypatch: pytest.MonkeyPatch):
    def broken(self, sample):
        raise OSError("the disk is gone")

    monkeypatch.setattr(Painted, "image", broken)
    for augment in ((), ("crops",)):
        with pytest.raises(EvaError, match=r"Cannot read image 'train\d' \(no file\): the disk is gone\."):
            tensors(online(at, augment=augment))


def test_the_backbone_runs_as_often_as_there_are_tiles_online(at: Context):
    assert isinstance(at.job.backbone, Pixels)
    before = at.job.backbone.seen
    tensors(online(at))
    assert at.job.backbone.seen - before == 35
    tensors(stored(at, 1000))
    assert at.job.backbone.seen - before == 35
