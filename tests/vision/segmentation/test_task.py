"""`eva fit` and `eva predict` on masks: from the command to the files, and what stops on the way."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eva_core import fit, predict
from eva_core.api import apply_heads
from eva_core.cli import main
from eva_core.config.protocols import load_protocol
from eva_core.contracts.dataset import Sample
from eva_core.contracts.protocol import Protocol
from eva_core.errors import EvaError, UsageError
from eva_core.results.record import read_heads, write_predictions
from eva_core.verification.verify import verify
from eva_vision.datasets.mask_folder import MaskFolder
from eva_vision.heads.linear import Linear
from eva_vision.segmentation import evaluation
from eva_vision.segmentation.contracts import IGNORE
from eva_vision.segmentation.decoders.heads import ConvSegImage, LinearSeg
from eva_vision.segmentation.metric_names import METRICS
from eva_vision.segmentation.scoring.predictions import read_dice
from tests.conftest import Pictures
from tests.core.verification.conftest import resealed
from tests.vision.segmentation.tiny import (
    CLASSES,
    HOW,
    Painted,
    Pixels,
    WithObjects,
    coloured,
    laid_out,
    painted,
    protocol,
    write_masked,
)

NAMES = ["bootstrap.npy", "config.yaml", "heads.safetensors", "overlays", "predictions.parquet", "report.html"]
NAMES += ["results.json"]
NUCLEI = [
    *("fit", "--config", "phantom_nuclei", "--dataset.train", "16", "--dataset.val", "4", "--dataset.test", "4"),
    *("--dataset.size", "36", "--model", "colour_stats", "--protocol.segmentation.tile", "36", "--protocol.runs", "2"),
    *("--protocol.segmentation.steps", "6", "--protocol.segmentation.lr", "0.1", "--device", "cpu", "--workers", "0"),
]


def images(**more: Any) -> Painted:
    """Enough groups for a hold-out, several tiles an image."""
    return Painted(**{"train": [(20, 24)] * 12, "val": [(20, 24)] * 2, "test": [(30, 18)] * 4, **more})


def fitted(folder: Path, backbone: Pixels | None = None, dataset: Painted | None = None, **fields: Any) -> dict:
    return fit(backbone or Pixels(), dataset or images(), protocol=protocol(lr=0.3, **fields), output=folder, how=HOW)


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value] if isinstance(value, float) else []


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A finished result, with objects, for tests that only read."""
    folder = tmp_path_factory.mktemp("result")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVA_CACHE", str(tmp_path_factory.mktemp("store")))
        dataset = WithObjects(train=[(20, 24)] * 12, val=[(20, 24)] * 2, test=[(30, 18)] * 4)
        return folder, fitted(folder, dataset=dataset)


def test_results_keep_the_contract_of_every_task(result: tuple[Path, dict], tmp_path: Path):
    folder, results = result
    assert results == json.loads((folder / "results.json").read_text())
    quick = replace(load_protocol("eva-0.4"), steps=5, runs=1)
    other = fit("colour_stats", Pictures(), protocol=quick, output=tmp_path, how=HOW)
    assert set(results) == {*other, "background", "features", "overlays"} - {"calibration"}
    for part in ("identity", "main", "cost"):
        assert set(results[part]) == set(other[part])
    assert set(results["splits"]) == set(results["baselines"]["colour_pixels"]["splits"]) == {"val", "test"}
    assert set(results["splits"]["test"]) == set(other["splits"]["test"])
    assert np.isfinite(numbers(results)).all()
    assert sorted(path.name for path in folder.iterdir()) == NAMES


def test_what_results_say(result: tuple[Path, dict]):
    _, results = result
    identity, main, test = results["identity"], results["main"], results["splits"]["test"]
    assert (identity["model"], identity["dataset"], identity["head"]) == ("pixels", "painted", "linear_seg")
    assert identity["protocol"].startswith("strict+geometry=")
    assert "segmentation.steps=30" in identity["protocol"]
    assert (main["split"], main["metric"], main["selected_on"]) == ("test", "dice", "holdout")
    assert "held out by group" in results["selection"]
    assert (test["n"], test["n_groups"], test["interval"]) == (4, 2, "group")
    metrics = test["metrics"]
    assert {*METRICS, *(f"{m}/{c}" for m in METRICS for c in CLASSES), "aji", "pq", "dq", "sq"} == set(metrics)
    assert all(len(metric["values"]) == 2 for metric in metrics.values())
    assert main["mean"] == metrics["dice"]["mean"] > 0.95
    assert results["baselines"]["colour_pixels"]["splits"]["test"]["metrics"]["dice"]["mean"] > 0.9
    assert [run["run"] for run in results["selected"]] == [0, 1]
    assert all(0 < run["step"] <= 30 for run in results["selected"])
    assert (results["features"], results["skipped"], results["synthetic"]) == ("stored", [], True)
    assert results["mpp"] == {"native": None, "reached": None}
    assert results["background"] == "background"


