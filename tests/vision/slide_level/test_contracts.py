from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eva_vision.datasets.slide_folder import SlideFolder
from eva_vision.slide_level.contracts import BagHead, SlideFile
from eva_vision.slides.reading import blobs
from tests.vision.slide_level.conftest import write_slide


def test_a_thumbnail_stands_for_a_sample(dataset: SlideFolder):
    image = dataset.image(dataset.samples[0])
    assert image.shape == (512, 512, 3)


def test_an_identity_is_of_the_content_and_not_of_the_name(dataset: SlideFolder, tmp_path: Path):
    file = dataset.slides(dataset.samples[0])[0]
    copy = tmp_path / "copy.tif"
    copy.write_bytes(Path(file.path).read_bytes())
    other = write_slide(tmp_path / "other.tif", (150, 60, 150), 99)
    dataset._slides = {s.id: (SlideFile(p.name, str(p)),) for s, p in zip(dataset.samples, (copy, other), strict=False)}
    dataset.samples = dataset.samples[:2]
    copied, changed = dataset.identities().values()
    assert copied == SlideFolder(str(Path(file.path).parent)).identities()[file]
    assert changed != copied


def test_the_fingerprint_changes_with_slides_labels_and_patients(dataset: SlideFolder):
    before = dataset.fingerprint()
    assert dataset.fingerprint() == before
    for change in ({"target": 1}, {"group": "another"}, {"split": "train"}, {"site": "z"}):
        changed = SlideFolder(dataset.card.access)
        changed.samples = [replace(changed.samples[0], **change), *changed.samples[1:]]
        assert changed.fingerprint() != before


def test_the_fingerprint_changes_with_the_question(dataset: SlideFolder):
    root = dataset.card.access
    asked = [{}, {"hold_out_sites": True}, {"metric": "auroc"}, {"unit": "slide"}, {"ordered": ("b", "a")}]
    assert len({SlideFolder(root, **question).fingerprint() for question in asked}) == len(asked)


def test_a_slide_in_a_bucket_is_known_by_size_and_header(dataset: SlideFolder, monkeypatch: pytest.MonkeyPatch):
    from eva_vision.slide_level import contracts

    monkeypatch.setattr(contracts, "state_of", lambda path: type("State", (), {"bytes": 3}))
    monkeypatch.setattr(contracts, "head_hash", lambda path, size: f"{path} {size}")
    assert blobs.is_url("s3://b/a.svs")
    dataset._slides = {s.id: (SlideFile("a", "s3://b/a.svs"),) for s in dataset.samples}
    assert dataset.identities() == {SlideFile("a", "s3://b/a.svs"): "s3://b/a.svs 3"}


def test_a_head_has_no_attention_unless_it_says_so():
    class Silent(BagHead):
        def fit(self, data, protocol):
            return []

        def outputs(self, params, bags):
            return torch.zeros(len(bags), 1)

    assert Silent().attention({}, torch.zeros(3, 2)) is None
