import json
import os
import threading
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eva_core import fit, predict
from eva_core.api import apply_heads
from eva_core.classification.metric_names import ECE5, KAPPA, metrics_of
from eva_core.cli import main
from eva_core.config.protocols import load_protocol
from eva_core.errors import UsageError
from eva_core.extraction.settings import Extraction
from eva_core.files.checksums import Damaged
from eva_core.results.record import RESULT_FILES, is_whole, read_heads
from eva_core.results.report import notes
from eva_vision.datasets.folder import Folder
from eva_vision.models.timm import timm_model
from tests.conftest import Pictures, picture, write_tree

QUICK = replace(load_protocol("eva-0.4"), steps=40, lr=(0.05,), runs=3)
STRICT = load_protocol("strict")
HOW = Extraction(device="cpu", workers=0)


@pytest.fixture
def result(tree, tmp_path):
    folder = tmp_path / "result"
    return folder, fit("colour_stats", Folder(str(tree)), protocol=QUICK, output=folder, how=HOW)


def numbers(value):
    if isinstance(value, dict):
        return [n for v in value.values() for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value] if isinstance(value, float) else []


def test_results_keep_the_contract(result):
    folder, results = result
    assert results == json.loads((folder / "results.json").read_text())
    assert set(results["identity"]) == {
        *("model", "weights_sha256", "preprocess_sha256", "dataset", "dataset_sha256", "head", "protocol")
    }
    assert results["identity"]["model"] == "colour_stats"
    assert results["identity"]["protocol"] == "eva-0.4+lr=0.05+runs=3+steps=40"
    assert set(results["main"]) == {
        *("split", "metric", "mean", "std", "ci95", "selected_on"),
        *("higher_is_better", "bounds", "chance"),
    }
    assert (results["main"]["split"], results["main"]["selected_on"]) == ("test", "val")
    assert set(results["splits"]) == {"val", "test"}
    metrics = results["splits"]["test"]["metrics"]
    assert set(metrics_of(2)) - {KAPPA, ECE5} <= set(metrics)
    assert "recall/pink" in metrics
    for metric in metrics.values():
        assert {"mean", "std", "ci95", "values", "last"} <= set(metric)
        assert len(metric["values"]) == 3
    assert results["splits"]["test"]["n"] == 16
    assert results["splits"]["test"]["interval"].startswith("image-level")
    assert set(results["baselines"]["colour_stats"]["splits"]) == {"val", "test"}
    assert set(results["cost"]) == {"embed_s", "images_per_s", "fit_s", "peak_rss_mb"}
    assert np.isfinite(numbers(results)).all()
    assert sorted(p.name for p in folder.iterdir()) == [
        *("bootstrap.npy", "config.yaml", "heads.safetensors", "predictions.parquet", "report.html", "results.json")
    ]


def test_predictions_and_heads_agree_with_the_score(result):
    folder, results = result
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    columns = ["score_pink", "score_purple", "log_odds_pink", "log_odds_purple"]
    assert list(table) == ["id", "split", "run", "target", "group", *columns]
    scores = np.stack([table["score_pink"], table["score_purple"]], 1)
    assert scores.sum(1) == pytest.approx(1, abs=1e-5)
    odds = np.stack([table["log_odds_pink"], table["log_odds_purple"]], 1)
    assert 1 / (1 + np.exp(-odds)) == pytest.approx(scores, abs=1e-6)
    for run, expected in enumerate(results["splits"]["test"]["metrics"]["accuracy"]["values"]):
        rows = (np.array(table["split"]) == "test") & (np.array(table["run"]) == run)
        assert (scores[rows].argmax(1) == np.array(table["target"])[rows]).mean() == pytest.approx(expected, abs=1e-6)
    classes, params = read_heads(folder / "heads.safetensors")
    assert classes == ["pink", "purple"]
    assert list(params) == [0, 1, 2]


def test_the_same_key_is_shown_again_and_another_is_refused(result, tree):
    folder, results = result
    before = (folder / "results.json").stat().st_mtime_ns
    again = fit("colour_stats", Folder(str(tree)), protocol=QUICK, output=folder, how=HOW)
    assert again == results
    assert (folder / "results.json").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"holds another result.*steps=40.*steps=41"):
        fit("colour_stats", Folder(str(tree)), protocol=replace(QUICK, steps=41), output=folder, how=HOW)