def test_overlays_are_pictures_of_the_best_the_median_and_the_worst(result: tuple[Path, dict]):
    folder, results = result
    told = {o["which"]: o for o in results["overlays"]}
    assert list(told) == ["best", "median", "worst"]
    assert told["best"]["score"] >= told["median"]["score"] >= told["worst"]["score"]
    by_image = np.nanmean(read_dice(folder, "test").scores, axis=0)
    assert told["best"]["score"] == pytest.approx(by_image.max())
    assert told["worst"]["score"] == pytest.approx(by_image.min())
    for overlay in told.values():
        assert overlay["file"] == f"overlays/{overlay['which']}.png"
        with Image.open(folder / overlay["file"]) as picture:
            assert picture.width > 60


def test_predictions_hold_the_dice_of_every_image_and_run(result: tuple[Path, dict]):
    folder, results = result
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    counted = [f"{which}_{c}" for which in ("hits", "predicted", "target") for c in CLASSES]
    names = ["id", "split", "run", "group", "dice", *(f"dice_{c}" for c in CLASSES)]
    assert list(table) == [*names, *counted, "aji", "pq", "dq", "sq"]
    split, run, dice = (np.array(table[name], object) for name in ("split", "run", "dice"))
    assert table["id"][:4] == ["val0", "val1", "val0", "val1"]
    for number, expected in enumerate(results["splits"]["test"]["metrics"]["dice"]["values"]):
        of_run = dice[(split == "test") & (run == number)].astype(float)
        assert len(of_run) == 4
        assert of_run.mean() == pytest.approx(expected, abs=1e-9)
    classes, params = read_heads(folder / "heads.safetensors")
    assert classes == list(CLASSES)
    assert list(params) == [0, 1]


def test_every_metric_follows_from_the_predictions_and_an_edited_dice_is_named(
    result: tuple[Path, dict], tmp_path: Path
):
    assert verify(result[0], sources=False).lines() == []
    folder = Path(shutil.copytree(result[0], tmp_path / "edited"))
    table = pq.read_table(folder / "predictions.parquet")
    dice = [0.25, *table["dice"].to_pylist()[1:]]
    write_predictions(folder, table.set_column(table.column_names.index("dice"), "dice", pa.array(dice)))
    resealed(folder)
    (line,) = verify(folder, sources=False).wrong
    assert "of val0 in run 0, as pixels count it, but found 0.25." in line


