"""TP53: patches of slides by manifest, splits of whole patients, and the baselines that see no tissue."""

import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eva_core.api import fit
from eva_core.extract import Extraction
from eva_core.protocol import Protocol
from eva_core.record import Predictions
from eva_vision.datasets.slide_level import metadata_baseline, slide_scores
from eva_vision.datasets.tp53 import Tp53, tissue
from tests.conftest import picture
from tests.vision.datasets import trees


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return trees.tp53(tmp_path)


def edit(root: Path, old: str, new: str) -> None:
    file = root / "manifest.csv"
    file.write_text(file.read_text().replace(old, new, 1))


def many(root: Path, patients: int = 40) -> Path:
    """A manifest without splits: two slides a patient, twenty sites, two cohorts; all slides the same file's copies."""
    Image.fromarray(picture(0, size=64)).save(root / "one.png")
    rows = []
    for p in range(patients):
        for k in range(2):
            name = f"{p}_{k}.png"
            (root / name).hardlink_to(root / "one.png")
            rows.append(
                {
                    "slide": name,
                    "patient": f"P{p}",
                    "cohort": f"C{p % 2}",
                    "site": f"S{p % 20}",
                    "label": Tp53.card.classes[p // 2 % 2],
                    "mpp": 0.5,
                }
            )
    trees.write_table(root / "manifest.csv", rows)
    return root


# Patches.


def test_patches_are_tissue_and_neither_glass_nor_ink(root: Path):
    dataset = trees.build_tp53(str(root))
    first = [s for s in dataset.samples if s.id.startswith("slide_0.png/")]
    assert [s.id for s in first] == [f"slide_0.png/{x}_{y}" for y in (0, 32) for x in (0, 32)]
    sample = first[3]
    assert (sample.group, sample.site) == ("TCGA-0A-0000", "0A")
    assert (sample.split, sample.target, sample.mpp) == ("train", 0, 0.5)
    assert np.array_equal(dataset.image(sample), picture(0, size=64)[32:, 32:])


def test_another_resolution_is_read_at_half_a_micrometre(root: Path):
    edit(root, "wild-type,0.5", "wild-type,0.25")
    dataset = Tp53(str(root), size=16)
    sample = next(s for s in dataset.samples if s.id == "slide_0.png/32_0")
    expected = Image.fromarray(picture(0, size=64)[:32, 32:]).resize((16, 16))
    assert np.array_equal(dataset.image(sample), np.asarray(expected))


def test_at_most_so_many_a_slide_by_seed_and_slide_alone(root: Path):
    def ids(**arguments: int) -> dict[str, set[str]]:
        found = defaultdict(set)
        for sample in trees.build_tp53(str(root), **arguments).samples:
            found[sample.id.partition("/")[0]].add(sample.id)
        return found

    chosen = ids(patches=2)
    assert {len(of) for of in chosen.values()} == {2}
    assert chosen == ids(patches=2)
    assert chosen != ids(patches=2, seed=1)
    (root / "manifest.csv").write_text("\n".join((root / "manifest.csv").read_text().splitlines()[:5]))
    assert ids(patches=2) == {name: of for name, of in chosen.items() if name in ids()}


def test_a_slide_without_tissue_is_told(root: Path, capsys: pytest.CaptureFixture[str]):
    Image.fromarray(np.full((96, 96, 3), 245, np.uint8)).save(root / "slide_3.png")
    dataset = trees.build_tp53(str(root))
    assert not [s for s in dataset.samples if s.id.startswith("slide_3")]
    assert "tp53: 1 slides have no patch with 40% tissue: slide_3.png." in capsys.readouterr().err


def test_the_fingerprint_sees_size_and_places(root: Path):
    seen = {Tp53(str(root), **more).fingerprint() for more in ({"size": 32}, {"size": 31}, {"size": 32, "patches": 2})}
    assert len(seen) == 3


def test_it_survives_pickling_with_a_slide_open(root: Path):
    dataset = trees.build_tp53(str(root))
    before = dataset.image(dataset.samples[0])
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).image(dataset.samples[0]), before)


@pytest.mark.real_data
def test_a_real_slide(real_data: Path, tmp_path: Path):
    (tmp_path / "CMU-1-Small-Region.svs").symlink_to(real_data / "slides" / "CMU-1-Small-Region.svs")
    row = {"slide": "CMU-1-Small-Region.svs", "patient": "p", "cohort": "c", "site": "s", "label": "mutant"}
    trees.write_table(tmp_path / "manifest.csv", [{**row, "split": "train"}])
    dataset = Tp53(str(tmp_path), patches=20)
    assert len(dataset.samples) == 20  # of 9 x 13 places
    for sample in dataset.samples[::5]:
        image = dataset.image(sample)
        assert image.shape == (224, 224, 3)
        assert tissue(image).mean() > 0.3


