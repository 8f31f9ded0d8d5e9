"""Source of patches: slides by index or pattern, or a folder of patches."""

import math
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only

from eva_core.accelerator import is_gpu
from eva_core.errors import EvaError, UsageError, refuse, some
from eva_core.files.atomic_files import make_folder
from eva_core.progress import say, stage
from eva_pretrain.data.folder_stream import FolderStream
from eva_pretrain.data.image_list import ImageList, image_list
from eva_pretrain.data.loader import PatchLoader
from eva_pretrain.data.slide_stream import PatchStream
from eva_pretrain.data.stream import Stream
from eva_pretrain.distributed import rank, world
from eva_vision.slides.index import Index, is_index
from eva_vision.slides.sampling import Sampling
from eva_vision.slides.tissue_detection import patch_filter

EPOCH = 1250
"""Optimiser steps that Lightning counts as an epoch, as in DINOv2; no result depends on it."""
LIST = Path("index") / "images.parquet"
"""In the folder of a run: the list of the images of a large folder."""
_MONITORED_FROM = 2**30
"""First batch of the patches that are monitored and never trained on: no run gets that far."""


@dataclass(frozen=True)
class Source:
    """Source of the patches, either slides or a folder, and how they are read.

    Attributes:
        slides: Folder of an index (`eva slides index`), or a pattern such as 's3://bucket/**/*.svs'.
        folder: Folder of patches: PNG, JPEG, TIFF, or tar or Parquet shards of them, at any depth; or one shard, or the
            list that a run keeps.
        mpp: Micrometres per pixel of the patches of a folder, or of slides that state none.
        limit: Number of patches of a folder that are used; none: all.
        tissue: Tissue detection for slides: hsv, otsu, or a plugin's name.
        hsv_filter: Keep a patch only if 60 % of it has the colours of H&E, as Midnight.
        exact: Read level 0 only.
        batch_size: Patches of a batch of one device.
        workers: Processes of one device that read.
        prefetch: Batches that each worker reads ahead.
    """

    slides: str | None = None
    folder: str | None = None
    mpp: float | None = None
    limit: int | None = None
    tissue: str = "hsv"
    hsv_filter: bool = False
    exact: bool = False
    batch_size: int = 32
    workers: int = 2
    prefetch: int = 2

    def __post_init__(self) -> None:
        if (self.slides is None) == (self.folder is None):
            raise UsageError("Expected either --slides PATTERN or --folder DIR. Give one of them.")
        if self.batch_size < 1 or self.workers < 0 or self.prefetch < 1:
            raise UsageError(
                "Expected data.batch_size and prefetch of at least 1 and workers of at least 0, but got "
                f"{self.batch_size}, {self.prefetch} and {self.workers}. Change them."
            )
        refuse((self.mpp is not None and not 0 < self.mpp < math.inf, "data.mpp above 0", self.mpp))
        if self.limit is not None and self.slides is not None:
            raise UsageError("Expected data.limit with a folder alone; for slides it is sampling.distinct. Change it.")