def test_the_command_line_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out, again = str(tmp_path / "out"), str(tmp_path / "again")
    assert main([*NUCLEI, "--output", out]) == 0
    assert "colour_pixels" in capsys.readouterr().out
    assert main(["verify", out, "--heads"]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["identity"]["protocol"] == (
        "strict+runs=2+segmentation.lr=0.1+segmentation.steps=6+segmentation.tile=36"
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == NAMES
    assert main([*NUCLEI, "--output", out]) == 0
    assert "Already done" in capsys.readouterr().err
    assert main([*NUCLEI, "--protocol.segmentation.steps", "13", "--output", out]) == 2
    said = capsys.readouterr().err
    assert "holds another result" in said
    assert said.count("\n") == 1
    assert main(["fit", "--config", f"{out}/config.yaml", "--output", again]) == 0
    repeated = json.loads((tmp_path / "again" / "results.json").read_text())
    assert repeated["key"] == results["key"]
    assert repeated["splits"] == results["splits"]
    assert repeated["baselines"] == results["baselines"]
    capsys.readouterr()
    assert main(["predict", *NUCLEI[1:]]) == 0
    with h5py.File(capsys.readouterr().out.strip()) as file:
        assert file["features"].shape == (24, 6, 14, 14)


def test_masks_for_new_images_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = write_masked(tmp_path / "tree", {"train": [(30, 30)] * 8, "test": [(30, 30)] * 2})
    out, masks = tmp_path / "out", tmp_path / "masks"
    flags = ["--dataset.root", str(root), *NUCLEI[NUCLEI.index("--model") :]]
    assert main(["fit", "--config", "mask_folder", "--protocol", "strict", *flags, "--output", str(out)]) == 0
    new = tmp_path / "new"
    new.mkdir()
    for i, size in enumerate([(30, 41), (7, 9), (100, 60)]):
        Image.fromarray(coloured(painted(*size, 50 + i))).save(new / f"{i}.png")
    (new / "classes.txt").write_text((root / "classes.txt").read_text())
    capsys.readouterr()
    assert main(["predict", "--head", str(out), "--dataset.root", str(new), "--output", str(masks)]) == 0
    assert capsys.readouterr().out.strip() == str(masks / "masks")
    assert (masks / "classes.txt").read_text().split() == list(CLASSES)
    for i, (height, width) in enumerate([(30, 41), (7, 9), (100, 60)]):
        with Image.open(masks / "masks" / f"{i}.png") as mask:
            assert (mask.mode, mask.size) == ("P", (width, height))
            assert np.array(mask).max() < 3
    assert main(["predict", "--head", str(out), "--dataset.root", str(new), "--output", str(masks)]) == 0
    assert "Already done" in capsys.readouterr().err
    assert main(["predict", "--head", str(out), "--dataset.root", str(root), "--output", str(masks)]) == 2
    assert "Choose another --output" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("head", [LinearSeg(), ConvSegImage()], ids=lambda head: type(head).__name__)
def test_masks_for_new_images_are_right_and_of_their_own_size(head: LinearSeg | ConvSegImage, tmp_path: Path):
    recipe = protocol(mpp=0.5, lr=0.3 if isinstance(head, LinearSeg) else 0.03, steps=40, runs=1)
    fit(Pixels(), images(mpp=0.5), head=head, protocol=recipe, output=tmp_path / "out", how=HOW)
    new = Painted(mpp=0.25, new=[(40, 60), (31, 17)])
    new.labelled = lambda sample: False
    written = apply_heads(tmp_path / "out", Pixels(), new, head, recipe, tmp_path / "p", HOW)
    for sample in new.samples:
        with Image.open(written / f"{sample.id}.png") as mask:
            found = np.array(mask)
        assert found.shape == new.size(sample)
        assert (found == new.mask(sample)).mean() > 0.7  # at half the size borders are lost


@pytest.mark.usefixtures("undrawn")
def test_one_by_one_is_no_mask_and_is_refused_before_anything_is_done(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = protocol("eva-0.4", steps=4, runs=1)
    dataset = Painted(train=[(16, 16)] * 4, val=[(16, 16)] * 2)
    fit(Pixels(), dataset, protocol=recipe, output=tmp_path / "out", how=HOW)
    backbone = Pixels()
    with pytest.raises(UsageError, match=r"Expected a protocol that stitches.*Fit the heads with --protocol strict\."):
        apply_heads(tmp_path / "out", backbone, Painted(new=[(16, 16)]), None, recipe, tmp_path / "p", HOW)
    assert backbone.seen == 0
    assert not (tmp_path / "p").exists()


def test_predict_gives_the_store():
    with h5py.File(predict(Pixels(), images(), protocol(), HOW)) as file:
        assert file["features"].shape == (14 * 4 + 4 * 6, 3, 16, 16)
        assert file["tiles"].shape == (80, 3)
        assert file["features"].dtype == np.float16
        assert {"images", "masks", "tiles", "sizes", "ids", "groups", "split"} <= set(file)


@pytest.mark.usefixtures("undrawn")
def test_the_published_protocol_runs_as_it_is(tmp_path: Path):
    recipe = protocol("eva-0.4", lr=0.02, steps=12, augment=("crops",))
    dataset = Painted(train=[(24, 30)] * 6, val=[(24, 24)] * 2)
    results = fit(Pixels(), dataset, protocol=recipe, output=tmp_path, how=HOW)
    assert (results["features"], results["identity"]["head"]) == ("online", "conv_seg_image")
    assert results["main"]["selected_on"] == "val"
    assert "optimistic" in results["selection"]
    assert results["identity"]["protocol"].startswith("eva-0.4+geometry=")


def test_random_crops_cannot_come_from_stored_maps(tmp_path: Path):
    backbone = Pixels()
    recipe, how = protocol(augment=("crops",)), replace(HOW, online=False)
    with pytest.raises(UsageError, match=r"strict crops painted at random, but got --online false\. Use eva-0\.4-off"):
        fit(backbone, images(), protocol=recipe, output=tmp_path / "out", how=how)
    assert backbone.seen == 0
    assert not (tmp_path / "out").exists()
    predict(backbone, images(), recipe, how)  # extraction does not crop


@pytest.mark.parametrize(
    ("dataset", "head", "said"),
    [
        (
            "phantom_nuclei",
            "linear",
            "for segmentation, but linear is for another task. The protocol defines linear_seg and",
        ),
        (
            "phantom",
            "linear_seg",
            "for classification, but linear_seg is for another task. The protocol defines logreg",
        ),
    ],
)
def test_a_head_for_another_task_is_one_line(
    dataset: str, head: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    argv = ["--model", "colour_stats", "--dataset", dataset, "--head", head, "--protocol", "strict"]
    assert main(["fit", *argv, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_heads_of_another_task_are_not_applied(result: tuple[Path, dict], tmp_path: Path):
    with pytest.raises(UsageError, match="Expected a head for segmentation, but linear is for another task"):
        apply_heads(result[0], Pixels(), Painted(new=[(16, 16)]), Linear(), protocol(), tmp_path / "p", HOW)


def few_splits(dataset: Painted) -> None:
    dataset.samples = [s for s in dataset.samples if s.split == "train"]


def one_class(dataset: Painted) -> None:
    dataset.card = replace(dataset.card, classes=("nothing",))


def no_masks(dataset: Painted) -> None:
    dataset.labelled = lambda sample: sample.id != "train3"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (few_splits, "Expected a val or test split in dataset 'painted'"),
        (one_class, "at least 2 classes in 'painted', but got 1"),
        (no_masks, "Expected a mask for every image, but 1 have none, first 'train3'"),
    ],
)
def test_what_cannot_be_fitted_is_refused_at_once(damage: Callable[[Painted], None], said: str, tmp_path: Path):
    dataset, backbone = images(), Pixels()
    damage(dataset)
    with pytest.raises(UsageError, match=said):
        fitted(tmp_path, backbone, dataset)
    assert backbone.seen == 0


def test_a_dataset_that_only_says_so_is_refused(tmp_path: Path):
    pictures = Pictures()
    pictures.card = replace(pictures.card, task="segmentation")
    with pytest.raises(
        UsageError,
        match=r"but 'pictures' is another\. Derive it from eva_vision\.segmentation\.contracts\.Segmentation",
    ):
        fit(Pixels(), pictures, protocol=protocol(), output=tmp_path, how=HOW)


@pytest.mark.usefixtures("undrawn")
def test_bad_files_are_left_out_and_counted_in_the_result(tmp_path: Path):
    root = write_masked(tmp_path / "tree")
    for file in ("train/masks/3.png", "test/images/1.png"):
        (root / file).write_bytes((root / file).read_bytes()[:60])
    how = replace(HOW, on_error="skip")
    recipe = protocol("eva-0.4-offline", steps=5, runs=1)
    with pytest.raises(EvaError, match=r"train/masks/3\.png"):
        fit(Pixels(), MaskFolder(str(root)), protocol=recipe, output=tmp_path / "out", how=HOW)
    results = fit(Pixels(), MaskFolder(str(root)), protocol=recipe, output=tmp_path / "out", how=how)
    assert results["skipped"] == ["train/images/3.png", "test/images/1.png"]
    assert results["splits"]["test"]["n"] == 1
    with pytest.raises(EvaError, match="2 images could not be read"):
        fit(Pixels(), MaskFolder(str(root)), protocol=recipe, output=tmp_path / "out", how=HOW)


class Odd(Painted):
    """Among the images one of background alone, and one of which nothing counts."""

    def mask(self, sample: Sample) -> np.ndarray:
        mask = super().mask(sample)
        if sample.id in ("train0", "test0"):
            mask[:] = 0
        if sample.id in ("train1", "test1"):
            mask[:] = IGNORE
        return mask


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("empty", ["ignore", "penalise"])
def test_images_of_nothing_do_no_harm(empty: str, tmp_path: Path):
    dataset = Odd(train=[(20, 24)] * 12, test=[(30, 18)] * 4)
    results = fitted(tmp_path, dataset=dataset, empty=empty)
    assert np.isfinite(numbers(results)).all()
    assert results["splits"]["test"]["n"] == 4
    assert results["main"]["mean"] > 0.4
    dice = read_dice(tmp_path, "test").scores
    assert np.isnan(dice[:, 1]).all()
    assert (dice[:, 2:] > 0.9).all()


def test_masks_in_which_nothing_counts_are_refused_before_training(tmp_path: Path):
    dataset = Painted(hole=20, train=[(20, 20)] * 4, val=[(30, 30)])
    with pytest.raises(UsageError, match="Expected pixels of some class in the train split of 'painted', but all are"):
        fit(Pixels(), dataset, protocol=protocol("eva-0.4-offline"), output=tmp_path, how=HOW)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("undrawn")
def test_a_model_that_saw_an_image_is_marked_whatever_its_tiles_are_called(tmp_path: Path):
    backbone = Pixels()
    backbone.card = replace(backbone.card, training_ids=("test1",))
    fields = {"stitch": False, "tile": 9, "overlap": 0, "side": 12}
    mark = fitted(tmp_path, backbone, **fields)["contamination"]
    assert (mark["kind"], mark["n_seen"]) == ("exact", 6)  # tiles of one image
    assert mark["unseen"]["n"] == 18


@pytest.mark.usefixtures("undrawn")
def test_a_hold_out_never_parts_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plans = []
    make_plan = evaluation.make_plan
    monkeypatch.setattr(evaluation, "make_plan", lambda *a: plans.append((a[0], make_plan(*a))) or plans[-1][1])
    fitted(tmp_path)
    ((store, plan),) = plans
    train, held = (set(store.groups[rows].tolist()) for rows in (plan.train, plan.select))
    assert held
    assert not train & held
    assert {str(store.splits[n]) for n in (*plan.train, *plan.select)} == {"train"}


@pytest.mark.parametrize(
    ("recipe", "reached"),
    [
        (protocol(), 0.25),
        (protocol(tile=8, overlap=2), 0.125),  # enlarged to 16
        (protocol(mpp=0.5, tile=8, overlap=2), 0.25),
        (protocol("eva-0.4-offline"), 0.25 * 18 / 16),  # the short side of 18 becomes 16
        (protocol("eva-0.4-offline", tile=8), 0.125),
    ],
)
def test_micrometres_that_reached_the_model(recipe: Protocol, reached: float):
    at = laid_out(images(mpp=0.25), recipe=recipe)
    assert evaluation._mpp(at, "test") == {"native": 0.25, "reached": pytest.approx(reached)}


class Lacking(Painted):
    """Masks of train lack some classes: these pixels are background."""

    lacks: tuple[int, ...] = (2,)

    def mask(self, sample: Sample) -> np.ndarray:
        mask = super().mask(sample)
        if sample.split == "train":
            mask[np.isin(mask, self.lacks)] = 0
        return mask


def test_a_class_that_train_has_no_pixel_of_is_told(tmp_path: Path, undrawn: None, capsys: pytest.CaptureFixture[str]):
    results = fitted(tmp_path, dataset=Lacking(train=[(16, 16)] * 6, test=[(16, 16)] * 2), steps=2)
    assert list(results["untrained"]) == ["test"]
    assert list(results["untrained"]["test"]) == ["blue"]
    assert "painted: test has 'blue' (" in capsys.readouterr().err
    assert results["copies"] == {}


def test_masks_of_background_alone_teach_nothing(tmp_path: Path):
    dataset = Lacking(train=[(16, 16)] * 6, test=[(16, 16)] * 2)
    dataset.lacks = (1, 2)
    with pytest.raises(UsageError, match="pixels of at least 2 classes in the train split of 'painted'"):
        fitted(tmp_path, dataset=dataset)


def test_the_same_image_in_train_and_test_is_told(tmp_path: Path, undrawn: None):
    root = write_masked(tmp_path / "tree")
    for kind in ("images", "masks"):
        (root / "test" / kind / "0.png").write_bytes((root / "train" / kind / "3.png").read_bytes())
    results = fit("colour_stats", MaskFolder(str(root)), protocol=protocol(steps=2), output=tmp_path / "out", how=HOW)
    assert results["copies"] == {"test": 1}
