"""The stream is a function of the seed and the batch: not of workers, nor of where it was taken up."""

import itertools
import os
import pickle
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import openslide
import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from eva_core import registry
from eva_core.errors import EvaError, UsageError
from eva_pretrain.data import slide_stream, stream
from eva_pretrain.data.loader import Batch, PatchStream
from eva_vision.slides.build_index import build, in_this_process
from eva_vision.slides.changed_slides import state_of
from eva_vision.slides.index import Index, Writer
from eva_vision.slides.reading.slide import Patch, Slide
from eva_vision.slides.reading.staging import CacheFull
from eva_vision.slides.reading.tiff import TiffSlide
from eva_vision.slides.sampler import Sampling
from eva_vision.slides.tissue_detection import patch_filter
from eva_vision.synthetic.slides import phantom_tissue, write_phantom_slide
from tests.pretrain.conftest import make_index
from tests.vision.slides.toy_reader import PpmReader, write_ppm

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
]
SAMPLING = Sampling(size=48, mpp=(0.25, 0.5, 0.6))
REGIONS = Sampling(size=32, mpp=(0.25, 0.5), per_window=4, window=96)


def take(batches, n: int) -> list[Batch]:
    return list(itertools.islice(iter(batches), n))


def as_it_is(batch: Batch) -> Batch:
    """Collate nothing; a function with a name, as workers that are not forked get it by pickle."""
    return batch


def loaded(source: PatchStream, n: int, workers: int, context: str | None = None) -> list[Batch]:
    loader = DataLoader(
        source, batch_size=None, num_workers=workers, multiprocessing_context=context, collate_fn=as_it_is
    )
    return take(loader, n)


def same(a: list[Batch], b: list[Batch]) -> bool:
    """Pixels and where they are from."""
    assert len(a) == len(b)
    return all(
        torch.equal(one.pixels, other.pixels)
        and all(np.array_equal(p, q) for p, q in zip(one[1:9], other[1:9], strict=True))
        for one, other in zip(a, b, strict=True)
    )


def bright(pixels: np.ndarray) -> bool:
    return bool(pixels.mean() > 150)


def never(pixels: np.ndarray) -> bool:
    return False


@dataclass(frozen=True)
class Darker:
    """A filter with a parameter."""

    than: float

    def __call__(self, pixels: np.ndarray) -> bool:
        return bool(pixels.mean() < self.than)


def test_slides_of_one_file_name_are_told_apart(tmp_path):
    """Their patients are known by folders, above the one that was listed too."""
    places = ("TCGA-AA-0001/series", "TCGA-AA-0002/series", "other")
    paths = [write_phantom_slide(tmp_path / place / "level0.svs", 900, 700, seed=3, levels=1) for place in places]
    index = build([str(path) for path in paths], tmp_path / "index", "hsv", None, in_this_process)
    listed = tmp_path / "exclude.txt"
    listed.write_text("TCGA-AA-0002\nother\n")
    source = PatchStream(index, Sampling(size=48, mpp=(0.5,), exclude=str(listed)), 4)
    assert source.sampler.slide_numbers.tolist() == [0]
    assert source.seen(range(3)) == [
        ("TCGA-AA-0001/series/level0.svs", "TCGA-AA-0001"),
        ("TCGA-AA-0002/series/level0.svs", "TCGA-AA-0002"),
        ("other/level0.svs", None),
    ]
    one = build([str(paths[0])], tmp_path / "one", "hsv", None, in_this_process)
    assert PatchStream(one, Sampling(size=48, mpp=(0.5,)), 4).seen([0]) == [source.seen([0])[0]]


def test_a_slide_that_changed_after_indexing_is_left_out_and_told(tmp_path):
    paths = [write_phantom_slide(tmp_path / f"{n}.svs", 900, 700, seed=n, levels=1) for n in range(2)]
    index = build([str(path) for path in paths], tmp_path / "index", "hsv", None, in_this_process)
    write_phantom_slide(paths[0], 900, 700, seed=9, levels=1)
    (batch,) = take(PatchStream(index, SAMPLING, 8), 1)
    assert set(batch.slide.tolist()) == {1}
    assert "has changed since" in dict(batch.failures)[0]


def as_it_lies(index: Index, batch: Batch) -> bool:
    """Whether each patch is what its slide, whole, gives at the place that is named."""
    for pixels, number, x, y, mpp in zip(batch.pixels, batch.slide, batch.x, batch.y, batch.mpp, strict=True):
        with index.open(int(number)) as slide:
            if not np.array_equal(pixels.permute(1, 2, 0), slide.read(int(x), int(y), pixels.shape[1], float(mpp))):
                return False
    return True


