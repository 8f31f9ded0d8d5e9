from pathlib import Path
from random import Random

import numpy as np
import pytest
from scipy.stats import chisquare, ks_2samp

from eva_pretrain.methods.masking import block_mask, masks

DINOV2 = np.load(Path(__file__).parents[1] / "parity" / "dinov2_parity.npz")


@pytest.mark.parametrize("side", [14, 16])
def test_masks_are_the_reference_bit_by_bit(side: int) -> None:
    rng = Random(0)
    most, count = side * side // 2, int(DINOV2[f"mask{side}_requests"][3])
    drawn = [block_mask(side, side, count, rng, most=most) for _ in range(64)]
    packed = np.packbits(np.stack(drawn).reshape(64, -1), axis=1)
    assert np.array_equal(packed, DINOV2[f"mask{side}_first64_packed"])


@pytest.mark.parametrize("side", [14, 16])
def test_counts_and_places_are_distributed_as_in_the_reference(side: int) -> None:
    rng, draws = Random(1), 500
    for request, counts, places in zip(
        *(DINOV2[f"mask{side}_{key}"] for key in ("requests", "count_hist", "pos_freq")), strict=True
    ):
        drawn = np.stack([block_mask(side, side, int(request), rng, most=side * side // 2) for _ in range(draws)])
        ours = drawn.sum((1, 2))
        assert ours.max() <= request
        theirs = np.repeat(np.arange(len(counts)), counts)
        assert ks_2samp(ours, theirs).pvalue > 1e-3
        error = np.sqrt(places * (1 - places) * (1 / draws + 1 / 3000))
        assert np.all(np.abs(drawn.mean(0) - places) <= 4.5 * error)


def test_batches_are_distributed_as_in_the_reference() -> None:
    rng = Random(2)
    drawn = np.stack([masks(64, (14, 14), rng=rng).numpy().sum(1) for _ in range(60)])
    assert np.all((drawn == 0).sum(1) == 32)
    totals = drawn.sum(1)
    assert ks_2samp(totals, DINOV2["collate_total_masked"]).pvalue > 1e-3
    assert totals.max() <= DINOV2["collate_upperbound"]
    expected = DINOV2["collate_count_hist"].astype(float)
    expected[0] = 0
    ours = np.bincount(drawn[drawn > 0], minlength=197)
    bins = [slice(start, start + 10) for start in range(18, 98, 10)]
    theirs = np.array([expected[b].sum() for b in bins])
    assert ours[18:98].sum() == ours.sum() == 60 * 32
    assert chisquare([ours[b].sum() for b in bins], theirs * ours.sum() / theirs.sum()).pvalue > 1e-3


def test_each_masked_crop_has_a_ratio_from_its_own_stratum() -> None:
    drawn = np.sort(masks(8, (20, 20), share=1.0, ratio=(0.2, 0.6), rng=Random(0)).numpy().sum(1))
    assert np.all(drawn <= 400 * np.linspace(0.2, 0.6, 9)[1:])
    assert np.all(drawn >= 400 * np.linspace(0.2, 0.6, 9)[:-1] - 30)


@pytest.mark.parametrize("grid", [(14, 14), (28, 28), (12, 12), (10, 16), (4, 4), (2, 2), (1, 5), (1, 1)])
def test_exactly_half_of_the_crops_are_masked_on_any_grid(grid: tuple[int, int]) -> None:
    drawn = masks(10, grid, rng=Random(0))
    assert drawn.shape == (10, grid[0] * grid[1])
    assert (drawn.any(1).sum(), str(drawn.dtype), drawn.device.type) == (5, "torch.bool", "cpu")


def test_crops_are_in_random_order_and_a_seed_repeats_them() -> None:
    first, second = masks(16, (8, 8), rng=Random(3)), masks(16, (8, 8), rng=Random(3))
    assert first.equal(second)
    assert not first.equal(masks(16, (8, 8), rng=Random(4)))
    which = np.mean([masks(4, (8, 8), rng=Random(seed)).numpy().any(1) for seed in range(200)], axis=0)
    assert np.all(np.abs(which - 0.5) < 4 * np.sqrt(0.25 / 200))


@pytest.mark.parametrize(("crops", "share"), [(0, 0.5), (1, 0.5), (4, 0.0)])
def test_no_crop_may_be_masked(crops: int, share: float) -> None:
    assert not masks(crops, (8, 8), share=share, rng=Random(0)).any()
