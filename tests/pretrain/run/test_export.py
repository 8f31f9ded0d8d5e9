import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from eva_core.errors import EvaError, UsageError
from eva_core.evaluation.contamination import seen as known_to
from eva_pretrain.run import export as export_module
from eva_pretrain.run.export import ExportDetails, export, list_seen
from eva_vision.models.exported import exported, read_card, read_images, read_seen

ARGS = {"img_size": 64, "dynamic_img_size": True, "reg_tokens": 2, "init_values": 1e-5, "depth": 2}


def state(seed: int = 0, **arguments: Any) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return timm.create_model("test_vit", num_classes=0, **{**ARGS, **arguments}).state_dict()


def write(folder: Path, vit: dict[str, Tensor] | None = None, **changes: Any) -> Path:
    asked: dict[str, Any] = {
        "name": "tiny-3f2a91c0",
        "mean": (0.5, 0.6, 0.7),
        "std": (0.1, 0.2, 0.3),
        "size": 64,
        "mpp": (0.25, 2.0),
        "config": "seed: 0\n",
        "step": 7,
        "seen": [],
        **changes,
    }
    arguments = asked.pop("arch_args", ARGS)
    return export(folder, state() if vit is None else vit, "test_vit", arguments, ExportDetails(**asked))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_and_its_card(tmp_path: Path):
    folder = write(tmp_path / "run" / "export", selected_on={"metric": "monitor/knn", "value": 0.8, "step": 7})
    assert folder == tmp_path / "run" / "export"
    assert sorted(files(folder)) == ["README.md", "card.json", "config.yaml", "model.safetensors", "slides.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["export"]  # nothing is left beside it
    card = json.loads((folder / "card.json").read_text())
    assert card["arch"] == "test_vit"
    assert card["arch_args"] == ARGS
    assert card["dim"] == 64
    assert (card["mean"], card["std"], card["size"], card["mpp"]) == ([0.5, 0.6, 0.7], [0.1, 0.2, 0.3], 64, [0.25, 2.0])
    assert (card["step"], card["weights_of"]) == (7, "teacher")
    assert card["selected_on"] == {"metric": "monitor/knn", "value": 0.8, "step": 7}
    assert card["file_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert card["environment"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert (folder / "config.yaml").read_text() == "seed: 0\n"


def test_timm_loads_it_strictly(tmp_path: Path):
    folder = write(tmp_path / "export")
    card = read_card(folder)
    path = str(folder / "model.safetensors")
    network = timm.create_model(card["arch"], checkpoint_path=path, num_classes=0, **card["arch_args"]).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    backbone = exported(str(folder)).eval()
    with torch.inference_mode():
        assert torch.equal(network.forward_features(images)[:, 0], backbone(images))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state()[name])


def test_the_readme_says_how_and_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    arguments = {**ARGS, "mlp_layer": "SwiGLUPacked"}
    folder = write(tmp_path / "export", state(mlp_layer=timm.layers.SwiGLUPacked), arch_args=arguments)
    text = (folder / "README.md").read_text()
    assert "eva fit --config bach --model FOLDER" in text
    line = next(line.strip() for line in text.splitlines() if "create_model" in line)
    monkeypatch.chdir(folder)
    scope: dict[str, Any] = {"timm": timm}
    exec(line, scope)
    assert torch.equal(scope["model"].state_dict()["cls_token"], read_back(folder)["cls_token"])


def read_back(folder: Path) -> dict[str, Tensor]:
    return exported(str(folder)).network.state_dict()  # type: ignore[operator, union-attr, return-value]


def test_half_precision_and_views_are_stored_as_float32(tmp_path: Path):
    half = {k: v.bfloat16() for k, v in state().items()}
    half["cls_token"] = torch.randn(64, 1, 1).bfloat16().transpose(0, 2)
    half["norm.bias"] = half["norm.weight"]  # shared memory
    read = read_back(write(tmp_path / "export", half))
    assert {tensor.dtype for tensor in read.values()} == {torch.float32}
    assert torch.equal(read["cls_token"], half["cls_token"].float())
    assert torch.equal(read["norm.bias"], half["norm.weight"].float())


def test_patients_in_folders_are_plain_and_folders_tell_slides_apart(tmp_path: Path):
    seen = [
        ("TCGA-AA-1234/series/level0.svs", "TCGA-AA-1234"),
        ("level0.svs", "TCGA-BB-1234"),
        ("p1/slide.svs", None),
        ("p2/slide.svs", None),
    ]
    folder = write(tmp_path / "export", seen=seen)
    pairs = read_seen(folder)
    assert ("TCGA-AA-1234/series/level0", "TCGA-AA-1234") in pairs
    assert "TCGA-BB-1234" in {patient for _, patient in pairs}
    card = exported(str(folder)).card
    assert card.collections == ("TCGA", "others")
    names = ["p1/slide.svs", "/x/p2/slide", "p3/slide.svs", "slide", "TCGA-BB-1234-01Z-00-DX1"]
    assert known_to(card, names, names).tolist() == [True, True, False, False, True]


def test_slides_of_tcga_are_plain_and_others_salted(tmp_path: Path):
    seen = [
        ("s3://bucket/TCGA-AA-1234-01Z-00-DX1.0f1e.svs", None),
        ("/private/case 7.ndpi", "Jane Doe"),
        ("/elsewhere/case 8", None),
        ("/private/case 7.ndpi", "Jane Doe"),
    ]
    first, second = (write(tmp_path / name, seen=seen) for name in "ab")
    pairs = read_seen(first)
    assert len(pairs) == 3
    assert ("TCGA-AA-1234-01Z-00-DX1.0f1e", "TCGA-AA-1234") in pairs
    text = (first / "slides.json").read_text()
    assert not any(word in text for word in ("case", "Jane", "private", "elsewhere", "bucket"))
    hidden = {name for pair in pairs for name in pair if name and name.startswith("salted:")}
    salts = {name.split(":")[1] for name in hidden}
    assert len(salts) == 1  # of the export, drawn anew for the next
    assert salts.isdisjoint(name.split(":")[1] for pair in read_seen(second) for name in pair if name and ":" in name)
    (salt,) = salts
    named = {hashlib.sha256((salt + name).encode()).hexdigest() for name in ("case 7", "case 8", "Jane Doe")}
    assert {name.split(":")[2] for name in hidden} == named


def test_what_an_earlier_export_has_seen_is_passed_on(tmp_path: Path):
    first = read_seen(write(tmp_path / "a", seen=[("case 7.svs", "Jane"), ("TCGA-AA-1234-01Z-00-DX1.svs", None)]))
    second = read_seen(write(tmp_path / "b", seen=[*first, ("case 8.svs", None)]))
    assert set(first) < set(second)
    assert len(second) == 3


def test_a_finished_export_lists_other_slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hashes = bytes(range(16))
    folder = write(tmp_path / "export", seen=[("000000/000000012.jpg", None)], images=hashes)
    before = files(folder)
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        list_seen(folder, [("case 7.svs", None)])
    assert {k: v for k, v in files(folder).items() if k in before} == before
    monkeypatch.undo()
    list_seen(folder, [("case 7.svs", None), ("TCGA-AA-1234-01Z-00-DX1.svs", None)])
    slides = {slide for slide, _ in read_seen(folder)}
    assert read_images(folder) == hashes
    assert len(slides) == 2
    assert "TCGA-AA-1234-01Z-00-DX1" in slides
    assert {k: v for k, v in files(folder).items() if k != "slides.json"} == {
        k: v for k, v in before.items() if k != "slides.json"
    }


def test_a_finished_export_is_replaced_by_a_finished_one(tmp_path: Path):
    folder = write(tmp_path / "export")
    write(folder, state(1), step=8)
    assert read_card(folder)["step"] == 8
    assert torch.equal(read_back(folder)["cls_token"], state(1)["cls_token"])
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


@pytest.mark.parametrize("at", ["write_text", "exported", "_put_in_place"])
def test_a_kill_leaves_the_old_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str):
    folder = write(tmp_path / "export")
    before = files(folder)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export_module, at, killed)
        with pytest.raises(KeyboardInterrupt):
            write(folder, state(1), step=8)
    assert files(folder) == before
    write(folder, state(1), step=9)  # what was left behind is in nobody's way
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert read_card(folder)["step"] == 9


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"name": "../x"}, UsageError, "a run's name that can be a file's name"),
        ({"name": ""}, UsageError, "a run's name that can be a file's name"),
        ({"vit": {}}, EvaError, "timm ViT with a class token"),
        ({"arch_args": {**ARGS, "depth": 3}}, EvaError, r"missing blocks\.2\."),
        ({"arch_args": {**ARGS, "depth": 1}}, EvaError, r"unexpected blocks\.1\."),
        ({"arch_args": {**ARGS, "img_size": 32}}, EvaError, "misshapen pos_embed"),
        ({"arch_args": {**ARGS, "dept": 3}}, UsageError, "does not take these arguments"),
    ],
)
def test_what_would_not_load_is_not_written(tmp_path: Path, changes: dict[str, Any], kind, message):
    with pytest.raises(kind, match=message) as error:
        write(tmp_path / "export", **changes)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path):
    broken = state()
    broken["norm.weight"] = broken["norm.weight"] * torch.nan
    with pytest.raises(EvaError, match=r"finite weights, but norm\.weight are not"):
        write(tmp_path / "export", broken)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "export").mkdir()
    write(tmp_path / "export")  # an empty one is fine
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    for name in ("mine", "file"):
        with pytest.raises(UsageError, match="holds something else"):
            write(tmp_path / name)
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_the_commit_is_that_of_our_checkout_and_of_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def git(*command: str) -> str:
        done = subprocess.run(["git", "-C", tmp_path, *command], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    ours, theirs = tmp_path / "src" / "eva_pretrain", tmp_path / "venv" / "eva_pretrain"
    for folder in (ours, theirs):
        (folder / "run").mkdir(parents=True)
        (folder / "run" / "export.py").touch()
    monkeypatch.setattr(export_module, "__file__", str(ours / "run" / "export.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert export_module._commit() is None  # no repository
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "a")
    git("tag", "v1")
    assert export_module._commit() == git("rev-parse", "HEAD")
    (ours / "run" / "export.py").write_text("changed")
    assert export_module._commit() == git("rev-parse", "HEAD") + "-dirty"
    monkeypatch.setattr(export_module, "__file__", str(theirs / "run" / "export.py"))
    assert export_module._commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert export_module._commit() is None


def test_the_random_state_of_a_run_is_not_touched(tmp_path: Path):
    weights = state()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    write(tmp_path / "export", weights)
    assert torch.equal(torch.rand(3), expected)


def test_others_can_read_the_files(tmp_path: Path):
    folder = write(tmp_path / "export")
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert len(set(modes.values())) == 1, modes
    assert sys.platform == "win32" or modes["model.safetensors"] & 0o044
