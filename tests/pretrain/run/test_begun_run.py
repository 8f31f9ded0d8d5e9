"""Which plans go on with a run that is begun in their folder, and what the others are told."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from eva_core.errors import UsageError
from eva_pretrain.methods.base import Method
from eva_pretrain.run.begun_run import going_on
from eva_pretrain.run.config import Plan, parse
from eva_pretrain.run.pretrain import pretrain
from eva_vision.models.exported import exported
from tests.pretrain.run.test_pretrain import TINY


@pytest.fixture(scope="module")
def begun(patches: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps that was killed after its third."""
    folder, step = tmp_path_factory.mktemp("begun") / "run", Method.optimizer_step

    def killed(self, *args, **kwargs):
        step(self, *args, **kwargs)
        if self.global_step == 3:
            raise RuntimeError("killed")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Method, "optimizer_step", killed)
        with pytest.raises(RuntimeError, match="killed"):
            pretrain(plan(patches, folder))
    return folder


def plan(folder: Path, output: Path, *more: str) -> Plan:
    own = ["--steps=4", "--training.checkpoint_every=2", "--batch_size=4"]
    return parse([*TINY, "--folder", str(folder), "--output", str(output), *own, *more])


def test_a_run_goes_on_accumulated_with_the_same_samples(begun, patches, tmp_path, monkeypatch):
    shutil.copytree(begun, tmp_path / "run")
    numbers, step = [], Method.training_step
    monkeypatch.setattr(
        Method, "training_step", lambda self, b, i: (numbers.append(b.number.tolist()), step(self, b, i))[1]
    )
    pretrain(plan(patches, tmp_path / "run", "--batch_size=2", "--training.accumulate=2", "--name=other"))
    images = exported(str(tmp_path / "run/export")).card
    read = {hashlib.sha256(file.read_bytes()).digest()[:8] for file in patches.iterdir()}
    seen = np.frombuffer(images.training_images, "<u8").astype(">u8").view("S8").tolist()
    assert (len(seen), images.training_ids) == (16, ())
    assert {*seen} <= {digest.rstrip(b"\0") for digest in read}  # numpy takes zeros off the end
    assert images.trained_on == "16 images, listed in its slides.json"
    assert numbers == [[8, 10], [9, 11], [12, 14], [13, 15]]
    state = torch.load(tmp_path / "run/checkpoints/step-4.ckpt", weights_only=True)
    assert state["loops"]["fit_loop"]["state_dict"]["combined_loader"][0]["batches"] == 8


def test_the_same_files_elsewhere_are_the_same_run(begun, patches, tmp_path, capsys):
    shutil.copytree(patches, tmp_path / "copy")
    moved = plan(tmp_path / "copy", begun)
    assert moved.key != plan(patches, begun).key
    assert going_on(moved).key == plan(patches, begun).key
    assert "has the files of the run" in capsys.readouterr().err
    (tmp_path / "copy" / "0.png").unlink()
    with pytest.raises(UsageError, match=rf"^Expected data\.folder {patches} as in the run in .*, but got .*/copy\. G"):
        going_on(moved)


def test_a_refusal_names_each_setting_with_both_values(begun, patches):
    other = plan(patches, begun, "--seed=1", "--recipe.lr=1e-4", "--batch_size=8", "--method.prototypes=8")
    with pytest.raises(UsageError) as error:
        going_on(other)
    assert str(error.value) == (
        f"Expected method.prototypes 32, recipe.lr 0.002, seed 0, batch over all devices 4 as in the run in {begun}, "
        "but got 8, 0.0001, 1, 8. Give another --output."
    )


def test_what_only_slides_have_is_free_where_the_source_is_a_folder(begun, patches, tmp_path, recwarn):
    free = ["--sampling.mpp=[0.25]", "--sampling.tissue=0.6", "--sampling.per_window=2", "--data.hsv_filter=true"]
    assert going_on(plan(patches, begun, *free, "--data.mpp=0.5", "--data.tissue=none")).key == plan(patches, begun).key
    with pytest.raises(UsageError, match=r"^Expected sampling\.size 40 as in the run in .*, but got 48\. Give"):
        going_on(plan(patches, begun, *free, "--sampling.size=48"))
    output = shutil.copytree(begun, tmp_path / "run")
    card = json.loads((pretrain(plan(patches, output, *free, "--data.mpp=0.5")) / "card.json").read_text())
    assert (card["step"], card["mpp"]) == (4, [0.5, 0.5])
    assert not [warning for warning in recwarn if "other patches" in str(warning.message)]


def test_a_run_of_an_earlier_version_is_known_by_its_configuration(begun, patches, tmp_path):
    shutil.copytree(begun, tmp_path / "run")
    (tmp_path / "run/key").write_text("0123456789")
    config = tmp_path / "run/config.yaml"
    text = config.read_text().replace("class_path: dinov2", "class_path: eva_pretrain.dinov2.DinoV2")
    config.write_text(text.replace("  clip: 3.0\n", ""))  # it had no such setting
    same = plan(patches, tmp_path / "run", "--batch_size=1", "--training.accumulate=4")
    assert going_on(same).key == "0123456789"  # a part of the name of its export
    config.write_text(config.read_text().replace("seed: 0", "seed: 7"))
    with pytest.raises(UsageError, match=r"^Expected seed 7 as in the run in .*, but got 0\. Give another"):
        going_on(same)


def test_a_run_that_was_stopped_is_exported_where_no_more_steps_are_asked_for(begun, patches, tmp_path, capsys):
    output = shutil.copytree(begun, tmp_path / "run")
    kept = [(output / name).read_text() for name in ("config.yaml", "key")]
    for steps in (2, 1):  # its schedule is one of four steps
        assert pretrain(plan(patches, output, f"--steps={steps}")) == output / "export"
        assert f"has made 2 of 4 steps, and {steps} are asked for" in capsys.readouterr().err
        assert json.loads((output / "export/card.json").read_text())["step"] == 2
    assert [(output / name).read_text() for name in ("config.yaml", "key")] == kept
    assert json.loads((pretrain(plan(patches, output)) / "card.json").read_text())["step"] == 4  # it goes on
    for wrong in ("--steps=2", "--steps=5"):  # its schedule has come to its end
        with pytest.raises(UsageError, match=r"^Expected recipe\.steps 4 as in the run in .*, but got [25]\. Give"):
            pretrain(plan(patches, output, wrong))


def test_fewer_steps_of_a_longer_schedule_are_the_same_run(patches, tmp_path, capsys):
    long = ["--recipe.schedule_steps=6", "--training.checkpoint_every=1"]
    pretrain(plan(patches, tmp_path / "run", *long, "--steps=2"))
    shutil.rmtree(tmp_path / "run/export")
    export = pretrain(plan(patches, tmp_path / "run", *long, "--steps=1"))
    assert "has made 2 steps, and 1 are asked for" in capsys.readouterr().err
    assert json.loads((export / "card.json").read_text())["step"] == 2
    with pytest.raises(UsageError, match=r"^Expected recipe\.steps 6 as in the run in .*, but got 3\. Give"):
        pretrain(plan(patches, tmp_path / "run", "--steps=3"))