# The manifest.


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("slide_0.png", "gone.png", "1 missing (gone.png)"),
        ("slide_1.png", "slide_0.png", "1 duplicate (slide_0.png)"),
        ("wild-type", "wildtype", "got wildtype"),
        ("mutant,0.5,train", "mutant,0.5,holdout", "got holdout"),
        (",BRCA,", ",,", "got none for slide_0.png"),
        ("cohort", "study", "Expected the columns slide, patient, cohort, site, label"),
        ("TCGA-1A-0002", "TCGA-0A-0000", "1 patients cross splits"),
        ("wild-type,0.5,train", "wild-type,,train", "Add a column mpp"),
        ("wild-type,0.5,train", "wild-type,2,train", "slide_0.png has 2"),
    ],
)
def test_a_wrong_manifest_is_named(root: Path, refusal, old: str, new: str, said: str):
    edit(root, old, new)
    assert said in refusal(trees.build_tp53, root)


def test_what_is_no_slide_is_named(root: Path, refusal):
    (root / "slide_2.png").write_text("a table, renamed")
    assert "slide_2.png" in refusal(trees.build_tp53, root)


def test_wrong_arguments_are_named(root: Path, refusal):
    assert "patches to be at least 1" in refusal(Tp53, root, patches=0)
    assert "hold_out_sites" in refusal(Tp53, root, hold_out_sites=True)
    assert "manifest.csv" in refusal(Tp53, root / "nowhere")


@pytest.mark.parametrize("by_site", [False, True])
def test_whole_patients_or_sites_are_held_out(tmp_path: Path, by_site: bool):
    slides = trees.build_tp53(str(many(tmp_path)), hold_out_sites=by_site).slides
    places = defaultdict(set)
    for slide in slides:
        places[slide.site if by_site else slide.patient].add(slide.split)
    assert {len(splits) for splits in places.values()} == {1}
    share = {split: np.mean([s.split == split for s in slides]) for split in ("train", "val", "test")}
    assert share["test"] == pytest.approx(0.2, abs=0.06)
    assert share["val"] == pytest.approx(0.2, abs=0.06)


def test_the_split_is_stratified_and_seeded(tmp_path: Path):
    root = str(many(tmp_path))
    slides = trees.build_tp53(root).slides
    for split, expected in (("train", 12), ("val", 4), ("test", 4)):
        for cohort in ("C0", "C1"):
            for target in (0, 1):
                n = sum((s.split, s.cohort, s.target) == (split, cohort, target) for s in slides)
                assert n == pytest.approx(expected, abs=2)
    assert slides == trees.build_tp53(root).slides
    assert slides != trees.build_tp53(root, seed=1).slides


def test_too_few_patients_for_three_splits_are_refused(tmp_path: Path, refusal):
    assert "stays empty" in refusal(trees.build_tp53, many(tmp_path, patients=1))


# Scores per slide.


def test_the_baseline_predicts_the_share_of_mutants_of_the_cohort():
    train = [("A", t) for t in (1, 1, 0)] + [("B", t) for t in (0, 0, 1)]
    asked = [("A", 1), ("A", 1), ("B", 0), ("B", 1)]
    scores = metadata_baseline(train, asked)
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["auroc"] == pytest.approx((2 + 0.5) / 3)
    everybody = metadata_baseline([("S", t) for _, t in train], [("S", t) for _, t in asked])
    assert everybody["auroc"] == pytest.approx(0.5)


def test_a_cohort_that_train_lacks_gets_the_share_of_all_of_train():
    found = metadata_baseline([("A", 1), ("A", 1), ("B", 0)], [("C", 1), ("B", 0)])
    assert found == {"balanced_accuracy": 1.0, "auroc": 1.0}


def test_slides_are_scored_by_the_mean_over_their_patches():
    positive = np.array([[0.9, 0.0, 0.6], [0.9, 0.9, 0.6]])  # two runs, two patches of slide a, one of slide b
    part = Predictions(
        "test", ["a/0_0", "a/0_9", "b/0_0"], [""] * 3, np.array([0, 0, 1]), np.stack([1 - positive, positive], -1)
    )
    assert slide_scores(part, ["a", "a", "b"]) == [
        {"balanced_accuracy": 1.0, "auroc": 1.0},
        {"balanced_accuracy": 0.5, "auroc": 0.0},
    ]


def test_a_result_tells_slides_cohorts_and_sites(tmp_path: Path):
    dataset = trees.build_tp53(many(tmp_path))
    quick = Protocol("quick", steps=20, runs=2)
    how = Extraction(device="cpu", workers=0)
    report = fit("colour_stats", dataset, protocol=quick, output=tmp_path / "r", how=how)["report"]
    assert set(report) == {"val", "test"}
    assert set(report["test"]) == {"slide_level", "cohort_only", "site_only"}
    assert len(report["test"]["slide_level"]) == 2
    assert 0 <= report["test"]["cohort_only"]["auroc"] <= 1