@pytest.mark.parametrize("sampling", [SAMPLING, REGIONS], ids=["independent", "regions"])
def test_the_same_patches_whatever_the_number_of_workers(index, sampling):
    alone = take(PatchStream(index, sampling, 5, seed=1), 37)
    for workers in (1, 2, 4):
        assert same(alone, loaded(PatchStream(index, sampling, 5, seed=1), 37, workers))
    assert not same(alone, take(PatchStream(index, sampling, 5, seed=2), 37))


def test_pixels_are_those_of_the_place_that_a_batch_names(index):
    for batch in take(PatchStream(index, SAMPLING, 6, seed=4), 5):
        assert batch.pixels.shape == (6, 3, 48, 48)
        assert batch.pixels.dtype == torch.uint8
        assert batch.pixels.is_contiguous(memory_format=torch.channels_last)
        for k, (number, x, y, mpp) in enumerate(zip(batch.slide, batch.x, batch.y, batch.mpp, strict=True)):
            with index.open(int(number)) as slide:
                patch = slide.read_patch(int(x), int(y), 48, float(mpp))
            assert np.array_equal(batch.pixels[k].permute(1, 2, 0).numpy(), patch.pixels)
            assert (batch.level[k], batch.reduce[k], batch.inside[k]) == (patch.level, patch.reduce, patch.inside)
            assert patch.inside == 1


def test_patches_of_regions_are_those_that_are_read_alone(index):
    """At native levels, where nothing is resampled."""
    batches = take(PatchStream(index, REGIONS, 4, seed=4), 70)
    assert all(as_it_lies(index, batch) for batch in batches)
    seen = [place for b in batches for place in zip(b.slide.tolist(), b.x.tolist(), b.y.tolist(), b.mpp, strict=True)]
    assert len(set(seen)) > 0.9 * len(seen)


def test_a_region_is_read_once(index, monkeypatch):
    asked = []
    plain = slide_stream.read_all
    monkeypatch.setattr(
        slide_stream, "read_all", lambda h, requests, **more: asked.extend(requests) or plain(h, requests, **more)
    )
    take(PatchStream(index, REGIONS, 8, seed=1), 64)
    assert len(asked) < 8 * 64 / 4 + 16 * 8
    assert {place[2] for _, place in asked} == {96}


def test_regions_of_few_distinct_patches(index):
    few = Sampling(size=32, mpp=(0.25,), per_window=4, window=64, distinct=10)
    batches = take(PatchStream(index, few, 3), 40)
    places = {(int(s), int(x), int(y)) for b in batches for s, x, y in zip(b.slide, b.x, b.y, strict=True)}
    assert len(places) <= 10
    assert same(batches[20:], take(PatchStream(index, few, 3, start=20), 20))