def test_what_the_title_does_not_tell_is_still_part_of_the_key(tree, tmp_path):
    mine = replace(QUICK, name="mine")
    fit("colour_stats", Folder(str(tree)), protocol=mine, output=tmp_path / "m", how=HOW)
    with pytest.raises(UsageError, match="holds another result"):
        fit("colour_stats", Folder(str(tree)), protocol=replace(mine, steps=41), output=tmp_path / "m", how=HOW)


def test_what_a_head_or_a_kind_of_task_lacks_is_told_before_anything_is_extracted(tree, tmp_path, cache):
    for arguments, said in (
        ({"head": "logreg", "protocol": QUICK, "how": HOW}, "values of C for the head logreg"),
        ({"how": replace(HOW, random_weights=True)}, "scores random weights as a null"),
    ):
        with pytest.raises(UsageError, match=said):
            fit("colour_stats", Folder(str(tree)), output=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
    assert list(cache.rglob("*.h5")) == []


def test_other_groups_are_other_results(tmp_path):
    fit("colour_stats", Pictures(150), protocol=STRICT, output=tmp_path / "s", how=HOW)
    regrouped = Pictures(150)
    regrouped.samples = [replace(s, group=f"{s.split}{int(s.group[1:]) % 20}") for s in regrouped.samples]
    results = fit("colour_stats", regrouped, protocol=STRICT, output=tmp_path / "r", how=HOW)
    assert results["splits"]["test"]["n_groups"] == len({s.group for s in regrouped.samples if s.split == "test"})


def test_two_fits_agree_to_the_last_digit(tree, tmp_path):
    one, two = (
        fit(timm_model("test_vit"), Folder(str(tree)), protocol=QUICK, output=tmp_path / o, how=HOW) for o in "ab"
    )
    assert one["splits"] == two["splits"]
    assert one["baselines"] == two["baselines"]
    assert one["key"] == two["key"]


def test_strict_holds_out_groups_of_train_and_makes_one_run(tmp_path):
    results = fit("colour_stats", Pictures(150), protocol=STRICT, output=tmp_path / "s", how=HOW)
    assert results["identity"]["head"] == "logreg"
    assert results["identity"]["protocol"] == "strict"
    assert results["main"]["selected_on"] == "holdout"
    assert "held out by group" in results["selection"]
    assert results["main"]["std"] is None
    assert results["splits"]["test"]["interval"] == "group"
    assert results["splits"]["test"]["n_groups"] == 10
    assert len(results["splits"]["test"]["metrics"]["balanced_accuracy"]["t95"]) == 2


def test_strict_without_groups_says_how_it_held_out(tree, tmp_path):
    results = fit("colour_stats", Folder(str(tree)), protocol=STRICT, output=tmp_path / "s", how=HOW)
    assert "near-duplicates" in results["selection"]


def test_a_split_that_selects_and_is_reported_is_called_optimistic(tmp_path):
    root = write_tree(tmp_path / "two", {"train": 8, "test": 8})
    results = fit("colour_stats", Folder(str(root)), protocol=QUICK, output=tmp_path / "s", how=HOW)
    assert results["main"]["selected_on"] == "test"
    assert "optimistic" in results["selection"]


@pytest.mark.parametrize(
    ("splits", "message"), [(("train",), "a val or test split"), (("val", "test"), "a train split")]
)
def test_missing_splits_are_refused(splits, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        fit("colour_stats", Pictures(splits=splits), protocol=QUICK, output=tmp_path / "s", how=HOW)


def test_unlabelled_images_cannot_be_fitted(tree, tmp_path):
    (tree / "new.png").write_bytes((tree / "test" / "pink" / "00.png").read_bytes() + b" ")
    with pytest.raises(UsageError, match=r"1 have none, first 'new\.png'"):
        fit("colour_stats", Folder(str(tree)), protocol=QUICK, output=tmp_path / "s", how=HOW)


def test_predict_gives_the_store(tree):
    import h5py

    path = predict("colour_stats", Folder(str(tree)), how=HOW)
    with h5py.File(path) as file:
        assert file["embeddings"].shape == (52, 6)
        assert file["embeddings"].dtype == np.float32


def test_heads_of_a_result_apply_to_new_images(result, tree, tmp_path):
    folder, _ = result
    new = tmp_path / "new"
    new.mkdir()
    for i, name in enumerate(["pink", "purple"]):
        (new / f"{i}.png").write_bytes((tree / "test" / name / "00.png").read_bytes())
    path = apply_heads(folder, "colour_stats", Folder(str(new)), None, QUICK, tmp_path / "p", HOW)
    table = pq.read_table(path).to_pydict()
    assert table["id"] == ["0.png", "1.png"] * 3
    assert table["target"] == [None] * 6
    old = pq.read_table(folder / "predictions.parquet").to_pydict()
    first = old["id"].index("test/pink/00.png")
    assert table["score_pink"][0] == pytest.approx(old["score_pink"][first], abs=1e-6)


def test_heads_of_another_model_are_refused(result, tree, tmp_path):
    other = timm_model("test_vit")
    with pytest.raises(UsageError, match="Use the model and protocol of that result"):
        apply_heads(result[0], other, Folder(str(tree)), None, QUICK, tmp_path / "p", HOW)


def test_the_command_line_end_to_end(tree, tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "out")
    flags = ["--model", "timm_model", "--model.arch", "test_vit", "--device", "cpu", "--workers", "0"]
    common = ["--config", "folder", *flags, "--protocol.steps", "20", "--protocol.runs", "2", "--output", out]
    assert main(["fit", *common, "--dataset.root", str(tree)]) == 0
    shown = capsys.readouterr().out
    assert "test_vit" in shown
    assert "colour_stats" in shown
    monkeypatch.setenv("DATA_ROOT", str(tree))
    assert main(["fit", *common]) == 0
    assert "Already done" in capsys.readouterr().err
    assert main(["fit", "--config", f"{out}/config.yaml", "--output", out]) == 0
    assert "Already done" in capsys.readouterr().err
    assert main(["fit", *common, "--protocol.steps", "30"]) == 2
    assert "output" not in (tmp_path / "out" / "config.yaml").read_text()
    assert main(["predict", "--head", out, "--dataset.root", str(tree)]) == 0
    assert pq.read_table(capsys.readouterr().out.strip()).num_rows == 52 * 2


def test_print_config_resolves_names_and_later_flags_win(tree, tmp_path, capsys):
    later = tmp_path / "later.yaml"
    later.write_text("model: random_vits16\nprotocol: strict\n")
    argv = ["fit", "--config", "folder", "--config", str(later), "--model.depth", "3", "--dataset.root", str(tree)]
    with pytest.raises(SystemExit) as ended:
        main([*argv, "--precision", "bf16", "--print_config"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "class_path: eva_vision.models.baselines.random_vits16" in shown
    assert "depth: 3" in shown
    assert "name: strict" in shown
    assert "precision: bf16" in shown
    assert f"root: {tree}" in shown


def test_few_shots_are_drawn_anew_for_each_run(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        results = fit(
            "colour_stats", Pictures(150), protocol=replace(QUICK, shots=2, seed=seed), output=tmp_path / name, how=HOW
        )
        assert "shots=2" in results["identity"]["protocol"]
    (_, one), (_, two) = (read_heads(tmp_path / name / "heads.safetensors") for name in "ab")
    assert np.array_equal(one[1]["weight"], two[0]["weight"])  # run k depends on seed + k alone
    assert not np.array_equal(one[0]["weight"], one[1]["weight"])


def test_the_published_few_shot_protocol():
    protocol = load_protocol("pcam-10shot")
    assert (protocol.shots, protocol.runs, protocol.min_delta) == (10, 50, 1e-4)
    assert protocol.patience == {"pcam": 125}


def test_sites_and_mpp_are_told_where_samples_carry_them(tmp_path):
    pictures = Pictures(150)
    pictures.samples = [replace(s, site=f"site{int(s.group[1:]) % 2}") for s in pictures.samples]
    pictures.card = replace(pictures.card, mpp=0.5)
    results = fit("colour_stats", pictures, protocol=QUICK, output=tmp_path / "s", how=HOW)
    assert results["confounds"]["sites"] == 2
    assert 0 <= results["confounds"]["robustness_index"] <= 1
    assert results["mpp"] == {"native": 0.5, "reached": pytest.approx(0.5 * 32 / 224)}
    assert fit("colour_stats", Pictures(150), protocol=QUICK, output=tmp_path / "t", how=HOW)["confounds"] is None


@pytest.mark.parametrize("name", ["results.json", *RESULT_FILES])
def test_a_result_that_is_not_whole_is_made_again(result, tree, name, capsys):
    folder, before = result
    content = (folder / name).read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for damage in (None, b"", content[:-3], flipped):
        (folder / name).unlink()
        if damage is not None:
            (folder / name).write_bytes(damage)
        capsys.readouterr()
        again = fit("colour_stats", Folder(str(tree)), protocol=QUICK, output=folder, how=HOW)
        said = capsys.readouterr().err
        assert again["main"] == before["main"]
        assert "Already done" not in said
        assert name in said or damage is None
        assert is_whole(folder)
    fit("colour_stats", Folder(str(tree)), protocol=QUICK, output=folder, how=HOW)
    assert "Already done" in capsys.readouterr().err


def test_what_stood_in_place_of_a_result_is_kept(result, tree):
    folder, _ = result
    (folder / "results.json").write_text('{"of": "another program"}')
    fit("colour_stats", Folder(str(tree)), protocol=QUICK, output=folder, how=HOW)
    assert json.loads((folder / "results.json.old").read_text()) == {"of": "another program"}


def test_two_at_once_make_one_result(tree, tmp_path):
    made: list[dict] = []
    dataset = Folder(str(tree))
    fits = [
        threading.Thread(target=lambda: made.append(fit("colour_stats", dataset, None, QUICK, tmp_path / "o", HOW)))
        for _ in range(2)
    ]
    for each in fits:
        each.start()
    for each in fits:
        each.join()
    assert len(made) == 2
    assert made[0] == made[1]
    assert is_whole(tmp_path / "o")


def test_a_finished_result_in_a_folder_that_is_only_read_needs_no_lock(result, tree, monkeypatch):
    folder, before = result
    monkeypatch.setattr("eva_core.results.record.locked", lambda *_: pytest.fail("locked"))
    assert fit("colour_stats", Folder(str(tree)), protocol=QUICK, output=folder, how=HOW) == before


def test_a_damaged_file_is_named_by_whoever_reads_it(result, tree, tmp_path):
    folder, _ = result
    heads = bytearray((folder / "heads.safetensors").read_bytes())
    heads[-2] ^= 1
    (folder / "heads.safetensors").write_bytes(heads)
    with pytest.raises(Damaged, match=r"heads\.safetensors is damaged.*Run `eva fit`"):
        apply_heads(folder, "colour_stats", Folder(str(tree)), None, QUICK, tmp_path / "p", HOW)
    assert not (tmp_path / "p").exists()


def test_predictions_are_found_again_and_made_again_where_they_are_damaged(result, tree, tmp_path, capsys):
    ask = (result[0], "colour_stats", Folder(str(tree)), None, QUICK, tmp_path / "p", HOW)
    path = apply_heads(*ask)
    whole = path.read_bytes()
    assert apply_heads(*ask) == path
    assert "Already done" in capsys.readouterr().err
    path.write_bytes(whole[:-1])
    assert apply_heads(*ask).read_bytes() == whole
    (tmp_path / "p" / "applied.json").unlink()
    with pytest.raises(UsageError, match="Choose another --output"):
        apply_heads(*ask)


def test_predictions_are_never_written_over(result, tree):
    folder, _ = result
    with pytest.raises(UsageError, match=r"has some\. Choose another --output"):
        apply_heads(folder, "colour_stats", Folder(str(tree)), None, QUICK, folder, HOW)


@pytest.mark.parametrize("field", ["steps", "runs", "batch_size", "shots", "evaluate_every"])
def test_a_protocol_of_nothing_is_refused(field):
    with pytest.raises(UsageError, match=f"protocol.{field} to be at least 1"):
        replace(QUICK, **{field: 0})


def test_a_device_that_is_not_there_is_one_line(tree, tmp_path, capsys):
    argv = [
        "fit",
        "--config",
        "folder",
        "--dataset.root",
        str(tree),
        "--model",
        "colour_stats",
        "--output",
        str(tmp_path / "d"),
    ]
    assert main([*argv, "--device", "mps"]) == 2
    assert "Expected 1 x mps on this machine" in capsys.readouterr().err


def test_heads_of_a_result_from_python_say_what_to_use(result, tree, capsys):
    assert main(["predict", "--head", str(result[0]), "--dataset.root", str(tree)]) == 2
    assert "eva_core.api.apply_heads" in capsys.readouterr().err


def test_a_head_that_learned_nothing_is_called_so(tree, tmp_path):
    lazy = fit(
        "colour_stats",
        Folder(str(tree)),
        protocol=replace(QUICK, steps=1, lr=(1e-9,), runs=1),
        output=tmp_path / "l",
        how=HOW,
    )
    assert any("learned nothing" in note for note in notes(lazy))


def test_a_head_that_learned_is_not(result):
    assert not any("learned nothing" in note for note in notes(result[1]))


def listed(root, labels):
    """A folder dataset by manifest: labels of train and of test."""
    lines = ["path,label,split"]
    for split, of_split in labels.items():
        for label in of_split:
            name = f"{len(lines)}.png"
            Image.fromarray(picture(len(lines), (220, 150, 180) if label == "a" else (150, 150, 210))).save(root / name)
            lines.append(f"{name},{label},{split}")
    (root / "manifest.csv").write_text("\n".join(lines))
    return Folder(str(root))


def test_a_class_that_test_alone_has_is_told_and_kept_in_the_result(tmp_path, capsys):
    dataset = listed(tmp_path, {"train": "aabb" * 2, "test": "aabbcc"})
    results = fit("colour_stats", dataset, "knn", output=tmp_path / "out", how=HOW)
    assert results["untrained"] == {"test": {"c": 2}}
    assert "folder: test has 'c' (2 images), which train lacks" in capsys.readouterr().err
    assert any("which train lacks" in note for note in notes(results))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("aaaa", "ab", "at least 2 classes in the train split"),
        ("aabb", "AB", r"'A' \(test\) = 'a' \(train\)"),
        ("aabb", "cd", "but train has a, b, and test c, d"),
    ],
)
def test_labels_that_no_score_comes_from_are_refused_before_an_image_is_read(train, test, message, tmp_path, cache):
    with pytest.raises(UsageError, match=message):
        fit("colour_stats", listed(tmp_path, {"train": train, "test": test}), output=tmp_path / "out", how=HOW)
    assert not list(cache.rglob("*.h5"))


def test_labels_that_the_heads_do_not_know_are_told(tree, tmp_path, capsys):
    result = fit("colour_stats", Folder(str(tree)), "knn", output=tmp_path / "out", how=HOW)
    assert result["untrained"] == {}
    (tree / "test" / "pink").rename(tree / "test" / "Pink")
    capsys.readouterr()
    apply_heads(tmp_path / "out", "colour_stats", Folder(str(tree)), "knn", "eva-0.4", tmp_path / "new", HOW)
    assert "test: the heads know pink, purple, so labels 'Pink' count as unknown." in capsys.readouterr().err


def test_names_that_are_not_utf8_go_through_all_files(tree, tmp_path):
    folder = os.fsencode(tree / "train" / "pink")
    os.rename(folder + b"/00.png", folder + b"/Dr\xfcse.png")
    for split in ("train", "val", "test"):
        os.rename(os.fsencode(tree / split / "purple"), os.fsencode(tree / split) + b"/gr\xfcn")
    results = fit("colour_stats", Folder(str(tree)), "knn", output=tmp_path / "out", how=HOW)
    assert "recall/gr\\xfcn" in results["splits"]["test"]["metrics"]
    ids = pq.read_table(tmp_path / "out" / "predictions.parquet")["id"].to_pylist()
    assert "test/gr\\xfcn/00.png" in ids
    assert "train/pink/Dr\\xfcse.png" in [s.id for s in Folder(str(tree)).samples]
    assert read_heads(tmp_path / "out" / "heads.safetensors")[0] == ["gr\\xfcn", "pink"]
