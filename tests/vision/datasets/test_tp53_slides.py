"""TP53 by patient: the manifest and the splits of the view by patch."""

from pathlib import Path

from eva_vision.datasets.tp53 import Tp53
from eva_vision.datasets.tp53_manifest import read_manifest
from eva_vision.datasets.tp53_slides import Tp53Slides
from tests.vision.datasets import test_tp53

tree = test_tp53.tree


def test_a_patient_is_a_sample_with_all_of_its_slides(tmp_path: Path):
    root = test_tp53.many(tmp_path)
    dataset = Tp53Slides(str(root))
    lines = read_manifest(root / "manifest.csv", seed=0, by_site=False)
    assert len(dataset.samples) == 40
    for sample in dataset.samples:
        of_patient = [line for line in lines if line.patient == sample.id]
        assert [slide.path for slide in dataset.slides(sample)] == [str(line.path) for line in of_patient]
        assert {(line.split, line.target) for line in of_patient} == {(sample.split, sample.target)}
        assert dataset.metadata(sample) == {"cohort": of_patient[0].cohort, "site": of_patient[0].site}
        assert (sample.group, sample.site) == (sample.id, of_patient[0].site)


def test_both_views_have_the_same_patients_in_each_split(tmp_path: Path):
    root = str(tree(tmp_path, split=True))
    by_patch = {(s.group, s.split, s.target) for s in test_tp53.build(root).samples}
    assert by_patch == {(s.group, s.split, s.target) for s in Tp53Slides(root).samples}


def test_what_the_manifest_says_of_mpp_is_passed_on(tmp_path: Path):
    dataset = Tp53Slides(str(tree(tmp_path)))
    assert {slide.mpp for sample in dataset.samples for slide in dataset.slides(sample)} == {0.5}
    assert dataset.image(dataset.samples[0]).shape == (512, 512, 3)


def test_the_cards_differ_by_name_and_kind_alone():
    assert (Tp53Slides.card.name, Tp53Slides.card.task) == ("tp53_slides", "slide_classification")
    assert Tp53Slides.card.collections == Tp53.card.collections == ("TCGA",)
    assert Tp53.card.task == "classification"


def test_a_patient_of_two_labels_is_named(tmp_path: Path, refusal):
    root = test_tp53.many(tmp_path)
    test_tp53.edit(root, "1_1.svs,P1,C1,S1,wild-type", "1_1.svs,P1,C1,S1,mutant")
    assert "but P1 has two" in refusal(Tp53Slides, root)


def test_whole_sites_are_held_out(tmp_path: Path):
    dataset = Tp53Slides(str(test_tp53.many(tmp_path)), hold_out_sites=True)
    assert len({(s.site, s.split) for s in dataset.samples}) == 20
