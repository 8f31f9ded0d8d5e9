import threading
import time

import numpy as np
import pytest
import torch
from torch import Tensor

from eva_vision.slide_level.heads.bag_batches import BagBatches, bytes_of, in_pieces, patches_of
from tests.vision.slide_level.heads.bags import ListedBags, planted

BATCHES = [np.array([3, 0]), np.array([1]), np.array([2, 4])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("in_memory", [True, False])
def test_batches_come_in_order_as_they_are_kept(in_memory: bool, dtype: torch.dtype):
    bags = planted(5, 4, 0)
    bags.x = [x.to(dtype) for x in bags.x]
    for numbers, batch in zip(BATCHES, BagBatches(bags, in_memory)(BATCHES), strict=True):
        assert [x.dtype for x in batch] == [dtype] * len(numbers)
        assert all(torch.equal(x, bags.x[n]) for n, x in zip(numbers, batch, strict=True))


def test_in_memory_each_bag_is_read_once_and_lies_beside_the_next():
    bags = planted(5, 4, 0)
    read = BagBatches(bags, True)
    for _ in range(3):
        batches = list(read(BATCHES))
    assert bags.most_read == 5
    assert batches[0][0].untyped_storage().data_ptr() == batches[2][1].untyped_storage().data_ptr()


class SlowBags(ListedBags):
    """Bags that note when they are read."""

    def read(self, number: int) -> Tensor:
        read.append(number)
        return super().read(number)


read: list[int] = []


def test_from_disk_the_next_batch_is_read_ahead_and_no_more():
    some = planted(5, 4, 0)
    read.clear()
    batches = BagBatches(SlowBags(some.x, some.targets), False)(BATCHES)
    next(batches)
    for _ in range(1000):
        if len(read) == 3:
            break
        time.sleep(0.001)
    time.sleep(0.02)
    assert read == [3, 0, 1]
    batches.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if "ThreadPoolExecutor" in t.name]


def test_an_error_of_reading_is_that_of_the_batch():
    bags = planted(2, 4, 0)
    with pytest.raises(IndexError):
        list(BagBatches(bags, False)([np.array([0]), np.array([9])]))


def test_bytes_count_the_largest_bags():
    bags = ListedBags([torch.zeros(n, 4, dtype=torch.float16) for n in (2, 9, 5)], torch.zeros(3))
    assert (patches_of(bags), patches_of(bags, 1)) == (16, 9)
    assert bytes_of(bags) == 16 * 8
    assert bytes_of(bags, 2) == 14 * 8
    assert bytes_of(ListedBags([], torch.zeros(0))) == 0


def test_pieces_hold_all_bags_in_order():
    bags = ListedBags([torch.zeros(n, 1) for n in (4, 4, 3, 20, 1, 1)], torch.zeros(6))
    assert [piece.tolist() for piece in in_pieces(bags, 8)] == [[0, 1], [2], [3], [4, 5]]
    assert in_pieces(ListedBags([], torch.zeros(0)), 8) == []
