"""A stream goes on where it stopped, and leaves out what failed once every worker can know of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import numpy as np
import torch

from eva_pretrain.data.batch_order import Order
from eva_pretrain.data.stream import HORIZON, Batch, Stream, pixel_buffer


class Counted(Stream):
    """Two slides, of which one fails in batch 3; pixels are the numbers of the samples."""

    def __init__(self, start: int = 0) -> None:
        super().__init__(Order(4), start, ["s3://bucket/a.svs", "b.svs"], ["a.svs", "b.svs"])

    @contextmanager
    def reader(self) -> Iterator[Callable[[int], Batch]]:
        yield self.batch

    def identity(self) -> dict[str, str | int | float | None]:
        return {"kind": "counted"}

    def batch(self, number: int) -> Batch:
        numbers = self.order.numbers(number)
        zeros = np.zeros(len(numbers))
        failures = ((1, "damaged"),) if number == 3 else ()
        return Batch(torch.from_numpy(numbers), numbers, *[zeros] * 7, failures, 0)


def numbers(stream: Stream, batches: int) -> list[int]:
    return [number for batch in islice(stream, batches) for number in batch.number.tolist()]


def test_batches_follow_one_another_from_the_first_that_is_asked_for():
    assert numbers(Counted(), 3) == list(range(12))
    assert numbers(Counted(start=2), 1) == [8, 9, 10, 11]


def test_a_copy_goes_on_where_another_stopped():
    stream, copy = Counted(), Counted()
    numbers(stream, 5)
    copy.load_state_dict(stream.state_dict())
    assert numbers(copy, 1) == numbers(Counted(start=5), 1)
    assert copy.left_out() == stream.left_out() != {}


def test_what_failed_is_left_out_a_horizon_later_and_under_its_path():
    stream = Counted()
    numbers(stream, 4)
    assert stream.left_out() == {"b.svs": 3 + HORIZON}
    assert not stream.is_out(1, 2 + HORIZON)
    assert stream.is_out(1, 3 + HORIZON)
    assert not stream.is_out(0, 10**6)


def test_one_address_makes_a_stream_remote():
    stream = Counted()
    assert stream.remote
    stream.paths = ["a.svs", "b.svs"]
    assert not stream.remote


def test_slides_that_were_seen_come_in_order_with_their_patients():
    stream = Counted()
    stream.paths = ["b.svs", "TCGA-AA-1234-01Z-00-DX1.svs"]
    assert [patient for _, patient in stream.seen([1, 0])] == [None, "TCGA-AA-1234"]


def test_a_buffer_is_of_bytes():
    buffer = pixel_buffer(2, 3)
    assert (buffer.shape, buffer.dtype) == ((2, 3, 3, 3), torch.uint8)
