"""Whole runs of tiny networks: exact resuming, what a bad loss does, starts, and the way to an export."""

import errno
import json
import re
import shutil
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from eva_core.cli import main
from eva_core.errors import EvaError, UsageError
from eva_core.files import atomic_files
from eva_pretrain.data.datamodule import Patches
from eva_pretrain.data.loader import Batch, PatchLoader
from eva_pretrain.methods.base import Method
from eva_pretrain.monitor.collapse import MonitorCallback
from eva_pretrain.monitor.lines import LOG, read_lines
from eva_pretrain.monitor.online_knn import OnlineKnn
from eva_pretrain.run import checkpoints, sole_process
from eva_pretrain.run.config import parse
from eva_pretrain.run.pretrain import pretrain
from eva_vision.models.exported import exported

TINY = [
    *("--config", "demo"),
    *("--vit.arch", "vit_tiny_patch16_224", "--vit.size", "32"),
    "--vit.arguments={depth: 2, embed_dim: 24, num_heads: 3}",
    *("--method.prototypes", "32", "--method.hidden", "32", "--method.bottleneck", "16"),
    *("--views.global_size", "32", "--views.local_size", "16", "--views.local_crops", "2"),
    *("--sampling.size", "40", "--batch_size", "4", "--data.workers", "0"),
    *("--monitor.every", "0", "--training.log_every", "1"),
]