class Patches(LightningDataModule):
    """Data module of a run: the loader of this rank, once Lightning knows how many ranks there are."""

    loader: PatchLoader

    def __init__(self, source: Source, sampling: Sampling, seed: int, accumulate: int, output: Path) -> None:
        """Find the patches; slides without an index are indexed first.

        Args:
            source: Slides or folder.
            sampling: How patches are drawn from slides; of a folder, only `size` applies.
            seed: Seed of the choice of patches.
            accumulate: Batches of an optimiser step.
            output: Folder of the run, below which the index is written.

        Raises:
            UsageError: The source has no slide or image, or a setting does not apply to it.
        """
        super().__init__()
        if source.folder is not None:
            _refuse_what_only_slides_have(sampling)
            _say_what_only_slides_have(source, sampling)
        self.source, self.sampling, self.seed, self.accumulate = source, sampling, seed, accumulate
        self._images = None if source.folder is None else _listed(Path(source.folder).expanduser(), output / LIST)
        self.index = None if source.slides is None else _index(source, output / "index")

    def train_dataloader(self) -> PatchLoader:
        """Build the loader of this rank."""
        assert self.trainer is not None
        with stage("Listing the patches", self.trainer.is_global_zero):
            stream = self.stream(
                self.source.batch_size, self.trainer.global_rank, self.trainer.world_size, accumulate=self.accumulate
            )
        source, epoch = self.source, EPOCH * self.accumulate
        on_gpu = is_gpu(self.trainer.strategy.root_device)
        self.loader = PatchLoader(stream, source.workers, source.prefetch, epoch, pin_memory=on_gpu)
        return self.loader

    def monitored_patches(self, batch_size: int) -> PatchLoader:
        """Load patches that the run never trains on, others on each rank, in batches of `batch_size`."""
        everywhere = replace(self.sampling, distinct=None)
        stream = self.stream(batch_size, rank(), world(), _MONITORED_FROM, everywhere)
        loader = PatchLoader(stream, self.source.workers, self.source.prefetch)
        if hasattr(self, "loader"):
            loader.failures = self.loader.failures  # each is said once
        return loader

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Least and greatest micrometres per pixel of the patches; None where unknown."""
        return mpp_of(self.source, self.sampling)

    def stream(
        self,
        batch_size: int,
        rank: int = 0,
        ranks: int = 1,
        start: int = 0,
        sampling: Sampling | None = None,
        accumulate: int = 1,
    ) -> Stream:
        """Stream the patches of one rank.

        Args:
            batch_size: Patches of a batch of one rank.
            rank: Number of this process, from 0.
            ranks: Number of processes among which the samples are divided.
            start: First batch.
            sampling: Replaces the sampling of the run.
            accumulate: Batches of one rank in an optimiser step.
        """
        sampling, source = sampling or self.sampling, self.source
        where = {"seed": self.seed, "rank": rank, "ranks": ranks, "start": start, "accumulate": accumulate}
        if self.index is None:
            assert source.folder is not None
            how = (batch_size, sampling.size, source.mpp, source.limit)
            return FolderStream(source.folder, *how, **where, images=self._images)
        keep = patch_filter if source.hsv_filter else None
        return PatchStream(self.index, sampling, batch_size, **where, keep=keep, exact=source.exact)


def mpp_of(source: Source, sampling: Sampling) -> tuple[float, float] | None:
    """Least and greatest micrometres per pixel of patches; None where unknown."""
    if source.slides is None:
        return None if source.mpp is None else (source.mpp, source.mpp)
    return sampling.mpp_range or (min(sampling.mpp), max(sampling.mpp))


def _listed(folder: Path, kept: Path) -> ImageList:
    output = kept.parents[1]
    make_folder(output)
    with FileLock(output / ".listing"):  # other processes of this run wait, and then read what is kept
        return image_list(folder, kept)


def only_slides_have(name: str) -> bool:
    """Whether a setting, by the name of its flag, changes no patch of a folder."""
    if name.startswith("sampling."):
        return name != "sampling.size"
    return name in ("data.mpp", "data.tissue", "data.hsv_filter", "data.exact")


def _refuse_what_only_slides_have(sampling: Sampling) -> None:
    plain = Sampling()
    for name in ("exclude", "codes", "fraction", "distinct", "table"):
        if getattr(sampling, name) != getattr(plain, name):
            raise UsageError(f"Expected slides with sampling.{name}, but got a folder of patches. Leave it out.")


def _say_what_only_slides_have(source: Source, sampling: Sampling) -> None:
    """Say which settings for slides have no effect on a folder: recipes are written for slides."""
    unused = [f"data.{name}" for name in ("hsv_filter", "exact") if getattr(source, name)]
    given, plain = asdict(sampling), asdict(Sampling())
    unused += [f"sampling.{name}" for name in given if name != "size" and given[name] != plain[name]]
    if unused:
        rank_zero_only(say)(f"A folder of patches is read as it is, without {', '.join(unused)}.")


def _index(source: Source, output: Path) -> Index:
    assert source.slides is not None
    given = Path(source.slides)
    if is_index(given):
        index = Index(given)
        _refuse_other_settings(source, index)
        return index
    from eva_vision.slides.build_index import build, on_this_machine
    from eva_vision.slides.listing import find_slides

    listed = find_slides(source.slides)
    paths = listed.paths
    run = on_this_machine(min(len(os.sched_getaffinity(0)), len(paths)))
    make_folder(output)
    with FileLock(output / ".building"):  # other processes of this run wait, and then have nothing to do
        index = build(paths, output, source.tissue, source.mpp, run, listed.root)
    if listed.failed:
        failed = [f"{path} ({reason})" for path, reason in listed.failed.items()]
        rank_zero_only(say)(f"{len(failed)} places could not be looked at: {some(failed)}.")
    if index.failed:
        named = some([f"{e.name} ({e.error})" for e in index.failed], 3)
        rank_zero_only(say)(f"{len(index.failed)} slides are left out: {named}.")
    if not len(index):
        raise EvaError(f"Expected slides that can be read, but none of {len(paths)} can. See above.")
    return index


def _refuse_other_settings(source: Source, index: Index) -> None:
    """Refuse settings that differ from those that a finished index was made with: they would have no effect."""
    plain = Source(slides="")
    if source.tissue not in (plain.tissue, index.tissue):
        raise UsageError(
            f"Expected data.tissue {index.tissue}, by which {index.folder} was made, but got {source.tissue}. "
            "Leave it out, or index the slides again elsewhere."
        )
    others = {entry.given_mpp for entry in index.entries} - {None, source.mpp}
    if source.mpp is not None and others:
        raise UsageError(
            f"Expected data.mpp {some(sorted(map(str, others)))}, by which {index.folder} was made, but got "
            f"{source.mpp}. Leave it out, or run `eva slides index --mpp {source.mpp}` again."
        )
