"""Stream of patches from the image files of a folder, as reproducible as the stream from slides.

Sample n is file number n % N of pass n // N, and each pass has every file once, in an order of its own. A file that
cannot be read is replaced by another, which depends on (seed, n, attempt) alone.
"""

import hashlib
import io
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import simplejpeg
from typing_extensions import override

from eva_core.contracts.cards import Geometry
from eva_core.errors import EvaError, refuse
from eva_core.evaluation.contamination import image_hash
from eva_core.evaluation.tcga import patient
from eva_pretrain.data.batch_order import Order
from eva_pretrain.data.image_list import ImageList, image_list
from eva_pretrain.data.permutation import permuted
from eva_pretrain.data.slide_reads import OutageDetector, failed
from eva_pretrain.data.stream import Batch, Stream, pixel_buffer
from eva_vision.images import read_image
from eva_vision.transforms import resize_and_crop

_MEMORY = 256 * 2**20
"""Bytes of decoded patches that a worker keeps: a patch of 256 px takes 0.04 ms from there, 0.4 as JPEG, 2.3 as PNG."""
_COLOURS = ("YCbCr", "RGB", "Gray")
"""Colour spaces of JPEG that simplejpeg decodes as Pillow does, to the bit."""
SHUFFLED = 2**20
"""Files up to which a pass is shuffled in memory, in each worker; of more, the order is computed place by place."""
_MOST_FAILURES, _MOST_SKIPPED = 100, 100_000  # of one sample, before we give up
_ATTEMPT, _PASS, _LIMIT = range(3)  # purposes of random numbers: each has a stream of its own


class FolderStream(Stream):
    """Stream of the patches in a folder of images, at any depth."""

    kind = "images"
    _rows = 1  # a file fails for every worker, so all share one row: there may be a million files

    def __init__(
        self,
        folder: str | Path,
        batch_size: int,
        size: int,
        mpp: float | None = None,
        limit: int | None = None,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        start: int = 0,
        accumulate: int = 1,
        images: ImageList | None = None,
    ) -> None:
        """List the files, without reading any.

        Args:
            folder: Folder of the images; files that are not images by their name are passed over.
            batch_size: Patches of one batch of this rank.
            size: Side of a patch in pixels. An image whose short side differs is resized, antialiased; then its centre
                is taken.
            mpp: Micrometres per pixel of the patches of `size`, where known.
            limit: Number of images that are used, chosen by the seed; none: all.
            seed: Seed of the order.
            rank: Number of this process, from 0.
            ranks: Number of processes among which the samples are divided.
            start: First batch.
            accumulate: Batches of this rank in an optimiser step.
            images: The list, where it is made already.

        Raises:
            UsageError: The folder has no image, or a number makes no sense.
        """
        refuse(
            (size < 1, "size to be at least 1", size),
            (mpp is not None and not 0 < mpp < float("inf"), "mpp above 0", mpp),
            (limit is not None and limit < 1, "limit to be at least 1", limit),
        )
        self.folder, self.size, self.mpp, self.seed = Path(folder).expanduser(), size, mpp, seed
        self.images = image_list(self.folder) if images is None else images
        if limit is not None:
            chosen = _random(seed, _LIMIT).permutation(len(self.images))[:limit]
            self.images = self.images.take(np.sort(chosen))
        names = self.images
        super().__init__(Order(batch_size, rank, ranks, accumulate=accumulate), start, names, names)

    @override
    def identity(self) -> dict[str, str | int | float | None]:
        """Describe the patches by the settings, and a hash of the names and sizes of the files."""
        return {
            "source": self.kind,
            "seed": self.seed,
            **self.order.identity,
            "size": self.size,
            "mpp": self.mpp,
            "contents": self.images.contents,
            **({} if len(self.paths) <= SHUFFLED else {"order": "computed"}),
        }

    @property
    @override
    def remote(self) -> bool:
        return False

    @override
    def drawn(self, batches: int) -> np.ndarray:
        """Numbers of the files of the first batches of all ranks: all after a pass."""
        n, order = len(self.paths), self.order
        samples = batches * order.batch_size * order.ranks
        return np.arange(n) if samples >= n else _drawn(self.seed, np.arange(samples), n)

    @override
    def seen(self, slides: Iterable[int]) -> list[tuple[str, str | None]]:
        """List the TCGA patients of files, each as slide and patient: what other files are, their bytes tell."""
        patients = {name for slide in slides if (name := patient(self.names[slide])) is not None}
        return [(name, name) for name in sorted(patients)]

    @override
    @contextmanager
    def reader(self) -> Iterator[Callable[[int], Batch]]:
        """Read batches by number in this process."""
        yield _Reader(self).batch