@pytest.mark.parametrize("sampling", [SAMPLING, REGIONS], ids=["independent", "regions"])
def test_it_is_taken_up_where_it_stopped(index, sampling):
    whole = take(PatchStream(index, sampling, 5), 50)
    assert same(whole[23:], take(PatchStream(index, sampling, 5, start=23), 27))
    assert same(whole[23:40], loaded(PatchStream(index, sampling, 5, start=23), 17, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_torchdata_takes_it_up_where_it_stopped(index, workers):
    def loader() -> StatefulDataLoader:
        return StatefulDataLoader(PatchStream(index, SAMPLING, 4, seed=5), batch_size=None, num_workers=workers)

    def prints(batches) -> list[tuple[bytes, list[int]]]:
        return [(batch.pixels.numpy().tobytes(), list(batch.number)) for batch in batches]

    whole = prints(take(loader(), 7))
    first = loader()
    batches = iter(first)
    assert prints(itertools.islice(batches, 3)) == whole[:3]
    state = pickle.loads(pickle.dumps(first.state_dict()))
    second = loader()
    second.load_state_dict(state)
    assert prints(take(second, 4)) == whole[3:]


def test_ranks_divide_the_stream(index):
    together = take(PatchStream(index, SAMPLING, 6), 4)
    parts = [take(PatchStream(index, SAMPLING, 2, rank=rank, ranks=3), 4) for rank in range(3)]
    for whole, batches in zip(together, zip(*parts, strict=True), strict=True):
        numbers = np.concatenate([batch.number for batch in batches])
        assert sorted(numbers.tolist()) == whole.number.tolist()
        pixels = torch.cat([batch.pixels for batch in batches])[torch.from_numpy(np.argsort(numbers))]
        assert torch.equal(pixels, whole.pixels)


def test_exact_means_level_0(index):
    for batch in take(PatchStream(index, Sampling(size=32, mpp=(1.0,)), 8, exact=True), 2):
        assert (batch.level == 0).all()
        assert (batch.reduce == 1).all()
    assert any((batch.reduce > 1).any() for batch in take(PatchStream(index, SAMPLING, 8), 2))


def test_what_does_not_pass_the_filter_is_replaced(index):
    plain = take(PatchStream(index, SAMPLING, 8), 6)
    passed = loaded(PatchStream(index, SAMPLING, 8, keep=bright), 6, 2)
    assert same(passed, take(PatchStream(index, SAMPLING, 8, keep=bright), 6))
    failing = [not bright(p.permute(1, 2, 0).numpy()) for batch in plain for p in batch.pixels]
    replaced = [
        not torch.equal(p, q)
        for a, b in zip(plain, passed, strict=True)
        for p, q in zip(a.pixels, b.pixels, strict=True)
    ]
    assert replaced == failing
    assert sum(batch.rejected for batch in passed) >= sum(failing) > 0
    assert all(bright(p.permute(1, 2, 0).numpy()) for batch in passed for p in batch.pixels)
    stained = take(PatchStream(index, SAMPLING, 8, keep=patch_filter), 2)
    assert all(patch_filter(p.permute(1, 2, 0).numpy()) for batch in stained for p in batch.pixels)


def test_a_filter_that_nothing_passes(index, monkeypatch):
    monkeypatch.setattr(slide_stream, "_MOST_REJECTED", 20)
    with pytest.raises(EvaError, match="patches that pass the filter, but 21 in a row did not"):
        take(PatchStream(index, SAMPLING, 2, keep=never), 1)


def cut(index: Index, number: int, share: float) -> None:
    """Truncate a slide after a part of its tiles, and have the index believe that it was so: else it is not opened."""
    entry = index.entries[number]
    os.truncate(entry.path, int(entry.bytes * share))
    fields = {name: value for name, value in asdict(entry).items() if name not in ("offset", "crc32")}
    layout, blobs = fields.pop("state_bytes"), index._blobs(entry)
    del fields["mask_bytes"]
    with Writer(index.folder, index.tissue) as writer:
        writer.add({**fields, **state_of(entry.path)._asdict()}, blobs[:layout], blobs[layout:])
    index.entries = Index(index.folder).entries


@pytest.mark.parametrize("sampling", [SAMPLING, REGIONS], ids=["independent", "regions"])
def test_a_truncated_slide_is_replaced_then_left_out(index, fragile, sampling, monkeypatch):
    monkeypatch.setattr(stream, "HORIZON", 24)
    cut(fragile, 1, 0.3)
    alone = take(PatchStream(fragile, sampling, 6), 60)
    begun = next(n for n, batch in enumerate(alone) if batch.failures)
    assert {slide for batch in alone for slide, _ in batch.failures} == {1}
    assert "the file is cut" in alone[begun].failures[0][1]
    assert all((batch.slide != 1).all() for batch in alone[begun + 24 :])
    assert any((batch.slide == 1).any() for batch in alone[begun : begun + 24])  # what can be read of it
    assert same(alone, loaded(PatchStream(fragile, sampling, 6), 60, 4, "fork"))  # workers that see HORIZON as set here
    assert all(as_it_lies(index, batch) for batch in alone)


def test_resuming_knows_what_was_left_out(fragile, monkeypatch):
    monkeypatch.setattr(stream, "HORIZON", 12)
    cut(fragile, 1, 0.3)
    whole = take(PatchStream(fragile, SAMPLING, 6), 40)
    first = PatchStream(fragile, SAMPLING, 6)
    take(first, 20)
    second = PatchStream(fragile, SAMPLING, 6)
    second.load_state_dict(first.state_dict())
    assert list(second.left_out()) == [fragile.entries[1].path]
    assert same(whole[20:], take(second, 20))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_slide_that_vanished(fragile, workers):
    os.unlink(fragile.entries[2].path)
    batches = loaded(PatchStream(fragile, SAMPLING, 6), 8, workers)
    assert all((batch.slide != 2).all() for batch in batches)
    assert [slide for batch in batches for slide, _ in batch.failures].count(2) == max(workers, 1)


def test_a_slide_that_is_cut_in_the_middle_of_training(index, fragile):
    batches = iter(PatchStream(fragile, SAMPLING, 6))
    assert not any(batch.failures for batch in itertools.islice(batches, 4))
    cut(fragile, 0, 0.1)
    later = list(itertools.islice(batches, 12))
    assert {slide for batch in later for slide, _ in batch.failures} == {0}
    assert all(as_it_lies(index, batch) for batch in later)


def test_no_slide_is_left(fragile):
    for entry in fragile.entries:
        os.unlink(entry.path)
    with pytest.raises(
        EvaError, match=r"Expected slides that can be read, but all 3 failed, such as \w.svs: "
    ) as raised:
        take(PatchStream(fragile, SAMPLING, 6), 1)
    assert "\n" not in str(raised.value)


def test_nothing_of_the_slides_can_be_read(fragile):
    for number in range(3):
        cut(fragile, number, 0.001)
    with pytest.raises(EvaError, match=r"101 attempts at a patch failed, the last with: .*the file is cut"):
        take(PatchStream(fragile, SAMPLING, 6), 1)


class Dead:
    """Slides, by name, whose storage does not answer; how often each was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.names, self.asked = set(names), Counter[str]()
        self._plain = TiffSlide.read_many
        monkeypatch.setattr("eva_pretrain.data.slide_reads._SLOW", -1.0)
        monkeypatch.setattr(TiffSlide, "read_many", lambda slide, places: self._read(slide, places))

    def _read(self, slide: TiffSlide, places) -> list[Patch]:
        self.asked[slide.name] += 1
        if slide.name in self.names:
            raise EvaError(f"Could not read {slide.name}.") from TimeoutError("no answer")
        return self._plain(slide, places)


@pytest.mark.parametrize("batch_size", [1, 6])
def test_storage_that_does_not_answer_ends_the_stream_and_leaves_no_slide_out(index, monkeypatch, batch_size):
    dead = Dead(monkeypatch, "a.svs", "b.svs", "c.svs")
    source = PatchStream(index, SAMPLING, batch_size)
    with pytest.raises(
        EvaError, match=r"storage that answers, but 3 slides in a row got no answer, the last: Could not read"
    ):
        take(source, 1)
    assert set(dead.asked.values()) == {1}
    assert not source.left_out()


def test_an_outage_in_the_middle_ends_the_stream(index, monkeypatch):
    dead = Dead(monkeypatch)
    source = PatchStream(index, SAMPLING, 1)
    batches = iter(source)
    assert len(list(itertools.islice(batches, 5))) == 5
    dead.names |= {"a.svs", "b.svs", "c.svs"}
    with pytest.raises(EvaError, match="storage that answers"):
        next(batches)
    assert not source.left_out()


@pytest.mark.parametrize("sampling", [SAMPLING, REGIONS], ids=["independent", "regions"])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_slides_that_do_not_answer_never_end_the_stream(index, monkeypatch, sampling, batch_size):
    """Nor does the clock decide about the patches: they are those of slides that fail at once."""
    dead = Dead(monkeypatch, "a.svs", "b.svs")
    batches = take(PatchStream(index, sampling, batch_size, seed=1), 40)
    assert all((batch.slide == 2).all() for batch in batches)
    assert (dead.asked["a.svs"], dead.asked["b.svs"]) == (1, 1)
    assert sum(len(batch.failures) for batch in batches) == 2
    assert same(batches, loaded(PatchStream(index, sampling, batch_size, seed=1), 40, 2, "fork"))
    monkeypatch.setattr("eva_pretrain.data.slide_reads._SLOW", 1e9)
    monkeypatch.setattr(Slide, "read_patch", lambda slide, *place: TiffSlide.read_many(slide, [place])[0])
    assert same(batches, take(PatchStream(index, sampling, batch_size, seed=1), 40))
    assert dead.asked["a.svs"] > 1


def test_the_clock_decides_nothing_about_a_damaged_slide(fragile, monkeypatch):
    cut(fragile, 1, 0.3)
    plain = take(PatchStream(fragile, SAMPLING, 6), 30)
    assert any((batch.slide == 1).any() for batch in plain)
    monkeypatch.setattr("eva_pretrain.data.slide_reads._SLOW", -1.0)
    assert same(plain, take(PatchStream(fragile, SAMPLING, 6), 30))


def damage_blobs(index: Index, number: int) -> None:
    """In the tissue mask of a slide."""
    entry = index.entries[number]
    with (index.folder / "blobs.bin").open("r+b") as file:
        file.seek(entry.offset + entry.state_bytes + 20)
        file.write(b"damaged!")


@pytest.mark.parametrize("sampling", [SAMPLING, REGIONS], ids=["independent", "regions"])
def test_a_damaged_mask_leaves_its_slide_out(fragile, sampling, monkeypatch):
    monkeypatch.setattr(stream, "HORIZON", 24)
    damage_blobs(fragile, 1)
    source = PatchStream(fragile, sampling, 6)
    batches = take(source, 40)
    assert all((batch.slide != 1).all() for batch in batches)
    failures = [failure for batch in batches for failure in batch.failures]
    assert [slide for slide, _ in failures] == [1]
    assert "Expected b.svs in" in failures[0][1]
    assert list(source.left_out()) == [fragile.entries[1].path]
    assert same(batches, loaded(PatchStream(fragile, sampling, 6), 40, 2))


def test_no_mask_is_left(fragile):
    for number in range(3):
        damage_blobs(fragile, number)
    with pytest.raises(EvaError, match=r"all 3 failed, such as \w.svs: Expected \w.svs in"):
        take(PatchStream(fragile, SAMPLING, 6), 1)


def test_an_index_whose_storage_does_not_answer(index, monkeypatch):
    def mask(index: Index, number: int):
        raise EvaError("the blobs do not read") from TimeoutError()

    monkeypatch.setattr("eva_pretrain.data.slide_reads._SLOW", -1.0)
    monkeypatch.setattr(Index, "mask", mask)
    with pytest.raises(EvaError, match="3 slides in a row got no answer, the last: the blobs do not read"):
        take(PatchStream(index, SAMPLING, 6), 1)


def test_a_full_cache_blames_no_slide(index, monkeypatch, capsys):
    plain = Index.open

    def open_slide(index: Index, number: int, exact: bool = False) -> Slide:
        if number == 1:
            raise CacheFull("there is no room")
        return plain(index, number, exact)

    monkeypatch.setattr(Index, "open", open_slide)
    source = PatchStream(index, SAMPLING, 6)
    batches = take(source, 12)
    assert all((batch.slide != 1).all() for batch in batches)
    assert not source.left_out()
    assert not any(batch.failures for batch in batches)
    assert capsys.readouterr().err.count("in place of one: there is no room") == 1
    monkeypatch.setattr(Index, "open", plain)
    assert any((batch.slide == 1).any() for batch in take(source, 12))


def test_identity_names_the_filter(index):
    names = [
        PatchStream(index, SAMPLING, 4, keep=keep).identity()["keep"]
        for keep in (None, patch_filter, partial(patch_filter, share=0.5), partial(patch_filter, share=0.6), Darker(3))
    ]
    assert names[:2] == [None, "eva-pathology:patch_filter"]
    assert len(set(names)) == 5
    assert 'Darker {"than": 3}' in names[4]
    assert names[4] == PatchStream(index, SAMPLING, 4, keep=Darker(3)).identity()["keep"]


def test_a_stream_pickles(index):
    source = PatchStream(index, SAMPLING, 4)
    take(source, 2)
    assert same(take(pickle.loads(pickle.dumps(source)), 2), take(PatchStream(index, SAMPLING, 4), 2))


def test_an_index_that_grew_meanwhile(fragile, tmp_path):
    pickled = pickle.dumps(PatchStream(fragile, SAMPLING, 4))
    write_phantom_slide(tmp_path / "0.svs", 600, 500, levels=1)
    make_index(tmp_path)
    with pytest.raises(EvaError, match="as when the stream was made, but there are others"):
        take(pickle.loads(pickled), 1)


def test_workers_that_do_not_fit_regions(index):
    with pytest.raises(UsageError, match="got 3"):
        loaded(PatchStream(index, REGIONS, 4), 1, 3)


@pytest.mark.real_data
def test_a_real_slide_is_what_openslide_gives(real_data, tmp_path):
    path = real_data / "slides" / "CMU-1-Small-Region.svs"
    real = build([str(path)], tmp_path / "index", "hsv", None, in_this_process)
    own = openslide.OpenSlide(path)
    for batch in take(PatchStream(real, Sampling(size=224, mpp=(real.entries[0].mpp,)), 8), 3):
        for pixels, x, y in zip(batch.pixels, batch.x.tolist(), batch.y.tolist(), strict=True):
            theirs = own.read_region((x, y), 0, (224, 224)).convert("RGB")
            assert np.array_equal(pixels.permute(1, 2, 0), np.asarray(theirs))


def test_slides_of_a_plugins_reader_are_streamed_like_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(registry.slide_readers, "_registered", {})
    registry.slide_readers.register("ppm")(PpmReader)
    tissue = phantom_tissue(900, 700, seed=3)
    index = build([str(write_ppm(tmp_path / "a.ppm", tissue))], tmp_path / "index", "hsv", None, in_this_process)
    for batch in take(PatchStream(index, Sampling(size=32, mpp=(0.5,)), 8), 2):
        for pixels, x, y in zip(batch.pixels, batch.x, batch.y, strict=True):
            assert np.array_equal(pixels.permute(1, 2, 0), tissue[y : y + 32, x : x + 32])