RUNS = ("whole", "cut")
SAME = {"step", "loss", "gradient_norm", "schedule/lr", "schedule/momentum", "skipped"}
"""Numbers of the log that are those of the step, not of the clock."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], float]]:
    """Patches and loss of every batch that is trained on."""
    found: list[tuple[list[int], float]] = []
    step = Method.training_step

    def recorded(self: Method, batch, index):
        loss = step(self, batch, index)
        found.append((batch.number.tolist(), float("nan") if loss is None else loss.item()))
        return loss

    monkeypatch.setattr(Method, "training_step", recorded)
    return found


def run(folder: Path, output: Path, *more: str) -> Path:
    return pretrain(parse([*TINY, "--folder", str(folder), "--output", str(output), *more]))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("method", ["eva_pretrain.methods.dino.Dino", "eva_pretrain.methods.dinov2.DinoV2"])
def test_a_resumed_run_is_the_run(patches, tmp_path, steps, monkeypatch, method, accumulate):
    more = ["--steps", "8", f"--training.accumulate={accumulate}", "--training.checkpoint_every=3"]
    more = [f"--method={method}", *TINY[9:15], *more, "--vit.drop_path=0.2"]
    run(patches, tmp_path / "whole", *more)
    whole, steps[:] = list(steps), []

    step = Method.optimizer_step

    def killed(self, *args, **kwargs):
        step(self, *args, **kwargs)
        if self.global_step == 5:
            raise RuntimeError("killed")

    monkeypatch.setattr(Method, "optimizer_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        run(patches, tmp_path / "cut", *more)
    monkeypatch.setattr(Method, "optimizer_step", step)
    assert [p.name for p in (tmp_path / "cut" / "checkpoints").iterdir()] == ["step-3.ckpt"]
    first = steps[: 3 * accumulate]
    steps.clear()
    export = run(patches, tmp_path / "cut", *more)
    assert first + steps == whole  # to the last bit: patches and losses
    logged = [[{k: v for k, v in line.items() if k in SAME} for line in read_lines(tmp_path / f / LOG)] for f in RUNS]
    assert [line["step"] for line in logged[0]] == [*range(1, 9)]  # each once, with the same numbers
    assert logged[0] == logged[1]
    ours, theirs = (
        torch.load(tmp_path / name / "checkpoints/step-8.ckpt", weights_only=True) for name in ("cut", "whole")
    )
    for name, tensor in ours["state_dict"].items():
        assert torch.equal(tensor, theirs["state_dict"][name]), name
    assert json.loads((export / "card.json").read_text())["step"] == 8


def test_what_is_left_out_of_a_folder_is_a_line_each(patches, tmp_path, capfd):
    shutil.copytree(patches, tmp_path / "images")
    (tmp_path / "images/new\nline.png").touch()
    content = [(patches / f"{n}.png").read_bytes() for n in range(4)]
    pq.write_table(pa.table({"image": [*content, b"none"]}), tmp_path / "images/shard.parquet")
    argv = ["pretrain", *TINY, "--folder", str(tmp_path / "images"), "--output", str(tmp_path / "run"), "--steps=8"]
    with pytest.warns(
        UserWarning, match=r"shard\.parquet/00000004 is left out from here on: it is no 8-bit image in BMP, JPEG, PNG, "
    ):
        assert main(argv) == 0
    lines = capfd.readouterr().err.split("\n")
    at = next(at for at, line in enumerate(lines) if line.startswith("2 images were left out: "))
    assert lines[at - 1].startswith("32 patches of 28 images; waited")
    assert "  new\\nline.png: it is empty" in lines[at + 1 : at + 3]
    assert (
        exported(str(tmp_path / "run/export")).card.trained_on == "24 images, listed in its slides.json"
    )  # 4 came twice


@pytest.mark.parametrize("accumulate", [1, 2])
def test_ctrl_c_loses_no_step(patches, tmp_path, steps, monkeypatch, capfd, accumulate):
    more = ["--steps", "6", f"--training.accumulate={accumulate}"]
    run(patches, tmp_path / "whole", *more)
    whole, steps[:] = list(steps), []
    step = Method.training_step

    def interrupted(self, batch, index):
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, index)

    monkeypatch.setattr(Method, "training_step", interrupted)
    argv = ["pretrain", *TINY, "--folder", str(patches), "--output", str(tmp_path / "cut"), *more]
    assert main(argv) == 130
    done = 4 // accumulate
    assert [p.name for p in (tmp_path / "cut" / "checkpoints").iterdir()] == [f"step-{done}.ckpt"]
    err = capfd.readouterr().err
    assert "eva: Stopping after this step, once a checkpoint is written. Ctrl-C again stops at once." in err
    last = f"{tmp_path / 'cut'}/checkpoints/step-{done}.ckpt"
    assert f"eva: Stopped. The same command goes on after step {done} of 6, from {last}; `eva export " in err
    monkeypatch.setattr(Method, "training_step", step)
    assert main(argv) == 0
    assert steps == whole  # each once, to the last bit


def test_a_kill_amid_an_accumulated_step_after_a_resume_loses_nothing(patches, tmp_path, steps, monkeypatch):
    more = ["--steps=6", "--training.accumulate=2", "--training.checkpoint_every=2"]
    run(patches, tmp_path / "whole", *more)
    whole, steps[:] = list(steps), []
    recorded = Method.training_step

    def until(batches: int):
        def killed(self, batch, index):
            if len(steps) == batches:
                raise RuntimeError("killed")
            return recorded(self, batch, index)

        return killed

    for batches in (5, 1):  # in the third step; after the first of its two batches
        steps[:] = []
        monkeypatch.setattr(Method, "training_step", until(batches))
        with pytest.raises(RuntimeError, match="killed"):
            run(patches, tmp_path / "run", *more)
    monkeypatch.setattr(Method, "training_step", recorded)
    steps[:] = []
    run(patches, tmp_path / "run", *more)
    assert steps == whole[4:]
    assert {file.name for file in (tmp_path / "run/checkpoints").iterdir()} == {"step-4.ckpt", "step-6.ckpt"}


def test_the_export_is_the_teacher(patches, tmp_path):
    export = run(patches, tmp_path / "run", "--steps", "2")
    state = torch.load(tmp_path / "run/checkpoints/step-2.ckpt", weights_only=True)["state_dict"]
    backbone = exported(str(export))
    for name, tensor in backbone.network.state_dict().items():
        assert torch.equal(tensor, state[f"teacher.vit.network.{name}"]), name
    assert backbone.card.geometry.crop == 32
    assert backbone(torch.zeros(1, 3, 32, 32)).shape == (1, 24)


def test_a_finished_run_is_not_run_again(patches, tmp_path, steps, capsys):
    run(patches, tmp_path / "run", "--steps", "2")
    steps.clear()
    run(patches, tmp_path / "run", "--steps", "2")
    assert steps == []
    assert "is finished" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"^Expected recipe\.steps 2 as in the run in .*, but got 3\. Give another"):
        run(patches, tmp_path / "run", "--steps", "3")


def test_other_weights_of_a_finished_run_are_another_export(patches, tmp_path, steps):
    def card(*more: str) -> dict:
        return json.loads((run(patches, tmp_path / "run", "--steps=2", *more) / "card.json").read_text())

    teacher, student = card(), card("--export.weights=student")
    assert (teacher["weights_of"], student["weights_of"]) == ("teacher", "student")
    assert teacher["name"] != student["name"]
    assert teacher["file_sha256"] != student["file_sha256"]
    assert card()["name"] == teacher["name"]
    assert len(steps) == 2  # it was trained once
    shutil.rmtree(tmp_path / "run/checkpoints")
    assert card()["file_sha256"] == teacher["file_sha256"]
    with pytest.raises(UsageError, match=r"Expected checkpoints in .* for another export"):
        card("--export.weights=student")
    with pytest.raises(UsageError, match=r"Expected recipe\.lr 0\.002 as in the run"):
        card("--recipe.lr=1e-5")


def test_an_export_that_was_lost_is_written_again(patches, tmp_path, steps):
    export = run(patches, tmp_path / "run", "--steps", "2")
    weights = (export / "model.safetensors").read_bytes()
    (export / "card.json").unlink()
    for file in export.iterdir():
        file.unlink()
    steps.clear()
    run(patches, tmp_path / "run", "--steps", "2")
    assert steps == []
    assert (export / "model.safetensors").read_bytes() == weights


def broken(monkeypatch, at: set[int]) -> None:
    """The loss of these batches is not finite."""
    step, count = Method._finite_everywhere, iter(range(1000))
    monkeypatch.setattr(
        Method, "_finite_everywhere", lambda self, loss: step(self, loss * (torch.nan if next(count) in at else 1))
    )


def test_a_loss_that_is_not_finite_is_skipped_and_counted(patches, tmp_path, monkeypatch, capsys):
    broken(monkeypatch, {1, 2, 5})
    export = run(patches, tmp_path / "run", "--steps", "8", "--most_skipped", "3")
    assert "3 steps skipped" in capsys.readouterr().err
    assert all(p.isfinite().all() for p in exported(str(export)).parameters())


def test_too_many_in_a_row_stop_the_run(patches, tmp_path, monkeypatch):
    broken(monkeypatch, {2, 3, 4})
    with pytest.raises(EvaError, match="finite loss, but it was not for 3 steps in a row, up to step 4"):
        run(patches, tmp_path / "run", "--steps", "8", "--most_skipped", "3")


def test_a_gradient_that_is_not_finite_changes_nothing(patches, tmp_path, monkeypatch):
    monkeypatch.setattr("eva_pretrain.methods.base.clip", lambda sets, most: torch.tensor(torch.inf))
    with pytest.raises(EvaError, match="finite gradient"):
        run(patches, tmp_path / "run", "--steps", "8", "--most_skipped", "3")


def test_a_short_run_logs_its_first_step_and_its_last(patches, tmp_path):
    run(patches, tmp_path / "run", "--steps", "3", "--training.log_every", "50", "--logger", "csv")
    first, last = read_lines(tmp_path / "run" / LOG)
    assert (first["step"], last["step"]) == (1, 3)
    assert "patches_per_s" not in first  # it read the first batch, too
    assert last["patches_per_s"] > 0
    assert [row[:2] for row in (tmp_path / "run/logs/metrics.csv").read_text().splitlines()] == ["st", "1,", "3,"]
    assert "Finished: step 3 of 3" in (tmp_path / "run/watch.html").read_text()


def test_an_image_that_does_not_read_is_named_once(patches, tmp_path, recwarn):
    folder = shutil.copytree(patches, tmp_path / "patches")
    (folder / "3.png").write_bytes(b"no image")
    run(folder, tmp_path / "run", "--steps", "8", "--monitor.every", "8", "--monitor.patches", "24")
    assert sum("3.png is left out" in str(warning.message) for warning in recwarn) == 1


def test_from_slides(slides, tmp_path):
    export = pretrain(parse([*TINY, "--slides", f"{slides}/*.svs", "--output", str(tmp_path / "run"), "--steps", "2"]))
    card = json.loads((export / "card.json").read_text())
    assert card["mpp"] == [0.5, 1.0]
    seen = json.loads((export / "slides.json").read_text())["seen"]
    assert 1 <= len(seen) <= 3


def test_the_monitor_writes_pictures_and_numbers(patches, tmp_path):
    run(patches, tmp_path / "run", "--steps", "4", "--monitor.every", "2", "--monitor.patches", "16")
    lines = [json.loads(line) for line in (tmp_path / "run/monitor.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 4]
    assert 1 <= lines[-1]["monitor/rankme"] <= 16
    assert {p.name for p in (tmp_path / "run").glob("*.png")} == {"crops.png", "pca-0.png", "pca-2.png", "pca-4.png"}


def test_looks_do_not_count_as_slow_training(patches, tmp_path, monkeypatch, capsys):
    look = MonitorCallback._embed

    def slow(self, method, pixels):
        time.sleep(0.5)
        return look(self, method, pixels)

    monkeypatch.setattr(MonitorCallback, "_embed", slow)
    more = ["--monitor.every=1", "--monitor.patches=8", "--training.log_every=5"]
    began = time.perf_counter()
    run(patches, tmp_path / "run", "--steps", "10", *more)
    found = [float(rate) for rate in re.findall(r"([0-9.]+) patches/s", capsys.readouterr().err)]
    assert len(found) == 2
    assert found[-1] > 1.5 * 40 / (time.perf_counter() - began)


def test_the_best_checkpoint_is_exported_and_recorded(patches, tmp_path):
    more = ["--monitor.every", "2", "--monitor.patches", "16", "--export.checkpoint", "best"]
    with pytest.raises(UsageError, match="Expected --dataset and monitor"):
        run(patches, tmp_path / "run", "--steps", "6", *more)
    dataset = [
        "--dataset",
        "phantom",
        "--dataset.train=40",
        "--dataset.val=16",
        "--dataset.test=4",
        "--dataset.size=32",
    ]
    export = run(patches, tmp_path / "run", "--steps", "6", *more, *dataset)
    chosen = json.loads((export / "card.json").read_text())["selected_on"]
    lines = [json.loads(line) for line in (tmp_path / "run/monitor.jsonl").read_text().splitlines()]
    found = {line["step"]: line["monitor/knn"] for line in lines if line["step"]}  # the start is no checkpoint
    assert len([*(tmp_path / "run/checkpoints").glob("best-*")]) == 1
    assert chosen == {"metric": "monitor/knn", "step": max(found, key=found.get), "value": max(found.values())}


def test_what_is_left_out_decides_which_run_it_is(tmp_path):
    listed = tmp_path / "exclude.txt"
    listed.write_text("a.svs\n")
    argv = ["--config", "demo", "--slides", "x", "--exclude", str(listed)]
    before = parse(argv).key
    assert parse(argv).key == before
    listed.write_text("a.svs\nb.svs\n")
    assert parse(argv).key != before


def test_the_best_so_far_is_still_that_where_looks_become_rarer(patches, tmp_path, monkeypatch):
    found = iter([0.1, 0.9, 0.3, 0.2])  # at the start, at steps 2, 4 and 8
    monkeypatch.setattr(OnlineKnn, "__call__", lambda self, embed, batch_size=64: next(found))
    step = Method.optimizer_step

    def killed(self, *args, **kwargs):
        step(self, *args, **kwargs)
        if self.global_step == 4:
            raise RuntimeError("killed")

    asked = ["--steps=8", "--training.checkpoint_every=3", "--monitor.patches=16", "--export.checkpoint=best"]
    asked += ["--dataset=phantom", "--dataset.train=12", "--dataset.val=8", "--dataset.test=4", "--dataset.size=32"]
    monkeypatch.setattr(Method, "optimizer_step", killed)
    with pytest.raises(RuntimeError, match="killed"):
        run(patches, tmp_path / "run", *asked, "--monitor.every=2")
    monkeypatch.setattr(Method, "optimizer_step", step)
    export = run(patches, tmp_path / "run", *asked, "--monitor.every=8")
    assert json.loads((export / "card.json").read_text())["selected_on"]["step"] == 2
    assert [file.name for file in (tmp_path / "run/checkpoints").glob("best-*")] == ["best-2.ckpt"]


def test_what_has_no_meaning_for_a_folder_is_told(patches, tmp_path, capsys):
    run(patches, tmp_path / "run", "--steps=1", "--data.hsv_filter=true", "--sampling.per_window=2")
    said = "A folder of patches is read as it is, without data.hsv_filter, "
    assert said in (told := capsys.readouterr().err)
    assert "sampling.per_window" in told


def test_the_monitor_looks_at_other_patches_than_the_few_that_are_trained_on(slides, tmp_path):
    argv = ["--config", "demo", "--slides", str(slides / "*.svs"), "--sampling.distinct=2", "--data.workers=0"]
    plan = parse([*argv, "--sampling.size=32", "--batch_size=8"])
    source = Patches(plan.data, plan.sampling, 0, 1, tmp_path)

    def distinct(batch: Batch) -> int:
        return len(batch.pixels.flatten(1).unique(dim=0))

    assert distinct(next(iter(source.monitored_patches(8)))) == 8
    assert distinct(next(iter(PatchLoader(source.stream(8), 0)))) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "demo"], "either --slides PATTERN or --folder DIR"),
        (["--folder", "x"], "arguments are required: method"),
        ([*TINY, "--folder", "nowhere-at-all"], "there is none"),
        ([*TINY, "--folder", "x", "--recipe.warmup", "2"], "shares of the steps from 0 to 1"),
        ([*TINY, "--folder", "x", "--views.hue", "2"], "Expected hue to be 0 to 0.5"),
        ([*TINY, "--folder", "x", "--views.global_size", "16"], "views.global_size to be vit.size, 32, but got 16"),
        ([*TINY, "--folder", "x", "--seed", "-1"], "Expected seed of at least 0 and below 2.63, but got -1"),
        ([*TINY, "--folder", "x", "--most_skipped", "0"], "most_skipped of at least 1"),
        ([*TINY, "--folder", "x", "--recipe.lr", "1.0"], "lr above 0 and below 1"),
        ([*TINY, "--folder", "x", "--recipe.freeze_last", "1"], "freeze_last below 1"),
        ([*TINY, "--folder", "x", "--recipe.momentum=[1.0, 0.99]"], "momentum that does not fall"),
        ([*TINY, "--folder", "x", "--recipe.temperature=[0.07, 0.04]"], "temperature that does not fall"),
        ([*TINY, "--folder", "x", "--training.timeout_minutes", "0"], "timeout_minutes above 0"),
        ([*TINY, "--folder", "x", "--training.timeout_minutes", ".inf"], "timeout_minutes above 0 and at most 525,600"),
        ([*TINY, "--folder", "x", "--training.nodes", "1000000000"], "training.nodes to be at most 100,000"),
        ([*TINY, "--folder", "x", "--training.max_hours", ".nan"], "a number for --training.max_hours, but got nan"),
        ([*TINY, "--folder", "x", "--seed", str(2**64)], "seed of at least 0 and below 2.63"),
        ([*TINY, "--folder", "x", "--views.contrast", "1e9"], "contrast to be 0 to 100"),
        ([*TINY, "--folder", "x", "--sampling.window", "0"], "window to be at least 1"),
        ([*TINY, "--folder", "x", "--vit.arhc", "y"], "Did you mean --vit.arch"),
        ([*TINY, "--folder", "x", "--config", "{misspelt}"], "Did you mean --recipe.warmup"),
        ([*TINY, "--folder", "{patches}", "--start", ""], "Expected start as a name, a file or a folder, but got ''"),
        ([*TINY, "--folder", "{patches}", "--method.gram_every", "0"], "gram_every of at least 1"),
        ([*TINY, "--folder", "{patches}", "--method.ibot", "1e9"], "weights of losses from 0 to 100"),
        ([*TINY, "--folder", "{patches}", "--method.kde_kappa", "1e9"], "kde_kappa above 0 and at most 1000"),
        ([*TINY, "--folder", "{patches}", "--method.student_temperature", "9"], "student_temperature above 0 and at m"),
        ([*TINY, "--folder", "{patches}", "--vit.arch", "vit_tny_patch16_224"], "Did you mean vit_tiny_patch16_224"),
        ([*TINY, "--folder", "{patches}", "--method.prototypes", "1"], "prototypes of at least 2"),
        ([*TINY, "--folder", "{patches}", "--method.mask_ratio=[1.0, 1.0]"], "mask_ratio below 1"),
        ([*TINY, "--folder", "{patches}", "--method.prototypes", "0"], "prototypes, hidden and bottleneck of at least"),
        ([*TINY, "--folder", "{patches}", "--method.mask_share", "2"], "mask_share from 0 to 1, but got 2.0"),
        ([*TINY, "--folder", "{patches}", "--method.mask_ratio=[0.9, 0.1]"], "mask_ratio within 0 to 1, the lesser"),
        ([*TINY, "--folder", "{patches}", "--method.student_temperature", "0"], "student_temperature above 0"),
        (
            [*TINY, "--folder", "{patches}", "--method.centre_momentum", "1"],
            "centre_momentum of at least 0 and below 1",
        ),
        (
            [*TINY, "--folder", "{patches}", "--views.local_size", "20"],
            "views.local_size to be a multiple of the patch",
        ),
    ],
)
def test_bad_settings_are_one_line(arguments, said, patches, tmp_path):
    (tmp_path / "misspelt.yaml").write_text("recipe: {wramup: 0.1}")
    for name, path in (("{patches}", patches), ("{misspelt}", tmp_path / "misspelt.yaml")):
        arguments = [argument.replace(name, str(path)) for argument in arguments]
    with pytest.raises(UsageError, match=said):
        pretrain(parse([*arguments, "--output", str(tmp_path / "run")]))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_passed_over_and_the_export_is_the_same(patches, tmp_path, steps, capsys):
    more = ["--steps=4", "--training.checkpoint_every=2"]
    export = run(patches, tmp_path / "run", *more)
    weights = (export / "model.safetensors").read_bytes()
    flip(tmp_path / "run/checkpoints/step-4.ckpt", 5000)
    flip(export / "model.safetensors", 5000)
    steps.clear()
    run(patches, tmp_path / "run", *more)
    said = capsys.readouterr().err
    assert "step-4.ckpt is not used, because its checksum does not fit: bits of it have changed; " in said
    assert "of another export. Copy or export both again. It is made again." in said
    assert len(steps) == 2
    assert (export / "model.safetensors").read_bytes() == weights
    flip(tmp_path / "run/checkpoints/step-2.ckpt", 5000)
    with pytest.raises(EvaError, match="Expected a whole checkpoint in"):
        run(patches, tmp_path / "next", "--steps=1", "--start", str(tmp_path / "run/checkpoints/step-2.ckpt"))
    flip(export / "model.safetensors", 5000)
    with pytest.raises(EvaError, match="of another export"):
        run(patches, tmp_path / "last", "--steps=1", "--start", str(export))


def test_without_a_whole_checkpoint_nothing_is_trained(patches, tmp_path, steps):
    folder = tmp_path / "run/checkpoints"
    folder.mkdir(parents=True)
    (folder / "step-2.ckpt").write_bytes(b"half")
    with pytest.raises(EvaError, match="Restore one from a copy, or delete that folder"):
        run(patches, tmp_path / "run", "--steps=4")
    assert steps == []


def test_a_write_that_fails_stops_the_run_and_the_same_command_goes_on(patches, tmp_path, steps, monkeypatch):
    more = ["--steps=4", "--training.checkpoint_every=1"]
    write, count = checkpoints.torch.save, iter(range(100))

    def full(content, file):
        if next(count) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(content, file)

    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(EvaError, match=r"step-3.ckpt \(No space left.*is kept: step-2.ckpt"):
        run(patches, tmp_path / "run", *more)
    names = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert names == ["step-1.ckpt", "step-2.ckpt"]
    run(patches, tmp_path / "run", *more)
    assert len(steps) == 3 + 2


def test_variables_that_a_launcher_left_do_not_make_it_a_silent_rank(patches, tmp_path, monkeypatch, capsys):
    left = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "SLURM_NTASKS": "4", "SLURM_PROCID": "2"}
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    run(patches, tmp_path / "run", "--steps=1")
    assert "Random weights from seed 0." in capsys.readouterr().err
    assert [*(tmp_path / "run/logs").iterdir()]


def test_an_exchange_of_exports_that_was_killed_between_its_renames_is_finished(patches, tmp_path, steps):
    export = run(patches, tmp_path / "run", "--steps=1")
    shutil.rmtree(tmp_path / "run/checkpoints")
    export.rename(tmp_path / "run/.export.old")
    steps.clear()
    assert run(patches, tmp_path / "run", "--steps=1") == export
    assert steps == []
    assert exported(str(export)).card.revision == "step 1"


def test_a_folder_in_which_another_process_trains_is_refused(patches, tmp_path, monkeypatch):
    def held(*_):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(sole_process.fcntl, "lockf", held)
    with pytest.raises(UsageError, match="Expected to be alone in"):
        run(patches, tmp_path / "run", "--steps=1")


def test_a_run_does_not_begin_where_no_checkpoint_fits(patches, tmp_path, steps, monkeypatch):
    monkeypatch.setattr(atomic_files, "free_space", lambda path: 10_000)
    with pytest.raises(
        EvaError, match=r"checkpoints \(No space left.*needs .* kB, 10.0 kB are free.*no checkpoint yet"
    ):
        run(patches, tmp_path / "run", "--steps=2")
    assert steps == []


def test_a_full_disk_is_told_whoever_writes(patches, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("eva_pretrain.monitor.collapse.contact_sheet", full)
    with pytest.raises(
        EvaError, match=f"Could not write {tmp_path / 'run'} .No space left.*There is no checkpoint yet"
    ):
        run(patches, tmp_path / "run", "--steps=2")


def test_an_output_that_takes_nothing_is_told(patches, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(EvaError, match=f"^Could not write {output} "):
            run(patches, output, "--steps=2")

    def read_only(folder):
        raise OSError(errno.EROFS, "Read-only file system", str(folder / sole_process.LOCK))

    monkeypatch.setattr("eva_pretrain.run.pretrain.sole_process", read_only)
    with pytest.raises(EvaError, match=f"^Could not write {tmp_path}/run/.running .Read-only file system"):
        run(patches, tmp_path / "run", "--steps=2")
