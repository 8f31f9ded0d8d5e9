"""TP53: patches of slides by manifest, splits of whole patients, and the baselines that see no tissue."""

import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import openslide
import pytest

from eva_core.api import fit
from eva_core.contracts.protocol import Protocol
from eva_core.extraction.settings import Extraction
from eva_vision.datasets.tp53 import Tp53, index_folder
from eva_vision.slides import open_slide, tissue_detection
from eva_vision.slides.reading.openslide import over_white
from eva_vision.synthetic.slides import write_slide
from tests.conftest import picture
from tests.vision.datasets import trees


def tree(root: Path, split: bool = True) -> Path:
    """Six slides of four by four cells of 128 px: tissue left, glass right, ink in the last row."""
    rows = []
    for i in range(6):
        pixels = np.full((512, 512, 3), 245, np.uint8)
        pixels[:, :256] = picture(i, size=512)[:, :256]
        pixels[384:] = 10
        write_slide(root / f"slide_{i}.svs", pixels, mpp=None)
        rows.append(
            {
                "slide": f"slide_{i}.svs",
                "patient": f"TCGA-{i // 2}A-{i:04d}",
                "cohort": ("BRCA", "COAD")[i % 2],
                "site": f"{i // 2}A",
                "label": Tp53.card.classes[i % 2],
                "mpp": 0.5,
                **({"split": ("train", "val", "test")[i // 2]} if split else {}),
            }
        )
    trees.write_table(root / "manifest.csv", rows)
    return root


def build(root: str, **arguments: object) -> Tp53:
    return Tp53(root, **{"size": 128, **arguments})  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(tmp_path)


def edit(root: Path, old: str, new: str) -> None:
    file = root / "manifest.csv"
    file.write_text(file.read_text().replace(old, new, 1))


def many(root: Path, patients: int = 40) -> Path:
    """A manifest without splits: two slides a patient, twenty sites, two cohorts; all slides the same file's copies."""
    one = write_slide(root / "one.svs", picture(0, size=256), mpp=0.5)
    rows = []
    for p in range(patients):
        for k in range(2):
            name = f"{p}_{k}.svs"
            (root / name).hardlink_to(one)
            rows.append(
                {
                    "slide": name,
                    "patient": f"P{p}",
                    "cohort": f"C{p % 2}",
                    "site": f"S{p % 20}",
                    "label": Tp53.card.classes[p // 2 % 2],
                }
            )
    trees.write_table(root / "manifest.csv", rows)
    return root


# The index.


def test_a_comment_in_the_tissue_detection_changes_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = index_folder(None)
    source = Path(tissue_detection.__file__).read_text()
    edited = tmp_path / "tissue_detection.py"
    edited.write_text(source + "# another comment\n")
    monkeypatch.setattr(tissue_detection, "__file__", str(edited))
    assert index_folder(None) == before
    assert before.name == f"tissue{tissue_detection.VERSION}-stated"


def test_another_version_of_the_tissue_detection_has_an_index_of_its_own(monkeypatch: pytest.MonkeyPatch):
    before = {index_folder(None), index_folder(0.5)}
    monkeypatch.setattr(tissue_detection, "VERSION", tissue_detection.VERSION + 1)
    assert not before & {index_folder(None), index_folder(0.5)}


# Patches.


def test_patches_are_tissue_and_neither_glass_nor_ink(root: Path):
    dataset = build(str(root))
    first = [s for s in dataset.samples if s.id.startswith("slide_0.svs/")]
    assert [s.id for s in first] == [f"slide_0.svs/{x}_{y}" for y in (0, 128, 256) for x in (0, 128)]
    sample = first[3]
    assert (sample.group, sample.site) == ("TCGA-0A-0000", "0A")
    assert (sample.split, sample.target, sample.mpp) == ("train", 0, 0.5)
    with openslide.OpenSlide(root / "slide_0.svs") as slide:
        assert np.array_equal(dataset.image(sample), over_white(slide.read_region((128, 128), 0, (128, 128))))


def test_another_resolution_is_read_at_half_a_micrometre(root: Path):
    edit(root, "wild-type,0.5", "wild-type,0.25")
    dataset = build(str(root), size=64)
    sample = next(s for s in dataset.samples if s.id == "slide_0.svs/128_0")
    with openslide.OpenSlide(root / "slide_0.svs") as slide:
        expected = slide.read_region((128, 0), 0, (128, 128)).convert("RGB").reduce(2)
    assert (
        np.abs(dataset.image(sample).astype(int) - np.asarray(expected)).mean() < 5
    )  # noise of 25: a pixel beside would be 14


def test_the_second_time_no_slide_is_opened(root: Path, monkeypatch: pytest.MonkeyPatch):
    first = build(str(root))

    def refuse(*_: object) -> None:
        raise AssertionError("opened")

    with monkeypatch.context() as patch:
        patch.setattr("eva_vision.slides.build_index.open_verified", refuse)
        again = build(str(root), size=120)
        assert build(str(root)).samples == first.samples
    assert {s.id.partition("/")[0] for s in again.samples} == {f"slide_{n}.svs" for n in range(6)}
    write_slide(root / "slide_1.svs", picture(9, size=512), mpp=None)
    changed = build(str(root))
    assert len(changed.samples) == len(first.samples) + 10  # all of its 16 places are tissue now
    assert changed.fingerprint() != first.fingerprint()


def test_at_most_so_many_a_slide_by_seed_and_slide_alone(root: Path):
    def ids(**arguments: int) -> dict[str, set[str]]:
        found = defaultdict(set)
        for sample in build(str(root), **arguments).samples:
            found[sample.id.partition("/")[0]].add(sample.id)
        return found

    chosen = ids(patches=2)
    assert {len(of) for of in chosen.values()} == {2}
    assert chosen == ids(patches=2)
    assert chosen != ids(patches=2, seed=1)
    (root / "manifest.csv").write_text("\n".join((root / "manifest.csv").read_text().splitlines()[:5]))
    assert ids(patches=2) == {name: of for name, of in chosen.items() if name in ids()}


def test_a_slide_without_tissue_is_told(root: Path, capsys: pytest.CaptureFixture[str]):
    write_slide(root / "slide_3.svs", np.full((512, 512, 3), 245, np.uint8), mpp=None)
    dataset = build(str(root))
    assert not [s for s in dataset.samples if s.id.startswith("slide_3")]
    assert "tp53: 1 slides have no patch with 40% tissue: slide_3.svs." in capsys.readouterr().err


def test_the_fingerprint_sees_size_and_places(root: Path):
    seen = {
        Tp53(str(root), **more).fingerprint() for more in ({"size": 128}, {"size": 127}, {"size": 128, "patches": 2})
    }
    assert len(seen) == 3


def test_it_survives_pickling_with_a_slide_open(root: Path):
    dataset = build(str(root))
    before = dataset.image(dataset.samples[0])
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).image(dataset.samples[0]), before)


@pytest.mark.real_data
def test_a_real_slide(real_data: Path, tmp_path: Path):
    (tmp_path / "CMU-1-Small-Region.svs").symlink_to(real_data / "slides" / "CMU-1-Small-Region.svs")
    row = {"slide": "CMU-1-Small-Region.svs", "patient": "p", "cohort": "c", "site": "s", "label": "mutant"}
    trees.write_table(tmp_path / "manifest.csv", [{**row, "split": "train"}])
    dataset = Tp53(str(tmp_path), patches=20)
    assert len(dataset.samples) == 20  # of 9 x 13 places
    with open_slide(tmp_path / "CMU-1-Small-Region.svs", exact=True) as slide:
        for sample in dataset.samples[::5]:
            x, y = map(int, sample.id.rpartition("/")[2].split("_"))
            image = dataset.image(sample)
            assert np.array_equal(image, slide.read(x, y, 224, 0.5))
            assert (image.min(2) < 200).mean() > 0.3


# The manifest.


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("slide_0.svs", "gone.png", "1 missing (gone.png)"),
        ("slide_1.svs", "slide_0.svs", "1 duplicate (slide_0.svs)"),
        ("wild-type", "wildtype", "got wildtype"),
        ("mutant,0.5,train", "mutant,0.5,holdout", "got holdout"),
        (",BRCA,", ",,", "got none for slide_0.svs"),
        ("cohort", "study", "Expected the columns slide, patient, cohort, site, label"),
        ("TCGA-1A-0002", "TCGA-0A-0000", "1 patients cross splits"),
        ("wild-type,0.5,train", "wild-type,,train", "or a column mpp"),
        ("wild-type,0.5,train", "wild-type,2,train", "slide_0.svs has 2"),
    ],
)
def test_a_wrong_manifest_is_named(root: Path, refusal, old: str, new: str, said: str):
    edit(root, old, new)
    assert said in refusal(build, root)