class _Reader:
    """Reads batches in one process."""

    def __init__(self, stream: FolderStream) -> None:
        self.stream = stream
        self._outages = OutageDetector()
        self._fit = resize_and_crop(Geometry(stream.size, stream.size))
        self._decoded: dict[int, tuple[np.ndarray, int]] = {}
        self._content = 0  # hash of the file that was read last
        self._unreadable: dict[int, str] = {}  # files that cannot be read, and why

    def batch(self, batch: int) -> Batch:
        """Read all patches of a batch.

        Raises:
            EvaError: No file can be read, or the storage does not answer.
        """
        numbers = self.stream.order.numbers(batch)
        n, size = len(numbers), self.stream.size
        pixels = pixel_buffer(n, size)
        out, files, failures = pixels.numpy(), np.empty(n, np.int64), dict[int, str]()
        content = np.empty(n, np.uint64)
        first = _drawn(self.stream.seed, numbers, len(self.stream.paths))
        for at, number in enumerate(numbers.tolist()):
            files[at], out[at] = self._sample(batch, number, int(first[at]), failures)
            content[at] = self._content
        zeros = np.zeros(n, np.int64)
        mpp = np.full(n, np.nan if self.stream.mpp is None else self.stream.mpp)
        channels_first = pixels.permute(0, 3, 1, 2)
        return Batch(
            channels_first,
            numbers,
            files,
            zeros,
            zeros,
            mpp,
            zeros,
            zeros + 1,
            np.ones(n),
            (*failures.items(),),
            0,
            content,
        )

    def _sample(self, batch: int, number: int, file: int, failures: dict[int, str]) -> tuple[int, np.ndarray]:
        """Number of the file and pixels of a sample, uint8 (size, size, 3); of another file where one fails."""
        n, tried = len(self.stream.paths), 0
        for attempt in range(_MOST_SKIPPED):
            if len(self._unreadable) == n or tried > _MOST_FAILURES:
                break
            if attempt:
                file = int(_random(self.stream.seed, _ATTEMPT, attempt, number).integers(n))
            if file in self._unreadable or self.stream.is_out(file, batch):
                continue
            began = time.monotonic()
            try:
                return file, self._pixels(file)
            except MemoryError:
                raise
            except Exception as error:  # of a damaged file Pillow raises nearly anything
                tried, failure = tried + 1, failed(error, began)
                failures[file] = self._unreadable[file] = failure.reason
                self._outages.note(file, failure, began)
        failed_files = sum(file in self._unreadable or self.stream.is_out(file, batch) for file in range(n))
        last = [*self._unreadable.items()][-1:]
        example = "".join(f", such as {self.stream.names[file]}: {reason}" for file, reason in last)
        raise EvaError(
            f"Expected images that can be read in {self.stream.folder}, but {failed_files} of {n} failed{example}"
        )

    def _pixels(self, file: int) -> np.ndarray:
        """Pixels of a file, uint8 (size, size, 3)."""
        if file in self._decoded:
            image, self._content = self._decoded[file]
            return image
        began = time.monotonic()
        content = self.stream.images.read(file)
        self._content = image_hash(hashlib.sha256(content).hexdigest())
        image = _decode(content)
        self._outages.note(file, None, began)
        if image.shape[:2] != (self.stream.size, self.stream.size):
            image = self._fit(image).permute(1, 2, 0).numpy()
        if (len(self._decoded) + 1) * image.nbytes <= _MEMORY:
            self._decoded[file] = image, self._content
        return image


_HEADER = 2**16
"""Bytes at the start of a JPEG that hold its EXIF, if any: a segment is not longer."""


def _decode(content: bytes) -> np.ndarray:
    """Pixels of a file, uint8 RGB (H, W, 3), as `read_image` gives them."""
    if content[:2] == b"\xff\xd8" and b"Exif" not in content[:_HEADER]:  # EXIF may ask for a rotation
        with suppress(ValueError):  # damaged: Pillow says how
            if simplejpeg.decode_jpeg_header(content)[2] in _COLOURS:
                image: np.ndarray = simplejpeg.decode_jpeg(content, "RGB")
                return image
    return read_image(io.BytesIO(content))


def _random(seed: int, purpose: int, attempt: int = 0, number: int = 0) -> np.random.Generator:
    counter = np.array([0, purpose, attempt, number], np.uint64)
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))


def _drawn(seed: int, numbers: np.ndarray, n: int) -> np.ndarray:
    """File of each sample, of n files, at its first attempt, int64 of the shape of the numbers."""
    passes, places = np.divmod(numbers, n)
    files = np.empty(len(numbers), np.int64)
    for number in np.unique(passes).tolist():
        rows = passes == number
        files[rows] = (
            _order(seed, number, n)[places[rows]] if n <= SHUFFLED else permuted(places[rows], n, (seed, number))
        )
    return files


@lru_cache(2)  # a batch may lie in two passes
def _order(seed: int, number: int, n: int) -> np.ndarray:
    """Order of n files in a pass, int64 (n,)."""
    return _random(seed, _PASS, number=number).permutation(n)