def test_what_is_no_slide_is_named(root: Path, refusal):
    (root / "slide_2.svs").write_text("a table, renamed")
    assert "slide_2.svs is none" in refusal(build, root)


def test_wrong_arguments_are_named(root: Path, refusal):
    assert "patches to be at least 1" in refusal(Tp53, root, patches=0)
    assert "hold_out_sites" in refusal(Tp53, root, hold_out_sites=True)
    assert "manifest.csv" in refusal(Tp53, root / "nowhere")


@pytest.mark.parametrize("by_site", [False, True])
def test_whole_patients_or_sites_are_held_out(tmp_path: Path, by_site: bool):
    slides = build(str(many(tmp_path)), hold_out_sites=by_site).slides
    places = defaultdict(set)
    for slide in slides:
        places[slide.site if by_site else slide.patient].add(slide.split)
    assert {len(splits) for splits in places.values()} == {1}
    share = {split: np.mean([s.split == split for s in slides]) for split in ("train", "val", "test")}
    assert share["test"] == pytest.approx(0.2, abs=0.06)
    assert share["val"] == pytest.approx(0.2, abs=0.06)


def test_the_split_is_stratified_and_seeded(tmp_path: Path):
    root = str(many(tmp_path))
    slides = build(root).slides
    for split, expected in (("train", 12), ("val", 4), ("test", 4)):
        for cohort in ("C0", "C1"):
            for target in (0, 1):
                n = sum((s.split, s.cohort, s.target) == (split, cohort, target) for s in slides)
                assert n == pytest.approx(expected, abs=2)
    assert slides == build(root).slides
    assert slides != build(root, seed=1).slides


def test_too_few_patients_for_three_splits_are_refused(tmp_path: Path, refusal):
    assert "stays empty" in refusal(build, many(tmp_path, patients=1))


# Scores per slide.


def test_a_result_tells_slides_cohorts_and_sites(tmp_path: Path):
    dataset = build(many(tmp_path))
    quick = Protocol("quick", steps=20, runs=2)
    how = Extraction(device="cpu", workers=0)
    report = fit("colour_stats", dataset, protocol=quick, output=tmp_path / "r", how=how)["report"]
    assert set(report) == {"val", "test"}
    assert set(report["test"]) == {"slide_level", "cohort_only", "site_only"}
    assert len(report["test"]["slide_level"]) == 2
    assert 0 <= report["test"]["cohort_only"]["auroc"] <= 1
